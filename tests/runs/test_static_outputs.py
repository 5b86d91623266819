"""A record's notebook shows what its ledger holds, whatever a browser saved."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from runbook_lib.commands.command import http
from runbook_lib.commands.expectations import value
from runbook_lib.errors import StepFailed
from runbook_lib.runs import static_outputs
from tests.core_fixtures import at, phase_of
from tests.steps.display.test_button_widget import offer, offered
from tests.steps.test_phase import check


@pytest.fixture
def phase(chosen, tmp_path, vendor):
    return phase_of(at(chosen, vendor), tmp_path, "act 1a", "check 1b", "confirm 1c", mode="attended")


def rewritten(phase):
    static_outputs.rewrite(phase.record, production=False)
    return nbformat.read(phase.record.notebook, as_version=4).cells


def text(cell):
    return "\n".join(output.data["text/plain"] for output in cell.outputs)


def changed(phase, change):
    notebook = nbformat.read(phase.record.notebook, as_version=4)
    change(notebook)
    nbformat.write(notebook, phase.record.notebook)


def test_a_pressed_button_becomes_the_words_that_it_was_pressed(phase):
    one = offer(phase)
    bundle = one._repr_mimebundle_()

    def saved(notebook):
        notebook.cells[1] |= {"outputs": [new_output("display_data", data=bundle)], "execution_count": 3}
        notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}

    changed(phase, saved)
    one.button.click()
    cells = rewritten(phase)
    assert "pressed by" in text(cells[1]) and "1a  passed  make a" in text(cells[1])
    assert "widget" not in phase.record.notebook.read_text()
    assert cells[1].execution_count == 3
    static_outputs.rewrite(phase.record, production=False, anew=True)
    assert '"execution_count": 3' not in phase.record.notebook.read_text()


def test_an_unpressed_button_becomes_the_words_that_it_waits(phase):
    offer(phase)
    assert "1a  waiting  make a  not sent yet: press" in text(rewritten(phase)[1])


def test_failures_vouchings_and_what_was_sent_without_an_answer_are_told(phase):
    offer(phase).button.click()
    with pytest.raises(StepFailed):
        check(phase, "1b", expect=value(2, "n"))
    assert "found: n: expected 2, found 1" in text(rewritten(phase)[2])
    check(phase, "1b")
    phase.confirm("1c", "a backup exists")
    offered(phase).field.box.value = "AL"
    offered(phase).button.click()
    cells = rewritten(phase)
    assert "1b  passed" in text(cells[2]) and "vouched by AL" in text(cells[3])
    phase.record.ledger.append("sending", step="1a", verb="act", title="make a", commands=[])
    assert "1a  unknown" in text(rewritten(phase)[1])


def test_what_is_no_step_stays_as_it_was_saved_and_an_empty_last_cell_goes(phase):
    def saved(notebook):
        bare = {static_outputs.VIEW: {"model_id": "x"}, "text/plain": "VBox()"}
        told = {static_outputs.VIEW: {"model_id": "y"}, "text/plain": "what it showed", "text/html": "what it showed"}
        shown = ({"text/plain": "a chart"}, bare, told)
        notebook.cells[0].outputs = [new_output("display_data", data=data) for data in shown]
        notebook.cells.append(new_code_cell(""))

    before = len(nbformat.read(phase.record.notebook, as_version=4).cells)
    changed(phase, saved)
    cells = rewritten(phase)
    assert text(cells[0]) == "a chart\nwhat it showed" and len(cells) == before
    assert static_outputs.VIEW not in phase.record.notebook.read_text()


def test_what_is_no_step_is_trusted_by_nobody_when_the_notebook_is_opened_again(phase):
    """Whoever could write to the folder of an unsealed record could have planted it."""

    def planted(notebook):
        script = {"text/html": "<script>planted()</script>", "image/svg+xml": "<svg onload='planted()'/>"}
        chart = {"image/png": "iVBORw0KGgo=", "text/plain": "a chart"}
        shown = [new_output("display_data", data=data) for data in (script, {**script, **chart})]
        javascript = {"application/javascript": "planted()"}
        shown += [new_output("execute_result", data=javascript), new_output("stream", text="a line")]
        notebook.cells[0].outputs = shown

    changed(phase, planted)
    static_outputs.rewrite(phase.record, production=False, anew=True)
    assert "planted" not in phase.record.notebook.read_text()
    chart, line = nbformat.read(phase.record.notebook, as_version=4).cells[0].outputs
    assert chart.data.keys() == {"image/png", "text/plain"} and line.text == "a line"


def test_the_opening_cell_shows_how_far_the_run_is(phase):
    changed(phase, lambda notebook: notebook.cells.insert(1, new_code_cell('phase = open_phase("phase_try")')))
    offer(phase).button.click()
    assert "steps: 1 of 3 passed, next 1b step 1b" in text(rewritten(phase)[1])


def test_secrets_that_an_output_was_saved_with_are_redacted(phase, environment):
    secret = environment["FLY_API_TOKEN"]

    def saved(notebook):
        notebook.cells[0].outputs = [new_output("stream", name="stdout", text=f"token {secret}")]

    changed(phase, saved)
    phase.act("1a", "make a", http("openrouter", "POST /things/a"), repeatable=True)
    rewritten(phase)
    assert secret not in phase.record.notebook.read_text()
