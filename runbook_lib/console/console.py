"""Open the console, which shows every deployment and its command buttons. Only pressing a button needs the writing
lock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from runbook_lib.console import markup
from runbook_lib.console.overview import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.steps.phase import Phase

OPEN: list[Any] = []  # the page of this kernel: its cell may be run again


class Still:
    """A picture of the console at one moment, as HTML without buttons."""

    def __init__(self, html: str, words: str) -> None:
        self._html, self._words = html, words

    def __repr__(self) -> str:
        return self._words

    def _repr_html_(self) -> str:
        return f"<div class='mathjax_ignore'>{self._html}</div>"  # what stands between two dollar signs is no formula


def open_console(phase: Phase, deployments: Sequence[str] = ()) -> Any:
    """Open the console for a person. In a headless run, return a still picture of the console instead.

    ``deployments`` are the ids that are chosen when it opens. Raise `ServiceError` if the database does not answer in a
    headless run.
    """
    if phase.mode == "headless":
        return _still(phase, deployments)
    from IPython.display import display  # noqa: PLC0415

    from runbook_lib.console import page  # noqa: PLC0415 - ipywidgets only where a person is

    while OPEN:
        OPEN.pop().close()
    operator = phase.record.opened()["operator"]
    words = f"a console, opened {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC by {operator}; each press has its own record"
    # What is left to read when the widget is dead.
    display(Still(f"<div>{escape(words)}</div>", words))  # type: ignore[no-untyped-call]
    OPEN.append(page.Page(phase.settings, operator=operator, root=phase.record.root, chosen=deployments))
    return OPEN[0]


def _still(phase: Phase, chosen: Sequence[str]) -> Still:
    reader = Reader(phase.settings)
    try:
        overview = reader.read(chosen)
    finally:
        reader.close()
    words = markup.summary(overview.rows)
    phase.record.ledger.append("shown", commands=["console: deployments, log, ticks"], rows=len(overview.rows))
    bar = markup.bar(phase.settings, phase.record.opened()["operator"], overview, "listens when it is live", "")
    tables = markup.deployments(overview, chosen, still=True)
    return Still(f"{markup.style()}{bar}{tables}{markup.log(overview, still=True)}", words)
