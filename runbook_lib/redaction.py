"""Keep secrets out of everything that is written or displayed, by value and in every usual encoding.

A value is looked for in plain, JSON, URL, hex and base64. Base64 shifts with the number of bytes before the
value, so all three alignments are looked for, each without the characters that its neighbours share.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Redactor", "forms"]


def forms(value: str) -> dict[str, str]:
    """Every spelling of ``value`` that is looked for: name of the form -> text."""
    raw = value.encode()
    found = {
        "plain": value,
        "json": json.dumps(value)[1:-1],
        "json unicode": json.dumps(value, ensure_ascii=False)[1:-1],
        "python": repr(value)[1:-1],
        "url": quote(value, safe=""),
        "url path": quote(value),
        "url plus": quote_plus(value),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
    }
    for shift in range(3):
        text = _aligned(raw, shift)
        found[f"base64+{shift}"] = text
        found[f"base64url+{shift}"] = text.replace("+", "-").replace("/", "_")
    return {form: text for form, text in found.items() if text}


class Redactor:
    """Replaces each secret value by ``$ITS_NAME``; ``secrets`` maps name -> value."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        found: dict[str, tuple[str, str]] = {}
        for name, value in secrets.items():
            for form, text in forms(value).items():
                found.setdefault(text, (name, form))
        # Longest first: a secret that contains another one must go as a whole. Plain searches, one after another,
        # are faster than one pattern of alternatives on anything larger than a line.
        self._texts = sorted(found.items(), key=lambda item: len(item[0]), reverse=True)

    def text(self, text: str) -> str:
        """``text`` without any secret."""
        for secret, (name, _) in self._texts:
            if secret in text:
                text = text.replace(secret, f"${name}")
        return text

    def value(self, value: Any) -> Any:
        """``value`` (JSON-like) with every text inside it, keys too, redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in value]
        return value

    def hits(self, text: str) -> Iterator[tuple[str, str, int]]:
        """Each secret left in ``text``: its name, the form it was found in, the character offset."""
        for secret, (name, form) in self._texts:
            offset = text.find(secret)
            if offset >= 0:
                yield name, form, offset


def _aligned(raw: bytes, shift: int) -> str:
    """The part of base64 text that is the same whatever stands around ``raw`` at this alignment."""
    encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
    first = -(-shift * 8 // 6)  # characters that hold bits of the bytes before
    whole = (shift + len(raw)) * 8 // 6  # the last partial character holds bits of what follows
    return encoded[first:whole]
