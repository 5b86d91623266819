"""Keep secrets out of everything that is written or displayed, by value and in every usual encoding.

A value is looked for in plain, JSON, Python, URL, hex and base64. Base64 shifts with the number of bytes before the
value, so all three alignments are looked for, each without the characters that its neighbours share. Then all of it is
looked for again in the text without white space and with every escape undone, whatever mixture it was written in: of
JSON, HTML, URLs, shells and SQL, inside each other, across lines.

What is sent may be less than what was read: a token without the scheme it was pasted with, one of a list.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEME = re.compile(r"(?:FlyV1|Bearer|Basic|Token|token)\s+")  # what a token may be pasted with
SHORTEST = 8  # characters of what is looked for beside the whole value: anything shorter stands in ordinary text
KEY = re.compile(r"(?:0[xX])?([0-9a-fA-F]{16,})")  # a value that is itself written in hex
LEVELS = 4  # of escapes inside escapes
READINGS = 2  # of a text: as it is, and once its lines were joined
BLANKS = b" \t\r\n\v\f"
# Escapes, each of which stands for one character: \u00e9 and its pairs, \U000000e9, \xe9, &#233; &#xe9; &amp; and %C3;
# a quote as shells and SQL double it; white space and marks behind a backslash.
ESCAPE = re.compile(
    rb"\\+u([dD][89abAB][0-9a-fA-F]{2})\\+u([dD][c-fC-F][0-9a-fA-F]{2})|\\+u([0-9a-fA-F]{4})|\\+U([0-9a-fA-F]{8})"
    rb"|\\+x([0-9a-fA-F]{2})|&#0*(\d{1,7});?|&#[xX]0*([0-9a-fA-F]{1,6});?|&(amp|lt|gt|quot|apos);|%([0-9a-fA-F]{2})"
    rb"""|'\\''|'"'"'|''+|\\+([nrtvf])|\\+([^A-Za-z0-9\s])"""
)
MARKS = re.compile(r"""[\s\\&%]|''|'"'""")  # without any of these a text has no escape and no white space
Place = tuple[int, int, int]  # a byte, and where in a text the characters it came from start and end
NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def forms(value: str) -> dict[str, str]:
    """Every spelling of ``value`` that is looked for: name of the form -> text."""
    raw = value.encode(errors="surrogateescape")  # the environment may hold bytes that are no UTF-8
    spellings = {"plain": value, **_json(value), **_python(value), **_url(raw)}
    spellings |= {"hex": raw.hex(), "HEX": raw.hex().upper()}
    if key := KEY.fullmatch(value):
        spellings |= {"key as it is": key[1], "key": key[1].lower(), "KEY": key[1].upper()}
    for shift in range(3):
        text = _aligned(raw, shift)
        spellings[f"base64+{shift}"] = text
        spellings[f"base64url+{shift}"] = text.replace("+", "-").replace("/", "_")
    return {form: text for form, text in spellings.items() if text}


def _json(value: str) -> dict[str, str]:
    """Spell a value as JSON does: escaped both ways, as Go does (fly prints so), and as a text inside other JSON."""
    spellings = {"json": json.dumps(value)[1:-1], "json unicode": json.dumps(value, ensure_ascii=False)[1:-1]}
    go = spellings["json unicode"]
    for character in "<>&\u2028\u2029":
        go = go.replace(character, f"\\u{ord(character):04x}")
    twice = {f"{form} twice": json.dumps(text, ensure_ascii=False)[1:-1] for form, text in spellings.items()}
    return {**spellings, "json go": go, **twice}


def _python(value: str) -> dict[str, str]:
    """Spell a value as repr does: alone, and in a longer text, where the other quote may be the one that is escaped."""
    bare = repr(f"{value}'\"")[1:-4].replace("\\'", "'")  # with both quotes in it, repr escapes the single one
    return {
        "python": repr(value)[1:-1],
        "python bare": bare,
        "python escaped": bare.replace("'", "\\'"),
        "python ascii": ascii(value)[1:-1],
        "python bytes": repr(value.encode(errors="surrogateescape"))[2:-1],
    }


def _url(raw: bytes) -> dict[str, str]:
    """Spell a value as URLs and forms do; browsers leave !'()* alone, and some write the digits small."""
    spellings = {
        "url": quote_from_bytes(raw, safe=""),
        "url path": quote_from_bytes(raw),
        "url browser": quote_from_bytes(raw, safe="!'()*"),
    }
    spellings["url plus"] = spellings["url"].replace("%20", "+")
    small = {f"{form} small": re.sub("%..", lambda m: m[0].lower(), text) for form, text in spellings.items()}
    return {**spellings, **small}


class Redactor:
    """Replaces each secret value by ``$ITS_NAME``; ``secrets`` maps name -> value."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        spelled: dict[str, tuple[str, str]] = {}
        for name, value in secrets.items():
            for part in _sent(value):
                for form, text in forms(part).items():
                    spelled.setdefault(text, (name, form))
        # Longest first: a secret that contains another one must go as a whole. Plain searches, one after another,
        # are faster than one pattern of alternatives on anything larger than a line.
        self._texts = sorted(spelled.items(), key=lambda item: len(item[0]), reverse=True)
        bare = {
            read: origin for text, origin in self._texts for read in _readings(text.encode(errors="surrogateescape"))
        }
        self._bare = [(text, *origin) for text, origin in bare.items() if len(text) >= SHORTEST]

    def text(self, text: str) -> str:
        """``text`` without any secret."""
        for secret, (name, _) in self._texts:
            if secret in text:
                text = text.replace(secret, f"${name}")
        for start, end, name, _ in sorted(self._hidden(text), reverse=True):
            text = f"{text[:start]}${name}{text[end:]}"
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
        named = set()
        for secret, (name, form) in self._texts:
            offset = text.find(secret)
            if offset >= 0:
                named.add(name)
                yield name, form, offset
        for start, _, name, form in self._hidden(text):
            if name not in named:
                yield name, form, start

    def _hidden(self, text: str) -> list[tuple[int, int, str, str]]:
        """Secrets that show only without white space and escapes: start, end, name and form; none overlaps another."""
        if len(text) < SHORTEST or not MARKS.search(text):
            return []
        readings = list(_readings(text.encode(errors="surrogatepass")))
        if not any(secret in reading for reading in readings for secret, _, _ in self._bare):
            return []
        # Only now, for it is slow: which characters of the text each byte came from.
        hidden: list[tuple[int, int, str, str]] = []
        for places in _placed_readings(text):
            whole = bytes(byte for byte, _, _ in places)
            for secret, name, form in self._bare:
                at = whole.find(secret)
                while at >= 0:
                    start, end = places[at][1], places[at + len(secret) - 1][2]
                    if all(end <= other[0] or start >= other[1] for other in hidden):
                        hidden.append((start, end, name, form))
                    at = whole.find(secret, at + 1)
        return hidden


def _sent(value: str) -> list[str]:
    """A value, and what of it is sent alone: without the scheme it was pasted with, and each of a list."""
    token = SCHEME.sub("", value, count=1) if SCHEME.match(value) else value
    parts = [part.strip() for part in (token, *token.split(","))]
    return list(dict.fromkeys([value, *(part for part in parts if len(part) >= SHORTEST)]))


def _readings(data: bytes) -> Iterator[bytes]:
    """Bytes with every escape undone and without white space; then once more, for that joins the parts of others."""
    for _ in range(READINGS):
        data = _unescaped(data).translate(None, BLANKS)
        yield data


def _unescaped(data: bytes) -> bytes:
    for _ in range(LEVELS):
        undone = ESCAPE.sub(_undone, data)
        if undone == data:
            break
        data = undone
    return data


def _undone(match: re.Match[bytes]) -> bytes:
    """What an escape stands for, in UTF-8."""
    high, low, short, long, byte, decimal, hexadecimal, named, percent, blank, mark = match.groups()
    if high:
        return _utf8(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if percent:
        return bytes([int(percent, 16)])
    if decimal:
        return _utf8(int(decimal))
    for digits in (short, long, byte, hexadecimal):
        if digits:
            return _utf8(int(digits, 16))
    return NAMED[named] if named else b" " if blank else mark or b"'"


def _utf8(code: int) -> bytes:
    return chr(code).encode(errors="replace") if code < 0x110000 else b"?"


def _placed_readings(text: str) -> Iterator[list[Place]]:
    """The readings of a text, each byte with where in ``text`` it starts and ends."""
    places = [
        (byte, at, at + 1) for at, character in enumerate(text) for byte in character.encode(errors="surrogatepass")
    ]
    for _ in range(READINGS):
        places = [place for place in _placed_unescaped(places) if place[0] not in BLANKS]
        yield places


def _placed_unescaped(places: list[Place]) -> list[Place]:
    for _ in range(LEVELS):
        undone: list[Place] = []
        last = 0
        for match in ESCAPE.finditer(bytes(byte for byte, _, _ in places)):
            undone += places[last : match.start()]
            start, end = places[match.start()][1], places[match.end() - 1][2]
            undone += [(byte, start, end) for byte in _undone(match)]
            last = match.end()
        if not last:
            break
        places = [*undone, *places[last:]]
    return places


def _aligned(raw: bytes, shift: int) -> str:
    """The part of base64 text that is the same whatever stands around ``raw`` at this alignment."""
    encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
    first = -(-shift * 8 // 6)  # characters that hold bits of the bytes before
    whole = (shift + len(raw)) * 8 // 6  # the last partial character holds bits of what follows
    return encoded[first:whole]
