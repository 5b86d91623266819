"""Drill one case: break one thing, run the notebook, and see which step noticed it and what the step said.

The drills of a notebook share one rehearsal. If the notebook can be run again on the platform it leaves, a clean run is
made first and each case resumes it, so that acts are not sent again and only checks are made again, including those
that later steps have overtaken if the step that must notice is among them. Otherwise each case starts anew, on the
database from before the run and without any machine.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.errors import ConfigError, RunbookError
from runbook_lib.records import history, plan, run_record
from runbook_lib.records.ledger import Event
from runbook_lib.records.record_folder import Record
from runbook_lib.runs.drills.cases import Case, cases_of
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles

WORDS = ("seen", "complaint", "symptom", "fix")  # of an outcome, in which a case's words are looked for
UNBROKEN = "unbroken"  # the event that says why a fault could not be injected
LIMIT = 120.0  # seconds one case may take
STAGE = 30.0  # seconds until what a case rests on must have come
SHORT = 2.0  # seconds the step that must notice waits: what is broken stays broken
PROCESSES = get_context("forkserver")  # a warm parent: a fresh process each, without importing everything again


@dataclass(frozen=True)
class Caught:
    """The result of a drill. ``good`` says whether the right step noticed the fault with the right words."""

    case: Case
    record: Record
    step: str | None  # the first step that did not pass or was not reached, None if all passed
    outcome: Event | None  # the outcome of the step that noticed, None if none did
    seconds: float

    @property
    def words(self) -> str:
        """Return what the step that noticed the fault said in a drill: what it saw, its complaint, its symptom and its
        fix.
        """
        return " ".join(str(self.outcome[key]) for key in WORDS if self.outcome[key]) if self.outcome else ""

    @property
    def good(self) -> bool:
        expected = None if self.case.passes else self.case.step
        return self.step == expected and self.case.says.lower() in self.words.lower()

    @property
    def verdict(self) -> str:
        """Return a drill's verdict: ``caught`` if ``good``, ``false alarm`` if a step complained needlessly, otherwise
        ``missed``.
        """
        return "caught" if self.good else "false alarm" if self._cried_wolf() else "missed"

    def _cried_wolf(self) -> bool:
        """Return whether a step of the drill complained although nothing was wrong.

        The complaint is needless if nothing was broken yet, or if every step of the case must pass.
        """
        order = [step.number for step in plan.steps(plan.notebook(self.case.notebook))]
        early = self.step and self.case.before and order.index(self.step) < order.index(self.case.before)
        return bool(early) or (self.case.passes and self.step is not None)


def prepared(notebook: str) -> Record | None:
    """Prepare the running rehearsal for drills of a notebook: make a clean run, and keep a copy of the database as that
    run left it.

    Return the clean run that the drills resume, or None if each case starts anew. A snapshot of the platform is kept
    only if a case restores it, because copying a database disconnects its users.
    """
    cases = cases_of(notebook)
    if any(case.anew for case in cases):
        _ask(http("person", f"PUT /snapshots/{notebook}-before"))
    if all(case.anew for case in cases):
        return None
    record = clean(notebook)
    if any(case.restored for case in cases):
        _ask(http("person", f"PUT /snapshots/{notebook}-after"))
    return record


def clean(notebook: str) -> Record:
    """Run a notebook on the running rehearsal before its drills, with nothing broken. Return the record.

    Raise `ConfigError` if the notebook does not pass.
    """
    undisturbed = Case("undisturbed", notebook, step="", says="")
    record = _begun(undisturbed, None)
    _walk_apart(record, undisturbed)
    seal = run_record.finish(record)
    if seal["outcome"] != "passed":
        raise ConfigError(f"{notebook} does not pass undisturbed: see {record.folder}")
    return record


def drill(case: Case, parent: Record | None) -> Caught:
    """Drill a case: put its fault in force, break what the case names, run the notebook, and mend everything.

    The run resumes the clean run ``parent``, unless the case says that acts are sent again.
    """
    started = monotonic()
    if case.anew:
        _ask(http("person", f"POST /snapshots/{case.notebook}-before"))
    with _mended(case):
        _set_stage(case)
        again = case.afresh or case.anew
        record = _begun(case, None if again else parent)
        _walk_apart(record, case)
    run_record.finish(record)
    ends = history.read(record).outcomes()
    bad = next((event for event in ends.values() if event["outcome"] != "passed"), None)
    missing = [step.number for step in plan.steps(record.notebook) if step.number not in ends]
    outcome = ends.get(case.step) if case.passes else bad
    stopped = bad["step"] if bad else next(iter(missing), None)
    return Caught(case, record, stopped, outcome, monotonic() - started)


def _begun(case: Case, parent: Record | None) -> Record:
    path = plan.notebook(case.notebook)
    record = run_record.begin(
        profiles.load("rehearsal"),
        case.notebook,
        source=path,
        parent=parent,
        parameters=case.parameters,
        recheck=parent is not None and _overtaken(case),
    )
    record.notebook.write_bytes(path.read_bytes())
    return record


def _overtaken(case: Case) -> bool:
    """Return whether the step that must notice the fault, or a later step of the notebook, changes the platform."""
    steps = plan.steps(plan.notebook(case.notebook))
    numbers = [step.number for step in steps]
    left = steps[numbers.index(case.step) :] if case.step in numbers else steps
    return any(step.verb in history.CHANGING for step in left)


# --- the run, in a process of its own -------------------------------------------------------------------------------


def _walk_apart(record: Record, case: Case) -> None:
    """Run the notebook's cells in a separate process until a cell raises an error."""
    # A lane is warm itself, and has one thread: it needs no server to fork for it.
    processes = get_context("fork") if parent_process() else PROCESSES
    process = processes.Process(target=_walk, args=(dict(os.environ), record.folder, case))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        raise ConfigError(f"the drill {case.name!r} took longer than {LIMIT:g} s")
    why = [event["why"] for event in record.ledger.events() if event["event"] == UNBROKEN]
    if why or process.exitcode:
        raise ConfigError(why[0] if why else f"the drill {case.name!r} broke off with exit code {process.exitcode}")


def _walk(environment: dict[str, str], record: Path, case: Case) -> None:
    become({**environment, run_record.RECORD: str(record), run_record.MODE: "headless"})
    path = plan.notebook(case.notebook)
    numbers = {step.cell: step.number for step in plan.steps(path)}
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()), ExitStack() as stack:
        if case.before is None and not _try_to_break(case, stack, Record(record)):
            return
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] != "code":
                continue
            breaks_now = case.before is not None and numbers.get(index) == case.before
            if breaks_now and not _try_to_break(case, stack, Record(record)):
                return
            if numbers.get(index) == case.step and not case.passes:
                _hurry(names["phase"])
            try:
                exec("".join(cell["source"]), names)  # noqa: S102 - this is what a kernel does
            except RunbookError:
                return  # the ledger has it
            if "parameters" in cell["metadata"].get("tags", ()):
                names.update(case.parameters)


def _hurry(phase: Any) -> None:
    """Shorten the time limits of the step that must notice the fault, because in a drill the step waits in vain."""
    waits = ("answer", "redeploy", "backtest", "provisioning", "machine_gone", "marks", "revoked")
    budgets = phase.settings.budgets.model_copy(update=dict.fromkeys(waits, SHORT))
    phase.settings = phase.settings.model_copy(update={"budgets": budgets})


def _try_to_break(case: Case, stack: ExitStack, record: Record) -> bool:
    """Break what the case names and return True. If that fails, write the reason to the ledger and return False."""
    try:
        _break(case, stack)
    except RunbookError as problem:
        record.ledger.append(UNBROKEN, why=str(problem))
        return False
    return True


def _break(case: Case, stack: ExitStack) -> None:
    """Break what the case names. Closing ``stack`` restores the environment variables."""
    for statement in case.sql:
        _ask(http("person", "POST /sql", json={"sql": statement}))
    if case.variables:
        _ask(http("person", "PUT /variables", json=case.variables))
    if case.http_fault:
        _ask(http("person", "POST /http-faults", json=case.http_fault))
    before = dict(os.environ)
    os.environ.update(case.environment)
    stack.callback(become, before)
    for name, content in case.files.items():
        _put(_repository() / name, content)
    for change in case.requests:
        _ask(_requested(change))


def become(environment: dict[str, str]) -> None:
    """Replace this process's environment variables by ``environment``, in which the drill runs."""
    os.environ.clear()
    os.environ.update(environment)


# --- the stage ------------------------------------------------------------------------------------------------------


def _set_stage(case: Case) -> None:
    """Prepare a case's drill: put the named fault in force, and have the stand-in for a person make the gestures.

    Then wait until the case's query ``until`` returns rows.
    """
    if case.fault:
        _ask(http("person", "POST /faults/{name}", name=case.fault))
    refused = [words for gesture in case.gestures if (words := _gestured(gesture))]
    deadline = monotonic() + STAGE
    while case.until and not _ask(http("person", "POST /sql", json={"sql": case.until})).value("rows"):
        if monotonic() > deadline:
            why = "; ".join(["", *refused])
            raise ConfigError(f"the drill {case.name!r}: {case.until} gave no row within {STAGE:g} s{why}")
        sleep(0.05)


def _gestured(gesture: str | dict[str, Any]) -> str | None:
    """Have the stand-in for a person make a gesture. Return the reason if it is refused, else None.

    A refusal does not end the drill, because it may be what the step must notice.
    """
    [(name, facts)] = gesture.items() if isinstance(gesture, dict) else [(gesture, {})]
    return _answer(http("person", "POST /gestures/{name}", name=name, json=facts)).error


@contextmanager
def _mended(case: Case) -> Iterator[None]:
    """When the block ends, mend what the case has broken, even if the drill fails."""
    kept = {name: _kept(_repository() / name) for name in case.files}
    try:
        yield
    finally:
        _ask(http("person", "DELETE /http-faults"))
        for name, content in kept.items():
            _put(_repository() / name, content)
        if case.fault:
            _ask(http("person", "DELETE /faults/{name}", name=case.fault))
        for change in case.mend:
            reply = _answer(_requested(change))
            if reply.error and reply.status != 404:  # what was not reached was not changed
                raise ConfigError(f"the drill's {change['request']}: {reply.error}")
        if case.restored:
            _ask(http("person", f"POST /snapshots/{case.notebook}-after"))


def _requested(change: dict[str, Any]) -> Http:
    """Return the HTTP request by which a case changes a stand-in, through the vendor's own API."""
    options = {k: v for k, v in change.items() if k not in ("service", "request")}
    return http(change["service"], change["request"], **options)


def _ask(command: Http) -> Reply:
    """Send a command to a stand-in.

    Raise `ConfigError` if it is refused, because the drill would then prove nothing.
    """
    reply = _answer(command)
    if reply.error:
        raise ConfigError(f"the drill's {command.method} {command.path}: {reply.error}")
    return reply


def _answer(command: Http) -> Reply:
    chosen = profiles.load("rehearsal")
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
    return Path(profiles.load("rehearsal").repository)


PROCESSES.set_forkserver_preload(
    ["runbook_lib.runs.open_phase", "runbook_lib.steps.display.charts", "runbook_lib.runs.drills.drill"]
)
