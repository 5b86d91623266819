"""What is expected of a live deployment: its image, its limits, its first reconciliation, its trail."""

import pytest

from runbook_lib.checklist.live_deployment import (
    can_trade,
    lasts,
    limits,
    one_image,
    same_positions,
    started_flat,
    trails_agree,
)
from runbook_lib.commands.command import Reply
from runbook_lib.steps import spoiling

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
SHEET = {
    "maxPositionPct": 15,
    "maxTotalExposurePct": 15,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
}
META = {"universe": [{"name": "BTC", "szDecimals": 5}, {"name": "OLD", "szDecimals": 1, "isDelisted": True}]}
MIDS = {"BTC": "79000.0", "OLD": "1.0"}


def replies(*bodies):
    return [Reply(tuple(body) if isinstance(body, list) else (body,)) for body in bodies]


def complaint(expect, *bodies):
    return expect.judge(replies(*bodies)).complaint


def image(name, digest):
    return {"key": name, "value": f"registry.fly.io/agentic-live-runner@{digest}"}


def machine(digest, state="started"):
    return {"id": "148e", "state": state, "image_ref": {"digest": digest}}


VARIABLE = image("FLY_LIVE_RUNNER_IMAGE", ONE)


def test_one_image_in_every_place_that_names_it():
    config = image("live_runner_image", ONE)

    assert complaint(one_image(), [VARIABLE], [], []) is None
    assert complaint(one_image(), [VARIABLE], [config], [machine(ONE), machine(TWO, "stopped")]) is None


def test_the_pinned_image_is_the_one_phase_0_has_built():
    assert complaint(one_image(ONE), [VARIABLE], [], []) is None
    assert "phase 0 has built" in complaint(one_image(TWO), [VARIABLE], [], [])


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([[VARIABLE], [image("live_runner_image", TWO)], []], "live_runner_image"),
        ([[VARIABLE], [], [machine(TWO)]], "machine 148e"),
        ([[], [], []], "is not set"),
        ([[{"key": "FLY_LIVE_RUNNER_IMAGE", "value": "registry.fly.io/app:latest"}], [], []], "a tag can be moved"),
    ],
)
def test_any_two_that_differ_are_named(bodies, words):
    assert words in complaint(one_image(), *bodies)


def test_limits_are_judged_cap_by_cap():
    assert complaint(limits(**SHEET), {"risk": SHEET}) is None
    assert complaint(limits(**SHEET), {"risk": SHEET | {"maxLeverage": 2, "minOrderUsd": 1}}) == (
        "maxLeverage: expected at most 1, found 2; minOrderUsd: expected at least 10, found 1"
    )
    assert complaint(limits(**SHEET), {"risk": None})


def test_a_skill_that_cannot_trade_hears_what_would_let_it():
    never = {"risk": SHEET | {"maxPositionPct": 2, "maxTotalExposurePct": 2}}

    assert complaint(can_trade(100), {"risk": SHEET}, META, MIDS) is None
    assert complaint(can_trade(100), never, META, MIDS) == (
        "this Skill can never trade: BTC: largest order $1.58, needed $12.00. BTC would trade with maxPositionPct and "
        "maxTotalExposurePct of at least 12.7 at $100.00 or a balance of at least $632 with these caps"
    )


@pytest.mark.parametrize("symbols", [[], ["OLD"], ["NOMARK"], None])
def test_a_skill_without_a_market_can_never_trade(symbols):
    assert "no allowed symbol has a market" in complaint(
        can_trade(100), {"risk": SHEET | {"allowedSymbols": symbols}}, META, MIDS
    )


def test_a_cap_must_pay_for_so_many_ticks_and_says_how_long_it_lasts():
    row = {"cap_usd": 10, "usd_per_tick": 0.25, "tick_seconds": 300}

    assert "pays for 40 ticks at $0.2500: 3.3 h" in lasts(36).judge(replies(row)).seen
    assert complaint(lasts(36), row) is None
    assert "expected at least 41 ticks" in complaint(lasts(41), row)
    assert complaint(lasts(1), row | {"usd_per_tick": None})


BOOT = {"broker_started_at": "2026-11-22T10:00:00Z", "reconciled_at": "2026-11-22T10:00:01Z",
        "positions": "0", "equity_usd": "100.0"}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"positions": "1"}, "found 1 positions"),
        ({"equity_usd": "100.02"}, "the venue said $100.00"),
        ({"equity_usd": None}, "the venue said"),
        ({"reconciled_at": None}, "expected broker_started, then reconciled"),
        ({"reconciled_at": "2026-11-22T09:59:59Z"}, "expected broker_started, then reconciled"),
    ],
)
def test_the_first_reconciliation_is_flat_and_right_to_the_cent(changed, words):
    assert complaint(started_flat(100), BOOT) is None
    assert complaint(started_flat(100), BOOT | {"equity_usd": "100.01"}) is None
    assert words in complaint(started_flat(100), BOOT | changed)


PERP = {"assetPositions": [{"position": {"coin": "BTC", "szi": "0.00017"}}]}
STATE = {"positions": [{"symbol": "BTC", "sizeBase": 0.00017}]}


def test_positions_agree_or_the_symbol_is_named():
    assert complaint(same_positions(), PERP, STATE) is None
    assert complaint(same_positions(), PERP, {"positions": []}).startswith("BTC: 0.00017 at the venue")
    assert complaint(same_positions(), PERP, [])


def test_mismatches_of_the_trails_are_counted_and_listed_one_to_a_line():
    orphans = [{"cloid": f"0x{n}", "status": "filled"} for n in range(20)]
    found = complaint(trails_agree(), orphans, [], [], [])

    assert complaint(trails_agree(), [], [], [], []) is None
    assert found.startswith("80 mismatches:\n  0x0 order_placed in the log: expected 1, found 0")
    assert found.endswith("and 68 more")


@pytest.mark.parametrize(
    ("expect", "bodies"),
    [
        (one_image(), [[VARIABLE], [], [machine(ONE)]]),
        (limits(**SHEET), [{"risk": SHEET}]),
        (can_trade(100), [{"risk": SHEET}, META, MIDS]),
        (lasts(36), [{"cap_usd": 10, "usd_per_tick": 0.25, "tick_seconds": 300}]),
        (started_flat(100), [BOOT]),
        (same_positions(), [PERP, STATE]),
        (trails_agree(), [[], [], [], []]),
    ],
)
def test_no_spoiled_answer_raises_and_one_at_least_is_complained_of(expect, bodies):
    whole = replies(*bodies)

    assert expect.judge(whole).complaint is None
    complaints = [expect.judge(bad).complaint for _, bad in spoiling.spoiled(whole)]
    assert any(complaints)
