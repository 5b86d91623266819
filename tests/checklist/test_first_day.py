"""The alarms of the first day ring for what they are for, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbook_lib.checklist import first_day
from runbook_lib.commands.command import Reply
from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal.lifecycle import rehearse
from tests.core_fixtures import connect

PERP = {"marginSummary": {"accountValue": "100.0"}, "assetPositions": []}
RISK = {"maxPositionPct": 30, "maxMonthlyCostUsd": 10, "dailyLossHaltPct": 5}


def judged(expectation, *replies):
    return expectation.judge(replies)


def answer(*rows, text=""):
    return Reply(rows=tuple(rows), text=text)


def lost(limit, risk=RISK):
    money = (answer(text='"default"'), answer(PERP), answer({"balances": []}))
    return judged(first_day.most_lost(limit, "0x1"), *money, answer({"risk": risk}))


def test_the_most_that_can_be_lost_is_the_wallet_and_the_months_model_calls():
    found = lost(110)

    assert found.complaint is None
    assert "at most $110.00" in found.seen
    assert "a position of $30.00" in found.seen


def test_more_than_was_agreed_is_complained_of():
    assert "more than the $109" in lost(109).complaint


def test_a_cap_that_is_missing_leaves_no_sum():
    assert lost(1000, {"maxPositionPct": 30}).complaint


@pytest.mark.parametrize(
    ("used", "limit", "says"),
    [
        (10.0, 100, None),
        (14.0, 100, None),  # a backtest with a key of its own, or with this one
        (20.0, 100, "disagree"),
        (5.0, 100, "disagree"),
        (10.0, None, "no limit"),
    ],
)
def test_spending_lies_between_what_is_live_and_all_that_was_written_down(used, limit, says):
    rows, key = (
        answer({"live_usd": 10, "all_usd": 14}),
        answer({"usage_monthly": used, "limit": limit, "limit_remaining": limit}),
    )
    complaint = judged(first_day.spending_confirmed(), rows, key).complaint

    assert complaint is None if says is None else says in complaint


@pytest.mark.parametrize(
    ("used", "own", "others", "says"),
    [
        (0.0, 10.0, 0, None),  # all with the user's own provider keys
        (4.0, 6.0, 0, None),
        (0.0, 0.0, 0, "OpenRouter counts less"),
        (20.0, 0.0, 0, "others have used the key for $6.00: the web app's chat may"),
        (20.0, 0.0, 6, None),
        (20.0, 5.0, 6, "others have used the key for $11.00"),
        (10.0, -1.0, 0, "cannot be"),
        (10.0, None, 0, "expected live_usd"),
    ],
)
def test_own_provider_keys_and_others_are_told_apart(used, own, others, says):
    data = {"usage_monthly": used, "byok_usage_monthly": own, "limit": 100, "limit_remaining": 100}
    finding = judged(first_day.spending_confirmed(others), answer({"live_usd": 10, "all_usd": 14}), answer(data))

    assert finding.complaint is None if says is None else says in finding.complaint
    assert ("own provider keys" in finding.seen) == bool(own and own > 0)


def test_gaps_are_of_ticks_or_of_reconciliations():
    with pytest.raises(ConfigError, match="tick or reconciled"):
        first_day.gaps("heartbeat", 1, "2026-11-22T00:00:00Z", "now")


@pytest.mark.parametrize("accounts", ["-5.0", "NaN"])
def test_an_amount_below_zero_or_no_number_is_no_sum(accounts):
    money = (answer(text='"default"'), answer({**PERP, "marginSummary": {"accountValue": accounts}}), answer({}))
    assert judged(first_day.most_lost(110, "0x1"), *money, answer({"risk": RISK})).complaint


def test_spending_below_zero_is_complained_of():
    for live, total, used in ((-0.1, 1, 0), (1, 0.9, 1), (0.1, 0.1, -0.1)):
        rows, key = (
            answer({"live_usd": live, "all_usd": total}),
            answer({"usage_monthly": used, "limit": 10, "limit_remaining": 10}),
        )
        assert "cannot be" in judged(first_day.spending_confirmed(), rows, key).complaint


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"limit_remaining": 5}, "nearly spent: $5.00 of $100.00"),
        ({"limit_remaining": None}, "does not say how much of the key's $100.00 is left"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires at 2026-01-01"),
        ({"limit_remaining": 50, "expires_at": "2099-01-01T00:00:00Z"}, None),
    ],
)
def test_a_key_that_will_soon_refuse_is_told_before_it_does(key, says):
    data = {"usage_monthly": 10, "limit": 100, "limit_remaining": 90, "expires_at": None, **key}
    complaint = judged(first_day.spending_confirmed(), answer({"live_usd": 10, "all_usd": 10}), answer(data)).complaint
    assert complaint is None if says is None else says in complaint


NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def live():
    """A rehearsal of a module's own in which a live deployment trades."""
    with rehearse(state="live") as up:
        yield up


@pytest.fixture
def silences(live):
    """What `gaps` finds in a deployment's day, as seconds after noon: when each silence began and ended.

    The Skill's interval is five minutes. Given are decisions, commands with their acknowledgements, and log events.
    """

    def found(decisions, commands=(), events=(), *, until=7200, kind="tick", every="300s"):
        with connect(live) as connection, connection.transaction(force_rollback=True):
            connection.execute("set transaction isolation level repeatable read")  # not to see the runner's own ticks
            deployment, skill, version = connection.execute(
                "update public.deployments set created_at = %s where broker_kind = 'hyperliquid-mainnet' "
                "and status = 'running' returning id, skill_id, skill_version",
                [NOON],
            ).fetchone()
            connection.execute(
                "update public.skill_versions set payload = jsonb_set(payload, '{schedule,every}', to_jsonb(%s::text)) "
                "where skill_id = %s and version = %s",
                (every, skill, version),
            )
            for table, column, rows in (
                ("decision_snapshots", "tick_at", [(at, {}) for at in decisions]),
                ("agent_commands", "acked_at", [(at, {"kind": word}) for word, at in commands]),
                ("agent_logs", "ts", [(at, {"event": word, "message": word}) for word, at in events]),
            ):
                connection.execute(f"delete from public.{table}")
                for at, facts in rows:
                    values = {"deployment_id": deployment, column: NOON + timedelta(seconds=at), **facts}
                    places = ", ".join(f"%({name})s" for name in values)
                    connection.execute(f"insert into public.{table} ({', '.join(values)}) values ({places})", values)
            asked = first_day.gaps(kind, 20.0, NOON.isoformat(), (NOON + timedelta(seconds=until)).isoformat())
            rows = connection.execute(asked.statement, dict(asked.values)).fetchall()
        return [tuple((at - NOON).total_seconds() for at in row[1:3]) for row in rows if row[-1] == deployment]

    return found


def test_one_failed_tick_explains_one_interval_and_no_more(silences):
    assert silences([0, 300], events=[("tick_failed", 600)], until=900) == []
    assert silences([0, 300], events=[("tick_failed", 600)]) == [(600, 7200)]


def test_a_pause_explains_the_silence_after_it_and_none_before_it(silences):
    told = [("pause", 600), ("resume", 3600)]
    assert silences([0, 300, 3900, 4200], told, until=4500) == []
    assert silences([0, 300, 601, 3900], told, until=4000) == []  # a decision was under way
    assert silences([0], [("pause", 3000), ("resume", 3100)], until=3400) == [(0, 3000)]
    assert silences([0, 300, 3900], told) == [(3900, 7200)]
    assert silences([0], [("resume", 300)]) == [(300, 7200)]


def test_the_skills_own_halt_explains_the_silence_until_it_is_cleared(silences):
    halt = [("daily_loss_halt", 600)]
    assert silences([0, 300, 3900], [("clear_halt", 3600)], halt, until=4000) == []
    assert silences([0, 300], [("clear_halt", 3600)], halt) == [(3600, 7200)]


def test_reconciliations_come_every_five_minutes_whatever_the_skills_interval_is(silences):
    done = [("reconciled", at) for at in range(0, 7200, 300) if at not in (3000, 3300)]
    assert silences([], events=done, kind="reconciled", every="1h") == [(2700, 3600)]
    assert silences([], events=[("reconciled", at) for at in range(0, 7200, 300)], kind="reconciled", every="1h") == []
