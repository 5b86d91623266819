"""The plan of a notebook: every step, in the order it is written, without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.records import plan, verify
from runbook_lib.records.plan import Step, steps


def notebook(folder: Path, *cells: str | dict[str, Any], name: str = "phase_9_trial") -> Path:
    written = [c if isinstance(c, dict) else {"cell_type": "code", "metadata": {}, "source": c} for c in cells]
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": written}), encoding="utf-8")
    return path


def test_steps_come_in_the_order_they_are_written(tmp_path: Path) -> None:
    path = notebook(
        tmp_path,
        {"cell_type": "markdown", "source": 'phase.check("0", "in prose")'},
        'phase.check("9.1a", "First", sql("select 1"), expect=rows(), fix="x")',
        {"cell_type": "code", "metadata": {"tags": ["slow"]}, "source": ['phase.act("9.1b",\n', '  "Second", c)']},
        '[phase.confirm("9.1c", "Third")]\nphase.check("9.1d", "Fourth", c)',
    )
    assert steps(path) == [
        Step("9.1a", "check", "First", 1),
        Step("9.1b", "act", "Second", 2, ("slow",)),
        Step("9.1c", "confirm", "Third", 3),
        Step("9.1d", "check", "Fourth", 3),
    ]


@pytest.mark.parametrize(
    "call",
    [
        'phase.check("1a", title="A", fix="x")',
        'phase.check(number="1a", title="A")',
        'phase.act(title="A", number="1a", command=c)',
        'phase.confirm("1a", statement="A")',
        'done = phase.check("1a", "A")',
        'await phase.check("1a", "A")',
    ],
)
def test_a_step_is_seen_however_its_call_is_written(tmp_path: Path, call: str) -> None:
    assert [(s.number, s.title) for s in steps(notebook(tmp_path, call))] == [("1a", "A")]


@pytest.mark.parametrize(
    "source",
    [
        'phase.show(sql("select 1"))',
        'other.check("1a", "A")',
        'check("1a", "A")',
        'phase.check("1a")',
        "phase.check",
        '# phase.check("1a", "A")',
        '"phase.check(1, 2)"',
        "%matplotlib inline",
        "",
    ],
)
def test_what_is_no_step_is_not_one(tmp_path: Path, source: str) -> None:
    assert steps(notebook(tmp_path, source)) == []


def test_a_computed_number_is_shown_as_it_is_written(tmp_path: Path) -> None:
    assert steps(notebook(tmp_path, "phase.check(number, f'{x} is there')"))[0].number == "number"


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", "null"])
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.ipynb is not a notebook"):
        steps(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("phase_1_paper", "phase_0_platform_prep", "phase_1_papers", "diagnose_boot"):
        notebook(tmp_path, name=name)
    return tmp_path


def test_notebooks_are_listed_in_order(folder: Path) -> None:
    expected = ["diagnose_boot", "phase_0_platform_prep", "phase_1_paper", "phase_1_papers"]
    assert plan.notebooks(folder) == expected


@pytest.mark.parametrize("name", ["phase_0", "phase_0_platform_prep"])
def test_a_notebook_is_found_by_name_or_beginning(folder: Path, name: str) -> None:
    assert plan.notebook(name, folder) == folder / "phase_0_platform_prep.ipynb"


def test_a_file_is_that_file_or_said_not_to_be_there(folder: Path, tmp_path: Path) -> None:
    path = folder / "phase_0_platform_prep.ipynb"
    assert plan.notebook(str(path), folder) == path
    with pytest.raises(ConfigError, match=r"there is no file .*/elsewhere/phase_0_platform_prep\.ipynb"):
        plan.notebook("elsewhere/phase_0_platform_prep.ipynb", folder)


def test_a_plan_tells_of_every_cell_that_changed(tmp_path: Path) -> None:
    source = notebook(tmp_path, 'phase.check("0.1a", "one")', "x = 1", 'phase.check("0.1b", "two")')
    planned, copy = plan.written_down(source), tmp_path / "record"
    copy.mkdir()
    assert [step[:3] for step in planned["steps"]] == [["0.1a", "check", "one"], ["0.1b", "check", "two"]]

    def edits(*sources: str) -> list[str]:
        notebook(copy, *sources, name="notebook")
        return verify.edits(copy, planned)

    assert edits('phase.check("0.1a", "one")', "x = 1", 'phase.check("0.1b", "two")', " ") == []
    assert edits('phase.check("0.1a", "one")', "x = 2", 'phase.check("0.1b", "two")') == ["cell 2", "added cell 2"]
    assert edits('phase.check("0.1a", "one")', "x = 1") == ["0.1b"]
    assert edits("x = 1", 'phase.check("0.1a", "one")', 'phase.check("0.1b", "two")') == ["the order of the cells"]
    (copy / "notebook.ipynb").write_text("{")
    assert verify.edits(copy, planned) == ["notebook.ipynb"]


def test_only_the_parameters_a_run_was_given_are_no_edit(tmp_path: Path) -> None:
    def cell(source: str, *tags: str) -> dict[str, Any]:
        return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source}

    given = cell("funding = 200", "injected-parameters")
    first = cell("funding = 100", "parameters")
    assert verify.code_cells({"cells": [first, given]}) == ["funding = 100"]
    assert len(verify.code_cells({"cells": [first, given, given]})) == 2
    assert len(verify.code_cells({"cells": [first, cell("x = 1"), given]})) == 3
    assert len(verify.code_cells({"cells": [first, cell("x = print()", "injected-parameters")]})) == 2


def test_an_accepted_plan_is_read_back_beside_the_others(tmp_path: Path) -> None:
    for name in ("phase_0_a", "phase_1_b"):
        plan.accept(notebook(tmp_path, f'phase.check("0.1a", "{name}")', name=name))
    assert plan.accepted("phase_1_b", tmp_path) == plan.written_down(tmp_path / "phase_1_b.ipynb")
    assert plan.accepted("phase_2_c", tmp_path) is None


@pytest.mark.parametrize("name", ["phase_1_a.nbconvert", "out"])
def test_what_a_front_end_wrote_beside_the_notebooks_has_no_name_but_a_path(tmp_path: Path, name: str) -> None:
    plan.accept(notebook(tmp_path, 'phase.check("1.1a", "A")', name="phase_1_a"))
    written = notebook(tmp_path, 'phase.check("1.1a", "A")', name=name)
    assert plan.notebooks(tmp_path) == ["phase_1_a"]
    assert plan.notebook("phase_1", tmp_path) == tmp_path / "phase_1_a.ipynb"
    assert plan.notebook(str(written)) == written


def test_a_whole_name_wins_over_a_longer_one(folder: Path) -> None:
    assert plan.notebook("phase_1_paper", folder).stem == "phase_1_paper"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("phase_1", "may be any of phase_1_paper, phase_1_papers"),
        ("diagnose_bot", "did you mean 'diagnose_boot'"),
        ("phase_7", "no notebook 'phase_7'"),
        ("", "no notebook ''"),
    ],
)
def test_a_name_that_fits_none_or_several_is_refused(folder: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan.notebook(name, folder)


@pytest.mark.parametrize("name", plan.notebooks())
def test_the_numbers_of_a_notebook_are_unique_and_its_titles_plain(name: str) -> None:
    found = steps(plan.notebook(name))
    assert len({s.number for s in found}) == len(found)
    assert all(s.title and s.title == s.title.strip() for s in found)
