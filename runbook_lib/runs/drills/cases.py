"""What can go wrong, who must notice, and in which words: read from ``checklist/cases/<notebook>.yaml``.

A file says what holds for every one of its cases, then each.
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
    """One thing that breaks, and who must say so.

    The stage is set first: ``fault`` is a named fault of the rehearsal put in force, ``gestures`` are what the person
    does then (a name, or a name with its facts; what they are refused is for the notebook to find), ``until`` is
    a query that must give a row. Then it breaks, at the beginning or ``before`` a step. ``sql``: statements run as
    superuser. ``variables``: Vercel's, set (null: removed) without a redeploy. ``http_fault``: of a stand-in.
    ``requests``: changes through a stand-in's own API; ``mend``: those that take back what was changed.
    ``environment``: variables changed. ``files``: of the platform's checkout, new text or null to remove.
    ``parameters`` are the notebook's.

    ``step`` must fail, and its complaint, symptom or fix must contain ``says``; with ``passes`` it must pass, and what
    it saw contain it. ``afresh``: acts are sent again; ``anew``: that, and on the platform of before.
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
        """Whether the database is put back afterwards, to what the clean run left."""
        return bool(self.sql or self.variables or self.afresh) and not self.anew


def notebooks() -> list[str]:
    """The notebooks that have cases, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def cases_of(notebook: str) -> list[Case]:
    """A notebook's cases. Raise `ConfigError` if its file names an unknown key or step, or a name twice."""
    every, listed = _written(notebook)
    known = [step.number for step in plan.steps(plan.notebook(notebook))]
    cases = [_case(notebook, {**every, **entry}, known) for entry in listed]
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{notebook}: two cases are named {name!r}")
    return cases


def undisturbed(notebook: str) -> list[Case]:
    """A notebook's run from its own starting state with nothing broken, in which every step must pass.

    There is none of a notebook whose cases must all be named a cause: it has nothing to say where nothing is wrong.
    """
    every, _ = _written(notebook)
    nothing = Case(NOTHING, notebook, step="", says="", passes=True, parameters=every.get("parameters", {}))
    return [] if every.get("passes") else [nothing]


def chosen(names: Sequence[str]) -> list[Case]:
    """The cases of these notebooks, and those named; all of all notebooks without names.

    A notebook that is run whole is also run undisturbed. Raise `ConfigError` for a name that is neither.
    """
    known = {name: [*undisturbed(name), *cases_of(name)] for name in notebooks()}
    if not names:
        return [case for listed in known.values() for case in listed]
    picked = [case for name in names for case in _named(name, known)]
    return [case for place, case in enumerate(picked) if case not in picked[:place]]


def _named(name: str, known: dict[str, list[Case]]) -> list[Case]:
    """A notebook's cases, by its name or its beginning; else every case of that name."""
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
    """Read a notebook's case file: the keys that every case has, and each case's own keys."""
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
