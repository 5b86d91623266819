"""What a boot died of: lines of five places in one order, the newest that decides, and what is nobody's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.checklist.boot_diagnosis import boot_lines, gathered, known_cause, machines_named, written_down
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import judge
from tests.judging import complaint

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
DEPLOYMENT = Reply(({"id": "d1", "machine": "m1", "created_at": "2026-11-22T10:00:00Z"},))
WRONG_PASSWORD = 'runner_fatal: password authentication failed for user "postgres"'
NO_MARK = "tick_failed: paper broker: no mark price set for SOL; call setMarkPrice first"


def iso(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def milliseconds(seconds: float) -> int:
    return round((START.timestamp() + seconds) * 1000)


def wrote(seconds: float, text: str, *, decisive: bool = False) -> dict[str, Any]:
    return {"at": iso(seconds), "place": "agent_logs", "text": text, "decisive": decisive}


def fly(seconds: float, message: str) -> dict[str, Any]:
    return {"id": "1", "attributes": {"timestamp": iso(seconds), "message": message}}


def vercel(seconds: float, message: str, level: str = "error") -> dict[str, Any]:
    request = {"timestamp": milliseconds(seconds), "logs": [{"level": level, "message": message}]}
    return {"rows": [request], "hasMoreRows": False}


def machine(
    name: str = "m1", deployment: str | None = None, *, killed: bool = False, nested: bool = False
) -> dict[str, Any]:
    exits = {"type": "exit", "status": "stopped", "timestamp": milliseconds(3)}
    event = {"exit_event": {"exit_code": 137, "oom_killed": killed}}
    exits["request"] = {"MonitorEvent": event} if nested else event
    env = {"DEPLOYMENT_ID": deployment} if deployment else {}
    return {"id": name, "state": "stopped", "config": {"env": env}, "events": [exits, {"type": "launch"}]}


def cause(*rows: dict[str, Any], database: tuple[dict[str, Any], ...] = ()) -> tuple[str, str]:
    """What is seen, what is complained of."""
    finding = judge(known_cause(DEPLOYMENT, "rehearsal"), [Reply(database), Reply(rows)])
    return finding.seen, finding.complaint or ""


# --- one order


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("dfv")), max_size=12))
def test_lines_of_every_place_are_in_the_order_of_time(found: list[tuple[int, str]]) -> None:
    made = {"d": wrote, "f": fly, "v": vercel}
    lines = gathered([Reply((made[kind](seconds, "x"),)) for seconds, kind in found], DEPLOYMENT)
    assert [line.at for line in lines] == sorted(START + timedelta(seconds=seconds) for seconds, _ in found)


def test_what_is_about_something_else_is_left_out() -> None:
    rows = (machine("m2", "another"), vercel(-3600, NO_MARK), vercel(1, NO_MARK, level="info"))
    assert gathered([Reply(rows)], DEPLOYMENT) == []
    assert gathered([Reply((machine("m3", "d1"), machine("m1")))], DEPLOYMENT) != []


# --- the cause


@pytest.mark.parametrize("place", [wrote, fly, vercel])
def test_a_known_failure_is_named_with_its_fix_wherever_it_is_written(place: Any) -> None:
    row = place(2, NO_MARK)
    seen, wrong = cause(row) if place is not wrote else cause(database=(row,))
    assert seen.startswith("no mark price for a symbol (in ") and "Then return to 1.3a." in seen
    assert wrong == ""


def test_the_newest_known_failure_counts() -> None:
    assert cause(fly(1, NO_MARK), fly(2, WRONG_PASSWORD))[0].startswith("runner has a wrong database password")
    assert cause(fly(2, NO_MARK), fly(1, WRONG_PASSWORD))[0].startswith("no mark price")


def test_what_a_decisive_unknown_line_hides_is_not_taken_for_the_cause() -> None:
    seen, wrong = cause(fly(1, NO_MARK), database=(wrote(2, "runner_fatal: never seen", decisive=True),))
    assert seen == "" and wrong.startswith(
        "unknown: none of the last of 2 lines is a known symptom\n  2026-11-22T10:00:01"
    )
    assert wrong.index("no mark price") < wrong.index("never seen")


def test_the_line_that_decides_and_the_newest_error_are_shown_however_many_lines_follow() -> None:
    early = (wrote(1, "runner_fatal: nobody has seen this", decisive=True), wrote(2, "tick failed: odd"))
    _, complaint = cause(*(fly(10 + n, f"line {n}") for n in range(40)), database=early)
    assert "nobody has seen this" in complaint and "tick failed: odd" in complaint
    assert "line 39" in complaint and "line 1\n" not in complaint


def test_an_exit_is_read_in_either_of_its_two_places() -> None:
    nested = machine(killed=True)
    nested["events"][0]["request"] = {"MonitorEvent": nested["events"][0]["request"]}
    assert "machine out of memory" in cause(nested)[0] == cause(machine(killed=True))[0]


def test_a_failure_before_a_boot_that_succeeded_is_overcome() -> None:
    seen, wrong = cause(fly(1, WRONG_PASSWORD), fly(2, "live-runner: status=running; entering tick loop"))
    assert seen == "" and wrong.startswith("unknown")


def test_a_machine_that_ran_out_of_memory_says_so() -> None:
    assert cause(machine(killed=True))[0].startswith("machine out of memory (in machine m1)")
    assert cause(machine())[1].startswith("unknown")


def test_how_a_machine_ended_is_read_one_level_deeper_too() -> None:
    assert cause(machine(killed=True, nested=True))[0].startswith("machine out of memory (in machine m1)")
    assert judge(machines_named(DEPLOYMENT), [Reply((machine(nested=True),))]).seen == "m1 stopped (exit 137)"


def test_a_place_that_refuses_keeps_no_other_evidence_back() -> None:
    refused = Reply(({"error": {"message": "no"}},), 403, "HTTP 403 Forbidden: no")
    known = judge(known_cause(DEPLOYMENT, "rehearsal"), [Reply(), Reply((fly(2, WRONG_PASSWORD),)), refused])
    assert known.seen.startswith("runner has a wrong database password")
    unknown = judge(known_cause(DEPLOYMENT, "rehearsal"), [Reply(), Reply((fly(2, "odd"),)), refused]).complaint or ""
    assert unknown.startswith("unknown: none of the last of 1 lines")
    assert unknown.endswith("not read: HTTP 403 Forbidden: no")


def test_without_the_database_nothing_is_diagnosed() -> None:
    assert judge(known_cause(DEPLOYMENT, "rehearsal"), [Reply(error="gone"), Reply()]).complaint == "gone"


def test_a_lost_heartbeat_decides_nothing() -> None:
    assert "(error_text like 'heartbeat lost:%%') is not true as decisive" in written_down(DEPLOYMENT).statement


def test_the_newest_error_is_read_however_many_warnings_came_after_it() -> None:
    assert "level = 'error' order by ts desc limit 1" in written_down(DEPLOYMENT).statement


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda x: (
            st.dictionaries(
                st.sampled_from(["events", "request", "exit_event", "config", "env", "attributes", "rows", "logs"]), x
            )
            | st.lists(x, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_rows_of_any_shape_are_survived(odd: Any) -> None:
    rows = (
        {"events": odd},
        {"attributes": odd},
        {"rows": odd, "hasMoreRows": odd},
        {"id": "m1", "config": odd, "events": [odd]},
    )
    cause(*rows)
    judge(machines_named(DEPLOYMENT), [Reply(rows)])


# --- machines


def test_the_machines_of_a_deployment_are_named_with_how_they_ended() -> None:
    seen = judge(
        machines_named(DEPLOYMENT), [Reply((machine("m1"), machine("m2", "another"), machine("m3", "d1")))]
    ).seen
    assert seen == "m1 stopped (exit 137), m3 stopped (exit 137)"
    assert judge(machines_named(DEPLOYMENT), [Reply()]).seen == "no machine was made for it"
    assert judge(machines_named(DEPLOYMENT), [Reply(({"id": None, "config": {}},))]).complaint


# --- boot lines


def log(*messages: str) -> Reply:
    return Reply(tuple({"attributes": {"message": message}} for message in messages))


WORDS = st.text("abc ", max_size=4)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(st.lists(WORDS, max_size=2), min_size=5, max_size=5))
def test_lines_in_order_are_found_whatever_stands_between(wanted: list[str], between: list[list[str]]) -> None:
    messages = [*between[0]]
    for line, after in zip(wanted, between[1:], strict=False):
        messages += [f"[{line}]", *after]
    assert complaint(boot_lines(*wanted), log(*messages)) == ""


@given(st.lists(st.sampled_from("xyz"), unique=True, min_size=2), st.data())
def test_lines_out_of_order_or_missing_are_named(wanted: list[str], data: Any) -> None:
    lost = data.draw(st.sampled_from(wanted))
    found = complaint(boot_lines(*wanted), log(*(line for line in wanted if line != lost)))
    assert f"{lost!r} did not come" in found
    assert complaint(boot_lines(*wanted), log(*reversed(wanted))) != ""


def test_an_empty_log_says_so() -> None:
    assert complaint(boot_lines("a"), Reply()) == "'a' did not come, or not in order; the last line is 'no line at all'"
