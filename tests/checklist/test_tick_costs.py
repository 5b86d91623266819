"""What a tick usually costs is known by the checklist, by a week of ticks, by the rates, or from the operator."""

from __future__ import annotations

import pytest

from runbook_lib.checklist.tick_costs import Usual, band, cost_known, highest, unusual_costs, usual_cost
from runbook_lib.commands.command import Reply
from runbook_lib.rehearsal.lifecycle import Running
from tests.core_fixtures import connect
from tests.judging import can_fail, complaint, of
from tests.step_queries import query

LITE = "google/gemini-3.1-flash-lite"
NONE = of({"ticks": 0, "median_usd": None})
WEEK = of({"ticks": 10, "median_usd": "0.01"})
RATES = Reply(text=f'"{LITE}": [0.25, 1.5],\n"anthropic/claude-haiku-4.5": [1.0, 5.0],')


def test_the_checklist_tells_of_haiku_and_sonnet() -> None:
    assert usual_cost("anthropic/claude-Haiku-4.5", WEEK, RATES, None) == Usual(0.01, 0.10, "by the checklist")
    assert band("anthropic/claude-sonnet-4.5", [1.0] * 50) == (0.05, 0.30)


def test_ten_ticks_of_the_last_seven_days_tell_of_any_other_model() -> None:
    assert usual_cost(LITE, WEEK, RATES, 0.0) == Usual(0.0025, 0.04, "by 10 ticks of the last seven days")
    assert band(LITE, [None, *[0.01] * 9, "0.01"]) == (0.0025, 0.04)
    assert band(LITE, [0.01] * 9) == (0.0, float("inf"))


@pytest.mark.parametrize(
    "line",
    [
        f'"{LITE}": [0.25, 1.5],',
        f'"{LITE}": {{ inputPerMTok: 0.25, outputPerMTok: 1.50 }},',
        f'{{ id: "{LITE}",\n  in: 2.5e-7,\n  out: 1.5e-6 }}',
        f'"other-3.5": [9, 9],\n"{LITE}": [0.25, 1.5]',
    ],
)
def test_rates_of_the_checkout_tell_of_a_model_that_has_not_ticked(line: str) -> None:
    usual = usual_cost(LITE, NONE, Reply(text=line), None)
    assert usual is not None and usual.source.startswith("estimated")
    assert (usual.low, usual.high) == pytest.approx((0.0026, 0.026))


def test_the_estimate_is_the_checklists_own_for_haiku() -> None:
    usual = usual_cost("same", NONE, Reply(text="same: 1.0, 5.0"), None)
    assert usual is not None and (usual.low, usual.high) == pytest.approx((0.01, 0.10))


@pytest.mark.parametrize("text", ["", f'"{LITE}"', f'"{LITE}": [0.25]', f'"{LITE}": [0, 0]', "[1, 2]"])
def test_what_nobody_knows_is_asked_once(text: str) -> None:
    asked = Reply(text=text)
    assert "nobody knows what a tick of" in complaint(cost_known(LITE, asked, 0.0), NONE)
    assert complaint(cost_known(LITE, asked, 0.5), NONE) == ""
    assert usual_cost(LITE, NONE, asked, 0.5) == Usual(0.05, 0.5, "as you say")
    assert (highest(LITE, 0.0), highest(LITE, 0.5), highest("haiku", None)) == (None, 0.5, 0.10)


def test_a_reply_without_its_number_is_complained_of() -> None:
    assert can_fail(cost_known(LITE, RATES, None), WEEK)
    assert complaint(cost_known("haiku", RATES, None), of())


def test_what_is_unusual_is_asked_by_the_same_bands() -> None:
    asked = unusual_costs("2026-11-22T10:00:00Z", "now")
    assert dict(asked.values)["bands"] == {"haiku": [0.01, 0.1], "sonnet": [0.05, 0.3]}
    assert (dict(asked.values)["enough"], dict(asked.values)["spread"]) == (10, 4.0)


def test_one_late_tick_is_behind_us_three_ticks_later(paper: Running) -> None:
    """1.4b asks for the newest three, so that a run which failed by one slow moment can be gone on with."""
    with connect(paper) as connection, connection.transaction(force_rollback=True):
        connection.execute("set transaction isolation level repeatable read")  # not to see the runner's own ticks
        [deployment] = connection.execute("select id from public.deployments limit 1").fetchone() or (None,)
        connection.execute("delete from public.decision_snapshots")
        gaps = []
        for at in (0, 300, 900, 1200, 1500, 1800):
            connection.execute(
                "insert into public.decision_snapshots (deployment_id, tick_at) values (%s, to_timestamp(%s))",
                (deployment, at),
            )
            rows = connection.execute(query("phase_1", "1.4b"), {"deployment": deployment, "every": 300}).fetchall()
            gaps.append([float(row[-1]) for row in rows])

    assert gaps == [[300], [300, 300], [600, 300, 300], [300, 600, 300], [300, 300, 600], [300, 300, 300]]
