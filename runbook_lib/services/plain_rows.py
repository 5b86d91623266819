"""Turn any service's answer into plain rows: dictionaries of JSON values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

LAST = 600  # characters of an output, or of an answer, that an error message holds


def rows_of(body: Any, pick: str | None) -> tuple[dict[str, Any], ...]:
    part = picked(body, pick) if pick else body
    items = part if isinstance(part, list) else [] if part is None else [part]
    return tuple(item if isinstance(item, dict) else {"value": item} for item in items)


def picked(body: Any, pick: str) -> Any:
    """Return the value at the dotted path ``pick`` in a row or an object. Return None if there is none."""
    for key in pick.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def plain(value: Any) -> Any:
    """Convert a value of a row to plain JSON: numerics to floats, times to ISO 8601 in UTC, all else to text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, bool | int | None) else _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()  # half a surrogate pair is no text anywhere else
        case float() | Decimal():
            return float(value) if math.isfinite(value) else str(value)
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
    return str(value)


def moment(text: Any) -> datetime:
    """Parse a time in a plain row: ISO 8601, in UTC unless the text names a zone.

    For a missing time, return 2 January 1970.
    """
    try:
        parsed = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return datetime(1970, 1, 2, tzinfo=UTC)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
