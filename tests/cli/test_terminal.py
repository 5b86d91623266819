"""The terminal: one line per step, whatever it says, and a closing table."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from runbook_lib.cli import terminal
from runbook_lib.records.record_folder import Record
from runbook_lib.runs.drills.mutation import Fate, Judged, Unseen
from runbook_lib.runs.drills.parallel import Row
from runbook_lib.runs.headless import EXIT

WIDTH = 80


def printed(*events: dict[str, Any]) -> list[str]:
    out = Console(file=io.StringIO(), width=WIDTH)
    tell = terminal.step_printer(out)
    for event in events:
        tell(event)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def outcome(word: str = "passed", **more: Any) -> dict[str, Any]:
    return {"event": "outcome", "step": "0.1a", "outcome": word, "title": "Tables exist", "seen": "4 rows", **more}


@pytest.mark.parametrize("word", ["passed", "failed", "waiting", "unknown"])
def test_a_step_is_one_line(word: str) -> None:
    assert printed(outcome(word)) == [f"0.1a   {word:8} Tables exist  4 rows"]


def test_every_outcome_a_run_can_end_in_has_a_style() -> None:
    assert set(EXIT) == set(terminal.STYLES)


def test_other_lines_of_the_ledger_are_not_told() -> None:
    assert printed({"event": "sending"}, {"event": "opened"}, {"event": "seal"}) == []


@example("a title of some length " * 10, "what was seen " * 20)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200) | st.just("a\nb"),
    st.text("x [/]\n", max_size=90),
)
def test_a_line_stays_one_line_of_the_terminals_width(title: str, seen: str) -> None:
    lines = printed(outcome(title=title, seen=seen))
    assert len(lines) == 1


def test_brackets_in_what_a_service_says_are_no_markup() -> None:
    assert printed(outcome(seen="[red]x[/red] [/]")) == ["0.1a   passed   Tables exist  [red]x[/red] [/]"]
    assert "complaint: [/] [bold]" in printed(outcome("failed", complaint="[/] [bold]"))[1]


def test_anything_but_a_pass_brings_its_advice() -> None:
    lines = printed(outcome("failed", complaint="found 3", symptom="unknown table", fix="Push them."))
    assert [line.strip() for line in lines[1:]] == ["complaint: found 3", "symptom: unknown table", "fix: Push them."]


def test_the_end_shows_counts_record_and_seal_of_each_run() -> None:
    out = Console(file=io.StringIO(), width=terminal.PIPED)
    counts = {"passed": 3, "failed": 1, "waiting": 0, "unknown": 0}
    seal = {"phase": "phase_0_platform_prep", "steps": counts, "missing": ["0.2a", "0.2b"], "hash": 64 * "a"}
    run = SimpleNamespace(
        seal=seal,
        outcome="failed",
        record=Record(Path.cwd() / "records/r/1"),
        result=SimpleNamespace(seconds=1.25, reason="[/]"),
    )
    terminal.closing(out, [run])  # type: ignore[list-item]
    assert isinstance(out.file, io.StringIO)
    shown = out.file.getvalue()
    for word in ("phase_0_platform_prep", "failed", "3", "1", "2", "1.2", "record records/r/1", 64 * "a", "ended: [/]"):
        assert word in shown


def test_the_end_tells_what_was_taken_over() -> None:
    out = Console(file=io.StringIO(), width=terminal.PIPED)
    counts = {"passed": 3, "failed": 0, "waiting": 0, "unknown": 0}
    seal = {"phase": "phase_1", "steps": counts, "missing": [], "hash": 64 * "a", "recalled": 2}
    run = SimpleNamespace(
        seal={**seal, "parent": {"record": "r/d/before"}},
        outcome="passed",
        record=Record(Path.cwd() / "records/r/1"),
        result=SimpleNamespace(seconds=1.25, reason=""),
    )
    terminal.closing(out, [run])  # type: ignore[list-item]
    assert isinstance(out.file, io.StringIO)
    assert "2 of its steps are taken over from r/d/before" in out.file.getvalue()


def test_a_piped_output_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a kernel: nothing is redrawn there all the same
    assert not terminal.console().is_terminal
    assert terminal.console().width == terminal.PIPED


def row(verdict: str, **more: Any) -> Row:
    facts = {"expected": "0.1j", "noticed": "0.1j", "says": "create", "words": "create [it]\nnow", "fix": "Do."}
    return Row("phase_0", "Vault missing", verdict=verdict, seconds=1.25, **{**facts, **more})


def drilled(*rows: Row) -> str:
    out = Console(file=io.StringIO(), width=WIDTH)
    for one in rows:
        terminal.drilled(out, one)
    terminal.matrix(out, rows, 2.0)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_a_fault_that_is_caught_is_one_line() -> None:
    assert drilled(row("caught")).splitlines()[0] == (
        "caught      0.1j   0.1j     1.2 s  Vault missing  create [it] now"
    )


def test_a_fault_that_is_missed_says_what_was_expected_and_found() -> None:
    text = drilled(row("caught"), row("missed", noticed="", words="nothing"))

    assert "missed      0.1j   -" in text and "expected: create" in text and "found: nothing" in text
    assert [word.strip() for word in text.splitlines()[-2].split("│")[1:-1]] == ["all", "2", "1", "1", "0", "2.0"]


def test_mutants_are_counted_and_each_survivor_is_told_with_its_reason() -> None:
    fates = (
        Fate("phase_1_paper", "1.5d", "within removed", "late answers"),
        Fate("phase_1_paper", "1.5f", "each: status dropped", ""),
        Fate("phase_1_paper", "1.1d", "sql misspelt: 'symbol '", "", "It is only shown."),
    )
    result = Judged("phase_1_paper", fates, 4, (Unseen("phase_1_paper", "1.5f", "status"),), (("1.1e", "gone"),))
    out = Console(file=io.StringIO(), width=WIDTH)

    terminal.mutated(out, result)
    terminal.mutants(out, [result], 7.0)

    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "phase_1_paper: 1 of 3 killed: 1 by late answers",
        "  1.5f   each: status dropped: nobody noticed, and no reason is given",
        "  1.1d   sql misspelt: 'symbol ': It is only shown.",
        "  1.5f   status: never seen red",
        "  1.1e   gone: take its reason out of survivors.yaml, it is noticed",
        "1 of 3 mutants killed (33.3 %); 1 survive with a reason, 1 without;"
        " 3 of 4 expected values seen red alone; 7 s",
    ]
