"""Load the contract, which lists every name of the platform's database that a command uses.

For each name, the contract says what the name means, and how we know that.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(__file__).with_name("contract.yaml")

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Place = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$")]


class Entry(BaseModel):
    """The contract's entry for a name: what the name means, and why we believe that the platform has it.

    The basis is "documented" by people who know the platform, or "inferred".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    means: Text
    basis: Literal["documented", "inferred"]


class Word(Entry):
    """The contract's entry for a text with which SQL compares a column or key, such as ``tick``.

    Rows must show the text before the step ``proof`` runs; without ``proof``, only an event that may never come shows
    it.
    """

    proof: Text | None = None


class Key(Word):
    """The contract's entry for a key of a JSON object inside a column.

    ``rows`` says which rows carry the key: those in which a column (the name) holds one of some words (the list).
    ``always``: no object in which the key could stand is without it.
    """

    always: bool = False
    rows: dict[Name, list[Text]] = Field(default_factory=dict)
    keys: dict[Name, Key] = Field(default_factory=dict)
    words: dict[Text, Word] = Field(default_factory=dict)
    also: list[Text] = Field(default_factory=list)


class Column(Entry):
    """The contract's entry for a column.

    It holds the JSON keys inside the column, and the words with which SQL compares the column.
    """

    keys: dict[Name, Key] = Field(default_factory=dict)
    words: dict[Text, Word] = Field(default_factory=dict)
    also: list[Text] = Field(default_factory=list)


class Table(Entry):
    """The contract's entry for a table or view.

    ``about`` names the column that tells the table's kinds of rows apart. No command uses the columns in ``also``.
    """

    about: Name | None = None
    also: list[Name] = Field(default_factory=list)
    columns: dict[Name, Column]


class Contract(BaseModel):
    """The contract's tables by name. A name begins with its schema (``auth.users``) unless the schema is ``public``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: dict[Place, Table]

    def columns(self) -> dict[str, frozenset[str]]:
        """Return the names of the columns that each table has in the contract."""
        return {name: frozenset(table.columns) for name, table in self.tables.items()}

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield the contract's entries with their addresses. A word's address looks like ``agent_logs.event:tick``."""
        for name, table in self.tables.items():
            yield name, table
            for column_name, column in table.columns.items():
                yield from _within(f"{name}.{column_name}", column)


def _within(address: str, entry: Column | Key) -> Iterator[tuple[str, Entry]]:
    yield address, entry
    yield from ((f"{address}:{word}", each) for word, each in entry.words.items())
    for name, key in entry.keys.items():
        yield from _within(f"{address}.{name}", key)


@cache
def contract(path: Path = PATH) -> Contract:
    """Return the contract in ``contract.yaml``.

    Raise `ConfigError`, which says what is wrong, if the file is no contract.
    """
    try:
        return Contract(tables=yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path.name} is no contract: {error}") from None


def is_word(address: str) -> bool:
    """Return whether an address in the contract is a word's, such as ``agent_logs.event:tick``."""
    return ":" in address


def last(address: str) -> str:
    """Return the last name of an address in the contract: ``tick`` of ``agent_logs.event:tick``."""
    return address.partition(":")[2] or address.rpartition(".")[2]


def place_of(address: str) -> str:
    """Return the address of a name's parent: a column's table, a key's object, a word's column or key."""
    return address.partition(":")[0] if is_word(address) else address.rpartition(".")[0]
