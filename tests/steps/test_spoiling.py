"""Spoiled copies: whatever an honest expectation accepts, it must not accept with one thing wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runbook_lib.checklist import deployment_machines, live_wallets, runner_image, wallet
from runbook_lib.commands.answer_shapes import Shape
from runbook_lib.commands.command import Reply, http
from runbook_lib.commands.expectations import (
    Expectation,
    Finding,
    at_least,
    between,
    clocks,
    each,
    entries,
    judge,
    matches,
    newer,
    no_rows,
    not_null,
    one_of,
    over_each,
    reply,
    rows,
    same,
    text,
    turned_away,
    value,
)
from runbook_lib.services import http_calls
from runbook_lib.services.services import Services
from runbook_lib.steps import checks, spoiling
from runbook_lib.steps.spoiling import spoiled
from tests.core_fixtures import at

PLAIN = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5)
ROW = st.fixed_dictionaries({"name": st.text("abc", min_size=1, max_size=3), "n": PLAIN})
REPLY = st.builds(
    Reply,
    st.lists(ROW, max_size=4).map(tuple),
    st.just(200),
    st.none(),
    st.sampled_from(["", "v1.2.3\n", "image: a:b\nimage size: 1 MB"]),
    st.just(1000.0),
)


def can_fail(expect: Expectation, replies: Sequence[Reply]) -> bool:
    return any(judge(expect, bad).complaint for _, bad in spoiled(replies))


def holding(found: Reply) -> list[Expectation]:
    """Every expectation about one reply that a reader of ``found`` might write down from what it holds."""
    first: dict[str, Any] = found.rows[0] if found.rows else {"name": "a", "n": 0}
    names = {str(row["name"]): row["n"] for row in found.rows}
    number = first["n"] if isinstance(first["n"], int) and not isinstance(first["n"], bool) else 0
    return [
        rows(len(found.rows)),
        rows(),
        no_rows("strays"),
        value(first["n"], "n"),
        value(at_least(number), "n"),
        value(between(number, number), "n"),
        value(not_null, "n"),
        value(one_of(first["n"], "other"), "n"),
        value(matches("^[abc]+$"), "name"),
        each(n=first["n"]),
        each(minimum=0, name=not_null),
        entries("name", "n", **names),
        entries("name", None, *names),
        reply(200, n=first["n"]),
        reply(n=first["n"]),
        reply(200),
        text(r"v\d"),
        text(r"image: \S+", "an image line"),
    ]


@given(REPLY)
def test_every_expectation_that_passes_can_fail(found: Reply) -> None:
    passing = [expect for expect in holding(found) if not judge(expect, [found]).complaint]
    assume(passing)
    vacuous = {"name has "}  # no name asked for: the phase tells its author so
    assert [e.phrase for e in passing if not can_fail(e, [found]) and e.phrase not in vacuous] == []


ACROSS = [
    (same("n"), [Reply(({"n": "a"},)), Reply(({"n": "a"},))]),
    (newer("n", than="at", name="key"), [Reply(({"n": 2},)), Reply(({"key": "A", "at": 1},))]),
    (clocks("n", "t", within=1), [Reply(({"n": 1_000_000},), at=1000), Reply(({"t": 1_000_000},), at=1000)]),
    (rows(1) & each(n=1), [Reply(({"n": 1},))]),
]


@pytest.mark.parametrize(("expect", "replies"), ACROSS, ids=lambda p: getattr(p, "phrase", ""))
def test_every_expectation_across_replies_can_fail(expect: Expectation, replies: list[Reply]) -> None:
    assert judge(expect, replies).complaint is None
    assert can_fail(expect, replies)


@pytest.mark.parametrize("expect", [each(minimum=0), reply(), rows(minimum=0), text(""), text(".*"), entries("name")])
def test_an_expectation_that_asks_for_nothing_is_found_out(expect: Expectation) -> None:
    found = [Reply(({"name": "a", "n": 1},), 200, text="v1")]
    assert judge(expect, found).complaint is None
    assert not can_fail(expect, found)


@given(st.lists(REPLY, min_size=1, max_size=3))
def test_each_spoiled_copy_differs_from_the_original_in_one_reply(replies: list[Reply]) -> None:
    for what, bad in spoiled(replies):
        different = [place for place, (old, new) in enumerate(zip(replies, bad, strict=True)) if old != new]
        assert len(different) <= 1
        if different:
            assert what.startswith(f"command {different[0] + 1}: ")


@given(st.lists(REPLY, min_size=1, max_size=2))
def test_spoiling_leaves_the_replies_as_they_were(replies: list[Reply]) -> None:
    before = [reply.facts() for reply in replies]
    assert list(spoiled(replies))
    assert [reply.facts() for reply in replies] == before


@given(PLAIN | st.floats(-1e9, 1e9) | st.lists(st.integers()) | st.just("something else"))
def test_a_changed_value_is_another_value(old: Any) -> None:
    changed = [bad[0].rows[0]["n"] for what, bad in spoiled([Reply(({"n": old},))]) if what.endswith("n changed")]
    assert len(changed) == 1
    assert changed[0] != old


def test_a_long_reply_is_spoiled_lazily_and_within_bounds() -> None:
    long = Reply(tuple({"n": n} for n in range(20_000)))
    assert len(list(islice(spoiled([long]), 5))) == 5
    assert len(list(spoiled([long]))) < 200


def test_a_check_that_takes_an_empty_answer_declares_it():
    found = checks.Look((Reply(({"n": 1},), 200),), Finding("n=1"), (http("fly", "GET /v1/apps/app/machines"),))

    def judged(**declared):
        nobody = over_each("nobody", lambda reply: Finding("", "two" if len(reply.rows) > 1 else None), **declared)
        return checks.provable(found, nobody).complaint, checks.provable(found, (nobody,)).complaint

    assert judged(empty=True) == (None, None)
    words = "this check takes an answer without anything in it, and does not declare it: command 1"
    assert judged() == (words, words)
    assert [e.empty for e in (no_rows("x"), each(minimum=0), rows(0), reply(200), turned_away())] == [True] * 5
    assert [e.empty for e in (rows(), each(n=1), value(1), reply(n=1), text("v"), no_rows("x") & rows())] == [False] * 6


WALLET = "0x" + "a" * 40
LISTED = Reply(({"value": None}, {"name": "xyz"}))
LIVE = Reply(({"wallet": WALLET, "agent": "0x" + "b" * 40},))
ABSENT = {
    "flat": wallet.flat(WALLET, LISTED),
    "fresh": wallet.fresh_wallet(WALLET, LISTED),
    "tiny": wallet.holds_at_most(25, WALLET, LISTED),
    "gone": deployment_machines.machine_gone("d"),
    "down": deployment_machines.machine_down("d"),
    "owned": deployment_machines.owned_machines(),
    "image": runner_image.one_image(),
    "positions": live_wallets.positions_agree(LIVE),
    "fills": live_wallets.fills_have_rows(10.0, LIVE),
}


@pytest.mark.parametrize("name", ABSENT)
def test_what_takes_an_empty_answer_for_proof_sends_nothing_when_another_thing_is_asked(chosen, vendor, name):
    services, absent = Services(at(chosen, vendor)), ABSENT[name]
    asked = [command.filled(services.settings.lookup) for command in absent.about]
    assert asked and checks.astray(services, [*asked, http("web", "GET /")], absent) is None
    for place, command in enumerate(asked):
        for what, other in spoiling.misdirected(command):
            wrong = [*asked[:place], other, *asked[place + 1 :]]
            found = checks.look(services, wrong, absent, 0.0, lambda _: None)
            assert (what, found.replies) == (what, ())
            assert found.finding.complaint.startswith("this check does not ask what it is about: curl")
    assert vendor.sent("POST") == 0
    services.close()


def test_an_old_answer_is_found_to_be_taken_where_nothing_tells_its_age(monkeypatch):
    venue = http("hyperliquid", "POST /info", json={"type": "clearinghouseState"}, reads=True)
    for command in (venue, http("fly", "GET /v1/apps/app/machines")):
        assert list(spoiling.outages([command], [Reply((), 200)])) == []
    monkeypatch.setattr(spoiling, "outdated", lambda *_: None)
    assert [what for what, _ in spoiling.outages([venue], [Reply((), 200)])] == ["command 1: an old one"]


def test_a_check_that_takes_an_outage_for_an_answer_is_found(monkeypatch):
    machines, registry = http("fly", "GET /v1/apps/app/machines"), http("registry", "GET /v2/")
    good = (Reply((), 200),)
    for command in (machines, registry):  # the shape of the one lets none in, of the other anything may come
        assert list(spoiling.outages([command], good)) == []
    monkeypatch.setattr(spoiling, "shape_of", lambda _: Shape("anything", object))
    monkeypatch.setattr(http_calls, "shape_of", lambda _: Shape("anything", object))
    nobody = over_each(
        "nobody is there", lambda reply: Finding("nobody", "somebody" if len(reply.rows) > 1 else None), empty=True
    )
    found = checks.provable(checks.Look(good, Finding("nobody"), (machines,)), nobody)
    assert found.complaint == "this check takes an outage for an answer: command 1: an error"
