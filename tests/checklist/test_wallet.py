"""What is expected of a wallet and its agents at the venue."""

from types import SimpleNamespace

import pytest

from runbook_lib.checklist import wallet
from runbook_lib.checklist.wallet import (
    book_questions,
    flat,
    fresh_wallet,
    funded,
    holds_at_most,
    info,
    state_questions,
    wallet_of,
)
from runbook_lib.commands.command import Reply
from runbook_lib.errors import ConfigError
from runbook_lib.steps import spoiling
from tests.judging import replies

MASTER, AGENT, OTHER = (f"0x{digit * 40}" for digit in "abc")
PERP = {"marginSummary": {"accountValue": "100.0"}, "assetPositions": []}
NO_SPOT, UNIFIED = {"balances": []}, {"balances": [{"coin": "USDC", "total": "100.0", "hold": "0.0"}]}


def complaint(expect, *bodies):
    return expect.judge(replies(*bodies)).complaint


BOOKS = [{"value": None}, {"name": "xyz"}]
LISTED = replies(BOOKS)[0]
DUST = {"balances": [{"coin": "HYPE", "total": "0.5"}]}


def in_books(main=PERP, *, builders=PERP, spot=NO_SPOT, orders=(), theirs=(), now=BOOKS):
    """What the venue answers to `book_questions`."""
    return [now, spot, main, builders, list(orders), list(theirs)]


def test_a_question_to_the_venue_changes_nothing():
    asked = info("openOrders", user=MASTER)

    assert asked.read_only
    assert asked.json == {"type": "openOrders", "user": MASTER}


# --- which wallet


@pytest.mark.parametrize(
    ("given", "named", "told", "found"),
    [("0xAA", "0xBB", "0xCC", "0xaa"), ("", "0xBB", "0xCC", "0xbb"), ("", None, "0xCC", "0xcc")],
)
def test_the_wallet_is_the_parameters_then_the_profiles_then_the_persons(monkeypatch, given, named, told, found):
    monkeypatch.setattr(wallet, "told", lambda *_: told)
    phase = SimpleNamespace(settings=SimpleNamespace(hyperliquid=SimpleNamespace(wallet=named)))

    assert wallet_of(phase, "2.1a", given) == found


def test_a_wallet_is_never_guessed(monkeypatch):
    monkeypatch.setattr(wallet, "told", lambda *_: None)
    phase = SimpleNamespace(settings=SimpleNamespace(hyperliquid=SimpleNamespace(wallet=None)))

    with pytest.raises(ConfigError, match="no wallet is named"):
        wallet_of(phase, "2.1a")


# --- what it holds


@pytest.mark.parametrize(("mode", "perp", "spot"), [
    ('"default"', PERP, NO_SPOT), ('"unifiedAccount"', {**PERP, "marginSummary": {"accountValue": "0.0"}}, UNIFIED),
])  # fmt: skip
def test_the_money_is_found_whatever_the_accounts_mode(mode, perp, spot):
    assert complaint(funded(100, MASTER), mode, perp, spot) is None


def test_another_amount_and_an_unknown_mode_are_named():
    assert "equity $100.00: expected $50.00" in complaint(funded(50, MASTER), '"default"', PERP, NO_SPOT)
    assert "mode 'dexAbstraction'" in complaint(funded(100, MASTER), '"dexAbstraction"', PERP, NO_SPOT)


FILL = {"tid": 5, "coin": "BTC", "cloid": "0x1"}
RESTING = {"oid": 7, "coin": "BTC", "cloid": "0x1"}
NAMED = {"name": "seyra-1", "address": AGENT}
OURS = [{"cloid": "0x1", "agent_address": AGENT}]


HELD = {**PERP, "assetPositions": [{"position": {"coin": "BTC", "szi": "-0.0002", "positionValue": "14.2"}}]}
GOLD = {**PERP, "assetPositions": [{"position": {"coin": "xyz:GOLD", "szi": "0.01", "positionValue": "40.0"}}]}
STRANGE = [{"coin": "xyz:GOLD", "oid": 9}]


def test_every_book_is_asked_for_the_wallet_and_which_books_there_are():
    asked = [question.json for question in book_questions(MASTER, LISTED)]

    assert asked == [
        {"type": "perpDexs"},
        {"type": "spotClearinghouseState", "user": MASTER},
        {"type": "clearinghouseState", "user": MASTER},
        {"type": "clearinghouseState", "user": MASTER, "dex": "xyz"},
        {"type": "frontendOpenOrders", "user": MASTER},
        {"type": "frontendOpenOrders", "user": MASTER, "dex": "xyz"},
    ]
    assert [question.json for question in state_questions(MASTER, LISTED)] == asked[:4]


def test_a_wallet_is_fresh_but_for_what_this_run_did():
    fresh = fresh_wallet(MASTER, LISTED)

    assert complaint(fresh, [], [], [], *in_books()) is None
    assert complaint(fresh, OURS, [FILL], [NAMED], *in_books(HELD, orders=[RESTING])) is None


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([[], [], [], *in_books(orders=[RESTING])], "order 7 BTC in main"),
        ([[], [], [], *in_books(theirs=STRANGE)], "order 9 xyz:GOLD in xyz"),
        ([[], [FILL], [], *in_books()], "fill 5"),
        ([[], [], [NAMED], *in_books()], "agent seyra-1"),
        ([[], [], [], *in_books(HELD)], "position -0.0002 BTC in main"),
        ([OURS, [FILL], [], *in_books(builders=GOLD)], "position 0.01 xyz:GOLD in xyz"),
        ([OURS, [FILL], [], *in_books(spot=DUST)], "0.5 HYPE in spot"),
        ([[], [], [], *in_books({})], "no assetPositions"),
        ([OURS, [], [], *in_books(orders=[{**RESTING, "cloid": None}])], "order 7"),
    ],
)
def test_whatever_somebody_else_did_is_named(bodies, words):
    assert words in complaint(fresh_wallet(MASTER, LISTED), *bodies)


def test_flat_means_no_position_and_no_resting_order_in_any_book_and_names_the_books():
    assert flat(MASTER, LISTED).judge(replies(*in_books())).seen == "flat in main, xyz, spot"
    assert complaint(flat(MASTER, LISTED), *in_books(spot=UNIFIED)) is None  # money is not held
    assert complaint(flat(MASTER, LISTED), *in_books(HELD)) == "not flat: position -0.0002 BTC in main"
    assert complaint(flat(MASTER, LISTED), *in_books(builders=GOLD)) == "not flat: position 0.01 xyz:GOLD in xyz"
    assert complaint(flat(MASTER, LISTED), *in_books(spot=DUST)) == "not flat: 0.5 HYPE in spot"
    assert complaint(flat(MASTER, LISTED), *in_books(orders=[RESTING])) == "not flat: order 7 BTC in main"
    assert complaint(flat(MASTER, LISTED), *in_books(theirs=STRANGE)) == "not flat: order 9 xyz:GOLD in xyz"
    for bad in (in_books({}), in_books(builders={}), in_books(spot={}), in_books(spot={"balances": ["?"]})):
        assert flat(MASTER, LISTED).judge(replies(*bad)).unsure


@pytest.mark.parametrize("now", [[*BOOKS, {"name": "flx"}], [{"value": None}], []])
def test_a_book_that_was_not_read_leaves_all_of_it_unknown(now):
    finding = flat(MASTER, LISTED).judge(replies(*in_books(now=now)))
    assert "not the books that were read" in finding.complaint
    assert (finding.unsure, finding.seen) == (True, "")  # nothing good is told beside it
    assert fresh_wallet(MASTER, LISTED).judge(replies([], [], [], *in_books(now=now))).unsure
    assert holds_at_most(25, MASTER, LISTED).judge(replies(*in_books(now=now)[:4])).unsure


def test_an_experiment_needs_tiny_positions_in_all_books_together():
    def at_most(usd, **books):
        return complaint(holds_at_most(usd, MASTER, LISTED), *in_books(**books)[:4])

    assert at_most(25, main=HELD) is None
    assert "$14.20, at most $10" in at_most(10, main=HELD)
    assert "$54.20, at most $25" in at_most(25, main=HELD, builders=GOLD)
    assert "0.5 HYPE in spot" in at_most(25, spot=DUST)
    assert at_most(25, main={"assetPositions": [{"position": {}}]})
    assert at_most(25, builders={})


@pytest.mark.parametrize(
    ("expect", "bodies"),
    [
        (funded(100, MASTER), ['"default"', PERP, NO_SPOT]),
        (fresh_wallet(MASTER, LISTED), [OURS, [FILL], [NAMED], *in_books(orders=[RESTING])]),
        (fresh_wallet(MASTER, LISTED), [[], [], [], *in_books()]),
        (flat(MASTER, LISTED), in_books()),
        (holds_at_most(25, MASTER, LISTED), in_books()[:4]),
    ],
)
def test_no_spoiled_answer_raises_and_one_at_least_is_complained_of(expect, bodies):
    whole = replies(*bodies)

    assert expect.judge(whole).complaint is None
    complaints = [expect.judge(bad).complaint for _, bad in spoiling.spoiled(whole)]
    assert any(complaints)


def received(body, at=1_800_000_000.0):
    return Reply(tuple(body) if isinstance(body, list) else (body,), 200, at=at)


NOW = 1_800_000_000_000
STATE = {"time": NOW, "assetPositions": []}


def heard(**bodies):
    """Received answers to `book_questions`."""
    return [received(body) for body in in_books(**{"main": STATE, "builders": STATE} | bodies)]


@pytest.mark.parametrize("time", [NOW - 600_000, None, "yesterday"])
@pytest.mark.parametrize("book", ["main", "builders"])
def test_an_account_of_another_time_is_not_flat_now_and_not_fresh(time, book):
    old = heard(**{book: {"time": time, "assetPositions": []}})
    nothing = [received([])] * 3
    judged = [flat(MASTER, LISTED).judge(old), fresh_wallet(MASTER, LISTED).judge([*nothing, *old])]
    judged.append(holds_at_most(25, MASTER, LISTED).judge(old[:4]))
    for finding in judged:
        assert (finding.complaint, finding.unsure) == ("the venue's answer is not about now", True)


def test_a_list_of_something_else_and_one_that_is_cut_off_prove_no_absence():
    assert flat(MASTER, LISTED).judge(heard()).complaint is None
    assert "none of its rows" in flat(MASTER, LISTED).judge(heard(theirs=[{"error": "timed out"}])).complaint
    fills = received([{"coin": "BTC", "tid": number, "cloid": "0x1"} for number in range(2000)])
    ours = received([{"cloid": "0x1", "agent_address": None}])
    assert "there may be more" in fresh_wallet(MASTER, LISTED).judge([ours, fills, received([]), *heard()]).complaint
