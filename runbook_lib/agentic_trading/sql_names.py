"""Find the platform's names in a SQL statement: tables, columns, JSON keys, and words that SQL compares with them.

A name is written as an address: ``agent_logs``, ``agent_logs.ts``, ``agent_logs.data.cloid``, and for a word
``agent_logs.event:reconciled``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    Tables = Mapping[str, Collection[str]]  # columns of each table

EXPLAIN = re.compile(r"\s*explain\s*\([^)]*\)")  # blanked, because sqlglot would not parse the statement behind it
DIALECT = "postgres"
PATHS = ("->", "->>", "#>", "#>>")
COMPARED = ("=", "<>", "like")
WORD = re.compile(r"[a-z_]+")
KEY = re.compile(r'"(\w+)"\s*:')  # in a text of JSON
SYSTEM = ("ctid",)  # a column of every table of Postgres


class Token(NamedTuple):
    """One token of a SQL statement, which may be a name. The token begins at ``start`` and ends at ``end``."""

    is_text: bool
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Use:
    """One use of a platform's name in a SQL statement. A rename replaces the characters ``[start:end]``.

    ``name``: if the name is a column selected without an alias, its name in the reply; None for every other use.
    """

    address: str
    start: int
    end: int
    name: str | None = None


def uses(statement: str, tables: Tables) -> list[Use]:
    """Return every use of the platform's names in a SQL statement, in order. ``tables`` holds each table's columns."""
    return sorted(_uses(statement, tables), key=lambda use: (use.start, use.address))


def aliases(statement: str) -> set[str]:
    """Return the aliases that a SQL statement defines with ``as``."""
    tree, _ = _parsed(statement)
    return {alias.alias for alias in tree.find_all(exp.Alias)}


def _uses(statement: str, tables: Tables) -> Iterator[Use]:
    tree, tokens = _parsed(statement)
    by_start = {token.start: place for place, token in enumerate(tokens)}
    for table in tree.find_all(exp.Table):
        if (name := _table(table, tables)) is not None:
            yield _at(name, table.this)
    yield from _named_in_texts(tokens, tables)
    for insert in tree.find_all(exp.Insert):
        yield from _inserted(insert, tables)
    for column in tree.find_all(exp.Column):
        owner = _owner(column, tables)
        if owner is None or column.name in SYSTEM:
            continue
        address = f"{owner}.{column.name}"
        given = column.name if _is_given_out(column) else None
        yield _at(address, column.this, given)
        yield from _behind(address, by_start[column.this.meta["start"]], tokens, tree)


@lru_cache(maxsize=512)
def _parsed(statement: str) -> tuple[exp.Expr, Sequence[Token]]:
    blanked = EXPLAIN.sub(lambda m: " " * len(m[0]), statement, count=1)
    tokens = [
        Token(token.token_type.name == "STRING", str(token.text), token.start, token.end)
        for token in sqlglot.tokenize(blanked, dialect=DIALECT)
    ]
    return sqlglot.parse_one(blanked, dialect=DIALECT), tokens


def _at(address: str, node: exp.Expr, name: str | None = None) -> Use:
    return Use(address, node.meta["start"], node.meta["end"] + 1, name)


# --- whose column it is ---------------------------------------------------------------------------------------------


def _table(table: exp.Table, tables: Tables) -> str | None:
    """Return the table's key in ``tables``: its name, with its schema in front unless the schema is ``public``.

    Return None if the table is not in ``tables``.
    """
    schema = table.db
    name = table.name if schema in ("", "public") else f"{schema}.{table.name}"
    return name if name in tables else None


def _owner(column: exp.Column, tables: Tables) -> str | None:
    """Return the table that a column belongs to.

    Return None for a column of a subquery, a function or a WITH clause.
    """
    node: exp.Expr = column
    while (parent := node.parent) is not None and not isinstance(node, exp.CTE):
        if isinstance(parent, exp.Select) or _is_target(parent, node):
            sources = dict(_sources(parent))
            if column.table:
                if column.table in sources:
                    return _origin(sources[column.table], column.name, tables)
            elif holding := [each for each in sources.values() if column.name in _columns(each, tables)]:
                return _origin(holding[0], column.name, tables)
        node = parent
    return None


def _is_target(parent: exp.Expr, node: exp.Expr) -> bool:
    """Return whether column names inside ``node`` refer to the table that the INSERT, UPDATE or DELETE changes."""
    if isinstance(parent, exp.Insert):
        return node.arg_key in ("returning", "conflict")
    return isinstance(parent, exp.Update | exp.Delete)


def _sources(scope: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """Yield each table, subquery or function whose columns a statement can use, with its alias."""
    nodes = [scope.this] if isinstance(scope, exp.Update | exp.Delete | exp.Insert) else []
    nodes += [scope.args["from_"].this] if scope.args.get("from_") else []
    nodes += [join.this for join in scope.args.get("joins") or ()]
    nodes += scope.args.get("laterals") or ()
    nodes += scope.args.get("using") or ()
    for node in nodes:
        source = node.this if isinstance(node, exp.Schema) else node
        yield source.alias_or_name, source


def _origin(source: exp.Expr, name: str, tables: Tables) -> str | None:
    """Return the table from which a source gets a column. Return None for a column that a query or function makes."""
    if isinstance(source, exp.Table) and (table := _table(source, tables)) is not None:
        return table
    if name in _given(source):
        return None
    passed = _passed(source)
    holding = [each for each in passed if name in _columns(each, tables)] or passed[:1]
    return _origin(holding[0], name, tables) if holding else None


def _columns(source: exp.Expr, tables: Tables) -> set[str]:
    """Return the names of the columns that a table, subquery, function or WITH clause gives."""
    if isinstance(source, exp.Table) and (table := _table(source, tables)) is not None:
        return set(tables[table])
    return _given(source).union(*(_columns(each, tables) for each in _passed(source)))


def _given(source: exp.Expr) -> set[str]:
    """Return the names that a subquery, function or WITH clause gives to its columns. A star gives none."""
    alias, query = source.args.get("alias"), _query(source)
    named = [alias.name, *(column.name for column in alias.columns)] if isinstance(alias, exp.TableAlias) else []
    return {*named, *(item.alias_or_name for item in _items(query) if not item.is_star)}


def _passed(source: exp.Expr) -> list[exp.Expr]:
    """Return the sources whose columns a subquery or WITH clause passes on by a star, under their own names."""
    query = _query(source)
    stars = [item for item in _items(query) if item.is_star]
    within = _sources(query) if query is not None and stars else ()
    whose = {star.table if isinstance(star, exp.Column) else "" for star in stars}
    return [each for alias, each in within if "" in whose or alias in whose]


def _items(query: exp.Expr | None) -> list[exp.Expr]:
    """Return what a query selects, or what a change returns."""
    if query is None:
        return []
    returning = query.args.get("returning")
    return list(returning.expressions if returning else query.expressions)


def _query(source: exp.Expr) -> exp.Expr | None:
    """Return the query of a subquery or WITH clause: of a union, the first query. Return None for a function."""
    query = source.find(exp.Select) if isinstance(source, exp.Lateral | exp.Subquery) else _cte(source)
    return query.this if isinstance(query, exp.SetOperation) else query


def _cte(source: exp.Expr) -> exp.Expr | None:
    """Return the query of the WITH clause that has the same name as ``source``.

    Return None if there is no such clause.
    """
    root = source.root()
    return next((cte.this for cte in root.find_all(exp.CTE) if cte.alias == source.name), None)


def _is_given_out(column: exp.Column) -> bool:
    """Return whether a query returns the column under its own name. After a rename, the reply must keep the old
    name.
    """
    return isinstance(column.parent, exp.Select | exp.Returning) and column.arg_key == "expressions"


# --- keys and texts behind a column ---------------------------------------------------------------------------------


def _behind(address: str, place: int, tokens: Sequence[Token], tree: exp.Expr) -> Iterator[Use]:
    """Yield the JSON keys that follow the column at ``tokens[place]``, and the words that the column or key is compared
    with.
    """
    if _is_set(place, tokens):
        yield from _elements(address, tokens[place + 2])
    path, after = address, place + 1
    while _text(tokens, after) in PATHS:
        steps = list(_steps(path, after + 1, tokens, tree))
        yield from steps
        if not (steps and tokens[after + 1].is_text):
            return
        path, after = steps[-1].address, after + 2
    if _text(tokens, after) in ("?", "-"):
        yield from [_key(path, token) for token in tokens[after + 1 : after + 2] if token.is_text]
    yield from _compared(path, after, tokens)


def _steps(path: str, place: int, tokens: Sequence[Token], tree: exp.Expr) -> Iterator[Use]:
    """Yield the JSON keys that follow an operator such as ``->``.

    They are written as ``'key'``, as ``'{outer,inner}'``, or as ``array['outer', name]``, where an ``unnest`` lists the
    values of ``name``.
    """
    token = tokens[place]
    if token.is_text:
        yield from _elements(path, token) if token.text.startswith("{") else [_key(path, token)]
    elif token.text.lower() == "array" and _text(tokens, place + 3) == ",":
        yield _key(path, tokens[place + 2])
        outer = f"{path}.{tokens[place + 2].text}"
        yield from (
            Use(f"{outer}.{literal.name}", literal.meta["start"] + 1, literal.meta["end"])
            for literal in _unnested(tokens[place + 4].text, tree)
        )


def _unnested(name: str, tree: exp.Expr) -> Iterator[exp.Literal]:
    """Yield the literals inside ``array[…]`` of the clause ``unnest(array[…]) as name``."""
    for unnest in tree.find_all(exp.Unnest):
        if unnest.alias == name:
            yield from unnest.find_all(exp.Literal)


def _elements(path: str, token: Token) -> Iterator[Use]:
    """Yield each key of a path such as ``'{outer,inner}'``, with the key's position in the statement."""
    start = token.start + 2
    for key in token.text.strip("{}").split(",") if token.text != "{}" else ():
        path = f"{path}.{key}"
        yield Use(path, start, start + len(key))
        start += len(key) + 1


def _key(path: str, token: Token) -> Use:
    return Use(f"{path}.{token.text}", token.start + 1, token.end)


def _is_set(place: int, tokens: Sequence[Token]) -> bool:
    """Return whether the column at ``place`` is the first argument of ``jsonb_set(column, '{path}', …)``."""
    called = place >= 2 and _text(tokens, place - 1) == "(" and _text(tokens, place - 2) == "jsonb_set"
    return called and _text(tokens, place + 1) == ","


def _compared(path: str, place: int, tokens: Sequence[Token]) -> Iterator[Use]:
    """Yield the words that a column or key is compared with: ``= 'a'``, ``in ('a', 'b')``, ``like 'a:%'``."""
    if _text(tokens, place) == "not":
        place += 1
    if _text(tokens, place) in COMPARED:
        texts = tokens[place + 1 : place + 2]
    elif _text(tokens, place) == "in":
        closing = next((i for i in range(place, len(tokens)) if tokens[i].text == ")"), place)
        texts = tokens[place + 2 : closing]
    else:
        return
    for token in texts:
        if token.is_text and re.search("[a-z]", token.text):
            yield Use(f"{path}:{token.text.replace('%%', '%')}", token.start + 1, token.end)


def _inserted(insert: exp.Insert, tables: Tables) -> Iterator[Use]:
    """Yield the columns that an INSERT names, and the words and JSON keys among the values that it inserts."""
    schema = insert.this
    table = _table(schema.this, tables) if isinstance(schema, exp.Schema) else None
    if table is None:
        return
    rows = insert.expression.expressions
    values = rows[0].expressions if isinstance(insert.expression, exp.Values) else rows
    for column, value in zip(schema.expressions, values, strict=True):
        yield _at(f"{table}.{column.name}", column)
        if isinstance(value, exp.Literal) and value.is_string and WORD.fullmatch(value.name):
            yield Use(f"{table}.{column.name}:{value.name}", value.meta["start"] + 1, value.meta["end"])
        elif isinstance(value, exp.Literal) and value.is_string and value.name.startswith("{"):
            start = value.meta["start"] + 1
            for key in KEY.finditer(value.name):
                yield Use(f"{table}.{column.name}.{key[1]}", start + key.start(1), start + key.end(1))


def _named_in_texts(tokens: Sequence[Token], tables: Tables) -> Iterator[Use]:
    """Yield the tables that are named by a text inside a SQL statement, as in ``'public.agent_logs'::regclass`` or
    ``tablename in ('…')``.
    """
    for token in tokens:
        name = token.text.removeprefix("public.")
        if token.is_text and name in tables:
            yield Use(name, token.end - len(name), token.end)


def _text(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].text.lower() if 0 <= place < len(tokens) else ""
