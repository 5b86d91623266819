"""A platform that calls five things otherwise is told so, and is launched once the runbook is adapted to its names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from runbook_lib.records import plan
from runbook_lib.settings.profiles import ROOT

PARTS = (
    "runbook_lib",
    "notebooks",
    "parameters",
    "docs",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "runbook",
)
# What the stand-ins of another rehearsal say in place of our names: pattern -> text. Written without `adapt`.
COLUMNS = {
    r"\bissued_by\b": "queued_by",
    r"\bhyperliquid_agent_id\b": "signer_id",
    r"\bskill_version\b": "version_no",
}
ROWS = {
    r"""(["'])reconciled\1""": r"\1reconcile_done\1",
    r"\bequity_usd=equity\b": "equityUsd=equity",
    r"'equity_usd', round\b": "'equityUsd', round",
}
PHASES = ("phase_0", "phase_1", "phase_2", "phase_3", "phase_4")
ADAPT = re.compile(r"\./runbook adapt ((?:\S+=\S+\s+)+)")


@dataclass(frozen=True)
class Checkout:
    """A copy of the checkout with an environment of its own, in which this one's packages are found."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Checkout:
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        venv.create(folder / ".venv", symlinks=True)
        packages = sysconfig.get_path("purelib", vars={"base": str(folder / ".venv")})
        Path(packages, "first.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n")
        runbook = folder / "runbook"  # the real one would install packages
        runbook.write_text(f'#!/bin/sh\nexec "{folder}/.venv/bin/python" -I -m runbook_lib.cli "$@"\n')
        runbook.chmod(0o755)
        return cls(folder)

    def run(self, *arguments: str) -> str:
        """What a command says."""
        line = [str(self.folder / "runbook"), *arguments]
        said = subprocess.run(line, cwd=self.folder, capture_output=True, text=True, timeout=900, check=False)
        return said.stdout + said.stderr

    def adapt(self, card: str) -> str:
        """Run the command that a card names."""
        [names, *_] = ADAPT.findall(card)
        return self.run("adapt", *shlex.split(names))

    def records(self) -> list[Path]:
        """The newest record of each phase."""
        found = sorted((self.folder / "records").glob("*/*/*_phase_*"))
        return list({path.name.partition("_")[2]: path for path in found}.values())


def sent(record: Path) -> list[str]:
    """Every command of a record, as it was sent."""
    events = map(json.loads, (record / "ledger.jsonl").read_text().splitlines())
    return [command for event in events if event["event"] == "sending" for command in event["commands"]]


def shown(record: Path) -> str:
    """The texts of a record's outputs."""
    cells = json.loads((record / "notebook.ipynb").read_text())["cells"]
    return "\n".join(
        "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for cell in cells
        for output in cell.get("outputs", ())
    )


def named_otherwise(folder: Path) -> None:
    """Let the stand-ins of the rehearsal in ``folder`` use other names."""
    for path in (folder / "runbook_lib" / "rehearsal").rglob("*"):
        if path.suffix in (".py", ".sql", ".yaml"):
            text = path.read_text()
            for pattern, new in (COLUMNS | ROWS).items():
                text = re.sub(pattern, new, text)
            path.write_text(text)


@dataclass(frozen=True)
class Told:
    """What was said, in order: before a row is there, where rows are, once columns are adapted, and once all are."""

    checkout: Checkout
    before: str
    with_rows: str
    then: str
    last: str
    plans: tuple[bytes, bytes]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Told:
    checkout = Checkout.make(tmp_path_factory.mktemp("other"))
    named_otherwise(checkout.folder)
    plans = checkout.folder / "notebooks" / "plans.json"
    old = plans.read_bytes()
    with_rows = checkout.run("rehearse", "phase_0", "--state", "paper_running")
    before = checkout.run("rehearse", "phase_0")
    checkout.adapt(before)
    then = checkout.run("rehearse", "phase_1")
    checkout.adapt(then)
    return Told(checkout, before, with_rows, then, checkout.run("rehearse", *PHASES), (old, plans.read_bytes()))


def line(said: str, name: str, nearest: str) -> bool:
    return re.search(rf"expected \w+ {re.escape(name)}, found\s+nearest {nearest}\b", said) is not None


def test_columns_are_told_before_anything_asks_for_them(told):
    assert "3 of " in told.before and "0.1i" not in told.before
    assert line(told.before, "agent_commands.issued_by", "queued_by")
    assert line(told.before, "deployments.hyperliquid_agent_id", "signer_id")
    assert line(told.before, "deployments.skill_version", "version_no")


def test_key_and_event_are_told_at_the_first_step_with_rows(told):
    [failed] = re.findall(r"^(\S+) +failed", told.then, re.MULTILINE)
    assert failed == "1.3c"
    assert line(told.then, "agent_logs.event:reconciled", "reconcile_done")
    assert line(told.then, "agent_logs.data.equity_usd", "equityUsd")


def test_all_five_are_told_in_one_card_where_rows_are(told):
    assert "5 of " in told.with_rows
    assert line(told.with_rows, "deployments.skill_version", "version_no")
    assert line(told.with_rows, "agent_logs.data.equity_usd", "equityUsd")


def test_phases_0_to_4_pass_once_the_cards_own_commands_were_run(told):
    assert re.findall(r"│ (phase_\d)_\w+ +│ (\w+)", told.last) == [(phase, "passed") for phase in PHASES], told.last


def test_what_is_sent_has_the_platforms_names(told):
    """An old name is left as the alias under which a reply is read, and nowhere else."""
    statements = "\n".join(command for record in told.checkout.records() for command in sent(record))
    assert all(name in statements for name in ("queued_by", "signer_id", "version_no", "equityUsd", "reconcile_done"))
    asked = re.sub(r"\bas \w+", "", statements)
    assert re.findall(r"\b(?:issued_by|hyperliquid_agent_id|d\.skill_version)\b|'reconciled'", asked) == []


def test_what_a_rewritten_cell_shows_is_what_is_sent(told):
    for record in told.checkout.records():
        outputs = shown(record)
        assert [command for command in sent(record) if command not in outputs] == []


def test_plans_are_those_of_the_rewritten_cells(told):
    old, new = told.plans
    assert old != new
    for path in (told.checkout.folder / "notebooks").glob("*.ipynb"):
        assert plan.accepted(path.stem, path.parent) == plan.written_down(path)
