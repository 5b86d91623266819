"""What a benchmark tells: figures, some of them beside those of others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure; where there are theirs, ours is compared with it."""

    name: str
    ours: float
    theirs: float | None = None
    unit: str = "s"
