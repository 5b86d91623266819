"""Three trails of every order: whatever single thing is wrong in one of them is found, whichever it is."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from runbook_lib.checklist.audit_trail import differing_trails, trails_agree
from runbook_lib.commands.command import Reply
from runbook_lib.steps import spoiling

TRAILS = ("orders", "logs", "placed", "fills")


@some.composite
def stories(draw):
    """What the four lists hold after some orders, each filled in one or more parts, cancelled, refused or resting."""
    found = {name: [] for name in TRAILS}
    for n in range(draw(some.integers(1, 4))):
        end = draw(some.sampled_from(["filled", "cancelled", "open", "rejected"]))
        parts = draw(some.lists(some.integers(1, 50), min_size=1, max_size=3)) if end == "filled" else []
        _tell(found, n, end, draw(some.booleans()), parts, draw(some.integers(1, 9)))
    return found


def _tell(found, n, end, buy, parts, rest):  # noqa: PLR0917 - a table in short
    cloid, side = f"0x{n:032x}", "buy" if buy else "sell"
    fills = [
        {"coin": "BTC", "px": str(70_000 + 10 * i), "sz": str(round(part * 1e-5, 5)), "side": "B" if buy else "A",
         "fee": str(round(part * 1e-5 * (70_000 + 10 * i) * 0.00045, 6)), "tid": 100 * n + i, "cloid": cloid}
        for i, part in enumerate(parts)
    ]  # fmt: skip
    size = round(sum(parts) * 1e-5, 5) if parts else rest * 1e-5
    price = sum(float(f["px"]) * float(f["sz"]) for f in fills) / size if fills else None
    fee = sum(float(f["fee"]) for f in fills) if fills else None
    found["orders"].append(
        {"cloid": cloid, "symbol": "BTC", "side": side, "status": end, "size_base": size,
         "filled_size_base": size if fills else 0.0, "avg_fill_price": price, "fee_usd": fee}
    )  # fmt: skip
    found["logs"].append(
        {"event": "order_placed", "cloid": cloid, "symbol": "BTC", "side": side, "size_base": size, "price": None}
    )
    if end != "open":
        told = {"size_base": size, "price": price} if fills else {"size_base": None, "price": None}
        found["logs"].append({"event": f"order_{end}", "cloid": cloid, "symbol": None, "side": None, **told})
    status = {"cancelled": "canceled", "rejected": "minTradeNtlRejected"}.get(end, end)
    order = {"coin": "BTC", "side": "B" if buy else "A", "origSz": str(size), "oid": n, "cloid": cloid}
    found["placed"].append({"order": order, "status": status, "statusTimestamp": 2_000})
    if end in {"filled", "cancelled"}:  # an order comes once for each change of its status, newest first
        found["placed"].append({"order": order, "status": "open", "statusTimestamp": 1_000})
    found["fills"] += fills


@given(stories())
def test_a_story_that_is_told_alike_everywhere_is_without_mismatch(story):
    assert differing_trails(**story) == []


@given(stories(), some.data())
def test_a_line_that_is_missing_anywhere_is_found(story, data):
    name = data.draw(some.sampled_from([name for name in TRAILS if story[name]]))
    gone = data.draw(some.sampled_from([row for row in story[name] if not _overtaken(row)]))
    story[name] = [row for row in story[name] if row is not gone]
    refusal = gone.get("event") == "order_rejected"  # for which the documents know no event: it may be missing
    never = story["orders"] and (gone.get("status") or "").endswith("Rejected")  # it may not have got to the venue

    assert refusal or never or differing_trails(**story)


@given(stories(), some.data())
def test_a_line_too_many_anywhere_is_found(story, data):
    name = data.draw(some.sampled_from([name for name in TRAILS if story[name]]))
    more = copy.deepcopy(data.draw(some.sampled_from(story[name])))
    if name == "fills":
        more["tid"] = 99_999  # with its own tid it is the same fill, announced twice
    elif name == "placed":
        more["order"]["oid"] = 99_999  # with its own number it is another status of the same order
    if name != "fills" and data.draw(some.booleans()):
        (more["order"] if name == "placed" else more)["cloid"] = None
    story[name].append(more)

    assert differing_trails(**story)


def test_a_fill_that_is_announced_twice_counts_once():
    story = {name: [] for name in TRAILS}
    _tell(story, 0, "filled", True, [18], 0)
    story["fills"].append(dict(story["fills"][0]))

    assert differing_trails(**story) == []


@given(stories(), some.randoms())
def test_the_newest_status_of_an_order_counts_in_whatever_order_they_come(story, random):
    random.shuffle(story["placed"])

    assert differing_trails(**story) == []


@pytest.mark.parametrize("newest_first", [True, False])
def test_an_order_that_is_canceled_at_the_venue_is_not_open_in_its_row(newest_first):
    story = {name: [] for name in TRAILS}
    _tell(story, 3, "cancelled", True, [], 5)
    story["placed"] = story["placed"] if newest_first else story["placed"][::-1]
    story["orders"][0]["status"] = "open"
    del story["logs"][1]

    assert differing_trails(**story) == [f"0x{3:032x} status: open in the row, canceled at the venue"]


BY_ITSELF = {"coin": "BTC", "px": "70000", "sz": "0.001", "side": "A", "fee": "0.03", "tid": 9}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"liquidation": {"liquidatedUser": "0xab", "markPx": "70000", "method": "market"}}, "liquidated by the venue"),
        ({"twapId": 7}, "slice of TWAP 7"),
        ({"twapId": None}, "nobody of this platform placed it"),
    ],
)
def test_a_fill_of_no_order_is_told_as_what_it_is(what, words):
    story = {name: [] for name in TRAILS}
    _tell(story, 0, "filled", True, [18], 0)
    story["fills"].append(BY_ITSELF | what)

    [line] = differing_trails(**story)
    assert words in line
    assert ("nobody" in line) == ("nobody" in words)


# Every fact of every list: spoiled, it must be noticed.
FACTS = [
    *(("orders", key) for key in ("cloid", "symbol", "side", "status", "size_base", "filled_size_base",
                                   "avg_fill_price", "fee_usd")),
    *(("logs", key) for key in ("event", "cloid", "symbol", "side", "size_base", "price")),
    *(("placed", key) for key in ("status", "coin", "side", "origSz", "cloid")),
    *(("fills", key) for key in ("coin", "px", "sz", "side", "fee", "cloid")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), FACTS)
@settings(max_examples=20)
@given(story=stories(), data=some.data())
def test_a_single_spoiled_fact_is_found(name, key, story, data):
    told = [row for row in story[name] if _holder(row, key).get(key) is not None and not _overtaken(row)]
    if not told:
        return
    holder = _holder(data.draw(some.sampled_from(told)), key)
    holder[key] = _spoiled(name, key, holder[key], data)

    assert differing_trails(**story)


def _overtaken(row):
    """Whether a row is a status that its order no longer has."""
    return row.get("statusTimestamp") == 1_000


def _holder(row, key):
    return row["order"] if "order" in row and key != "status" else row


def _spoiled(name, key, old, data):
    if key == "cloid":
        return data.draw(some.sampled_from(["0x" + "f" * 32, None]))
    if name == "logs" and key in ("symbol", "side"):  # which a runner need not say
        return "something else"
    if key == "status":
        others = ("filled", "open", "placed") if "ancel" in old else ("filled", "marginCanceled", "open", "placed")
        return data.draw(some.sampled_from([one for one in others if one != old]))
    if isinstance(old, str) and not old.replace(".", "").isdigit():
        return data.draw(some.sampled_from(["something else", None]))
    factor = data.draw(some.sampled_from([0, -1, 0.9, 1.01, 2]))
    changed = float(old) * factor if float(old) else 0.5
    return changed if not isinstance(old, str) else str(changed)


def test_a_fee_in_whole_cents_is_right_to_the_cent_and_a_missing_one_is_not():
    story = {name: [] for name in TRAILS}
    _tell(story, 0, "filled", True, [18], 0)
    exact = story["orders"][0]["fee_usd"]

    story["orders"][0]["fee_usd"] = round(exact, 2)
    assert differing_trails(**story) == []
    for wrong in (0, None, 0.02, exact + 0.001):
        story["orders"][0]["fee_usd"] = wrong
        assert [line for line in differing_trails(**story) if "fee_usd" in line]


def test_each_mismatch_names_its_order_and_both_sides():
    story = {name: [] for name in TRAILS}
    _tell(story, 7, "filled", True, [18], 0)
    story["orders"][0]["size_base"] = 0.5

    assert f"0x{7:032x} size_base: 0.5 in the row, 0.00018 at the venue" in differing_trails(**story)


def test_an_order_that_is_filled_twice_is_named_although_every_trail_says_the_same():
    story = {name: [] for name in TRAILS}
    _tell(story, 0, "filled", True, [18], 0)
    again = {**story["fills"][0], "tid": 1}
    story["fills"].append(again)
    story["orders"][0] |= {"filled_size_base": 0.00036, "fee_usd": 2 * story["orders"][0]["fee_usd"]}
    story["logs"][1]["size_base"] = 0.00036

    [found] = differing_trails(**story)
    assert found.endswith("filled more than ordered: 0.00036 of 0.00018")


def judged(*trails):
    return trails_agree("4.3c").judge([Reply(tuple(rows)) for rows in trails])


def test_mismatches_of_the_trails_are_counted_and_listed_one_to_a_line():
    orphans = [{"cloid": f"0x{n}", "status": "filled"} for n in range(20)]
    found = judged(orphans, [], [], []).complaint

    assert judged([], [], [], []).complaint is None
    assert found.startswith("80 mismatches:\n  0x0 order_placed in the log: expected 1, found 0")
    assert found.endswith("and 68 more")
    assert any(trails_agree("4.3c").judge(bad).complaint for _, bad in spoiling.spoiled([Reply()] * 4))


def test_that_the_trails_agree_is_not_proven_by_no_order():
    order = {"cloid": "0x1", "status": "rejected"}
    logs = [{"cloid": "0x1", "event": "order_placed"}, {"cloid": "0x1", "event": "order_rejected"}]

    nothing = judged([], [], [], [])
    assert nothing.complaint is None
    assert [(claim.due, claim.why) for claim in nothing.unproven] == [("4.3c", "no order yet")]
    assert judged([order], logs, [], []).unproven == ()
