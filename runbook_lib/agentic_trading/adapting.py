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
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import Column, Contract, Table, contract, is_word, last
from runbook_lib.agentic_trading.sql_names import Use, aliases, uses
from runbook_lib.agentic_trading.statements import SQL, Source, sources
from runbook_lib.errors import ConfigError, nearest
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONTRACT = "runbook_lib/agentic_trading/contract.yaml"
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


def adapt(renames: Sequence[Rename], root: Path = ROOT) -> Adapted:
    """Return the texts of the checkout's files in which names are replaced by the platform's names. Write no file.

    A Python string that equals a renamed key or word is rewritten too, unless it may mean something else: such a string
    is left as it is, and listed in ``doubtful`` with its place.
    """
    adapted, ambiguous = Adapted(), _ambiguous(contract(), root)
    cells: dict[Path, dict[int, str]] = {}
    for source in sources(root):
        new = _replaced(source.text, _edits(source, renames, ambiguous))
        adapted.doubtful += _doubtful(source, renames, ambiguous)
        if new == source.text:
            continue
        adapted.differences.append(_difference(source.text, new, source.place))
        if source.cell is None:
            adapted.files[source.path] = new
        else:
            cells.setdefault(source.path, {})[source.cell] = new
    for path, changed in cells.items():
        adapted.files[path] = _notebook(path, changed)
    old = (root / CONTRACT).read_text(encoding="utf-8")
    new = _contract(old, renames)
    adapted.files[root / CONTRACT] = new
    adapted.differences.append(_difference(old, new, "contract.yaml"))
    return adapted


# --- what is replaced -----------------------------------------------------------------------------------------------


def _edits(source: Source, renames: Sequence[Rename], ambiguous: set[str]) -> Iterator[Edit]:
    """Yield every edit that the renames make in a cell or module."""
    texts = {last(r.address): r.new for r in renames if _is_text(r) and last(r.address) not in ambiguous}
    for offset, value in source.texts():
        if SQL.match(value):
            in_statement = list(_in_sql(value, renames, texts))
            yield from ((offset + start, offset + end, new) for start, end, new in dict.fromkeys(in_statement))
        elif value in texts:
            yield offset, offset + len(value), texts[value]
    yield from _arguments(source.text, texts)


def _in_sql(statement: str, renames: Sequence[Rename], texts: dict[str, str]) -> Iterator[Edit]:
    by_address = {rename.address: rename.new for rename in renames}
    for use in uses(statement, contract().columns()):
        if use.address in by_address:
            yield use.start, use.end, _written(use, by_address[use.address], statement)
    # A quoted word that `uses` does not resolve, such as one beside a bound value, means the same.
    for word, new in texts.items():
        for match in re.finditer(f"'{re.escape(word)}'", statement):
            yield match.start() + 1, match.end() - 1, new


def _written(use: Use, new: str, statement: str) -> str:
    if is_word(use.address):
        return new.replace("%", "%%") if "%%" in statement[use.start : use.end] else new
    return f"{new} as {use.name}" if use.name is not None else new


def _arguments(text: str, texts: dict[str, str]) -> Iterator[Edit]:
    """Yield an edit for each keyword argument whose name is a renamed JSON key, as in ``limits(maxLeverage=1)``."""
    for node in ast.walk(ast.parse(text)):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg in texts:
                start = sum(len(line) for line in text.splitlines(keepends=True)[: keyword.lineno - 1])
                start += keyword.col_offset
                yield start, start + len(keyword.arg), texts[keyword.arg]


def _is_text(rename: Rename) -> bool:
    """Return whether the renamed name may also stand in a Python string: it is a JSON key, or a text that SQL compares
    with.

    Python code may hold such a name as a string.
    """
    return is_word(rename.address) or not isinstance(dict(contract().entries())[rename.address], Table | Column)


def _ambiguous(known: Contract, root: Path) -> set[str]:
    """Return the names with more than one meaning: two contract entries share the name, or SQL uses it as an alias."""
    names = [last(address) for address, _ in known.entries()]
    given = {name for source in sources(root) for each in source.statements() for name in aliases(each.text)}
    return {name for name in names if names.count(name) > 1} | given


def _doubtful(source: Source, renames: Sequence[Rename], ambiguous: set[str]) -> Iterator[str]:
    """Yield a warning for each Python string that may or may not be a renamed key or word."""
    texts = [value for _, value in source.texts() if not SQL.match(value)]
    for rename in filter(_is_text, renames):
        name = last(rename.address)
        begins = name.endswith("%") and any(name.rstrip("%") in text for text in texts)
        if begins or (name in ambiguous and name in texts):
            yield f"{source.place}: {name!r} may be {rename.address}"


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
