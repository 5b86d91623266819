"""Find the platform's names in texts for people: in what a step says when it fails, and in the known symptoms.

A name is found where it cannot be a word of English, as ``all_mids_fetch_failed``, ``sizeUsd`` or ``mainnet_orders``.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import Column, contract, last

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Edit = tuple[int, int, str]  # start, end, and the text that replaces the characters between them

IDENTIFIER = re.compile(r"\w*(_|[a-z][A-Z])\w*")


def in_fixes(source: str, new: Mapping[str, str]) -> Iterator[Edit]:
    """Yield an edit for each renamed name in the texts ``fix=`` of a cell's steps.

    ``new`` maps a name's address in the contract to its new name. A column without its table is left, because a reply
    keeps the column's old name.
    """
    for node in ast.walk(ast.parse(source)) if "fix=" in source else ():
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg == "fix":
                text = ast.get_source_segment(source, keyword.value) or ""
                begin = source.index(text)
                yield from ((begin + start, begin + end, name) for start, end, name in _named(text, new))


def in_symptoms(text: str, new: Mapping[str, str]) -> Iterator[Edit]:
    """Yield an edit for each renamed name in the text of the known symptoms, which quote the platform's errors."""
    yield from _named(text, new)
    columns = [address for address in new if isinstance(_entries()[address], Column)]
    for address in columns:
        yield from _alone(text, address, new[address])


def _named(text: str, new: Mapping[str, str]) -> Iterator[Edit]:
    for address, name in new.items():
        if isinstance(_entries()[address], Column):
            table, column = address.rpartition(".")[0], last(address)
            inner = "|".join(getattr(_entries()[address], "keys", {}))
            for match in re.finditer(
                rf"(?<=\b{re.escape(table)}\.){column}\b|\b{column}(?=\.(?:{inner or '(?!)'})\b)", text
            ):
                yield match.start(), match.end(), name
        else:
            yield from _alone(text, address, name)


def _alone(text: str, address: str, new: str) -> Iterator[Edit]:
    """Yield an edit for each place in a text where a name is a whole word, if the contract has no other entry with that
    name.
    """
    name = address if address in contract().tables else last(address)
    alike = [other for other in _entries() if last(other) == name]
    if IDENTIFIER.fullmatch(name) and len(alike) == 1:
        yield from ((match.start(), match.end(), new) for match in re.finditer(rf"\b{name}\b", text))


def _entries() -> dict[str, object]:
    return dict(contract().entries())
