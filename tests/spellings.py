"""The ways in which a secret may be written: each gives what stands in a text instead of it."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st


def go(value: str) -> str:
    """JSON as Go's encoder writes it."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda s: json.dumps(s)[1:-1],
    "json unicode": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json of fly": lambda s: go(s)[1:-1] if not {"\u2028", "\u2029"} & set(s) else s,
    "json in json": lambda s: json.dumps(json.dumps(s, ensure_ascii=False), ensure_ascii=False)[3:-3],
    "python": lambda s: repr(s)[1:-1],
    "python beside a single quote": lambda s: repr(s + "'")[1 : -3 if '"' in s else -2],
    "python beside both quotes": lambda s: repr(s + "'\"")[1:-4],
    "python ascii": lambda s: ascii(s)[1:-1],
    "python bytes": lambda s: repr(s.encode())[2:-1],
    "url": lambda s: quote(s, safe=""),
    "url path": quote,
    "url form": quote_plus,
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
}


MIXED: dict[str, Callable[[str], str]] = {
    "json with slashes escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json, every character": lambda s: "".join(f"\\u{unit:04x}" for unit in units(s)),
    "JSON, every character": lambda s: "".join(f"\\u{unit:04X}" for unit in units(s)),
    "json, some characters": lambda s: "".join(f"\\u{ord(c):04x}" if c in "aeiou/" else json.dumps(c)[1:-1] for c in s),
    "html": html.escape,
    "html without quotes": lambda s: html.escape(s, quote=False),
    "html, decimal": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "html, hex": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "html of json": lambda s: html.escape(json.dumps(s)[1:-1]),
    "json of html": lambda s: json.dumps(html.escape(s))[1:-1],
    "url, every byte": lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
    "shell": lambda s: shlex.quote(s + " ")[1:-2],
    "sql": lambda s: s.replace("'", "''"),
    "0x": lambda s: f"0x{s.encode().hex()}",
    "0X": lambda s: f"0X{s.encode().hex().upper()}",
    "across lines": lambda s: "\n    ".join(s[at : at + 5] for at in range(0, len(s), 5)),
    "hex across lines": lambda s: "\n".join(s.encode().hex()[at : at + 9] for at in range(0, 2 * len(s.encode()), 9)),
    "white space folded": lambda s: " ".join(s.split()),
}
TOKEN = st.text(st.sampled_from("abcXYZ019_-./+='\"&<é𝄞 "), min_size=12, max_size=40).filter(
    # Quotes side by side count as one, as SQL doubles it: what is shorter than that stands in ordinary text.
    lambda s: len(re.sub("''+", "'", "".join(s.split()))) >= 8 and s == s.strip()
)


def units(text: str) -> list[int]:
    """The characters of a text as JSON escapes them: two for one beyond the first plane."""
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]
