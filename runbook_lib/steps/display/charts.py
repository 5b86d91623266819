"""Draw charts. Each function takes a DataFrame, draws every threshold with its name, and returns a Figure.

Each function says which columns it needs and their units. Times are UTC. A figure is closed before it is returned, so
that a notebook shows it once and a record holds its PNG.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt  # not matplotlib.figure: a figure made without pyplot leaves no image in a record
import pandas as pd
from matplotlib import dates
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe-Ito: told apart with every kind of colour vision; what is wrong also has a mark of its own.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
SIZE = (7.2, 3.2)  # inches
SMALLEST = 11  # points: at half the width of a page still as tall as small print
STYLE: Any = {
    "font.size": SMALLEST,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.dpi": 100,
    "savefig.dpi": 100,
}
SHORTEST = 10.0  # seconds an axis of times shows at least: below, its marks would be fractions of a second
MOST_BARS = 10  # deployments the freshness chart has room for; the rest are fresher, and counted
CROWD, STRETCHES = 500, 120  # marks that are too many to be told apart; stretches of time they are put into
LATE, EARLY = 1.5, 0.5  # intervals after which a tick is called late, before which too soon: two runners tick
FORMATS = ["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M:%S"]  # marks: years, months, days, hours, minutes, seconds
ZEROS = ["%Y", "%Y", "%m-%d", "%m-%d", "%H:%M", "%H:%M:%S"]  # marks where something larger begins
OFFSETS = ["", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d"]  # what all of them share


def redact(clean: Callable[[str], str]) -> None:
    """Redact with ``clean`` every text in every chart that this process draws from now on.

    This holds for charts that a cell's own code draws, too. Secrets must be redacted before drawing, because the scan
    of a record cannot see text in a picture.
    """
    original = Text.set_text

    def set_text(self: Text, s: Any) -> None:
        original(self, clean(str(s)) if s else s)

    Text.set_text = set_text  # type: ignore[method-assign]


def cost_per_tick(ticks: pd.DataFrame, low: float = 0.0, high: float = float("inf")) -> Figure:
    """Chart the cost of each tick's decision. If ``high`` is given, also draw the usual range for the model.

    ``ticks`` needs ``tick_at`` (time) and ``cost_usd`` (US dollars, null when unpriced). ``low`` and ``high`` bound the
    usual cost in US dollars: checklist phase 4.
    """
    figure, axes = _axes("Cost per tick", "US dollars")
    if _empty(axes, ticks):
        return figure
    cost = _numbers(ticks["cost_usd"])
    times = _times(ticks["tick_at"])
    top = float(cost.max()) if cost.notna().any() else 0.0
    if isfinite(high):
        axes.axhspan(low, high, color=GREEN, alpha=0.13, label=f"band {low:g} to {high:g}")
        top = max(high, top)
    inside = cost.between(low, high)
    if len(ticks) < CROWD:
        axes.plot(times[cost.notna()], cost.dropna(), "-", color=BLUE, linewidth=0.8, alpha=0.5)
    _marks(axes, times[inside], cost[inside], marker="o", colour=BLUE, label="usual")
    _marks(axes, times[cost.notna() & ~inside], cost[cost.notna() & ~inside], marker="^", colour=RED, label="outside")
    _marks(axes, times[cost.isna()], cost[cost.isna()].fillna(0), marker="x", colour=RED, label="unpriced")
    axes.set_ylim(min(0.0, 1.15 * float(cost.fillna(0).min())), 1.15 * top if top > 0 else 1.0)
    return _finished(figure, axes, times)


def month_to_date(ticks: pd.DataFrame, cap: float | None) -> Figure:
    """Chart the money spent since the start of the UTC month against the Skill's monthly cap.

    ``ticks`` needs ``tick_at`` (time) and ``cost_usd`` (US dollars), this month's rows. ``cap`` is in US dollars, None
    for a Skill without a cap.
    """
    figure, axes = _axes("Spent this month", "US dollars")
    if _empty(axes, ticks):
        return figure
    ordered = ticks.sort_values("tick_at")
    spent = _numbers(ordered["cost_usd"]).fillna(0).cumsum()
    last = float(spent.iloc[-1])
    strange = _nonsense(ordered["cost_usd"])
    over = strange > 0 or (cap is not None and last >= cap)
    share = f" ({last / cap:.1%} of the cap)" if cap else " (no cap)"
    share += f"; {strange} costs are negative or no numbers" if strange else ""
    times = _times(ordered["tick_at"])
    axes.step(times, spent, where="post", color=RED if over else BLUE, label=f"${last:.2f}{share}")
    axes.plot(times.iloc[-1:], [last], "^" if over else "o", color=RED if over else BLUE)
    if cap is not None:
        _threshold(axes, cap, f"cap ${cap:g}")
    axes.set_ylim(min(0.0, 1.15 * float(spent.min())), 1.15 * max(cap or 0.0, last) or 1.0)
    return _finished(figure, axes, times)


def freshness(beats: pd.DataFrame) -> Figure:
    """Chart the seconds since each deployment's last heartbeat against that deployment's limit.

    The stalest deployment is on top. ``beats`` needs ``id``, ``seconds_stale`` (seconds, null if the deployment never
    sent a heartbeat) and ``limit_seconds`` (max(3 ticks, 15 minutes): checklist 3.2).
    """
    figure, axes = _axes("Seconds since the last heartbeat", "", times=False)
    if _empty(axes, beats, "no deployment"):
        return figure
    ages = beats.assign(stale=_numbers(beats["seconds_stale"]), limit=_numbers(beats["limit_seconds"]).fillna(0))
    ages["share"] = (ages["stale"] / ages["limit"]).where(ages["stale"] >= 0).fillna(float("inf"))
    shown = ages.sort_values("share", ascending=False).head(MOST_BARS).iloc[::-1]
    places = list(range(len(shown)))
    late = (~shown["stale"].between(0, shown["limit"])).tolist()
    axes.barh(places, shown["stale"].fillna(shown["limit"]), color=[RED if bad else BLUE for bad in late], height=0.6)
    axes.plot(shown["limit"], places, "|", color=GREY, markersize=13, markeredgewidth=2, label="its own limit")
    for place, (stale, limit, bad) in enumerate(zip(shown["stale"], shown["limit"], late, strict=True)):
        why = "" if not bad else ", in the future" if stale < 0 else ", late"
        words = "never" if pd.isna(stale) else f"{stale:.0f} of {limit:.0f} s{why}"
        axes.annotate(words, (limit if pd.isna(stale) else max(stale, limit), place), **_BESIDE)
    axes.set_yticks(places, [str(deployment)[:8] for deployment in shown["id"]])
    more = len(ages) - len(shown)
    axes.set_xlabel("seconds" + (f"; {more} fresher ones are not shown" if more else ""))
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.3)
    return _finished(figure, axes)


def cadence(ticks: pd.DataFrame, interval: float) -> Figure:
    """Chart the seconds between one tick and the next. Ticks that came late or too soon are marked.

    ``ticks`` needs ``tick_at`` (time). ``interval`` is the expected distance in seconds.
    """
    figure, axes = _axes("Seconds between ticks", "seconds")
    if _empty(axes, ticks.iloc[1:], "fewer than two ticks in this window"):
        return figure
    times = _times(ticks["tick_at"].sort_values())
    gaps = times.diff().dt.total_seconds().iloc[1:]
    late, early = gaps > LATE * interval, gaps < EARLY * interval
    _marks(axes, times.iloc[1:][~late & ~early], gaps[~late & ~early], marker="o", colour=BLUE, label="on time")
    _marks(axes, times.iloc[1:][early], gaps[early], marker="v", colour=RED, label="too soon")
    _marks(axes, times.iloc[1:][late], gaps[late], marker="^", colour=RED, label="late")
    _threshold(axes, interval, f"interval {interval:g} s", colour=GREY)
    axes.set_ylim(0, max(2 * interval, float(gaps.max())) * 1.15)
    return _finished(figure, axes, times)


def equity(states: pd.DataFrame) -> Figure:
    """Chart the account value over time. ``states`` needs ``at`` (time) and ``equity_usd`` (US dollars)."""
    figure, axes = _axes("Equity", "US dollars")
    if _empty(axes, states):
        return figure
    times, values = _times(states["at"]), _numbers(states["equity_usd"])
    last = "no number" if pd.isna(values.iloc[-1]) else f"${values.iloc[-1]:,.2f}"
    strange = _nonsense(states["equity_usd"])
    also = f"; {strange} are negative or no numbers" if strange else ""
    axes.plot(times, values, color=RED if strange else BLUE, label=f"last {last}{also}")
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")  # "+1e4" in a corner has cost money before
    return _finished(figure, axes, times)


def alarms(raised: pd.DataFrame) -> Figure:
    """Chart when each alarm was raised. ``raised`` needs ``at`` (time) and ``alarm`` (its name)."""
    figure, axes = _axes("Alarms", "")
    if _empty(axes, raised, "no alarm in this window"):
        return figure
    times, names = _times(raised["at"]), raised["alarm"].astype(str)
    counts = names.value_counts()
    axes.scatter(times, names.map(lambda name: f"{name} ({counts[name]})"), marker="D", s=30, color=RED)
    axes.margins(y=0.3)
    return _finished(figure, axes, times)


def fill_latency(fills: pd.DataFrame, wait: float) -> Figure:
    """Chart how long fills took, as a histogram. A line marks the time that the runner waits for a fill.

    ``fills`` needs ``seconds`` (from order to fill); ``wait`` is in seconds (2).
    """
    figure, axes = _axes("Fill latency", "fills", times=False)
    if _empty(axes, fills):
        return figure
    seconds, strange = _numbers(fills["seconds"]), _nonsense(fills["seconds"])
    axes.hist(seconds[seconds >= 0], bins=30, color=BLUE, alpha=0.85)
    slower = f"the runner waits {wait:g} s; {(seconds > wait).sum()} slower"
    slower += f"; {strange} are negative or no numbers" if strange else ""
    axes.axvline(wait, color=RED, linestyle="--", label=slower)
    axes.set_xlabel("seconds from order to fill")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    return _finished(figure, axes)


_BESIDE: dict[str, Any] = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": SMALLEST}


def _axes(title: str, unit: str, *, times: bool = True) -> tuple[Figure, Axes]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    axes.tick_params(labelsize=SMALLEST)  # marks are made when they are drawn, outside the style
    plt.close(figure)  # left open, a notebook would draw it twice
    figure.suptitle(title, x=0.01, ha="left", fontsize=SMALLEST + 1, fontweight="bold")
    axes.set_ylabel(unit)
    if times:
        axes.set_xlabel("UTC")
    return figure, axes


def _empty(axes: Axes, rows: pd.DataFrame, words: str = "no data in this window") -> bool:
    """Return whether a chart has no rows.

    Without rows, write ``words`` in the chart instead of drawing an empty frame.
    """
    if len(rows):
        return False
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=GREY, fontsize=SMALLEST + 2)
    axes.set_axis_off()
    return True


def _numbers(values: pd.Series) -> pd.Series:
    """Return values as finite numbers for a chart. NaN, infinity and text become null."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    return numbers.where(numbers.abs() < float("inf"))


def _nonsense(values: pd.Series, lowest: float = 0.0) -> int:
    """Count a chart's values that are not numbers or lie below ``lowest``, the lowest possible value.

    Nulls are not counted.
    """
    numbers = _numbers(values)
    return int((values.notna() & numbers.isna()).sum() + (numbers < lowest).sum())


def _times(values: pd.Series) -> pd.Series:
    return pd.to_datetime(values, utc=True, format="ISO8601")


def _marks(axes: Axes, times: pd.Series, values: pd.Series, *, marker: str, colour: str, label: str) -> None:
    """Draw one mark per value, all alike, and give the number of marks in the legend. Without values, draw nothing."""
    if len(times) < CROWD and len(times):
        size = 14 if marker == "o" else 40  # what is wrong is larger
        axes.scatter(
            times, values, s=size, marker=marker, color=colour, clip_on=False, zorder=3, label=f"{len(times)} {label}"
        )
    elif len(times):
        _crowd(axes, times, values, colour, label)


def _crowd(axes: Axes, times: pd.Series, values: pd.Series, colour: str, label: str) -> None:
    """Draw many points of a chart as a band with a line.

    For each stretch of time, the band goes from the lowest to the highest value, and the line is at the median.
    """
    stretch = (times.max() - times.min()) / STRETCHES
    spread = values.groupby(times.dt.floor(stretch.ceil("s"))).agg(["min", "median", "max"])
    words = f"{len(times)} {label}, lowest to highest"
    axes.fill_between(spread.index, spread["min"], spread["max"], step="post", color=colour, alpha=0.3, label=words)
    axes.step(spread.index, spread["median"], where="post", color=colour, linewidth=1.0)


def _threshold(axes: Axes, at: float, label: str, colour: str = RED) -> None:
    axes.axhline(at, color=colour, linestyle="--", linewidth=1.4, label=label)


def _finished(figure: Figure, axes: Axes, times: pd.Series | None = None) -> Figure:
    if times is not None:
        _time_axis(axes, times)
    if axes.get_legend_handles_labels()[0]:
        # Above the picture and not beside it, where it would take a third of the width.
        axes.legend(
            loc="lower left",
            fontsize=SMALLEST,
            bbox_to_anchor=(0.0, 1.0),
            ncols=4,
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.2,
            handlelength=1.4,
        )
    return figure


def _time_axis(axes: Axes, times: pd.Series) -> None:
    first, last = times.min(), times.max()
    if (last - first).total_seconds() < SHORTEST:
        axes.set_xlim(first - pd.Timedelta(seconds=1), first + pd.Timedelta(seconds=SHORTEST))
    locator = dates.AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, formats=FORMATS, zero_formats=ZEROS, offset_formats=OFFSETS
    )
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set_fontsize(SMALLEST)
