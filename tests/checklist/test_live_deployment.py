"""What is expected of a live deployment: its first reconciliation, and its positions."""

import pytest

from runbook_lib.checklist.live_deployment import same_positions, started_flat
from runbook_lib.steps import spoiling
from tests.judging import replies


def complaint(expect, *bodies):
    return expect.judge(replies(*bodies)).complaint


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
    assert complaint(same_positions("0x1"), PERP, STATE) is None
    assert complaint(same_positions("0x1"), PERP, {"positions": []}).startswith("BTC: 0.00017 at the venue")
    assert complaint(same_positions("0x1"), PERP, [])


@pytest.mark.parametrize(
    ("expect", "bodies"),
    [
        (started_flat(100), [BOOT]),
        (same_positions("0x1"), [PERP, STATE]),
    ],
)
def test_no_spoiled_answer_raises_and_one_at_least_is_complained_of(expect, bodies):
    whole = replies(*bodies)

    assert expect.judge(whole).complaint is None
    complaints = [expect.judge(bad).complaint for _, bad in spoiling.spoiled(whole)]
    assert any(complaints)
