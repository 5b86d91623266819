-- Scheduled events that the extractor finds in the news; reading the same hour twice adds nothing.

create table public.market_events (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in (
    'fomc', 'cpi', 'ppi', 'nfp', 'jobless_claims', 'gdp', 'pce', 'ecb_rate', 'boe_rate', 'boj_rate',
    'crypto_unlock', 'exchange_listing', 'halving', 'mainnet_launch', 'regulatory', 'earnings', 'other'
  )),
  scheduled_at timestamptz not null,
  symbols text[] not null default '{}',
  importance numeric not null check (importance between 0 and 1),
  title text,
  created_at timestamptz not null default now()
);
create unique index market_events_once
  on public.market_events (kind, date_trunc('hour', scheduled_at at time zone 'UTC'), symbols);
