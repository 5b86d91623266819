"""The matrix of bad answers: every route, green on this program, and red on one that looks at no shape."""

from __future__ import annotations

from runbook_lib.cli import bad_answers
from runbook_lib.cli.bad_answers import AT_MOST, BAD, HIDES, OF_FLY, OF_SQL, OF_THE_VENUE, OF_VERCEL, false_good_news
from runbook_lib.commands.answer_shapes import Shape


def test_the_matrix_has_every_route_and_every_bad_answer():
    of_the_halt = sum(len(route.faults()) for route in (*OF_FLY, *OF_VERCEL, *OF_THE_VENUE))
    assert of_the_halt + 3 * len(OF_SQL) >= 200
    assert {"html", "null", "error", "cut", "drip", "bomb", "stale"} <= BAD.keys()
    assert {f"{status} {often}" for status in (409, 412, 429, 503) for often in ("once", "for ever")} <= BAD.keys()
    assert (AT_MOST, len(HIDES)) == ({"flat": 0, "cancel": 3}, len(OF_THE_VENUE))


def seen_missed(stage, wrong):
    """Return the faults that halts miss. On a busy machine a halt may run out of time before it says anything good."""
    missed = set()
    for _ in range(3):
        missed |= {row.fault for row in bad_answers._of_the_halt(stage) if row.verdict == "missed"}
        if missed >= wrong:
            break
    return missed


def test_nothing_good_is_told_of_a_platform_on_which_nothing_is_good_and_the_matrix_can_show_it(monkeypatch):
    monkeypatch.setattr(bad_answers, "BAD", {kind: BAD[kind] for kind in ("null", "error")})
    monkeypatch.setattr(bad_answers, "OF_SQL", ("timeout",))
    with bad_answers._stage() as stage:
        assert bad_answers._halted(stage).wallets == AT_MOST  # as much as is so is proven, in every book

        told = [*bad_answers._of_steps(stage), *bad_answers._of_the_halt(stage), *bad_answers._of_sql(stage)]
        assert [(row.fault, row.noticed, row.words) for row in told if row.verdict != "caught"] == []
        assert false_good_news(told).startswith(f"0 false good news in {len(told)} cells")

        # Without shapes, null is a list of nothing; what should be an object would break this program instead.
        monkeypatch.setattr(Shape, "complaint", lambda *_: None)
        monkeypatch.setattr(bad_answers, "BAD", {"null": BAD["null"]})
        lists = [claim for claim in bad_answers._claims(stage) if "clearinghouseState" not in claim.spoiled.name]
        monkeypatch.setattr(bad_answers, "_claims", lambda _: lists)
        missed = {row.noticed for row in bad_answers._of_steps(stage) if row.verdict == "missed"}
        orders = {"flat, frontendOpenOrders", "flat, frontendOpenOrders flx"}
        assert missed >= {*orders, "fresh wallet, extraAgents", "no agents", "no fills"}

        monkeypatch.setattr(bad_answers, "OF_VERCEL", ())
        lists = [route for route in OF_THE_VENUE if "State" not in route.name]
        for of_fly, of_the_venue in ([OF_FLY[0]], []), ([], lists):
            monkeypatch.setattr(bad_answers, "OF_FLY", of_fly)
            monkeypatch.setattr(bad_answers, "OF_THE_VENUE", of_the_venue)
            wrong = {f"{route.name}: null" for route in (*of_fly, *of_the_venue)}
            assert seen_missed(stage, wrong) == wrong
