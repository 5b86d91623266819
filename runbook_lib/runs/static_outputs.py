"""Rewrite the outputs of a record's notebook from its ledger, so that they can be read without a kernel.

A browser saves a notebook at any time or never, but the ledger holds everything that happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbformat.v4 import new_output

from runbook_lib.engine.notebook import merge_streams, read, redacted, write
from runbook_lib.records import history, plan
from runbook_lib.steps.display import run_progress

if TYPE_CHECKING:
    from runbook_lib.records.record_folder import Record

VIEW = "application/vnd.jupyter.widget-view+json"
INERT = {"text/plain", "image/png", "image/jpeg"}  # kinds of data that a browser shows and never runs
OPENING, CLOSING = "open_phase(", "phase.close()"


def rewrite(record: Record, *, production: bool, anew: bool = False) -> None:
    """Replace the widgets in a notebook's outputs by static cards, bar and summary from the ledger. Keep the charts.

    ``anew`` says that no kernel has run any cell of it yet: whatever else the file shows is then kept only as text and
    pictures, because nobody knows who saved it, and JupyterLab will be told to trust it. Raise `ConfigError` if the
    notebook cannot be read, `RecordError` if it cannot be written.
    """
    notebook, steps, story = read(record.notebook), plan.steps(record.notebook), history.read(record)
    numbers: dict[int, list[str]] = {}
    for step in steps:
        numbers.setdefault(step.cell, []).append(step.number)
    # Shift-Enter in the last cell makes an empty one below it, which is nobody's.
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type != "code" or cell.source.strip()]
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if _lives_on(output.get("data"), anew=anew)]
        if index in numbers:
            cards = (run_progress.card(story, number) for number in numbers[index])
            cell.outputs = [_output(card) for card in cards if card]
        elif OPENING in cell.source and story.own:
            cell.outputs = [_output(run_progress.bar(record, steps, production=production))]
        elif CLOSING in cell.source and story.closed():
            cell.outputs = [_output(run_progress.summary(record.opened()["phase"], story, steps))]
        if anew:
            cell.execution_count = None
    notebook.metadata.pop("widgets", None)
    merge_streams(notebook)
    write(redacted(notebook, record.redact.text if record.redact else str), record.notebook)


def _lives_on(data: dict[str, Any] | None, *, anew: bool) -> bool:
    """Remove the widget from an output's data and, if ``anew``, all that may hold a script. Return whether anything
    readable is left.

    An output without data is a stream or an error, which is text.
    """
    if data is None:
        return True
    widget = data.pop(VIEW, None) is not None
    if widget and "text/html" not in data:
        return False
    for kind in [kind for kind in data if anew and kind not in INERT]:
        del data[kind]
    return bool(data)


def _output(shown: Any) -> Any:
    html = {"text/html": shown._repr_html_()} if hasattr(shown, "_repr_html_") else {}
    return new_output("display_data", data={"text/plain": repr(shown), **html})  # type: ignore[no-untyped-call]
