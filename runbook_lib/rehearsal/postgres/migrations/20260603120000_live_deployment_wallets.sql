-- Master wallets of users, agent wallets of the platform, and the link from a deployment to its agent.

create table public.hyperliquid_master_wallets (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  address text not null unique,
  pairing_sig_hash text,
  verified_at timestamptz,
  created_at timestamptz not null default now()
);

-- The private key is in the Vault; vault_key_id is the id of its secret there.
create table public.hyperliquid_agents (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  master_wallet_id uuid not null references public.hyperliquid_master_wallets (id) on delete cascade,
  agent_address text not null unique,
  agent_name text,
  vault_key_id uuid,
  approved_at timestamptz,
  revoked_at timestamptz,
  approval_tx_hash text,
  created_at timestamptz not null default now()
);
create index hyperliquid_agents_by_key on public.hyperliquid_agents (vault_key_id);

alter table public.deployments
  add column hyperliquid_agent_id uuid references public.hyperliquid_agents (id),
  add constraint deployments_agent_matches_broker
    check ((broker_kind = 'hyperliquid-mainnet') = (hyperliquid_agent_id is not null));

alter table public.hyperliquid_master_wallets enable row level security;
alter table public.hyperliquid_agents enable row level security;

create policy own_wallets on public.hyperliquid_master_wallets to authenticated using (user_id = auth.uid());
create policy own_agents on public.hyperliquid_agents for select to authenticated using (user_id = auth.uid());
