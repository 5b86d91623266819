"""Cards: the command, one verdict line, the advice, the rows; and nothing that the reader would run."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.agentic_trading.symptoms import Symptom
from runbook_lib.records.past_presses import Lamp, Press
from runbook_lib.steps.display.cards import (
    BROAD,
    OUTPUT,
    ROWS,
    SHOWN,
    Bar,
    Card,
    Sheet,
    Summary,
    looked,
    table,
)
from runbook_lib.steps.display.rendering import COLOURS, RED

SYMPTOM = Symptom("x", "x", "The cause is this.", "Mend it so.")


def reply(*rows: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"rows": list(rows), "text": text}


class Tags(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_card_shows_command_verdict_and_rows_in_this_order() -> None:
    card = Card("1.5b", "Status becomes paused", "passed", ["select 1;"], "status=paused", replies=[reply({"a": 1})])
    assert repr(card) == "select 1;\n1.5b  passed  Status becomes paused  status=paused\na=1"


def test_a_failed_card_says_what_was_found_why_and_what_to_do() -> None:
    card = Card("0.1a", "T", "failed", complaint="found 3", fix="Do that.", symptom=SYMPTOM)
    assert repr(card).splitlines()[1:] == [
        "found: found 3",
        "cause: The cause is this.",
        "mend: Mend it so.",
        "fix: Do that.",
    ]
    page = card._repr_html_()
    assert all(word in page for word in ("found 3", "The cause is this.", "Mend it so.", "Do that."))


def test_a_passed_card_gives_no_advice() -> None:
    assert "Do that" not in repr(Card("0.1a", "T", "passed", fix="Do that."))


@given(st.text(), st.text())
def test_a_verdict_is_one_line(title: str, seen: str) -> None:
    assert len(Card("0.1a", title, "passed", seen=seen).verdict.splitlines()) == 1


@pytest.mark.parametrize("outcome", COLOURS)
def test_every_outcome_has_a_colour_and_its_word_beside_it(outcome: str) -> None:
    page = Card("0.1a", "T", outcome)._repr_html_()
    assert COLOURS[outcome] in page
    assert f">{outcome}<" in page


HOSTILE = "<script>alert('&\"')</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("place", ["number", "title", "commands", "seen", "complaint", "fix", "rows", "names", "text"])
def test_nothing_a_service_says_becomes_part_of_the_page(place: str) -> None:
    facts: dict[str, Any] = {"number": "0.1a", "title": "T", "outcome": "failed"}
    replies = {
        "rows": [reply({"a": HOSTILE})],
        "names": [reply({HOSTILE: 1})],
        "text": [reply(text=HOSTILE)],
    }
    if place in replies:
        facts["replies"] = replies[place]
    else:
        facts[place] = [HOSTILE] if place == "commands" else HOSTILE
    page = Tags(Card(**facts)._repr_html_())
    assert not {"script", "img"} & page.tags
    assert HOSTILE in page.words


def test_a_long_reply_is_cut_and_says_by_how_much() -> None:
    card = Card("0.1a", "T", "passed", replies=[reply(*({"n": n} for n in range(ROWS + 5)))])
    for shown in (repr(card), Tags(card._repr_html_()).words):
        assert "and 5 more, in the ledger" in shown
        assert f"{ROWS - 1}" in shown
        assert f"{ROWS + 4}" not in shown
    whole = Card("0.1a", "T", "passed", replies=[reply(*({"n": n} for n in range(ROWS)))])
    assert "more, in the ledger" not in repr(whole) + whole._repr_html_()


def test_the_end_of_a_long_output_is_shown() -> None:
    card = Card("0.1a", "T", "passed", replies=[reply(text="start" + "." * OUTPUT + "end")])
    for shown in (repr(card), card._repr_html_()):
        assert "end" in shown
        assert "start" not in shown


def test_a_reply_without_rows_and_output_shows_nothing() -> None:
    assert repr(Card("0.1a", "T", "passed", replies=[reply(text=" \n")])) == "0.1a  passed  T"
    assert "<pre" not in Card("0.1a", "T", "passed", replies=[reply(text=" \n")])._repr_html_()


def test_a_table_has_every_column_of_every_row() -> None:
    page = Tags(table([{"a": 1}, {"b": None, "a": 0}]))
    assert page.words == "ab10"
    assert "x" * 119 + "…" in table([{"a": "x" * 500}])


def test_a_summary_is_the_same_for_every_run_that_ends_the_same_way() -> None:
    lines = [("0.1a", "passed", "A"), ("0.1b", "failed", "B"), ("0.1c", "passed", "C")]
    whole = repr(Summary("phase_0", lines, taken_over=1)).partition("\n")[0]
    assert whole.endswith(", 1 of them taken over from a record before")
    assert repr(Summary("phase_0", lines)) == (
        "phase_0: 2 passed, 1 failed\n0.1a  passed  A\n0.1b  failed  B\n0.1c  passed  C"
    )


def bar(**facts: Any) -> Bar:
    return Bar("phase_0", "rehearsal", False, "ref", "ana", "rehearsal/2026-11-22/1", **facts)


def test_a_bar_says_where_it_goes_who_runs_it_how_far_it_is_and_what_is_owed() -> None:
    shown = bar(done=3, steps=9, following="0.2a Both functions", owed=("3.1b",))
    assert repr(shown).splitlines() == [
        "phase: phase_0 on rehearsal (project ref)",
        "operator: ana",
        "gate: open",
        "steps: 3 of 9 passed, next 0.2a Both functions",
        "undos: 1 owed: 3.1b",
        "record: rehearsal/2026-11-22/1",
    ]
    page = Tags(shown._repr_html_()).words
    assert all(words in page for words in ("REHEARSAL", "ana", "3 of 9 passed", "0.2a Both functions", "1 owed: 3.1b"))


def test_production_is_red_and_so_is_what_alarms() -> None:
    production = Bar("phase_2", "production", True, "ref", "ana", "r")
    assert RED in production._repr_html_() and "PRODUCTION" in production._repr_html_()
    assert RED not in bar()._repr_html_()
    assert RED in bar(owed=("3.1b",), steps=9)._repr_html_()
    assert RED in bar(gate="broken open: no time")._repr_html_()


def test_a_press_shows_the_button_as_it_was_and_what_was_seen_after_it() -> None:
    lamps = [
        Lamp("sent", True, "2026-11-22T14:53:07.120000Z"),
        Lamp("acknowledged", True, "2026-11-22T14:53:07.360000Z", 240),
        Lamp("effect", None, note="not within 5 s"),
        Lamp("venue", False, note="paper, nothing there"),
    ]
    press = Press("Pause the deployment 7f3c… on rehearsal", "ana", "2026-11-22T14:53:07.100000Z", lamps)
    card = Card("1.5e", "Pause the deployment", "passed", press=press)
    for shown in (repr(card), Tags(card._repr_html_()).words.replace("\u2009", "")):
        assert "pressed by ana at 14:53:07.100Z, acknowledged in 240 ms" in shown
        assert "sent 14:53:07.120Z" in shown and "acknowledged 14:53:07.360Z +240 ms" in shown
        assert "effect: not within 5 s" in shown and "venue: paper, nothing there" in shown
    assert press.label in Tags(card._repr_html_()).words
    assert not {"button", "input", "script"} & Tags(card._repr_html_()).tags


def test_a_command_is_coloured_and_one_click_selects_it_whole() -> None:
    page = Card("0.1a", "T", "passed", ["select 1 where 'a' <> 'b';"])._repr_html_()
    assert "user-select:all" in page and "font-weight: bold" in page
    assert Tags(page).words.startswith("select 1 where 'a' <> 'b';")


def test_two_amounts_in_a_card_are_no_formula() -> None:
    for shown in (Card("3.1c", "T", "passed", seen="$0.49 of $0.01"), bar(following="1.4a From $1 to $2", steps=9)):
        assert shown._repr_html_().startswith('<div class="mathjax_ignore"')


def test_a_long_value_is_broken_so_that_the_last_columns_stay_in_sight() -> None:
    assert "overflow-wrap:anywhere" in table([{"a": "x" * 64}]) and "anywhere" not in table([{"a": "running"}])


def test_one_row_that_is_too_broad_is_stood_on_its_end() -> None:
    broad = {f"column{n}": n for n in range(BROAD + 1)}
    assert Tags(table([broad])).words.startswith("namevaluecolumn00column11")
    for rows in ([broad, broad], [dict(list(broad.items())[1:])]):
        assert "name" not in Tags(table(rows)).words


def test_a_look_shows_its_command_and_how_many_rows_are_left_out() -> None:
    page = Tags(looked("select n;", [{"n": n} for n in range(SHOWN + 2)])).words
    assert page.startswith("select n;n01") and page.endswith(f"{SHOWN - 1}and 2 more")


def test_a_sheet_tells_what_there_is_none_of() -> None:
    page = Tags(Sheet(record="r/1", override=None, amber=["a", HOSTILE])._repr_html_())
    assert page.words == f"recordr/1overridenoneambera; {HOSTILE}" and "script" not in page.tags
