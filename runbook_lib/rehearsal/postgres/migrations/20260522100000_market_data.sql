-- The data plane: what Skills look at. It belongs to no user.

create table public.bars (
  symbol text not null,
  interval text not null,
  opened_at timestamptz not null,
  open numeric not null,
  high numeric not null,
  low numeric not null,
  close numeric not null,
  volume numeric not null default 0,
  primary key (symbol, interval, opened_at)
);

create table public.funding_rates (
  symbol text not null,
  funded_at timestamptz not null,
  rate numeric not null,
  primary key (symbol, funded_at)
);

create table public.news_items (
  id uuid primary key default gen_random_uuid(),
  source text not null,
  external_id text not null,
  title text not null,
  url text,
  symbols text[] not null default '{}',
  sentiment numeric check (sentiment between -1 and 1),
  published_at timestamptz,
  ingested_at timestamptz not null default now(),
  unique (source, external_id)
);
