"""Render HTML for people from jinja2 templates: whole pages and parts of a cell's output.

All text is escaped, and no page loads another file.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runbook_lib.files import write_whole
from runbook_lib.records.ledger import instant
from runbook_lib.settings import profiles
from runbook_lib.steps.display.highlighting import coloured

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Okabe-Ito, dark enough for white words on them; told apart with every kind of colour vision, and never without a word.
COLOURS = {
    "passed": "#007A58",
    "failed": "#B84A00",
    "waiting": "#7A5D00",
    "unknown": "#9C4A7C",
    "missing": "#666666",
    "asking": "#00639C",
}
OTHER = "#666666"  # an outcome without a colour of its own: interrupted, not sealed
RED = "#B00020"


def page(template: str, view: Mapping[str, Any]) -> str:
    """Render a page: fill the HTML file ``template`` with ``view``. Redact the secrets of every profile first."""
    clean = profiles.redactor_of_all().value(dict(view))
    return _environment().get_template(template).render(clean)


def part(macro: str, *values: Any) -> str:
    """Render a part of a cell's output by filling one macro of ``cell.html``.

    The caller has already redacted secrets.
    """
    return str(getattr(_cell(), macro)(*values))


def save(path: Path, text: str) -> Path:
    """Write a rendered page to a file, whole or not at all. Raise `RecordError` if the file cannot be written."""
    write_whole(path, text.encode())
    return path


def moment(at: str) -> str:
    """Render a time of the ledger for people: ``2026-11-22 20:24:33 UTC``."""
    return instant(at).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def _cell() -> Any:
    return _environment().get_template("cell.html").module


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("runbook_lib.steps.display"),
        autoescape=True,  # also in files that do not end in .html
        undefined=StrictUndefined,  # a hole in a record's page must not look like nothing happened
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["red"] = RED
    made.filters |= {
        "moment": moment,
        "colour": lambda outcome: COLOURS.get(outcome, OTHER),
        "png": _png,
        "coloured": lambda command: Markup(coloured(command)),  # noqa: S704 - the painter escapes what it paints
    }
    return made


def _png(data: str) -> str:
    """Return a data URL of a PNG image. Characters that are not base64 are dropped."""
    return "data:image/png;base64," + "".join(c for c in data if c.isalnum() or c in "+/=")
