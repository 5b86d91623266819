"""Charts: a DataFrame in, a Figure out, one style, every threshold drawn and named.

Each function says which columns it needs and their units. Times are UTC. A figure is closed before it is returned, so
that a notebook shows it once and a record holds its PNG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt  # not matplotlib.figure: a figure made without pyplot leaves no image in a record
import pandas as pd
from matplotlib import dates
from matplotlib.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["alarms", "cadence", "cost_per_tick", "equity", "fill_latency", "freshness", "month_to_date"]

# Okabe-Ito: told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
SIZE = (7.2, 2.8)  # inches; legible at half the width of a page
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.dpi": 100,
    "savefig.dpi": 100,
}


def redact(clean: Callable[[str], str]) -> None:
    """From now on ``clean`` is applied to every text drawn in this process, by us or by a cell: in a picture it could
    be found by nobody who scans a record.
    """
    original = Text.set_text

    def set_text(self: Text, s: Any) -> None:
        original(self, clean(str(s)) if s else s)

    Text.set_text = set_text  # type: ignore[method-assign]


def cost_per_tick(ticks: pd.DataFrame, low: float, high: float) -> Figure:
    """What each decision cost, against the model's usual band.

    ``ticks`` needs ``tick_at`` (time) and ``cost_usd`` (US dollars, null when unpriced). ``low`` and ``high`` are in
    US dollars: checklist phase 4.
    """
    figure, axes = _axes("Cost per tick", "US dollars")
    if _empty(axes, ticks):
        return figure
    axes.axhspan(low, high, color=GREEN, alpha=0.12, label=f"usual: {low:g} to {high:g}")
    priced = ticks.dropna(subset=["cost_usd"])
    axes.plot(
        _times(priced["tick_at"]), pd.to_numeric(priced["cost_usd"]), "o-", color=BLUE, markersize=3, label="tick"
    )
    unpriced = _times(ticks.loc[ticks["cost_usd"].isna(), "tick_at"])
    if len(unpriced):
        axes.scatter(unpriced, [0.0] * len(unpriced), marker="x", color=RED, s=36, zorder=3, label="unpriced tick")
    axes.set_ylim(0, max(high, float(pd.to_numeric(priced["cost_usd"]).max() if len(priced) else 0)) * 1.15)
    return _finished(figure, axes)


def month_to_date(ticks: pd.DataFrame, cap: float) -> Figure:
    """Spending since the start of the UTC month against the Skill's monthly cap.

    ``ticks`` needs ``tick_at`` (time) and ``cost_usd`` (US dollars), this month's rows. ``cap`` is in US dollars.
    """
    figure, axes = _axes("Month to date", "US dollars")
    if _empty(axes, ticks):
        return figure
    ordered = ticks.sort_values("tick_at")
    spent = pd.to_numeric(ordered["cost_usd"]).fillna(0).cumsum()
    axes.step(_times(ordered["tick_at"]), spent, where="post", color=BLUE, label=f"spent: {spent.iloc[-1]:.2f}")
    _threshold(axes, cap, f"cap: {cap:g}")
    axes.set_ylim(0, max(cap, float(spent.iloc[-1])) * 1.15)
    return _finished(figure, axes)


def freshness(beats: pd.DataFrame) -> Figure:
    """Seconds since each deployment's last heartbeat, stalest first, each against its own limit.

    ``beats`` needs ``id``, ``seconds_stale`` (seconds, null if it never beat) and ``limit_seconds``
    (max(3 ticks, 15 minutes): checklist 3.2).
    """
    figure, axes = _axes("Seconds since the last heartbeat", "", times=False)
    if _empty(axes, beats):
        return figure
    shown = beats.assign(stale=pd.to_numeric(beats["seconds_stale"])).sort_values("stale", na_position="last")
    names = [str(one)[:8] for one in shown["id"]]
    limits = pd.to_numeric(shown["limit_seconds"])
    late = shown["stale"].isna() | (shown["stale"] > limits)
    axes.barh(names, shown["stale"].fillna(limits), color=[RED if bad else BLUE for bad in late], height=0.6)
    axes.scatter(limits, names, marker="|", s=180, color=GREY, label="its own limit", zorder=3)
    for name, stale, limit in zip(names, shown["stale"], limits, strict=True):
        words = "never" if pd.isna(stale) else f"{stale:.0f} s"
        axes.annotate(words, (max(limit if pd.isna(stale) else stale, limit), name), **_BESIDE)
    axes.margins(x=0.15)
    axes.set_xlabel("seconds")
    return _finished(figure, axes, times=False)


def cadence(ticks: pd.DataFrame, interval: float) -> Figure:
    """Seconds between one tick and the next; gaps stand out.

    ``ticks`` needs ``tick_at`` (time). ``interval`` is in seconds.
    """
    figure, axes = _axes("Seconds between ticks", "seconds")
    if _empty(axes, ticks.iloc[1:]):
        return figure
    times = _times(ticks["tick_at"].sort_values())
    gaps = times.diff().dt.total_seconds().iloc[1:]
    late = gaps > 1.5 * interval
    axes.scatter(times.iloc[1:][~late], gaps[~late], s=10, color=BLUE, label="on time")
    axes.scatter(times.iloc[1:][late], gaps[late], s=22, color=RED, marker="^", label="late")
    _threshold(axes, interval, f"interval {interval:g} s", colour=GREY)
    axes.set_ylim(0, max(2 * interval, float(gaps.max())) * 1.15)
    return _finished(figure, axes)


def equity(states: pd.DataFrame) -> Figure:
    """Account value over time. ``states`` needs ``at`` (time) and ``equity_usd`` (US dollars)."""
    figure, axes = _axes("Equity", "US dollars")
    if _empty(axes, states):
        return figure
    axes.plot(_times(states["at"]), pd.to_numeric(states["equity_usd"]), color=BLUE, label="equity")
    return _finished(figure, axes)


def alarms(raised: pd.DataFrame) -> Figure:
    """When each alarm rang. ``raised`` needs ``at`` (time) and ``alarm`` (its name)."""
    figure, axes = _axes("Alarms", "")
    if _empty(axes, raised, "no alarm in this window"):
        return figure
    axes.scatter(_times(raised["at"]), raised["alarm"].astype(str), marker="D", s=26, color=RED)
    axes.margins(y=0.3)
    return _finished(figure, axes)


def fill_latency(fills: pd.DataFrame, wait: float) -> Figure:
    """How long fills took, against the runner's wait. ``fills`` needs ``seconds``; ``wait`` is in seconds (2 s)."""
    figure, axes = _axes("Fill latency", "fills", times=False)
    if _empty(axes, fills):
        return figure
    axes.hist(pd.to_numeric(fills["seconds"]), bins=30, color=BLUE, alpha=0.85)
    axes.axvline(wait, color=RED, linestyle="--", label=f"the runner waits {wait:g} s")
    axes.set_xlabel("seconds from order to fill")
    return _finished(figure, axes, times=False)


_BESIDE: dict[str, Any] = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}


def _axes(title: str, unit: str, *, times: bool = True) -> tuple[Figure, Axes]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    plt.close(figure)  # left open, a notebook would draw it twice
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(unit)
    if times:
        axes.set_xlabel("UTC")
    return figure, axes


def _empty(axes: Axes, rows: pd.DataFrame, words: str = "no data in this window") -> bool:
    """Say so instead of showing an empty frame."""
    if len(rows):
        return False
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=GREY, fontsize=11)
    axes.set_axis_off()
    return True


def _times(values: pd.Series) -> pd.Series:
    return pd.to_datetime(values, utc=True, format="ISO8601")


def _threshold(axes: Axes, at: float, label: str, colour: str = RED) -> None:
    axes.axhline(at, color=colour, linestyle="--", linewidth=1.2, label=label)


def _finished(figure: Figure, axes: Axes, *, times: bool = True) -> Figure:
    if times:
        locator = dates.AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return figure
