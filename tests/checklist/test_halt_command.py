"""What the commands halt and unhalt print is judged by its parts and by the record it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runbook_lib.checklist.halt_command import halted
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, judge
from tests.core_fixtures import connect
from tests.step_queries import query

EARLIER = datetime(2020, 1, 1, tzinfo=UTC)  # before any command of the rehearsal's own


def complaint(expect: Expectation, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


HALT = (
    "   0.4 s  passed   Switch off\n   9.1 s  failed   Machine m1  still started\n  30.0 s  unknown  Flat  no answer\n"
)


def test_a_halt_that_did_not_pass_names_the_parts_that_did_not_and_not_the_end_of_its_output():
    output = f"{HALT}failed\nrecord /r/rehearsal/2026_halt\nseal   ab\nwhat failed is done by hand\n"
    complaint = halted().judge([Reply(status=1, error="exit 1: by hand", text=output)]).complaint
    assert complaint == "exit 1: 9.1 s failed Machine m1 still started; 30.0 s unknown Flat no answer"


def test_a_halt_that_passed_names_its_record_and_one_without_is_complained_of():
    passed = halted().judge([Reply(status=0, text="record /r/rehearsal/2026_halt\n")])
    assert (passed.complaint, passed.seen) == (None, "rehearsal/2026_halt")
    assert "no record" in halted().judge([Reply(status=0, text="passed")]).complaint


def judged(paper, rows, issuer="launch-runbook halt"):
    """What 3.4d's own query finds among these commands of a run that began at 0: kind, seconds at which it was made and
    acknowledged.
    """
    with connect(paper) as connection, connection.transaction(force_rollback=True):
        deployment = connection.execute("select id from public.deployments limit 1").fetchone()[0]
        for kind, made, answered in rows:
            at = [None if seconds is None else EARLIER + timedelta(seconds=seconds) for seconds in (made, answered)]
            connection.execute(
                "insert into public.agent_commands (deployment_id, kind, created_at, acked_at, issued_by) "
                "values (%s, %s, %s, %s, %s)",
                (deployment, kind, *at, issuer),
            )
        values = {"deployment": deployment, "began": EARLIER, "halt": "launch-runbook halt"}
        found = connection.execute(query("phase_3", "3.4d"), values).fetchone()
    return None if found[0] is None else float(found[0]), *found[1:]


def test_a_second_halt_of_a_machine_that_is_down_leaves_the_first_ones_answers_to_be_judged(paper):
    first = [("pause", 0, 1), ("flatten", 1, 3)]

    assert judged(paper, first) == (3.0, 0, True)
    assert judged(paper, [*first, ("pause", 60, None), ("flatten", 61, None)]) == (3.0, 0, True)
    assert judged(paper, [("pause", 0, 1), ("flatten", 1, None)]) == (1.0, 1, True)


def test_what_somebody_else_sent_or_an_earlier_run_is_not_this_halts(paper):
    asked = [("pause", 0, 1), ("flatten", 1, 3)]

    assert judged(paper, asked, issuer="web") == (None, 0, None)
    assert judged(paper, [("pause", -60, -59), ("flatten", -59, -58), ("pause", 0, 1), ("flatten", 1, 9)]) == (
        9.0,
        0,
        True,
    )


def test_a_heartbeat_from_before_the_halt_does_not_prove_that_the_runner_came_back(paper):
    """3.4i's own query: whether the runner started after the newest command, and beat after that start."""
    seen = []
    with connect(paper) as connection, connection.transaction(force_rollback=True):
        connection.execute("set transaction isolation level repeatable read")  # not to see the runner's own heartbeats
        deployment = connection.execute("select deployment_id from public.agent_state limit 1").fetchone()[0]
        for change in (
            "insert into public.agent_commands (deployment_id, kind, acked_at) values (%s, 'pause', now())",
            "insert into public.agent_logs (deployment_id, ts, event, message) "
            "values (%s, now() + interval '1 s', 'runner_started', 'started')",
            "update public.agent_state set updated_at = now() + interval '2 s' where deployment_id = %s",
        ):
            connection.execute(change, [deployment])
            seen.append(connection.execute(query("phase_3", "3.4i"), {"deployment": deployment}).fetchone()[1:3])

    assert [row[0] for row in seen] == [False, True, True]
    assert [row[1] for row in seen[1:]] == [False, True]
