"""Copy database tables into a private session, in which their rows can be spoiled without harm to anybody.

Copies are temporary tables without constraints: a row may be spoiled in every way, and no runner waits for a lock. In a
statement on the copies, the clock stands still at the moment when the copies were taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from runbook_lib.commands.command import Reply, Sql
from runbook_lib.services.database import bound
from runbook_lib.services.plain_rows import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.services.database import Database

TABLE = re.compile(r"(?<!')\b(public|vault)\.(\w+)(?!\w|\()")
CLOCK = re.compile(r"\b(?:now|clock_timestamp)\(\)", re.IGNORECASE)
OURS, OTHERS = 60, 20  # rows of a table that are copied: of the ids that are asked for, and the newest of the rest
TIMES = ("ts", "tick_at", "placed_at", "created_at", "updated_at")  # columns that tell which rows are the newest
# In pieces that name no table: the contract takes every whole statement of this room for one about the platform.
ROW, FILL, ALL = "select to_jsonb(t) - %(unread)s::text[] as row", ("insert", "into"), ("select", "*", "from")
COLUMNS = """
    select attname as name, atttypid::regtype::text as type, attnotnull as needed
    from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
"""


@dataclass(frozen=True)
class Tables:
    """The rows of some tables, by schema and name, as they were at one moment of the database's clock."""

    rows: dict[str, list[dict[str, Any]]]
    moment: str


class Copies:
    """The table copies of one database session, as temporary tables."""

    def __init__(self, database: Database) -> None:
        self.settings = database.settings
        self.connection = database.connect()
        self.columns: dict[str, dict[str, str]] = {}  # of each copy: the type of each column
        self.tables = Tables({}, "")

    def close(self) -> None:
        """Close the session. Its table copies vanish with it."""
        self.connection.close()

    def take(self, asked: Sequence[Sql]) -> Tables:
        """Read the rows that the statements may read: the rows whose ids are bound in the statements, and the newest
        other rows.
        """
        text = "\n".join(part.statement for part in asked)
        bound = [value for part in asked for value in part.values.values()]
        texts = [text for value in bound for text in (value if isinstance(value, list) else [value])]
        names = dict.fromkeys(f"{schema}.{name}" for schema, name in TABLE.findall(text))
        rows = {name: self._rows(name, text, list(map(str, texts))) for name in names if self._described(name)}
        [now] = self.connection.execute("select clock_timestamp()::text as now")
        return Tables(rows, now["now"])

    def hold(self, tables: Tables) -> None:
        """Fill the table copies with the rows of ``tables``."""
        self.tables = tables
        for name, rows in tables.rows.items():
            copy = name.partition(".")[2]
            if copy not in self.columns:
                self._make(name, copy)
            self.connection.execute(f"truncate pg_temp.{copy}".encode())
            target, source = f"pg_temp.{copy}", f"jsonb_populate_recordset(null::pg_temp.{copy}, %s)"
            self.connection.execute(" ".join((*FILL, target, *ALL, source)).encode(), (Jsonb(rows),))

    def written(self, command: Sql) -> str:
        """Return a statement as text, with its values filled in and the table copies in place of the tables."""
        values = {name: bound(value, self.settings) for name, value in command.values.items()}
        return psycopg.ClientCursor(self.connection).mogrify(self._copied(command.statement).encode(), values or None)

    def changing(self, statements: Sequence[str]) -> tuple[str, ...] | None:
        """Rewrite statements that change tables, so that they change the table copies. Return None if a table has no
        copy.
        """
        named = {f"{schema}.{name}" for text in statements for schema, name in TABLE.findall(text)}
        return tuple(map(self._copied, statements)) if named <= self.tables.rows.keys() else None

    def answers(self, changes: Sequence[str], asked: Sequence[str]) -> list[Reply] | None:
        """Apply changes to the table copies, return the answers to statements, and take the changes back.

        Return None if a change cannot be made. Changes and statements go in one message, because thousands are sent; if
        one is refused, each goes alone.
        """
        try:
            with self.connection.transaction(force_rollback=True):
                return self._answered([*changes, *asked])[len(changes) :]
        except psycopg.Error:
            return self._one_by_one(changes, asked)

    def _one_by_one(self, changes: Sequence[str], asked: Sequence[str]) -> list[Reply] | None:
        answers = []
        with self.connection.transaction(force_rollback=True):
            try:
                with self.connection.transaction():
                    self._answered(changes)
            except psycopg.Error:
                return None
            for statement in asked:
                try:
                    with self.connection.transaction():
                        answers += self._answered([statement])
                except psycopg.Error as error:
                    answers.append(Reply(error=str(error.diag.message_primary or error)))
        return answers

    def _answered(self, written: Sequence[str]) -> list[Reply]:
        if not written:
            return []
        cursor = self.connection.execute("; ".join(written).encode())
        answers = []
        while True:
            rows = list(cursor) if cursor.description else []
            answers.append(Reply(tuple({key: plain(value) for key, value in row.items()} for row in rows)))
            if not cursor.nextset():
                return answers

    def _described(self, name: str) -> list[dict[str, Any]]:
        return list(self.connection.execute(COLUMNS, (name,)))

    def _rows(self, name: str, text: str, bound: Sequence[str]) -> list[dict[str, Any]]:
        columns = {column["name"]: column["type"] for column in self._described(name)}
        # Documents that nobody asks for are long: they are left out.
        unread = [c for c, kind in columns.items() if kind == "jsonb" and not re.search(rf"\b{c}\b", text)]
        ids = [f"{c}::text = any(%(bound)s)" for c, kind in columns.items() if kind in ("uuid", "text")]
        times = [c for c, kind in columns.items() if kind.startswith("timestamp")]
        time = next((c for c in (*TIMES, *times) if c in times), None)
        newest = f"order by {time} desc" if time else ""
        ours = " or ".join(ids) or "false"
        select = f"{ROW} from {name} t where"
        values = {"bound": bound, "unread": unread}
        statements = (
            f"({select} ({ours}) {newest} limit {OURS})",
            f"({select} ({ours}) {newest.removesuffix(' desc')} limit {OTHERS})",
            f"({select} ({ours}) is not true {newest} limit {OTHERS})",
        )
        rows: list[dict[str, Any]] = []
        for statement in statements:
            more = [row["row"] for row in self.connection.execute(statement.encode(), values)]
            rows += [row for row in more if row not in rows]
        return rows

    def _make(self, name: str, copy: str) -> None:
        self.connection.execute(f"create temporary table {copy} (like {name} including defaults)".encode())
        described = self._described(name)
        for column in described:
            if column["needed"]:
                loosened = f"alter table pg_temp.{copy} alter column {column['name']} drop not null"
                self.connection.execute(loosened.encode())
        self.columns[copy] = {column["name"]: column["type"] for column in described}
        if "id" in self.columns[copy]:  # a statement may group by it
            self.connection.execute(f"alter table pg_temp.{copy} add primary key (id)".encode())

    def _copied(self, statement: str) -> str:
        """Return a statement that reads the table copies, with the copies' moment in place of the clock."""
        copied = TABLE.sub(lambda m: f"pg_temp.{m[2]}" if m[0] in self.tables.rows else m[0], statement)
        return CLOCK.sub(f"'{self.tables.moment}'::timestamptz", copied)
