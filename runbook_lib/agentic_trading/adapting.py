"""Rewrite this checkout so that it uses a platform's own names.

SQL, Python's string literals and the contract are rewritten.

If a renamed column is selected without an alias, its old name becomes the alias (``logged_at as ts``), so that the code
that reads the reply need not change.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import Column, Table, contract, is_word, last, place_of
from runbook_lib.agentic_trading.names_in_words import in_fixes, in_symptoms
from runbook_lib.agentic_trading.sql_names import Use, aliases, uses
from runbook_lib.agentic_trading.statements import SQL, Source, sources
from runbook_lib.errors import ConfigError, nearest
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONTRACT = "runbook_lib/agentic_trading/contract.yaml"
SYMPTOMS = "runbook_lib/agentic_trading/symptoms.yaml"
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")  # a name that Postgres takes without quotes
ENTRY = re.compile(r"""(?P<indent> *)"?(?P<name>[^":{#]+(?:[:][^ ":{]*)?)"?: *(?P<rest>.*)""")
GROUPS = {"columns": ".", "keys": ".", "words": ":"}

Edit = tuple[int, int, str]  # start, end, and the text that replaces the characters between them


@dataclass(frozen=True)
class Rename:
    """One renaming for `adapt`: a name's address in the contract (``agent_logs.ts``), and the platform's name."""

    address: str
    new: str

    @classmethod
    def read(cls, text: str) -> Rename:
        """Parse one renaming for `adapt`, typed as ``agent_logs.ts=logged_at``.

        Raise `ConfigError` if the contract has no such address, or if the new name cannot be used.
        """
        address, sign, new = text.partition("=")
        entries = dict(contract().entries())
        if not sign or not new:
            raise ConfigError(f"{text!r} renames nothing: write OLD=NEW, such as agent_logs.ts=logged_at")
        if address not in entries:
            raise ConfigError(f"the contract has no {address!r}: {nearest(address, entries)}")
        if isinstance(entries[address], Table | Column) and not PLAIN.fullmatch(new):
            raise ConfigError(f"{new!r} is no plain name: expected small letters, digits and _, and no table before it")
        if re.search(r"""['"\\{}]""", new):
            raise ConfigError(f"{new!r} cannot stand in a text of SQL: expected no quotes, braces or backslashes")
        return cls(address, new)


@dataclass
class Adapted:
    """The result of `adapt`: new texts of files, differences to show, and lines that a person must check."""

    files: dict[Path, str] = field(default_factory=dict)  # the new text of each file
    differences: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    def rewrite(self, path: Path, old: str, new: str) -> None:
        """Add a file's new text and the difference to show. If the text is unchanged, add nothing."""
        if new != old:
            self.files[path] = new
            self.differences.append(_difference(old, new, path.name))


def adapt(renames: Sequence[Rename], root: Path = ROOT) -> Adapted:
    """Return the texts of the checkout's files in which names are replaced by the platform's names. Write no file.

    A Python string that equals a renamed key or word is rewritten too, unless it may mean something else: such a string
    is left as it is, and listed in ``doubtful`` with its place.
    """
    adapted, renaming = Adapted(), _Renaming.of(renames, root)
    cells: dict[Path, dict[int, str]] = {}
    for source in sources(root):
        new = _replaced(source.text, _edits(source, renaming))
        adapted.doubtful += _doubtful(source, renaming)
        if new == source.text:
            continue
        adapted.differences.append(_difference(source.text, new, source.place))
        if source.cell is None:
            adapted.files[source.path] = new
        else:
            cells.setdefault(source.path, {})[source.cell] = new
    for path, changed in cells.items():
        adapted.files[path] = _notebook(path, changed)
    symptoms = (root / SYMPTOMS).read_text(encoding="utf-8")
    adapted.rewrite(root / SYMPTOMS, symptoms, _replaced(symptoms, in_symptoms(symptoms, renaming.new)))
    listed = (root / CONTRACT).read_text(encoding="utf-8")
    adapted.rewrite(root / CONTRACT, listed, _contract(listed, renames))
    return adapted


def users(address: str, root: Path = ROOT) -> tuple[str, ...]:
    """Return the steps and modules that use a name of the contract, in order.

    They are those that `adapt` would rewrite, and those whose SQL asks for a JSON object as a whole that holds the key.
    """
    renaming = _Renaming.of([Rename(address, "another")], root)
    places = [
        source.place
        for source in sources(root)
        if (not is_word(address) and address in _asked(source)) or any(True for _ in _edits(source, renaming))
    ]
    return tuple(dict.fromkeys(places))


@lru_cache(maxsize=512)
def asked(statement: str) -> frozenset[str]:
    """Return the addresses (such as ``agent_logs.ts``) of the contract's names that a SQL statement uses.

    A JSON object that is given out whole stands for its keys, and a column or key that is compared with no word for all
    its words.
    """
    named = {use.address for use in _used(statement)}
    inside = {name: tuple(f"{name}{sign}" for sign in ".:") for name in named if name not in contract().tables}
    whole = tuple(i for inner in inside.values() for i in inner if not any(n.startswith(inner) for n in named))
    return frozenset({*named, *(address for address in _addresses() if address.startswith(whole))})


# --- what is replaced -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Renaming:
    """What `adapt` writes in place of the contract's names.

    ``new`` holds the new names by address. ``texts`` holds those by the name itself, wherever that means nothing else.
    ``several`` holds the addresses of each word that columns share, ``aliases`` the names that SQL gives with ``as``.
    """

    new: dict[str, str]
    texts: dict[str, str]
    several: dict[str, list[str]]
    aliases: set[str]

    @classmethod
    def of(cls, renames: Sequence[Rename], root: Path) -> _Renaming:
        entries, given = dict(contract().entries()), _aliases(root)
        names = [last(address) for address in entries]
        several = {
            word: [address for address in entries if is_word(address) and last(address) == word]
            for word in (last(rename.address) for rename in renames if is_word(rename.address))
        }
        texts = {
            last(rename.address): rename.new
            for rename in renames
            if not isinstance(entries[rename.address], Table | Column)  # a column's old name is an alias, and stays
            and names.count(last(rename.address)) == 1
            and last(rename.address) not in given
        }
        return cls({rename.address: rename.new for rename in renames}, texts, several, given)

    def within(self, source: Source) -> dict[str, str]:
        """Return the renames for the string literals of a cell or module: old name -> new name.

        In a cell, SQL tells what a text means: a table that it names, or a word that only one of its columns holds.
        """
        asked = _asked(source) if source.cell is not None else set()
        meant = {word: [a for a in shared if place_of(a) in asked] for word, shared in self.several.items()}
        words = {
            word: self.new[addresses[0]]
            for word, addresses in meant.items()
            if len(addresses) == 1 and addresses[0] in self.new and word not in self.aliases
        }
        tables = {name: new for name, new in self.new.items() if name in contract().tables and name in asked}
        return self.texts | words | tables


def _edits(source: Source, renaming: _Renaming) -> Iterator[Edit]:
    """Yield every edit that the renames make in a cell or module."""
    texts = renaming.within(source)
    for offset, value in source.texts():
        if SQL.match(value):
            in_statement = list(_in_sql(value, renaming))
            yield from ((offset + start, offset + end, new) for start, end, new in dict.fromkeys(in_statement))
        elif value in texts:
            yield offset, offset + len(value), texts[value]
        elif (address := _renamed(value, renaming)) != value:
            yield offset, offset + len(value), address
    yield from _arguments(source.text, texts)
    if source.cell is not None:
        yield from in_fixes(source.text, renaming.new)


def _renamed(text: str, renaming: _Renaming) -> str:
    """Return an address of the contract with the new names. Return any other text unchanged."""
    if text not in _addresses() or text in contract().tables:  # a table's name alone may mean something else
        return text
    return _address_of(text, renaming)


def _address_of(text: str, renaming: _Renaming) -> str:
    new = renaming.new.get(text, text if text in contract().tables else last(text))
    place = "" if text in contract().tables else place_of(text)
    return f"{_address_of(place, renaming)}{text[len(place)]}{new}" if place else new


def _in_sql(statement: str, renaming: _Renaming) -> Iterator[Edit]:
    for use in _used(statement):
        if use.address in renaming.new:
            yield use.start, use.end, _written(use, renaming.new[use.address], statement)
    # A quoted word that `uses` does not resolve, such as one beside a bound value, means the same.
    for word, new in renaming.texts.items():
        for match in re.finditer(f"'{re.escape(word)}'", statement):
            yield match.start() + 1, match.end() - 1, new


def _written(use: Use, new: str, statement: str) -> str:
    if is_word(use.address):
        return new.replace("%", "%%") if "%%" in statement[use.start : use.end] else new
    return f"{new} as {use.name}" if use.name is not None else new


def _arguments(text: str, texts: dict[str, str]) -> Iterator[Edit]:
    """Yield an edit for each keyword argument whose name is a renamed JSON key, as in ``limits(maxLeverage=1)``."""
    if not any(f"{name}=" in text for name in texts):
        return
    for node in ast.walk(ast.parse(text)):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg in texts:
                start = sum(len(line) for line in text.splitlines(keepends=True)[: keyword.lineno - 1])
                start += keyword.col_offset
                yield start, start + len(keyword.arg), texts[keyword.arg]


def _doubtful(source: Source, renaming: _Renaming) -> Iterator[str]:
    """Yield a line for each renamed word that Python strings also hold, perhaps with another meaning.

    A JSON key is in no doubt: Python reads it under the alias that SQL gives it, or names it by its whole address.
    """
    texts = {value for _, value in source.texts() if not SQL.match(value) and value not in _addresses()}
    known = renaming.within(source)
    for address in filter(is_word, renaming.new):
        word = last(address)
        begins = word.endswith("%") and any(word.rstrip("%") in text for text in texts - {word})
        if begins or (word in texts and word not in known):
            yield f"{source.place}: {word!r} may be {address}"


def _asked(source: Source) -> set[str]:
    return {address for each in source.statements() for address in asked(each.text)}


@lru_cache(maxsize=512)
def _used(statement: str) -> tuple[Use, ...]:
    return tuple(uses(statement, contract().columns()))


@lru_cache(maxsize=4)
def _aliases(root: Path) -> set[str]:
    return {name for source in sources(root) for each in source.statements() for name in aliases(each.text)}


@cache
def _addresses() -> frozenset[str]:
    return frozenset(address for address, _ in contract().entries())


def _replaced(text: str, edits: Iterator[Edit]) -> str:
    for start, end, new in sorted(set(edits), reverse=True):
        text = text[:start] + new + text[end:]
    return text


# --- the files ------------------------------------------------------------------------------------------------------


def _notebook(path: Path, changed: dict[int, str]) -> str:
    """Return the notebook's text with new sources in the ``changed`` cells (index -> source). Other cells stay as they
    are.
    """
    old = path.read_text(encoding="utf-8")
    raw = json.loads(old)
    for index, source in changed.items():
        raw["cells"][index]["source"] = source.splitlines(keepends=True)
    return json.dumps(raw, indent=1, ensure_ascii=False) + ("\n" if old.endswith("\n") else "")


def _contract(text: str, renames: Sequence[Rename]) -> str:
    """Return the text of ``contract.yaml`` with the new names. Keep its comments and order."""
    by_address = {rename.address: rename.new for rename in renames}
    lines, path = [], list[tuple[int, str]]()
    for line in text.splitlines(keepends=True):
        entry = ENTRY.match(line)
        if entry is None:
            lines.append(line)
            continue
        indent, name = len(entry["indent"]), entry["name"]
        path = [(depth, outer) for depth, outer in path if depth < indent] + [(indent, name)]
        address = _address([outer for _, outer in path])
        start, end = entry.span("name")
        kept = line[:start] + by_address.get(address, name) + line[end:]
        lines.append(_references(kept, address.partition(".")[0], renames))
    return "".join(lines)


def _address(path: Sequence[str]) -> str:
    """Turn the YAML keys that lead to a name into its address: ``[agent_logs, columns, ts]`` gives ``agent_logs.ts``.

    Keys that lead to something other than a name, such as ``means``, give a text that is no entry's address.
    """
    address, sign = path[0], ""
    for name in path[1:]:
        if sign:
            address, sign = f"{address}{sign}{name}", ""
        else:
            sign = GROUPS.get(name, f" {name} ")
    return f"{address}{sign}"


def _references(line: str, table: str, renames: Sequence[Rename]) -> str:
    """Return a line of ``contract.yaml`` in which references to other entries, such as ``about: event``, have the new
    names.
    """
    for rename in renames:
        owner, _, name = rename.address.partition(":")[0].partition(".")
        if owner != table or "." in name:
            continue
        if is_word(rename.address):
            line = re.sub(
                rf"(rows: {{{name}: \[[^\]]*\b){re.escape(last(rename.address))}\b", rf"\g<1>{rename.new}", line
            )
        elif name:
            line = re.sub(rf"(rows: {{|about: ){name}\b", rf"\g<1>{rename.new}", line)
    return line


def _difference(old: str, new: str, place: str) -> str:
    lines = unified_diff(old.splitlines(), new.splitlines(), place, place, n=1, lineterm="")
    return "\n".join(lines)
