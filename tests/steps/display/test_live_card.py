"""A card takes the place of what showed that it was awaited, and the bar follows."""

from __future__ import annotations

import time

import pytest

from runbook_lib.commands.expectations import Finding
from runbook_lib.steps.display import ticker
from runbook_lib.steps.display.cards import Bar, Card
from runbook_lib.steps.display.live_card import Stage
from tests.core_fixtures import eventually

CARD = Card("0.1a", "T", "asking", ["select 1;"])


class Notebook:
    """Places in which something is shown, newest last."""

    def __init__(self):
        self.places = []

    def __call__(self, shown):
        self.places.append(Place(shown))
        return self.places[-1]


class Place:
    def __init__(self, shown):
        self.history = [shown]

    def update(self, shown):
        self.history.append(shown)

    @property
    def text(self):
        return repr(self.history[-1])


@pytest.fixture
def notebook():
    return Notebook()


@pytest.fixture
def staged(notebook):
    steps = iter(range(100))
    return Stage(notebook, lambda: Bar("p", "rehearsal", False, "ref", "ana", "r", done=next(steps), steps=9))


def test_a_card_takes_the_place_of_its_wait(notebook, staged):
    with staged.live(CARD, 30):
        assert "0 s of at most 30 s" in notebook.places[0].text
    staged(Card("0.1a", "T", "passed"))
    staged(Card("0.1b", "T", "passed"))
    assert [place.text.split()[1] for place in notebook.places] == ["passed", "passed"]


def test_the_time_that_passes_and_what_was_found_so_far_are_shown_live(notebook, staged, monkeypatch):
    monkeypatch.setattr(ticker, "TICK", 0.01)
    with staged.live(CARD, 2) as heard:
        heard(Finding("", "status: expected paused, found running"))
        eventually(lambda: "1 s of at most 2 s" in notebook.places[0].text, "a second later")
        assert "status: expected paused, found running" in notebook.places[0].text
        assert "width:5" in notebook.places[0].history[-1]._repr_html_()
    last = len(notebook.places[0].history)
    time.sleep(0.05)
    assert len(notebook.places[0].history) == last, "nothing ticks after the block"


def test_an_interrupted_wait_does_not_go_on_saying_that_it_looks(notebook, staged):
    with pytest.raises(KeyboardInterrupt), staged.live(CARD, 30):
        raise KeyboardInterrupt
    assert "missing" in notebook.places[0].text and "KeyboardInterrupt" in notebook.places[0].text
    staged(Card("0.1b", "T", "passed"))
    assert len(notebook.places) == 2


def test_the_bar_follows_every_card(notebook, staged):
    staged(staged._bar())
    staged(Card("0.1a", "T", "passed"))
    staged(Card("0.1b", "T", "passed"))
    assert [place.text.count("of 9 passed") for place in notebook.places] == [1, 0, 0]
    assert "2 of 9 passed" in notebook.places[0].text
    bundle = notebook.places[0].history[0]._repr_mimebundle_()
    assert "2 of 9 passed" in bundle["text/html"] and "2 of 9 passed" in bundle["text/plain"] and len(bundle) == 3


def test_without_places_everything_is_shown_anew():
    shown = []
    staged = Stage(shown.append, list)
    with staged.live(CARD, 1):
        pass
    staged(Card("0.1a", "T", "passed"))
    assert len(shown) == 2
