"""Look up a failure's text in ``symptoms.yaml``, which holds each known failure's cause and fix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Symptom:
    """A symptom of a known failure: a regular expression that matches the failure's text, the cause, and the fix."""

    name: str
    words: str
    cause: str
    fix: str
    steps: tuple[str, ...] = ()  # beginnings of step numbers it can explain; none means any
    back: str | None = None  # the step to return to after the fix


@cache
def known() -> tuple[Symptom, ...]:
    """Return the symptoms of all known failures in the order of ``symptoms.yaml``. More specific symptoms come
    first.
    """
    text = (Path(__file__).parent / "symptoms.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    return tuple(Symptom(**{**entry, "steps": tuple(entry.get("steps", ()))}) for entry in entries)


def diagnose(text: str, step: str = "") -> Symptom | None:
    """Return the first symptom of a known failure that matches ``text`` and may occur at ``step``.

    Return None without a match.
    """
    for symptom in known():
        placed = not symptom.steps or not step or step.startswith(symptom.steps)
        if placed and re.search(symptom.words, text, re.IGNORECASE):
            return symptom
    return None
