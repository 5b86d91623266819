"""Replace secrets in everything that is written or displayed. A secret is found in every usual encoding.

A value is looked for in plain, JSON, Python, URL, hex and base64. Base64 shifts with the number of bytes before the
value, so all three alignments are looked for, each without the characters that also encode neighbouring bytes. Then
the text is searched again without white space and with every escape undone, so that any mixture of JSON, HTML, URL,
shell and SQL escapes is found, nested or broken across lines.

Parts of a value are looked for too: a token without the scheme it was pasted with, and each item of a list.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

SCHEME = re.compile(r"(?:FlyV1|Bearer|Basic|Token|token)\s+")  # a token may be pasted with one of these in front
SHORTEST = 8  # characters of a part of a value that is looked for: anything shorter occurs in ordinary text
KEY = re.compile(r"(?:0[xX])?([0-9a-fA-F]{16,})")  # a value that is itself written in hex
LEVELS = 4  # of escapes inside escapes
READINGS = 2  # a text is read as it is, and again after its lines were joined
BLANKS = b" \t\r\n\v\f"
# Escapes, each of which stands for one character: \u00e9 and its pairs, \U000000e9, \xe9, &#233; &#xe9; &amp; and %C3;
# a quote as shells and SQL double it; white space and marks behind a backslash.
ESCAPE = re.compile(
    rb"\\+u([dD][89abAB][0-9a-fA-F]{2})\\+u([dD][c-fC-F][0-9a-fA-F]{2})|\\+u([0-9a-fA-F]{4})|\\+U([0-9a-fA-F]{8})"
    rb"|\\+x([0-9a-fA-F]{2})|&#0*(\d{1,7});?|&#[xX]0*([0-9a-fA-F]{1,6});?|&(amp|lt|gt|quot|apos);|%([0-9a-fA-F]{2})"
    rb"""|'\\''|'"'"'|''+|\\+([nrtvf])|\\+([^A-Za-z0-9\s])"""
)
MARKS = re.compile(r"""[\s\\&%]|''|'"'""")  # without any of these a text has no escape and no white space
Place = tuple[int, int, int]  # a byte; start and end, in a text, of the characters it came from
NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def forms(value: str) -> dict[str, str]:
    """Return every spelling of the secret ``value`` that redaction looks for: name of the spelling -> text."""
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
    """Return the spellings of a secret in JSON.

    These are JSON in ASCII, in Unicode, as Go writes it (fly does), and inside other JSON.
    """
    spellings = {"json": json.dumps(value)[1:-1], "json unicode": json.dumps(value, ensure_ascii=False)[1:-1]}
    go = spellings["json unicode"]
    for character in "<>&\u2028\u2029":
        go = go.replace(character, f"\\u{ord(character):04x}")
    twice = {f"{form} twice": json.dumps(text, ensure_ascii=False)[1:-1] for form, text in spellings.items()}
    return {**spellings, "json go": go, **twice}


def _python(value: str) -> dict[str, str]:
    """Return the spellings of a secret in Python's ``repr``.

    These are the ``repr`` of the value alone, and of a longer text with quotes around the value.
    """
    bare = repr(f"{value}'\"")[1:-4].replace("\\'", "'")  # with both quotes in it, repr escapes the single one
    return {
        "python": repr(value)[1:-1],
        "python bare": bare,
        "python escaped": bare.replace("'", "\\'"),
        "python ascii": ascii(value)[1:-1],
        "python bytes": repr(value.encode(errors="surrogateescape"))[2:-1],
    }


def _url(raw: bytes) -> dict[str, str]:
    """Return the spellings of a secret in URLs and forms.

    Browsers leave the characters !'()* as they are, and some programs write the hex digits in lower case.
    """
    spellings = {
        "url": quote_from_bytes(raw, safe=""),
        "url path": quote_from_bytes(raw),
        "url browser": quote_from_bytes(raw, safe="!'()*"),
    }
    spellings["url plus"] = spellings["url"].replace("%20", "+")
    small = {f"{form} small": re.sub("%..", lambda m: m[0].lower(), text) for form, text in spellings.items()}
    return {**spellings, **small}


class Redactor:
    """A redactor of texts. It replaces each secret in ``secrets`` (name -> value) by ``$`` and the secret's name."""

    def __init__(self, secrets: Mapping[str, str], shown: Collection[str] = ()) -> None:
        self.shown = frozenset(shown)  # variables whose values, in answers, hold no secret
        spelled: dict[str, tuple[str, str]] = {}
        for name, value in secrets.items():
            for part in _sent(value):
                for form, text in forms(part).items():
                    spelled.setdefault(text, (name, form))
        # Longest first: a secret that contains another secret must be replaced as a whole. Plain searches, one after
        # another, are faster than one pattern of alternatives on anything larger than a line.
        self._texts = sorted(spelled.items(), key=lambda item: len(item[0]), reverse=True)
        bare = {
            read: origin for text, origin in self._texts for read in _readings(text.encode(errors="surrogateescape"))
        }
        self._bare = [(text, *origin) for text, origin in bare.items() if len(text) >= SHORTEST]

    def text(self, text: str) -> str:
        """Return a text with every secret replaced by ``$`` and the secret's name."""
        for secret, (name, _) in self._texts:
            if secret in text:
                text = text.replace(secret, f"${name}")
        for start, end, name, _ in sorted(self._hidden(text), reverse=True):
            text = f"{text[:start]}${name}{text[end:]}"
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON-like value with the secrets replaced in every text and key inside it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in value]
        return value

    def hits(self, text: str) -> Iterator[tuple[str, str, int]]:
        """Yield each secret that redaction would replace in a text.

        It comes as the secret's name, its spelling in the text, and its offset.
        """
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
        """Find secrets that show only once a text's white space and escapes are removed.

        Return the start, end, name and spelling of each secret; none overlaps another.
        """
        if len(text) < SHORTEST or not MARKS.search(text):
            return []
        readings = list(_readings(text.encode(errors="surrogatepass")))
        if not any(secret in reading for reading in readings for secret, _, _ in self._bare):
            return []
        # Mapping each byte to its characters of the text is slow, so it is done only when a secret is there.
        hidden: list[tuple[int, int, str, str]] = []
        for places in _placed_readings(text):
            reading = bytes(byte for byte, _, _ in places)
            for secret, name, form in self._bare:
                at = reading.find(secret)
                while at >= 0:
                    start, end = places[at][1], places[at + len(secret) - 1][2]
                    if all(end <= earlier[0] or start >= earlier[1] for earlier in hidden):
                        hidden.append((start, end, name, form))
                    at = reading.find(secret, at + 1)
        return hidden


def _sent(value: str) -> list[str]:
    """Return a secret's value and those of its parts that may be sent alone.

    A part is a token without its scheme, or an item of a list.
    """
    token = SCHEME.sub("", value, count=1) if SCHEME.match(value) else value
    parts = [part.strip() for part in (token, *token.split(","))]
    return list(dict.fromkeys([value, *(part for part in parts if len(part) >= SHORTEST)]))


def _readings(data: bytes) -> Iterator[bytes]:
    """Yield a text with its escapes undone and its white space removed, so that hidden secrets can be found.

    Do so repeatedly, because joined lines can form new escapes.
    """
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
    """Return the UTF-8 bytes for which an escape stands."""
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
    """Yield what `_readings` yields for a text, and for each byte its place in the text.

    A place is the start and the end of the byte's characters.
    """
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
    """Return the base64 characters of ``raw`` that do not depend on the bytes around it. ``shift`` bytes stand before
    it.
    """
    encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
    first = -(-shift * 8 // 6)  # characters that hold bits of the bytes before
    end = (shift + len(raw)) * 8 // 6  # the last partial character holds bits of what follows
    return encoded[first:end]
