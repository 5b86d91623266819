-- The audit trail of real orders, and agent wallets that were made but not approved yet.

create table public.mainnet_orders (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  cloid text not null unique,
  symbol text not null,
  side text not null check (side in ('buy', 'sell')),
  status text not null check (status in ('placed', 'open', 'filled', 'cancelled', 'rejected')),
  size_base numeric not null,
  filled_size_base numeric not null default 0,
  avg_fill_price numeric,
  fee_usd numeric,
  placed_at timestamptz not null default now(),
  settled_at timestamptz
);
create index mainnet_orders_of_deployment on public.mainnet_orders (deployment_id, placed_at);

create table public.pending_hyperliquid_agents (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  master_wallet_id uuid not null references public.hyperliquid_master_wallets (id) on delete cascade,
  agent_address text not null unique,
  agent_name text,
  vault_key_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '24 hours'
);

alter table public.mainnet_orders enable row level security;
alter table public.pending_hyperliquid_agents enable row level security;

create policy own_orders on public.mainnet_orders for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_pending_agents on public.pending_hyperliquid_agents for select to authenticated
  using (user_id = auth.uid());
