"""One look tells of every deployment, on the database's clock, and changes nothing."""

from __future__ import annotations

import pytest

from runbook_lib.agentic_trading.deployment_health import worries
from runbook_lib.agentic_trading.deployment_queries import LEVELS
from runbook_lib.commands.command import sql
from runbook_lib.console.overview import Reader
from runbook_lib.errors import ServiceError
from runbook_lib.services.services import Services
from tests.core_fixtures import eventually

NOBODY = "postgresql://postgres@127.0.0.1:9/postgres"


@pytest.fixture
def database(on_paper):
    with Services(on_paper).database.connect() as connection:
        yield lambda statement, *values: connection.execute(statement, values or None)


@pytest.fixture
def reader(on_paper):
    made = Reader(on_paper)
    yield made
    made.close()


def test_a_deployment_is_told_with_its_state_its_money_and_its_last_decision(reader):
    seen = eventually(lambda: (found := reader.read()).ticks and found, "a tick")
    row = seen.rows[0]
    assert (row["status"], row["broker"], row["tick_seconds"]) == ("running", "paper", 1.0) and row["skill"]
    assert row["seconds_stale"] < row["limit_seconds"] and row["equity_usd"] > 0 and row["cap_usd"] > 0
    assert row["tick_at"] and row["verdict"] and worries(row) == []
    assert seen.focus == row["id"] and {"tick_at", "cost_usd"} == set(seen.ticks[0])
    assert seen.log[0]["ts"] >= seen.log[-1]["ts"] and {entry["id"] for entry in seen.log} == {row["id"]}


def test_the_month_is_what_its_ticks_cost(reader, database):
    row = reader.read().rows[0]
    spent = database("select sum(cost_usd) as usd from public.decision_snapshots").fetchone()["usd"]
    assert 0 < row["month_usd"] <= float(spent)


@pytest.mark.parametrize("level", LEVELS)
def test_the_log_holds_its_level_and_what_is_worse(reader, database, level):
    one = reader.read().rows[0]["id"]
    for word in LEVELS:
        insert = "insert into public.agent_logs (deployment_id, level, event, message) values (%s, %s, 'tried', %s)"
        database(insert, one, word, word)
    tried = {entry["level"] for entry in reader.read([one], level).log if entry["event"] == "tried"}
    assert tried == set(LEVELS[LEVELS.index(level) :])


def test_a_warning_and_a_command_nobody_heard_are_alarms(reader, database):
    one = reader.read().rows[0]["id"]
    database("insert into public.agent_logs (deployment_id, level, event) values (%s, 'warn', 'state_drift')", one)
    old = """insert into public.agent_commands (deployment_id, kind, created_at)
             values (%s, 'pause', now() - interval '1 minute')"""
    database("alter table public.agent_commands disable trigger agent_commands_notify")
    database(old, one)
    database("alter table public.agent_commands enable trigger agent_commands_notify")
    said = "; ".join(worries(reader.read().rows[0]))
    database("delete from public.agent_commands")
    assert "last state_drift" in said and "1 commands not acknowledged" in said


def test_what_is_chosen_and_gone_is_not_looked_for(reader):
    assert reader.read(["00000000-0000-0000-0000-000000000000"]).rows


def test_a_silent_database_is_an_error_and_never_an_empty_board(on_paper):
    dead = on_paper.model_copy(update={"database": on_paper.database.model_copy(update={"url": NOBODY})})
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        Reader(dead).read()


def test_a_look_is_refused_a_change_by_the_database_itself(reader):
    with pytest.raises(ServiceError, match="read-only transaction"):
        reader._rows(sql("delete from public.agent_logs"))


def test_the_log_can_hide_what_comes_by_itself_while_all_is_well(reader, database):
    one = reader.read().rows[0]["id"]
    for level, event in (("info", "tick"), ("warn", "tick"), ("info", "order_placed")):
        insert = "insert into public.agent_logs (deployment_id, level, event, message) values (%s, %s, %s, 'tried')"
        database(insert, one, level, event)
    tried = {
        (entry["level"], entry["event"]) for entry in reader.read(routine=False).log if entry["message"] == "tried"
    }
    assert tried == {("warn", "tick"), ("info", "order_placed")}
