"""Fault drills: break one thing, run the notebook that should notice, see which step said what.

Scenarios are in ``scenarios/<notebook>.yaml``. A drill shares one rehearsal: a clean run is made first, and each
scenario resumes it, so that acts are not sent again and only what looks is done again. Where an act is what must
notice, the scenario starts afresh.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import yaml

from runbook_lib import history, outline, runs, settings
from runbook_lib.commands import Http, http
from runbook_lib.errors import ConfigError, RunbookError, nearest
from runbook_lib.records import Record
from runbook_lib.services import Services

__all__ = ["Caught", "Scenario", "clean", "drill", "scenarios"]

FOLDER = Path(__file__).parent / "scenarios"
LIMIT = 120.0  # seconds one scenario may take
PROCESSES = get_context("forkserver")  # a warm parent: a fresh process each, without importing everything again


@dataclass(frozen=True)
class Scenario:
    """One thing that breaks, and who must say so.

    ``sql``: statements run as superuser. ``fault``: an HTTP fault of a stand-in. ``requests``: changes through a
    stand-in's own API; ``mend``: those that take them back. ``environment``: variables changed. ``files``: of the
    platform's checkout, new text or null to remove. ``before`` names the step before which it breaks, else before
    the first. ``step`` must fail, and its complaint, symptom or fix must contain ``says``. ``afresh``: acts are
    sent again.
    """

    name: str
    notebook: str
    step: str
    says: str
    before: str | None = None
    sql: tuple[str, ...] = ()
    fault: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    requests: tuple[dict[str, Any], ...] = ()
    mend: tuple[dict[str, Any], ...] = ()
    afresh: bool = False


@dataclass(frozen=True)
class Caught:
    """What became of a scenario; ``good`` when the right step failed with the right words."""

    scenario: Scenario
    step: str | None  # the step that did not pass, None if all passed
    words: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.step == self.scenario.step and self.scenario.says.lower() in self.words.lower()


def scenarios(notebook: str | None = None) -> list[Scenario]:
    """Every scenario, or a notebook's. Raise `ConfigError` if a file names an unknown key or step."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if notebook in (None, path.stem):
            known = [step.number for step in outline.steps(outline.notebook(path.stem))]
            found += [_scenario(path.stem, one, known) for one in yaml.safe_load(path.read_text(encoding="utf-8"))]
    return found


def _scenario(notebook: str, raw: dict[str, Any], known: list[str]) -> Scenario:
    for key in raw:
        if key not in Scenario.__dataclass_fields__:
            raise ConfigError(
                f"scenario {raw.get('name')!r}: unknown key {key!r}: {nearest(key, Scenario.__dataclass_fields__)}"
            )
    for step in filter(None, (raw["step"], raw.get("before"))):
        if step not in known:
            raise ConfigError(f"scenario {raw['name']!r}: no step {step!r} in {notebook}: {nearest(step, known)}")
    listed = {key: tuple(raw[key]) for key in ("sql", "requests", "mend") if key in raw}
    return Scenario(notebook=notebook, **{**raw, **listed})


def clean(notebook: str) -> Record:
    """A sealed record of an undisturbed run on the rehearsal of this environment. Raise if it does not pass."""
    chosen = settings.load("rehearsal")
    record = _begun(chosen, notebook, None)
    _walk_apart(notebook, record, {})
    seal = runs.finish(record)
    if seal["outcome"] != "passed":
        raise ConfigError(f"{notebook} does not pass undisturbed: see {record.folder}")
    _ask(http("person", f"PUT /snapshots/{notebook}"))
    return record


def drill(scenario: Scenario, parent: Record) -> Caught:
    """Break, run, mend. ``parent`` is the clean run's record."""
    started = monotonic()
    with _mended(scenario):
        record = _begun(settings.load("rehearsal"), scenario.notebook, None if scenario.afresh else parent)
        with ExitStack() as stack:
            if scenario.before is None:
                _break(scenario, stack)
            _walk_apart(scenario.notebook, record, {scenario.before: scenario} if scenario.before else {})
    ends = history.read(record).outcomes()
    bad = next((event for event in ends.values() if event["outcome"] != "passed"), None)
    words = " ".join(str(bad[key]) for key in ("complaint", "symptom", "fix") if bad[key]) if bad else ""
    return Caught(scenario, bad["step"] if bad else None, words, monotonic() - started)


def _begun(chosen: settings.Settings, notebook: str, parent: Record | None) -> Record:
    record = runs.begin(chosen, notebook, parent=parent)
    record.notebook.write_bytes(outline.notebook(notebook).read_bytes())
    return record


def _walk_apart(notebook: str, record: Record, before: dict[str, Scenario]) -> None:
    """Run the cells in a process of their own, as a kernel would, until one raises."""
    process = PROCESSES.Process(target=_walk, args=(dict(os.environ), notebook, record.folder, before))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()


def _walk(environment: dict[str, str], notebook: str, record: Path, before: dict[str, Scenario]) -> None:
    _become({**environment, runs.RECORD: str(record), runs.MODE: "headless"})
    cells = json.loads(outline.notebook(notebook).read_text(encoding="utf-8"))["cells"]
    numbers = {step.cell: step.number for step in outline.steps(outline.notebook(notebook))}
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()), ExitStack() as stack:
        for index, cell in enumerate(cells):
            if (broken := before.get(numbers.get(index, ""))) is not None:
                _break(broken, stack)
            if cell["cell_type"] == "code":
                try:
                    exec("".join(cell["source"]), names)  # noqa: S102 - this is what a kernel does
                except RunbookError:
                    return  # the ledger has it


def _break(scenario: Scenario, stack: ExitStack) -> None:
    """Put the scenario's fault in force; HTTP faults and variables are taken back when ``stack`` is left."""
    for statement in scenario.sql:
        _ask(http("person", "POST /sql", json={"sql": statement}))
    if scenario.fault:
        _ask(http("person", "POST /faults", json=scenario.fault))
    before = dict(os.environ)
    os.environ.update(scenario.environment)
    stack.callback(_become, before)
    for name, content in scenario.files.items():
        _put(_repository() / name, content)
    for one in scenario.requests:
        _ask(_requested(one))


def _become(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _requested(one: dict[str, Any]) -> Http:
    """A change of a stand-in through its own API, as somebody else would make it."""
    options = {k: v for k, v in one.items() if k not in ("service", "request")}
    return http(one["service"], one["request"], **options)


def _ask(command: Http) -> None:
    """Send a command to a stand-in; a drill that cannot break something is no drill."""
    chosen = settings.load("rehearsal")
    services = Services(chosen)
    try:
        found = services.change(command.filled(chosen.lookup))
    finally:
        services.close()
    if found.error:
        raise ConfigError(f"the drill's {command.method} {command.path}: {found.error}")


@contextmanager
def _mended(scenario: Scenario) -> Iterator[None]:
    """Whatever the scenario breaks is whole again afterwards, also when the drill itself fails."""
    kept = {name: _kept(_repository() / name) for name in scenario.files}
    try:
        yield
    finally:
        _ask(http("person", "DELETE /faults"))
        for name, content in kept.items():
            _put(_repository() / name, content)
        for one in scenario.mend:
            _ask(_requested(one))
        if scenario.sql:
            _ask(http("person", f"POST /snapshots/{scenario.notebook}"))


def _kept(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _put(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _repository() -> Path:
    return Path(settings.load("rehearsal").repository)


PROCESSES.set_forkserver_preload(["runbook_lib.opening", "runbook_lib.drill"])
