"""Draw the console's charts from an overview, as PNG images with a text alternative for people who cannot see them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook_lib.agentic_trading.deployment_health import is_beating
from runbook_lib.checklist.tick_costs import band
from runbook_lib.steps.display import charts

if TYPE_CHECKING:
    from runbook_lib.console.overview import Overview

TICKS = 300  # newest ones whose distances are drawn: a day of them


def _freshness(overview: Overview) -> Any:
    beating = [row for row in overview.rows if is_beating(row)]
    columns = ["id", "seconds_stale", "limit_seconds"]
    return charts.freshness(pd.DataFrame(beating, columns=columns))


def _cost(overview: Overview) -> Any:
    ticks = _frame(overview)
    usual = band(str(_focus(overview).get("model")), ticks["cost_usd"])
    return _titled(charts.cost_per_tick(ticks, *usual), overview)


def _month(overview: Overview) -> Any:
    return _titled(charts.month_to_date(_frame(overview), _focus(overview).get("cap_usd")), overview)


def _cadence(overview: Overview) -> Any:
    return _titled(charts.cadence(_frame(overview).tail(TICKS), _focus(overview).get("tick_seconds") or 0.0), overview)


def _focus(overview: Overview) -> dict[str, Any]:
    return next((row for row in overview.rows if row["id"] == overview.focus), {})


def _frame(overview: Overview) -> pd.DataFrame:
    return pd.DataFrame(list(overview.ticks), columns=["tick_at", "cost_usd"])


def _titled(figure: Any, overview: Overview) -> Any:
    """Add to a figure's title the id of the deployment whose ticks the figure shows."""
    words = f"{figure.get_suptitle()}: {overview.focus[:8] or 'nobody'}"
    figure.suptitle(words, x=0.01, ha="left", fontweight="bold")
    return figure


def png(figure: Any) -> bytes:
    """Return one of the console's charts as a PNG image.

    A thread may call this, because the figure is closed and no longer known to pyplot, which is not thread-safe.
    """
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def words(figure: Any) -> str:
    """Return the text alternative of a chart on the console: the chart's title and texts."""
    texts = [figure.get_suptitle(), *(text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts))]
    return "; ".join(filter(None, (" ".join(text.split()) for text in texts)))


DRAWN = (_freshness, _cost, _month, _cadence)
