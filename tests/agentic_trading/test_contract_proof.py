"""What a platform names otherwise is told, with its own name and everybody who uses it."""

from dataclasses import replace

import pytest

from runbook_lib.agentic_trading.adapting import users
from runbook_lib.agentic_trading.contract import contract
from runbook_lib.agentic_trading.contract_proof import (
    contract_kept,
    misnamed,
    named_columns,
    spoken_words,
    words_proven,
)
from runbook_lib.commands.command import Reply, sql
from runbook_lib.services.services import Services
from runbook_lib.settings.profiles import ROOT
from tests.core_fixtures import eventually


@pytest.fixture
def replies(on_paper):
    """What a platform answers whose paper deployment has ticked."""
    services = Services(on_paper)
    ticked = sql("select id from public.agent_logs where event = 'tick' limit 1")
    eventually(lambda: services.look(ticked).rows, "a tick of the paper deployment")
    yield [services.look(named_columns()), services.look(spoken_words())]
    services.close()


def catalogue(reply, table, old, new):
    """The catalogue's reply, with a column of ``table`` called otherwise."""
    rows = [
        {**row, "columns": [new if name == old else name for name in row["columns"]]} if row["place"] == table else row
        for row in reply.rows
    ]
    assert rows != list(reply.rows)
    return replace(reply, rows=tuple(rows))


def spoken(reply, change):
    rows = [change(dict(row)) for row in reply.rows]
    assert rows != list(reply.rows)
    return replace(reply, rows=tuple(rows))


def event(old, new):
    def change(row):
        words = [new if word == old else word for word in row["words"]] if row["words"] else row["words"]
        return {**row, "about": new if row["about"] == old else row["about"], "words": words}

    return change


def key(old, new):
    return lambda row: {**row, "place": new if row["place"] == old else row["place"]}


def test_the_rehearsals_platform_keeps_the_contract(replies):
    finding = contract_kept().judge(replies)

    assert finding.complaint is None
    assert "by 2.5f: agent_logs.event broker_started" in finding.seen
    assert "when it happens" in finding.seen and "liquidation" in finding.seen


def test_five_names_that_are_others_are_told_in_one_card(replies):
    first, second = replies
    for old, new in (("level", "severity"), ("message", "text")):
        first = catalogue(first, "agent_logs", old, new)
    first = catalogue(first, "agent_commands", "issued_by", "created_by")
    second = spoken(second, event("reconciled", "reconcile_done"))
    second = spoken(second, key("agent_logs.data.equity_usd", "agent_logs.data.equityUsd"))

    complaint = contract_kept().judge([first, second]).complaint

    assert complaint.startswith("5 of ")
    assert "expected column agent_logs.level, found nearest severity (or " in complaint
    assert "expected column agent_logs.message, found nearest text" in complaint
    assert "expected column agent_commands.issued_by, found nearest created_by; used by " in complaint
    assert "expected word agent_logs.event:reconciled, found nearest reconcile_done" in complaint
    assert "expected key agent_logs.data.equity_usd, found nearest equityUsd; used by 1.4a, 2.5b" in complaint
    assert "./runbook adapt agent_commands.issued_by=created_by" in complaint


def test_a_table_that_is_called_otherwise_is_told_though_the_rows_cannot_be_asked(replies):
    rows = [
        {**row, "place": "live_orders" if row["place"] == "mainnet_orders" else row["place"]} for row in replies[0].rows
    ]
    refused = Reply(error='relation "public.mainnet_orders" does not exist')

    complaint = contract_kept().judge([Reply(tuple(rows)), refused]).complaint

    assert "expected table mainnet_orders, found nearest live_orders" in complaint
    assert "2.6a" in complaint and "4.3b" in complaint


def test_rows_that_cannot_be_asked_are_no_proof(replies):
    refused = Reply(error="permission denied for table agent_logs")

    assert "permission denied" in contract_kept().judge([replies[0], refused]).complaint
    assert "permission denied" in words_proven("1.4f").judge([refused]).complaint


def test_a_word_that_a_columns_own_limits_exclude_is_told(replies):
    rows = [
        {**row, "limits": [limit.replace("'halted'", "'suspended'") for limit in row["limits"]]}
        for row in replies[0].rows
    ]

    complaint = contract_kept().judge([Reply(tuple(rows)), replies[1]]).complaint

    assert "expected word deployments.status:halted, found nearest suspended" in complaint


def test_a_platform_without_migrations_is_told_in_one_line(replies):
    empty = Reply(tuple(row for row in replies[0].rows if "." in row["place"]))

    assert contract_kept().judge([empty, Reply(error="no such table")]).complaint == (
        "none of the platform's tables is there: push the migrations (0.1g)"
    )


@pytest.mark.parametrize("catalogue", [Reply(), Reply(({"place": None, "columns": None, "limits": None},))])
def test_a_catalogue_that_shows_nothing_proves_nothing(catalogue, replies):
    assert contract_kept().judge([catalogue, replies[1]]).complaint


def test_rows_prove_what_they_are_due_to_prove(replies):
    assert words_proven("1.4f").judge([replies[1]]).complaint is None

    late = spoken(replies[1], event("tick", "tick_done"))
    assert (
        "expected word agent_logs.event:tick, found nearest tick_done" in words_proven("1.4f").judge([late]).complaint
    )

    silent = spoken(replies[1], key("skill_versions.payload.risk.maxLeverage", "skill_versions.payload.risk.leverage"))
    assert "expected key skill_versions.payload.risk.maxLeverage, found nearest leverage" in (
        words_proven("1.4f").judge([silent]).complaint
    )


def test_what_no_row_could_show_yet_is_not_missed(replies):
    row = {"place": "agent_logs.event", "about": "broker_started", "times": 1, "words": ["broker_started"]}
    begun = replace(replies[1], rows=(*replies[1].rows, row))

    assert words_proven("2.5f").judge([begun]).complaint is None
    assert "1 of 6 names are the platform's; not yet provable: by 2.5f" in words_proven("2.5f").judge([begun]).seen


def test_a_step_whose_words_nobody_says_proves_nothing(replies):
    assert "no row shows any of agent_logs.event:broker_started" in words_proven("2.5f").judge([replies[1]]).complaint


def test_a_check_that_saw_too_little_hears_what_is_called_otherwise(replies):
    silent = spoken(replies[1], event("reconciled", "reconcile_done"))
    asked = sql("select ts from public.agent_logs where event = 'reconciled' and level = 'info'")

    [line, adapt] = misnamed(lambda _: silent, [asked])

    assert "expected word agent_logs.event:reconciled, found nearest reconcile_done" in line
    assert "./runbook adapt agent_logs.event:reconciled=reconcile_done" in adapt


def test_a_check_that_asks_for_every_event_hears_of_each(replies):
    silent = spoken(replies[1], event("tick", "tick_done"))
    asked = sql("select event, count(*) as times from public.agent_logs group by event")

    [line, _] = misnamed(lambda _: silent, [asked])

    assert "expected word agent_logs.event:tick, found nearest tick_done; used by 1.4c, 4.4b" in line


def held(*keys):
    """Rows of the keys in a list of positions."""
    return [{"place": f"agent_state.positions.{name}", "about": None, "times": 1, "words": None} for name in keys]


def test_a_key_that_every_object_holds_is_missed_with_the_first_object(replies):
    rows = [row for row in replies[1].rows if not row["place"].startswith("agent_state.positions.")]
    flat = replace(replies[1], rows=tuple(rows))
    other = replace(replies[1], rows=(*rows, *held("symbol", "side", "size")))
    line = "expected key agent_state.positions.sizeBase, found nearest size; used by 2.5e, 4.4i, "

    assert contract_kept().judge([replies[0], flat]).complaint is None
    assert line in contract_kept().judge([replies[0], other]).complaint
    assert words_proven("1.4f").judge([flat]).complaint is None
    assert line in words_proven("1.4f").judge([other]).complaint
    whole = sql("select positions, equity_usd from public.agent_state")
    assert line in misnamed(lambda _: other, [whole])[0]


def test_a_column_that_no_command_uses_is_no_stranger(replies):
    other = catalogue(replies[0], "deployments", "hyperliquid_agent_id", "signer")

    complaint = contract_kept().judge([other, replies[1]]).complaint

    assert "expected column deployments.hyperliquid_agent_id, found nearest signer; used by " in complaint


def test_a_check_that_asks_for_nothing_rows_prove_hears_nothing(replies):
    assert misnamed(lambda _: replies[1], [sql("select id from public.deployments")]) == []
    assert misnamed(lambda _: replies[1], [sql("select ts from public.agent_logs where event = 'tick'")]) == []


def test_who_uses_a_name_is_known():
    assert "3.4d" in users("agent_commands.acked_at")
    assert any(place.endswith(".py") for place in users("agent_commands.acked_at"))
    assert users("agent_logs.event:liquidation")[0] == "2.5d"


def test_every_proof_is_a_step_that_asks_for_it():
    proofs = {entry.proof for _, entry in contract().entries() if getattr(entry, "proof", None)}
    cells = "".join(path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb"))

    assert proofs == {"1.4f", "2.5f"}
    assert all(f'words_proven(\\"{step}\\")' in cells for step in proofs)


def test_what_no_row_shows_yet_is_claimed_for_the_step_that_must_show_it(replies):
    claims = contract_kept().judge(replies).unproven
    assert {claim.due for claim in claims} == {"2.5f"}  # its paper deployment has ticked: 1.4f is proven
    [live] = claims
    assert "agent_logs.event broker_started" in live.claim and "liquidation" not in live.claim
    assert live.why == "no row shows them yet"


def test_a_step_that_shows_some_of_its_words_still_claims_the_others(replies):
    row = {"place": "agent_logs.event", "about": "broker_started", "times": 1, "words": ["broker_started"]}
    begun = replace(replies[1], rows=(*replies[1].rows, row))
    assert [claim.due for claim in words_proven("2.5f").judge([begun]).unproven] == ["2.5f"]
    assert words_proven("1.4f").judge([replies[1]]).unproven == ()
