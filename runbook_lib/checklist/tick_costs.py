"""Define the usual cost of a tick for each model, and select ticks with an unusual cost (checklist, phase 4)."""

from __future__ import annotations

from runbook_lib.commands.command import Sql, sql
from runbook_lib.errors import ConfigError

# US dollars a tick usually costs, by a word of the model's id (checklist, phase 4).
BANDS = {"haiku": (0.01, 0.10), "sonnet": (0.05, 0.30)}


def band(model: str) -> tuple[float, float]:
    """Return the lowest and highest usual cost of a tick, in US dollars. Raise `ConfigError` for an unknown model."""
    for word, costs in BANDS.items():
        if word in model.lower():
            return costs
    raise ConfigError(f"no usual cost is known for model {model!r}: there is one for {', '.join(BANDS)}")


def unusual_costs(since: str, until: str) -> Sql:
    """Select live ticks without a price, or with a price outside their model's usual band (checklist, phase 4)."""
    return sql(
        """
        select case when coalesce(ds.cost_usd, 0) = 0 then 'without a price'
                    when b.key is null then 'no usual cost is known for this model'
                    else concat('usual are $', b.value ->> 0, ' to $', b.value ->> 1) end as why,
               ds.cost_usd, ds.tick_at as at, m.model, ds.deployment_id
        from public.decision_snapshots ds join public.deployments d on d.id = ds.deployment_id
        join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
        cross join lateral (select sv.payload #>> '{model}' as model) m
        left join jsonb_each(%(bands)s) b on strpos(lower(m.model), b.key) > 0
        where d.broker_kind = 'hyperliquid-mainnet' and ds.tick_at between %(since)s and %(until)s
          and (ds.prompt_tokens = 0) is not true and (coalesce(ds.cost_usd, 0) = 0 or b.key is null
            or ds.cost_usd not between (b.value ->> 0)::numeric and (b.value ->> 1)::numeric)
        order by ds.tick_at desc
        """,
        bands={word: list(costs) for word, costs in BANDS.items()},
        since=since,
        until=until,
    )
