"""Every chart: units and UTC on its axes, thresholds named, legible at half width, small, and honest when empty."""

from __future__ import annotations

import io
import random
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

import runbook_lib
from runbook_lib.steps.display import charts

LARGEST = 90_000  # bytes of a PNG
LEAST = 7.0  # pixels an em is tall at half width: as small as small print gets


def times(count, every="5min"):
    return [
        at.isoformat().replace("+00:00", "Z") for at in pd.date_range("2026-11-01T00:00Z", periods=count, freq=every)
    ]


def ticks(count, every="5min", **changed):
    noise = random.Random(7)
    cost = {n: noise.uniform(0.02, 0.09) for n in range(count)} | {int(k[1:]): v for k, v in changed.items()}
    return pd.DataFrame({"tick_at": times(count, every), "cost_usd": pd.Series(cost, dtype=object).tolist()})


def beats(count):
    stale = [None, 1200.0, *range(count)][:count]
    return pd.DataFrame({"id": [f"{n:08x}-0" for n in range(count)], "seconds_stale": stale, "limit_seconds": 900})


DRAWN = {
    "cost_per_tick": lambda n: charts.cost_per_tick(ticks(n), 0.01, 0.10),
    "month_to_date": lambda n: charts.month_to_date(ticks(n), 10),
    "freshness": lambda n: charts.freshness(beats(n)),
    "cadence": lambda n: charts.cadence(ticks(n), 300),
    "equity": lambda n: charts.equity(pd.DataFrame({"at": times(n), "equity_usd": [10000 + i % 9 for i in range(n)]})),
    "alarms": lambda n: charts.alarms(pd.DataFrame({"at": times(n), "alarm": [f"alarm {i % 5}" for i in range(n)]})),
    "fill_latency": lambda n: charts.fill_latency(pd.DataFrame({"seconds": [i % 30 / 10 for i in range(n)]}), 2.0),
}
UNITS = {"freshness": "seconds", "cadence": "seconds", "fill_latency": "seconds from order to fill", "alarms": "UTC"}


def png(figure):
    """As a notebook's record holds it."""
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    return data.getvalue()


def texts(figure):
    png(figure)  # marks of an axis have their words only once they are drawn
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def words(figure):
    return " | ".join(text.get_text() for text in texts(figure))


def test_every_chart_is_tested_here():
    assert set(DRAWN) == set(runbook_lib.PUBLIC["steps.display.charts"])


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("count", [2, 60, 9000])
def test_a_chart_is_small_legible_at_half_width_and_names_its_units(name, count):
    figure = DRAWN[name](count)
    assert len(png(figure)) < LARGEST
    for text in texts(figure):
        assert text.get_fontsize() * figure.dpi / 72 / 2 >= LEAST, text
    axes = figure.axes[0]
    assert UNITS.get(name, "US dollars") in f"{axes.get_xlabel()} {axes.get_ylabel()}"
    assert name in ("freshness", "fill_latency") or axes.get_xlabel() == "UTC"


@pytest.mark.parametrize("name", DRAWN)
def test_no_data_says_so_instead_of_an_empty_frame(name):
    figure = DRAWN[name](0)
    assert any(said in words(figure) for said in ("no data", "no deployment", "no alarm", "fewer than two ticks"))
    assert not figure.axes[0].axison


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_closed_so_that_it_is_shown_once(name):
    DRAWN[name](5)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (lambda: charts.cost_per_tick(ticks(9), 0.01, 0.1), "band 0.01 to 0.1"),
        (lambda: charts.cost_per_tick(ticks(9, n3=None), 0.01, 0.1), "1 unpriced"),
        (lambda: charts.cost_per_tick(ticks(9, n3=0.5), 0.01, 0.1), "1 outside"),
        (lambda: charts.cost_per_tick(ticks(3, n0=None, n1=None, n2=None), 0.01, 0.1), "3 unpriced"),
        (lambda: charts.month_to_date(ticks(9), 10), "cap $10"),
        (lambda: charts.month_to_date(ticks(9, n1=None), 10), "of the cap"),
        (lambda: charts.cadence(ticks(20).drop([7, 8]), 300), "interval 300 s"),
        (lambda: charts.cadence(ticks(20).drop([7, 8]), 300), "1 late"),
        (lambda: charts.fill_latency(pd.DataFrame({"seconds": [1, 2, 3]}), 2), "waits 2 s; 1 slower"),
        (lambda: charts.freshness(beats(2)), "1200 of 900 s, late"),
        (lambda: charts.freshness(beats(2)), "never"),
        (lambda: charts.freshness(beats(200)), "190 fresher ones are not shown"),
    ],
)
def test_what_matters_is_said_in_words(figure, said):
    assert said in words(figure())


def test_two_deployments_whose_ids_begin_alike_are_two_bars():
    rows = pd.DataFrame({"id": ["7f3c0000-1", "7f3c0000-2"], "seconds_stale": [1, 2], "limit_seconds": 900})
    assert len(charts.freshness(rows).axes[0].patches) == 2


@pytest.mark.parametrize("every", ["1s", "1min", "1h", "1D", "30D"])
def test_marks_of_time_tell_apart_and_name_the_day(every):
    figure = charts.cost_per_tick(ticks(3, every), 0.01, 0.1)
    png(figure)
    axis = figure.axes[0].xaxis
    marks = [text.get_text() for text in axis.get_ticklabels() if text.get_text()]
    assert marks and all(one != other for one, other in pairwise(marks))
    assert any("11-0" in mark for mark in marks) or "2026" in axis.get_major_formatter().get_offset() or every == "30D"


@settings(max_examples=10)
@given(st.lists(st.one_of(st.none(), st.floats(0, 50, allow_subnormal=False)), min_size=1, max_size=30))
def test_any_costs_can_be_drawn(costs):
    rows = pd.DataFrame({"tick_at": times(len(costs)), "cost_usd": pd.Series(costs, dtype=object)})
    for figure in (charts.cost_per_tick(rows, 0.01, 0.1), charts.month_to_date(rows, 10)):
        assert png(figure).startswith(b"\x89PNG")


@settings(max_examples=25)
@given(st.one_of(st.floats(1, 3600), st.floats(3600, 400 * 86400)))
def test_any_window_has_marks_that_the_locator_can_choose(seconds):
    start = pd.Timestamp("2026-11-03T05:07:09Z")
    at = [(start + pd.Timedelta(seconds=part * seconds)).isoformat() for part in (0, 0.4, 1)]
    png(charts.equity(pd.DataFrame({"at": at, "equity_usd": [1, 2, 3]})))  # a warning is an error here


def two(column, values):
    return pd.DataFrame({"tick_at": times(2), "at": times(2), "id": ["a", "b"], "limit_seconds": 900, column: values})


@pytest.mark.parametrize(
    ("draw", "column", "said"),
    [
        (lambda rows: charts.cost_per_tick(rows, 0.01, 0.1), "cost_usd", ("1 unpriced", "1 outside")),
        (lambda rows: charts.month_to_date(rows, 10), "cost_usd", ("1 costs are negative or no numbers",)),
        (charts.freshness, "seconds_stale", ("never", "in the future")),
        (charts.equity, "equity_usd", ("1 are negative or no numbers",)),
        (lambda rows: charts.fill_latency(rows, 2.0), "seconds", ("1 are negative or no numbers",)),
    ],
)
@pytest.mark.parametrize("strange", ["nan", "NaN", float("nan"), float("inf"), "-inf", -90, "no number"])
def test_a_number_that_is_none_or_below_zero_is_told_and_kills_no_chart(draw, column, said, strange):
    figure = draw(two(column, [strange, 0.05]))
    png(figure)
    assert pd.isna(strange) or any(words_of in words(figure) for words_of in said)


def test_ticks_that_come_twice_as_often_are_told():
    assert "1 too soon" in words(charts.cadence(ticks(3, "5min").assign(tick_at=[*times(2), "2026-11-01T00:06Z"]), 300))
