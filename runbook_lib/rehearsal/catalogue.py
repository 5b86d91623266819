"""The catalogue of scenarios, read from ``scenarios.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from runbook_lib.errors import ConfigError, nearest

PARTS = frozenset({"says", "start", "http", "set", "runner", "venue", "vercel", "fly", "sql", "undo"})

Json = dict[str, Any]


@cache
def known() -> dict[str, Json]:
    """Every scenario by name; raise `ConfigError` for a part nobody plays."""
    found: dict[str, Json] = yaml.safe_load(Path(__file__).with_name("scenarios.yaml").read_text())
    for name, parts in found.items():
        for part in parts:
            if part not in PARTS:
                raise ConfigError(f"scenario {name!r}: unknown part {part!r}: {nearest(part, PARTS)}")
    return found


def scenario(name: str) -> Json:
    """One scenario; raise `ConfigError` naming the nearest."""
    if name not in known():
        raise ConfigError(f"no scenario {name!r}: {nearest(name, known())}")
    return known()[name]
