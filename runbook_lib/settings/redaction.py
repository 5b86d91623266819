"""Keep secrets out of everything that is written or displayed, by value and in every usual encoding.

A value is looked for in plain, JSON, Python, URL, hex and base64. Base64 shifts with the number of bytes before the
value, so all three alignments are looked for, each without the characters that its neighbours share; and, where a text
has lines as long as base64 tools break them, across line ends.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BROKEN = re.compile(r"^[A-Za-z0-9+/]{60,76}\r?$", re.MULTILINE)  # a line of base64(1), of MIME or of PEM


def forms(value: str) -> dict[str, str]:
    """Every spelling of ``value`` that is looked for: name of the form -> text."""
    raw = value.encode(errors="surrogateescape")  # the environment may hold bytes that are no UTF-8
    found = {"plain": value, **_json(value), **_python(value), **_url(raw)}
    found |= {"hex": raw.hex(), "HEX": raw.hex().upper()}
    for shift in range(3):
        text = _aligned(raw, shift)
        found[f"base64+{shift}"] = text
        found[f"base64url+{shift}"] = text.replace("+", "-").replace("/", "_")
    return {form: text for form, text in found.items() if text}


def _json(value: str) -> dict[str, str]:
    """As JSON writes it: escaped both ways, as Go does (fly prints so), and inside JSON that is a text of JSON."""
    found = {"json": json.dumps(value)[1:-1], "json unicode": json.dumps(value, ensure_ascii=False)[1:-1]}
    go = found["json unicode"]
    for character in "<>&\u2028\u2029":
        go = go.replace(character, f"\\u{ord(character):04x}")
    twice = {f"{form} twice": json.dumps(text, ensure_ascii=False)[1:-1] for form, text in found.items()}
    return {**found, "json go": go, **twice}


def _python(value: str) -> dict[str, str]:
    """As repr writes it: alone, and in a longer text, where the other quote may be the one that is escaped."""
    bare = repr(f"{value}'\"")[1:-4].replace("\\'", "'")  # with both quotes in it, repr escapes the single one
    return {
        "python": repr(value)[1:-1],
        "python bare": bare,
        "python escaped": bare.replace("'", "\\'"),
        "python ascii": ascii(value)[1:-1],
        "python bytes": repr(value.encode(errors="surrogateescape"))[2:-1],
    }


def _url(raw: bytes) -> dict[str, str]:
    """As URLs and forms write it; browsers leave !'()* alone, and some write the digits small."""
    found = {
        "url": quote_from_bytes(raw, safe=""),
        "url path": quote_from_bytes(raw),
        "url browser": quote_from_bytes(raw, safe="!'()*"),
    }
    found["url plus"] = found["url"].replace("%20", "+")
    small = {f"{form} small": re.sub("%..", lambda m: m[0].lower(), text) for form, text in found.items()}
    return {**found, **small}


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
        self._broken = [
            (re.compile(r"\s*".join(map(re.escape, text))), name, form)
            for text, (name, form) in self._texts
            if form.startswith("base64+")
        ]

    def text(self, text: str) -> str:
        """``text`` without any secret."""
        for secret, (name, _) in self._texts:
            if secret in text:
                text = text.replace(secret, f"${name}")
        for pattern, name, _ in self._broken if BROKEN.search(text) else ():
            text = pattern.sub(lambda _, name=name: f"${name}", text)  # type: ignore[misc]
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
        for pattern, name, form in self._broken if BROKEN.search(text) else ():
            if found := pattern.search(text):
                yield name, form, found.start()


def _aligned(raw: bytes, shift: int) -> str:
    """The part of base64 text that is the same whatever stands around ``raw`` at this alignment."""
    encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
    first = -(-shift * 8 // 6)  # characters that hold bits of the bytes before
    whole = (shift + len(raw)) * 8 // 6  # the last partial character holds bits of what follows
    return encoded[first:whole]
