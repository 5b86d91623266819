"""The engine's pipeline and the decision maker, as pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.rehearsal.runner.decisions import MODEL_RATES, decide, price
from runbook_lib.rehearsal.runner.risk_engine import Account, Position, daily_loss, judge

FLAT = Account(100.0)
RISK = {
    "maxPositionPct": 15,
    "maxTotalExposurePct": 15,
    "maxOrdersPerDay": 4,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
}
OPEN = {"kind": "open", "symbol": "BTC", "side": "buy", "sizeUsd": 13.0, "leverage": 1}


def rule(action, risk=RISK, account=FLAT, orders_today=0):
    rejection = judge(action, risk, account, orders_today=orders_today)
    return rejection.rule if rejection else None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"kind": "hold"}, "R1_SHAPE"),
        ({"sizeUsd": "13"}, "R1_SHAPE"),
        ({"sizeUsd": float("nan")}, "R1_SHAPE"),
        ({"symbol": "DOGE"}, "R2_SCOPE"),
        ({"kind": "close"}, "R2_SCOPE"),
        ({"sizeUsd": 15.01}, "R3_POSITION_CAP"),
        ({"sizeUsd": 9.99}, "R3_MIN_ORDER"),
        ({"leverage": 2}, "R4_LEVERAGE"),
        ({"symbol": "DOGE", "sizeUsd": 99, "leverage": 9}, "R2_SCOPE"),  # the first rejection ends it
    ],
)
def test_each_stage_rejects_with_its_rule(change, expected):
    assert rule(OPEN | change) == expected


def test_scaling_in_counts_and_so_do_other_symbols():
    held = Account(100.0, (Position("BTC", 0.0001, 79_000, 79_000),))
    other = Account(100.0, (Position("ETH", 0.004, 2_900, 2_900),))
    wide = RISK | {"maxPositionPct": 100}

    assert rule(OPEN, account=held) == "R3_POSITION_CAP"
    assert rule(OPEN, wide, other) == "R3_EXPOSURE_CAP"
    assert rule(OPEN | {"kind": "close", "side": "sell"}, account=held) is None


def test_the_rate_cap_stops_openings_but_never_a_close():
    held = Account(100.0, (Position("BTC", 0.0001, 79_000, 79_000),))

    assert rule(OPEN, orders_today=4) == "R5_RATE_CAP"
    assert rule(OPEN | {"kind": "close", "side": "sell"}, account=held, orders_today=4) is None


def test_the_daily_loss_halts_at_the_limit():
    assert daily_loss({"dailyLossHaltPct": 5}, 95.01, 100) is None
    assert daily_loss({"dailyLossHaltPct": 5}, 95.0, 100).rule == "R6_DAILY_LOSS_HALT"
    assert daily_loss({}, 1.0, 100) is None


@given(
    size=st.floats(0.01, 1e6),
    cap=st.floats(0.5, 100),
    equity=st.floats(1, 1e6),
    side=st.sampled_from(["buy", "sell"]),
)
def test_what_passes_respects_every_cap_and_the_venues_minimum(size, cap, equity, side):
    risk = RISK | {"maxPositionPct": cap, "maxTotalExposurePct": cap}

    if rule(OPEN | {"sizeUsd": size, "side": side}, risk, Account(equity)) is None:
        assert 10 <= size <= equity * cap / 100


@given(st.dictionaries(st.sampled_from(["kind", "side", "symbol", "sizeUsd", "leverage"]), st.none() | st.text()))
def test_an_action_of_any_shape_is_judged_not_raised(change):
    broken = OPEN | change

    assert rule(broken) is None or rule(broken).startswith("R")


def test_the_same_seed_decides_the_same():
    skill = {"model": "anthropic/claude-haiku-4.5", "risk": RISK}

    first, again = ([decide(skill, FLAT, seed="one", tick=tick) for tick in range(20)] for _ in range(2))

    assert first == again
    assert first != [decide(skill, FLAT, seed="two", tick=tick) for tick in range(20)]
    assert first[0].action is not None


@given(st.integers(0, 500), st.floats(13, 80))
def test_its_own_proposals_pass_the_engine_whenever_the_caps_allow_an_order(tick, percent):
    risk = RISK | {"maxPositionPct": percent, "maxTotalExposurePct": percent}
    decision = decide({"risk": risk}, FLAT, seed="any", tick=tick)

    assert decision.action is None or rule(decision.action, risk) is None


def test_prices_by_model_and_none_for_one_without_a_rate():
    assert price("anthropic/claude-haiku-4.5", 1_000_000, 0) == 1.0
    assert price("anthropic/claude-unheard-of", 1_000_000, 0) is None
    for model in MODEL_RATES:
        assert 0 < decide({"model": model}, FLAT, seed="x", tick=1).cost_usd < 0.30
