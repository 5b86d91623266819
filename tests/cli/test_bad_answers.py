"""The matrix of bad answers: large enough, green on this program, and red on one that looks at no shape."""

from __future__ import annotations

from runbook_lib.cli import bad_answers
from runbook_lib.cli.bad_answers import BAD, OF_FLY, OF_SQL, OF_THE_VENUE, OF_VERCEL, false_good_news
from runbook_lib.commands.answer_shapes import Shape


def test_the_matrix_has_every_route_and_every_bad_answer():
    of_the_halt = sum(len(route.faults()) for route in (*OF_FLY, *OF_VERCEL, *OF_THE_VENUE))
    assert of_the_halt + 3 * len(OF_SQL) >= 200
    assert {"html", "null", "error", "cut", "drip", "bomb", "stale", "409 once", "503 for ever"} <= BAD.keys()


def test_nothing_good_is_told_of_a_platform_on_which_nothing_is_good_and_the_matrix_can_show_it(monkeypatch):
    monkeypatch.setattr(bad_answers, "BAD", {kind: BAD[kind] for kind in ("null", "error")})
    monkeypatch.setattr(bad_answers, "OF_SQL", ("timeout",))
    with bad_answers._stage() as stage:
        told = [*bad_answers._of_steps(stage), *bad_answers._of_the_halt(stage), *bad_answers._of_sql(stage)]
        assert [(row.fault, row.noticed, row.words) for row in told if row.verdict != "caught"] == []
        assert false_good_news(told).startswith(f"0 false good news in {len(told)} cells")

        lists = [claim for claim in bad_answers._claims(stage) if claim.name in {"no agents", "no fills"}]
        monkeypatch.setattr(bad_answers, "_claims", lambda _: lists)
        monkeypatch.setattr(Shape, "complaint", lambda *_: None)
        missed = {row.expected for row in bad_answers._of_steps(stage) if row.verdict == "missed"}
        assert missed == {"no agents", "no fills"}
