"""Read the drill cases from ``checklist/cases/<notebook>.yaml``. Each says what is broken and which step must notice
it.

A file has the keys that hold for all of its cases (``every``), then the cases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.records import plan
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = ROOT / "runbook_lib" / "checklist" / "cases"
NOTHING = "nothing is wrong"  # the name of the run of each notebook in which every step must pass


@dataclass(frozen=True)
class Case:
    """A drill's case: what is broken, and the step that must notice it.

    Before anything breaks, the stage is set. ``fault`` is a named fault of the rehearsal that is put in force.
    ``gestures`` are made by the person stand-in (each is a name, or a name with its facts; a gesture that is refused
    may be what the step must notice). ``until`` is a query that must return a row before the drill goes on.

    Then something breaks, at the beginning or before the step ``before``. ``sql`` statements are run as superuser.
    ``variables`` of Vercel are set (null: removed) without a redeploy. An ``http_fault`` is put on a stand-in.
    ``requests`` change something through a stand-in's own API, and the requests in ``mend`` take that back.
    ``environment`` variables are changed. ``files`` of the platform's checkout get new text (null: removed).
    ``parameters`` are given to the notebook.

    ``step`` must fail, and its complaint, symptom or fix must contain ``says``. With ``passes``, ``step`` must pass,
    and what it saw must contain ``says``. With ``afresh``, acts are sent again. With ``anew``, acts are sent again on
    the database as it was before the notebook's first run.
    """

    name: str
    notebook: str
    step: str
    says: str
    before: str | None = None
    fault: str | None = None
    gestures: tuple[str | dict[str, Any], ...] = ()
    until: str | None = None
    sql: tuple[str, ...] = ()
    variables: dict[str, str | None] = field(default_factory=dict)
    http_fault: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    requests: tuple[dict[str, Any], ...] = ()
    mend: tuple[dict[str, Any], ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    afresh: bool = False
    anew: bool = False
    passes: bool = False

    @property
    def restored(self) -> bool:
        """Return whether the case's drill ends by restoring the database."""
        return bool(self.sql or self.variables or self.afresh) and not self.anew


def notebooks() -> list[str]:
    """Return the names of the notebooks that have drill cases, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def cases_of(notebook: str) -> list[Case]:
    """Return the drill cases of a notebook.

    Raise `ConfigError` if the case file has an unknown key or step, or uses a name twice.
    """
    every, listed = _written(notebook)
    known = [step.number for step in plan.steps(plan.notebook(notebook))]
    cases = [_case(notebook, {**every, **entry}, known) for entry in listed]
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{notebook}: two cases are named {name!r}")
    return cases


def undisturbed(notebook: str) -> list[Case]:
    """Return a drill case that breaks nothing, in which every step of the notebook must pass.

    Return no case for a notebook that diagnoses, whose cases all have ``passes``: if nothing is wrong, there is nothing
    to diagnose.
    """
    every, _ = _written(notebook)
    nothing = Case(NOTHING, notebook, step="", says="", passes=True, parameters=every.get("parameters", {}))
    return [] if every.get("passes") else [nothing]


def chosen(names: Sequence[str]) -> list[Case]:
    """Return the drill cases that ``names`` select, by case or by notebook. Without names, return all cases.

    For a notebook chosen by its name, add the case in which nothing is broken. Raise `ConfigError` for a name that is
    neither a case nor a notebook.
    """
    known = {name: [*undisturbed(name), *cases_of(name)] for name in notebooks()}
    if not names:
        return [case for listed in known.values() for case in listed]
    picked = [case for name in names for case in _named(name, known)]
    return [case for place, case in enumerate(picked) if case not in picked[:place]]


def _named(name: str, known: dict[str, list[Case]]) -> list[Case]:
    """Return the drill cases of every notebook whose name begins with ``name``.

    If no notebook's name begins so, return the cases named ``name``.
    """
    of_notebooks = [listed for notebook, listed in known.items() if f"{notebook}_".startswith(f"{name}_")]
    if of_notebooks:
        return [case for listed in of_notebooks for case in listed]
    every = [case for listed in known.values() for case in listed]
    cases = [case for case in every if case.name.casefold() == name.casefold()]
    if not cases:
        choices = [*known, *dict.fromkeys(case.name for case in every)]
        raise ConfigError(f"no notebook or case {name!r}: {nearest(name, choices)}")
    return cases


def _written(notebook: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read a notebook's case file: the keys that all its cases share, and the keys of each case."""
    written = yaml.safe_load((FOLDER / f"{notebook}.yaml").read_text(encoding="utf-8"))
    return written.get("every", {}), written["cases"]


def _case(notebook: str, raw: dict[str, Any], known: list[str]) -> Case:
    for key in raw:
        if key not in Case.__dataclass_fields__:
            raise ConfigError(
                f"case {raw.get('name')!r}: unknown key {key!r}: {nearest(key, Case.__dataclass_fields__)}"
            )
    for step in filter(None, (raw.get("step"), raw.get("before"))):
        if step not in known:
            raise ConfigError(f"case {raw['name']!r}: no step {step!r} in {notebook}: {nearest(step, known)}")
    listed: dict[str, Any] = {key: tuple(raw[key]) for key in ("gestures", "sql", "requests", "mend") if key in raw}
    return Case(notebook=notebook, **{**raw, **listed})
