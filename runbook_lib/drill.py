"""Fault drills: break one thing, run the notebook that should notice, see which step said what.

Scenarios are in ``scenarios/<notebook>.yaml``: what holds for every one of them, then each. The drills of a notebook
share one rehearsal. Where a notebook leaves the platform as it checks it, a clean run is made first and each scenario
resumes it, so that acts are not sent again and only what looks is done again. Where it does not, each scenario starts
anew: on the database of before, without any machine.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from runbook_lib import history, outline, runs, settings
from runbook_lib.commands import Http, Reply, http
from runbook_lib.errors import ConfigError, RunbookError, nearest
from runbook_lib.records import Record
from runbook_lib.services import Services

__all__ = ["Caught", "Scenario", "clean", "drill", "prepared", "scenarios"]

FOLDER = Path(__file__).parent / "scenarios"
LIMIT = 120.0  # seconds one scenario may take
STAGE = 30.0  # seconds until what a scenario rests on must have come
SHORT = 2.0  # seconds the step that must notice waits: what is broken stays broken
PROCESSES = get_context("forkserver")  # a warm parent: a fresh process each, without importing everything again


@dataclass(frozen=True)
class Scenario:
    """One thing that breaks, and who must say so.

    The stage is set first: ``platform`` names a scenario of the rehearsal that is entered, ``gestures`` are what the
    person does then (a name, or a name with its facts; what they are refused is for the notebook to find), ``until`` is
    a query that must give a row. Then it breaks, at the beginning or ``before`` a step. ``sql``: statements run as
    superuser. ``fault``: an HTTP fault of a stand-in. ``requests``: changes through a stand-in's own API; ``mend``:
    those that take back what was changed. ``environment``: variables changed. ``files``: of the platform's checkout,
    new text or null to remove. ``parameters`` are the notebook's.

    ``step`` must fail, and its complaint, symptom or fix must contain ``says``; with ``passes`` it must pass, and what
    it saw contain it. ``afresh``: acts are sent again; ``anew``: that, and on the platform of before.
    """

    name: str
    notebook: str
    step: str
    says: str
    before: str | None = None
    platform: str | None = None
    gestures: tuple[str | dict[str, Any], ...] = ()
    until: str | None = None
    sql: tuple[str, ...] = ()
    fault: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    requests: tuple[dict[str, Any], ...] = ()
    mend: tuple[dict[str, Any], ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    afresh: bool = False
    anew: bool = False
    passes: bool = False


@dataclass(frozen=True)
class Caught:
    """What became of a scenario; ``good`` when the right step said the right words."""

    scenario: Scenario
    record: Record
    step: str | None  # the first step that did not pass or was not reached, None if all passed
    words: str
    seconds: float

    @property
    def good(self) -> bool:
        expected = None if self.scenario.passes else self.scenario.step
        return self.step == expected and self.scenario.says.lower() in self.words.lower()


def scenarios(notebook: str | None = None) -> list[Scenario]:
    """Every scenario, or a notebook's. Raise `ConfigError` if a file names an unknown key or step."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if notebook in (None, path.stem):
            known = [step.number for step in outline.steps(outline.notebook(path.stem))]
            written = yaml.safe_load(path.read_text(encoding="utf-8"))
            every = written.get("every", {})
            found += [_scenario(path.stem, {**every, **one}, known) for one in written["scenarios"]]
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
    listed: dict[str, Any] = {key: tuple(raw[key]) for key in ("gestures", "sql", "requests", "mend") if key in raw}
    return Scenario(notebook=notebook, **{**raw, **listed})


def prepared(notebook: str) -> Record | None:
    """What a notebook's scenarios rest on in the rehearsal of this environment: the platform as it is now is kept, and
    where any of them resumes a clean run, that is made; its record."""
    _ask(http("person", f"PUT /snapshots/{notebook}-before"))
    return None if all(one.anew for one in scenarios(notebook)) else clean(notebook)


def clean(notebook: str) -> Record:
    """A sealed record of an undisturbed run on the rehearsal of this environment. Raise if it does not pass."""
    record = _begun(notebook, None, {})
    _walk_apart(record, Scenario("undisturbed", notebook, step="", says=""))
    seal = runs.finish(record)
    if seal["outcome"] != "passed":
        raise ConfigError(f"{notebook} does not pass undisturbed: see {record.folder}")
    _ask(http("person", f"PUT /snapshots/{notebook}-after"))
    return record


def drill(scenario: Scenario, parent: Record | None) -> Caught:
    """Set the stage, break, run, mend. ``parent`` is the run that is resumed, unless acts are sent again."""
    started = monotonic()
    if scenario.anew:
        _ask(http("person", f"POST /snapshots/{scenario.notebook}-before"))
    with _mended(scenario):
        _set_stage(scenario)
        again = scenario.afresh or scenario.anew
        record = _begun(scenario.notebook, None if again else parent, scenario.parameters)
        _walk_apart(record, scenario)
    runs.finish(record)
    ends = history.read(record).outcomes()
    bad = next((event for event in ends.values() if event["outcome"] != "passed"), None)
    missing = [step.number for step in outline.steps(record.notebook) if step.number not in ends]
    told = ends.get(scenario.step) if scenario.passes else bad
    words = " ".join(str(told[key]) for key in ("seen", "complaint", "symptom", "fix") if told[key]) if told else ""
    stopped = bad["step"] if bad else next(iter(missing), None)
    return Caught(scenario, record, stopped, words, monotonic() - started)


def _begun(notebook: str, parent: Record | None, parameters: Mapping[str, Any]) -> Record:
    record = runs.begin(settings.load("rehearsal"), notebook, parent=parent, parameters=parameters)
    record.notebook.write_bytes(outline.notebook(notebook).read_bytes())
    return record


# --- the run, in a process of its own -------------------------------------------------------------------------------


def _walk_apart(record: Record, scenario: Scenario) -> None:
    """Run the cells in a process of their own, as a kernel would, until one raises."""
    process = PROCESSES.Process(target=_walk, args=(dict(os.environ), record.folder, scenario))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()


def _walk(environment: dict[str, str], record: Path, scenario: Scenario) -> None:
    _become({**environment, runs.RECORD: str(record), runs.MODE: "headless"})
    path = outline.notebook(scenario.notebook)
    numbers = {step.cell: step.number for step in outline.steps(path)}
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()), ExitStack() as stack:
        if scenario.before is None:
            _break(scenario, stack)
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] != "code":
                continue
            if scenario.before is not None and numbers.get(index) == scenario.before:
                _break(scenario, stack)
            if numbers.get(index) == scenario.step and not scenario.passes:
                _hurry(names["phase"])
            try:
                exec("".join(cell["source"]), names)  # noqa: S102 - this is what a kernel does
            except RunbookError:
                return  # the ledger has it
            if "parameters" in cell["metadata"].get("tags", ()):
                names.update(scenario.parameters)


def _hurry(phase: Any) -> None:
    """Let the step that must notice not wait for what will not come."""
    waits = ("answer", "redeploy", "backtest", "provisioning", "machine_gone", "marks", "revoked")
    budgets = phase.settings.budgets.model_copy(update=dict.fromkeys(waits, SHORT))
    phase.settings = phase.settings.model_copy(update={"budgets": budgets})


def _break(scenario: Scenario, stack: ExitStack) -> None:
    """Put the scenario's fault in force; variables are taken back when ``stack`` is left."""
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


# --- the stage ------------------------------------------------------------------------------------------------------


def _set_stage(scenario: Scenario) -> None:
    """Enter the platform's scenario, let the person do their gestures, wait for what comes of it."""
    if scenario.platform:
        _ask(http("person", "POST /scenarios/{name}", name=scenario.platform))
    for gesture in scenario.gestures:
        [(name, facts)] = gesture.items() if isinstance(gesture, dict) else [(gesture, {})]
        _answer(http("person", "POST /gestures/{name}", name=name, json=facts))
    deadline = monotonic() + STAGE
    while scenario.until and not _ask(http("person", "POST /sql", json={"sql": scenario.until})).value("rows"):
        if monotonic() > deadline:
            raise ConfigError(f"the drill {scenario.name!r}: {scenario.until} gave no row within {STAGE:g} s")
        sleep(0.05)


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
        if scenario.platform:
            _ask(http("person", "DELETE /scenarios/{name}", name=scenario.platform))
        for one in scenario.mend:
            _ask(_requested(one))
        if scenario.sql and not scenario.anew:
            _ask(http("person", f"POST /snapshots/{scenario.notebook}-after"))


def _requested(one: dict[str, Any]) -> Http:
    """A change of a stand-in through its own API, as somebody else would make it."""
    options = {k: v for k, v in one.items() if k not in ("service", "request")}
    return http(one["service"], one["request"], **options)


def _ask(command: Http) -> Reply:
    """Send a command to a stand-in; a drill that cannot break something is no drill."""
    found = _answer(command)
    if found.error:
        raise ConfigError(f"the drill's {command.method} {command.path}: {found.error}")
    return found


def _answer(command: Http) -> Reply:
    chosen = settings.load("rehearsal")
    services = Services(chosen)
    try:
        return services.change(command.filled(chosen.lookup))
    finally:
        services.close()


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


PROCESSES.set_forkserver_preload(["runbook_lib.opening", "runbook_lib.charts", "runbook_lib.drill"])
