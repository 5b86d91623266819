"""Let a person step through a notebook in JupyterLab, with a copy and a record as in a headless run."""

from __future__ import annotations

import os
import webbrowser
from typing import TYPE_CHECKING

from runbook_lib.errors import ConfigError
from runbook_lib.records import history, plan, run_record
from runbook_lib.runs import jupyterlab, static_outputs
from runbook_lib.settings.choice import addressed
from runbook_lib.steps.display import run_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

LEFT_OVER = (".~*", ".*.tmp", ".*.part")  # files of a write that a kill cut off


def serve(record: Record, settings: Settings) -> AbstractContextManager[jupyterlab.Lab]:
    """Start JupyterLab on an attended run's notebook. The notebook's outputs show how far the run has come."""
    if record.sealed():
        raise ConfigError(f"{record.name} is sealed: nothing is added to it")
    static_outputs.rewrite(record, production=settings.kind == "production", anew=True)
    environment = {**os.environ, run_record.RECORD: str(record.folder), run_record.MODE: "attended"}
    return jupyterlab.serving(record.folder, environment, settings.secrets().keys())


def work(record: Record, settings: Settings, say: Callable[[str], None], *, browser: bool) -> Event | None:
    """Serve an attended run's notebook until JupyterLab ends or is interrupted. Then close the run.

    Return the record's seal, None if the run is unfinished.
    """
    try:
        with serve(record, settings) as served:
            url = served.url(record.notebook.name)
            say(url)
            if browser:
                webbrowser.open(served.page(record.notebook.name))
            served.process.wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    return close(record, settings)


def close(record: Record, settings: Settings) -> Event | None:
    """Redraw the outputs of an attended run's notebook. If the phase was closed, seal the record and return the
    seal.
    """
    for pattern in LEFT_OVER:
        for path in record.folder.glob(pattern):
            path.unlink()
    static_outputs.rewrite(record, production=settings.kind == "production")
    return run_record.finish(record) if history.read(record).closed() else None


def standing_of(record: Record) -> Iterator[str]:
    """Yield lines that say how many steps of an attended run have passed, and how to continue the run."""
    steps, story = plan.steps(record.notebook), history.read(record)
    passed = sum(event["outcome"] == "passed" for event in story.outcomes().values())
    following = run_progress.following(story, steps)
    after = f"; next is {following.number} {following.title}" if following else ""
    yield f"{passed} of {len(steps)} steps passed{after}"
    for number in story.owed():
        yield f"{number} owes an undo: ./runbook undo {record.name}"
    opened = record.opened()
    yield addressed(f"not sealed; go on with ./runbook open {opened['phase']}", opened["profile"])
