"""Tell what a tick of a model usually costs, and select ticks with an unusual cost (checklist, phase 4).

The checklist names two models. Of any other, the platform's own ticks of the last seven days tell; where there are too
few, the rates in the platform's checkout; and where they cannot be read, the operator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.venue_answers import number
from runbook_lib.commands.command import Reply, Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_each

if TYPE_CHECKING:
    from collections.abc import Iterable

# US dollars a tick usually costs, by a word of the model's id (checklist, phase 4).
BANDS = {"haiku": (0.01, 0.10), "sonnet": (0.05, 0.30)}
ENOUGH = 10  # ticks of a model that tell what its ticks cost
SPREAD = 4.0  # times the median, or that part of it, which a tick still usually costs
# Tokens in and out of a tick. At the rates of Haiku they cost what the checklist says of Haiku.
FEWEST, MOST = (8_000, 400), (80_000, 4_000)
PER_TOKEN = 1e-3  # US dollars: a smaller rate is one for a token, a larger one for a million tokens
DECIMAL = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:[eE]-?\d+)?")


@dataclass(frozen=True)
class Usual:
    """The usual cost of a model's tick in US dollars, and who says so."""

    low: float
    high: float
    source: str


def tick_costs(model: str) -> Sql:
    """Select how many ticks of a model had a price in the last seven days, and the median of these prices."""
    return sql(
        """
        select count(*) as ticks, percentile_cont(0.5) within group (order by ds.cost_usd) as median_usd
        from public.decision_snapshots ds join public.deployments d on d.id = ds.deployment_id
        join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
        where sv.payload #>> '{model}' = %(model)s and ds.cost_usd > 0 and ds.tick_at > now() - interval '7 days'
        """,
        model=model,
    )


def usual_cost(model: str, measured: Reply, rates: Reply, asked: float | None) -> Usual | None:
    """Return what a tick of a model usually costs. Return None if nobody knows.

    ``measured`` is the reply to `tick_costs`, ``rates`` the lines of the platform's catalogue that begin with the
    model's, ``asked`` what the operator says a tick costs at most, if anything.
    """
    if told := _told(model, asked):
        return told
    ticks, middle = number(measured.value("ticks")), number(measured.value("median_usd"))
    if ticks is not None and middle is not None and ticks >= ENOUGH:
        return Usual(middle / SPREAD, middle * SPREAD, f"by {ticks:g} ticks of the last seven days")
    return _estimated(model, rates.text)


def cost_known(model: str, rates: Reply, asked: float | None) -> Expectation:
    """Expect that it is known what a tick of a model usually costs. Reply: `tick_costs`."""

    def test(measured: Reply) -> Finding:
        if not measured.rows or number(measured.value("ticks")) is None:
            return Finding("", f"expected the number of ticks, found {measured.rows}")
        usual = usual_cost(model, measured, rates, asked)
        if usual is None:
            return Finding("", f"nobody knows what a tick of {model} costs: it has no {ENOUGH} ticks, and no rate")
        return Finding(f"${usual.low:.4f} to ${usual.high:.4f} a tick, {usual.source}")

    return over_each("the usual cost of a tick is known", test)


def band(model: str, costs: Iterable[float | None] = (), asked: float | None = None) -> tuple[float, float]:
    """Return the lowest and highest usual cost of a tick, in US dollars.

    ``asked`` is the highest that the operator has said, if any. Of a model that the checklist does not name, its own
    ``costs`` tell. If there are too few, any cost is usual: the highest is infinite.
    """
    if told := _told(model, asked):
        return told.low, told.high
    priced = [cost for cost in map(number, costs) if cost]
    if len(priced) < ENOUGH:
        return 0.0, float("inf")
    return median(priced) / SPREAD, median(priced) * SPREAD


def highest(model: str, asked: float | None) -> float | None:
    """Return the highest cost of a tick, in US dollars: ``asked``, or else the checklist's. Return None if neither is
    known.
    """
    told = _told(model, asked)
    return told.high if told else None


def unusual_costs(since: str, until: str) -> Sql:
    """Select live ticks without a price, or with a price outside their model's usual band (checklist, phase 4)."""
    return sql(
        """
        with own as (
          select sv.payload #>> '{model}' as model,
                 percentile_cont(0.5) within group (order by ds.cost_usd)::numeric as usd
          from public.decision_snapshots ds join public.deployments d on d.id = ds.deployment_id
          join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
          where ds.cost_usd > 0 and ds.tick_at > %(until)s::timestamptz - interval '7 days'
          group by 1 having count(*) >= %(enough)s)
        select case when coalesce(ds.cost_usd, 0) = 0 then 'without a price'
                    when u.low is null then 'no usual cost is known for this model'
                    else concat('usual are $', u.low, ' to $', u.high) end as why,
               ds.cost_usd, ds.tick_at as at, m.model, ds.deployment_id
        from public.decision_snapshots ds join public.deployments d on d.id = ds.deployment_id
        join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
        cross join lateral (select sv.payload #>> '{model}' as model) m
        left join jsonb_each(%(bands)s) b on strpos(lower(m.model), b.key) > 0
        left join own o on o.model = m.model
        cross join lateral (
          select coalesce((b.value ->> 0)::numeric, round(o.usd / %(spread)s::numeric, 6)) as low,
                 coalesce((b.value ->> 1)::numeric, round(o.usd * %(spread)s::numeric, 6)) as high) u
        where d.broker_kind = 'hyperliquid-mainnet' and ds.tick_at between %(since)s and %(until)s
          and (ds.prompt_tokens = 0) is not true and (coalesce(ds.cost_usd, 0) = 0 or u.low is null
            or ds.cost_usd not between u.low and u.high)
        order by ds.tick_at desc
        """,
        bands={word: list(costs) for word, costs in BANDS.items()},
        enough=ENOUGH,
        spread=SPREAD,
        since=since,
        until=until,
    )


def _told(model: str, asked: float | None) -> Usual | None:
    """Return the usual cost of a model's tick that the operator, or else the checklist, tells. Return None if neither
    does.
    """
    if asked:
        return Usual(asked / 10, asked, "as you say")
    named = next((costs for word, costs in BANDS.items() if word in model.lower()), None)
    return Usual(*named, "by the checklist") if named else None


def _estimated(model: str, catalogue: str) -> Usual | None:
    """Estimate the usual cost of a model's tick from the model's rates in the platform's catalogue.

    The rates are the first two numbers after the model's id: for tokens in, and for tokens out.
    """
    rates = [float(text) for text in DECIMAL.findall(catalogue.partition(model)[2])[:2]]
    if len(rates) < 2 or not all(rates):
        return None
    into, out = (rate if max(rates) < PER_TOKEN else rate / 1e6 for rate in rates)
    low, high = (tokens_in * into + tokens_out * out for tokens_in, tokens_out in (FEWEST, MOST))
    return Usual(low, high, "estimated at the catalogue's rates; no ticks have shown it yet")
