"""List the ways to spoil the rows that a check's SQL reads: change a value, or add rows as other users leave them.

The rows of other users are copies of the real rows with other ids, and with one thing wrong.
"""

from __future__ import annotations

import random
import re
from itertools import combinations, islice, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from runbook_lib.commands.command import Sql
    from runbook_lib.services.table_copies import Copies

Change = tuple[str, ...]  # statements, each of which changes the copies

CATALOGUE = re.compile(r"\bpg_\w+\s+\w|\bto_reg\w+\(")  # what no copy holds, and cases change
TEXT = re.compile(r"'((?:[^']|'')*)'")
JSON = re.compile(r"\b(\w+)\s*(?:->>?|#>>?)\s*'([^']+)'")
NUMERIC = ("integer", "bigint", "numeric", "double precision")
TEN = "10 * "
STRANGER = "00000000-0000-4000-8000-000000000002"
FIRST = 300  # first rows of an empty table, each with another combination of words
WORD = 160  # characters of a bound value that may be a name
MOST = 1200  # changes of one value that are tried
PAIRS = 200  # pairs of changes that are tried
AGES = ("- interval '40 days'", "- interval '2 hours'", "- interval '1 second'", "+ interval '1 second'",
        "+ interval '2 hours'")  # fmt: skip


class Spoiling:
    """The ways to spoil the rows that some SQL statements read.

    ``cases`` are what the notebook's hand-written cases change, ``own`` what those of the step itself do.
    """

    def __init__(
        self,
        copies: Copies,
        asked: Sequence[Sql],
        more: Sequence[str],
        cases: Sequence[Change] = (),
        own: Sequence[Change] = (),
    ) -> None:
        self.copies = copies
        self.cases = cases
        self.own = [change for case in own if (change := copies.changing(case))]
        self.text = "\n".join(part.statement for part in asked)
        self.bound = [value for part in asked for value in part.values.values() if isinstance(value, str)]
        written = [word.replace("%%", "%").replace("''", "'") for word in TEXT.findall(self.text)]
        names = [value for value in self.bound if len(value) < WORD]
        self.words = list(dict.fromkeys([*written, *more, "something else", *names]))
        self.names = sorted(name.partition(".")[2] for name in copies.tables.rows)

    def changes(self) -> list[Change]:
        """Return the changes that spoil one value each, or a whole table."""
        catalogue = self.cases if CATALOGUE.search(self.text) else ()
        single = [change for name in self.names for change in self._of_table(name)]
        picked = random.Random(1).sample(single, min(MOST, len(single)))  # noqa: S311 - the same every time
        return [*catalogue, *self.own, *self._worlds(), *picked]

    def pairs(self) -> Iterator[Change]:
        """Yield pairs of changes, because rows that a step must skip may differ from the right ones in two ways. Every
        run gets the same pairs.
        """
        single = self.changes()
        yield from ((*own, *change) for own in self.own for change in single if change not in self.own)
        everywhere = [(name, column, new) for name in self.names for column, new in self._everywhere(name)]
        for world in self._worlds():
            yield from ((*world, _update(*change)) for change in everywhere)
        for one, two in combinations(everywhere, 2):
            if one[:2] != two[:2] and ("::timestamptz" in one[2] + two[2] or (TEN in one[2] and TEN in two[2])):
                yield (_update(*one), _update(*two))
        chance = random.Random(1)  # noqa: S311 - a choice that is the same every time
        for _ in range(PAIRS):
            yield (*chance.choice(single), *chance.choice(single))

    def _everywhere(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield each column with the expressions that may replace all of its values."""
        for column, kind in self._read(name).items():
            if kind == "text":
                yield from ((column, _quoted(word)) for word in self.words)
            elif kind.startswith("timestamp"):
                yield from ((column, new) for new in self._times(column) if "::timestamptz" in new)
            elif kind in NUMERIC:
                yield column, f"{TEN}{column}"
            elif kind == "jsonb":
                yield from ((column, self._tenfold(column, path)) for path in self._written(column))

    def _worlds(self) -> Iterator[Change]:
        """Yield changes that add copies of rows with other ids: of another user, or of another thing of the same
        user.
        """
        yield tuple(self._stranger(name, None) for name in self.names)
        for thing in self.names:
            key = f"{thing.removesuffix('s')}_id"
            yield tuple(
                self._stranger(name, ("id",) if name == thing else (key, "id"))
                for name in self.names
                if name == thing or key in self.copies.columns[name]
            )

    def _stranger(self, name: str, only: tuple[str, ...] | None) -> str:
        """Return SQL that adds a copy of each row with other ids. Equal ids get equal new ids."""
        columns = self.copies.columns[name]
        other = {c: f"md5({c}::text || 'x')::uuid" for c, kind in columns.items() if kind == "uuid"}
        addresses = {c: f"overlay({c} placing 'ffff' from 39)" for c in columns if c.endswith("address")}
        changed = {**other, **addresses} if only is None else {c: new for c, new in other.items() if c in only}
        return self._beside(name, changed)

    def _of_table(self, name: str) -> Iterator[Change]:
        yield (f"delete from pg_temp.{name}",)
        yield (self._beside(name, {}),)
        if not self.copies.tables.rows[self._full(name)]:
            yield from self._from_nothing(name)
        others = {c: f"'{STRANGER}'" for c, kind in self._read(name).items() if kind == "uuid" and c != "id"}
        for column, kind in self._read(name).items():
            for new in self._others(column, kind):
                yield (_update(name, column, new),)
                for row in ("min", "max") if kind != "jsonb" else ():
                    first = f"(select {row}(ctid) from pg_temp.{name})"
                    yield (f"update pg_temp.{name} set {column} = {new} where ctid = {first}",)
                yield (self._beside(name, {column: new}),)
                if others:
                    yield (self._beside(name, {**others, column: new}),)

    def _full(self, name: str) -> str:
        return next(full for full in self.copies.tables.rows if full.endswith(f".{name}"))

    def _read(self, name: str) -> Mapping[str, str]:
        """Return those columns of a table that the statements name, with the columns' types."""
        return {c: kind for c, kind in self.copies.columns[name].items() if re.search(rf"\b{c}\b", self.text)}

    def _from_nothing(self, name: str) -> Iterator[Change]:
        """Yield changes that put a first row into an empty table, with each combination of the words that statements
        name.
        """
        columns = self._read(name)
        choices = [self._firsts(kind) for kind in columns.values()]
        for values in islice(product(*choices), FIRST):
            yield (f"insert into pg_temp.{name} ({', '.join(columns)}) values ({', '.join(values)})",)

    def _firsts(self, kind: str) -> list[str]:
        moment = f"'{self.copies.tables.moment}'::timestamptz"
        if kind == "uuid":
            return [f"'{STRANGER}'"]
        if kind == "text":
            return list(map(_quoted, self.words))
        if kind == "jsonb":
            return [f"to_jsonb({_quoted(word)}::text)" for word in self.words]
        return [f"{moment} - interval '1 second'"] if kind.startswith("timestamp") else ["null"]

    def _beside(self, name: str, changed: Mapping[str, str]) -> str:
        """Return SQL that adds a changed copy of each row, with a new id."""
        columns = self.copies.columns[name]
        fresh = {"uuid": "gen_random_uuid()", "bigint": "id + 1000000"}.get(columns.get("id", ""))
        new = {**({"id": fresh} if fresh else {}), **changed}
        values = [f"({new[c]})::{columns[c]}" if c in new else c for c in columns]
        return f"insert into pg_temp.{name} ({', '.join(columns)}) select {', '.join(values)} from pg_temp.{name}"

    def _others(self, column: str, kind: str) -> Iterator[str]:
        """Yield SQL expressions for other values of a column."""
        yield "null"
        if kind == "uuid":
            yield f"'{STRANGER}'"
        elif kind == "boolean":
            yield f"not {column}"
        elif kind == "text":
            yield from map(_quoted, self.words)
            yield from (f"{column} || 'x'", f"upper({column})")
        elif kind in NUMERIC:
            yield from ("0", f"{column} + 1", f"{column} - 1", f"{TEN}{column}", f"-{column}", "1000000")
        elif kind.startswith("timestamp"):
            yield from self._times(column)
        elif kind == "jsonb":
            yield from self._documents(column)

    def _times(self, column: str) -> Iterator[str]:
        yield from (f"{column} {age}" for age in AGES)
        yield f"'{self.copies.tables.moment}'::timestamptz"
        for moment in self.bound:
            if re.match(r"\d{4}-\d\d-\d\dT", moment):
                yield f"'{moment}'::timestamptz - interval '1 millisecond'"
                yield f"'{moment}'::timestamptz + interval '1 millisecond'"

    def _documents(self, column: str) -> Iterator[str]:
        """Yield SQL expressions for other JSON documents in a column: a key dropped, a word added, a value replaced."""
        yield "'{}'"
        yield from (f"{column} #- {_path(path)}" for path in self._paths(column))
        yield f"""replace({column}::text, '["', '["ANOTHER", "')::jsonb"""
        texts = [f'"{word}"' for word in ("5 minutes", "1 minute", *self.words) if '"' not in word]
        for path in self._written(column):
            yield self._tenfold(column, path)
            for word in ("null", "0", "1", "0.02", "1000000", '["BTC"]', "[]", *texts):
                if len(path) == 1:
                    yield f"jsonb_build_object({_quoted(path[0])}, {_quoted(word)}::jsonb)"
                yield f"jsonb_set({column}, {_path(path)}, {_quoted(word)}, true)"

    def _written(self, column: str) -> list[tuple[str, ...]]:
        """Return the paths by which the statements read a column's JSON documents."""
        written = {path for held, path in JSON.findall(self.text) if held == column}
        return [tuple(path.strip("{}").split(",")) for path in sorted(written)]

    def _tenfold(self, column: str, path: tuple[str, ...]) -> str:
        return f"jsonb_set({column}, {_path(path)}, to_jsonb({TEN}({column} #>> {_path(path)})::numeric))"

    def _paths(self, column: str) -> list[tuple[str, ...]]:
        """Return the paths in a column's JSON documents that end in a key named by the statements."""
        rows = [row for listed in self.copies.tables.rows.values() for row in listed]
        found = dict.fromkeys(path for row in rows for path in _paths(row.get(column)))
        return [path for path in found if re.search(rf"\b{re.escape(path[-1])}\b", self.text)]


def _paths(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in document.items() if isinstance(document, dict) else ():
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _update(name: str, column: str, new: str) -> str:
    return f"update pg_temp.{name} set {column} = {new}"


def _path(path: tuple[str, ...]) -> str:
    return _quoted("{" + ",".join(path) + "}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
