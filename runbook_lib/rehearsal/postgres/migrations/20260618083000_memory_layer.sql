-- What an agent remembers: its round trips and its own notes.

create table public.trade_history (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  symbol text not null,
  side text not null,
  size_base numeric not null,
  entry_price numeric,
  exit_price numeric,
  entry_regime_tag text,
  realized_pnl_usd numeric,
  opened_at timestamptz not null,
  closed_at timestamptz not null
);
create index trade_history_of_deployment on public.trade_history (deployment_id, closed_at);

create table public.reflection_notes (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  body text not null check (length(body) <= 2000),
  is_active boolean not null default true,
  created_at timestamptz not null default now()
);
create unique index reflection_notes_one_active on public.reflection_notes (deployment_id) where is_active;

alter table public.trade_history enable row level security;
alter table public.reflection_notes enable row level security;

create policy own_trades on public.trade_history for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_notes on public.reflection_notes for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
