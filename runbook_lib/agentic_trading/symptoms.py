"""Known failure texts, each with its cause and its fix: see ``symptoms.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Symptom:
    """A failure text (a regular expression), what causes it and what mends it."""

    name: str
    words: str
    cause: str
    fix: str
    steps: tuple[str, ...] = ()  # beginnings of step numbers it can explain; none means any
    back: str | None = None  # the step to return to once it is mended


@cache
def known() -> tuple[Symptom, ...]:
    """Every symptom, most specific first, as the file lists them."""
    text = (Path(__file__).parent / "symptoms.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    return tuple(Symptom(**{**entry, "steps": tuple(entry.get("steps", ()))}) for entry in entries)


def diagnose(text: str, step: str = "") -> Symptom | None:
    """The first symptom whose words occur in ``text`` and that can occur at ``step``."""
    for symptom in known():
        placed = not symptom.steps or not step or step.startswith(symptom.steps)
        if placed and re.search(symptom.words, text, re.IGNORECASE):
            return symptom
    return None
