-- Deployments and what a runner reads and writes while it runs one.

create table public.deployments (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  skill_id uuid not null,
  skill_version int not null,
  broker_kind text not null check (broker_kind in ('paper', 'hyperliquid-mainnet')),
  status text not null default 'provisioning' check (
    status in ('provisioning', 'running', 'paused', 'halted', 'stopped', 'error')
  ),
  error_text text,
  fly_machine_id text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  foreign key (skill_id, skill_version) references public.skill_versions (skill_id, version) on delete cascade
);
create index deployments_of_user on public.deployments (user_id, created_at);

-- One row per deployment; updated_at is the heartbeat.
create table public.agent_state (
  deployment_id uuid primary key references public.deployments (id) on delete cascade,
  equity_usd numeric,
  positions jsonb not null default '[]',
  updated_at timestamptz not null default now()
);

create table public.agent_commands (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  kind text not null check (kind in ('stop', 'pause', 'resume', 'flatten', 'kill', 'snapshot', 'clear_halt')),
  payload jsonb not null default '{}',
  issued_by text,
  created_at timestamptz not null default now(),
  acked_at timestamptz
);
create index agent_commands_of_deployment on public.agent_commands (deployment_id, created_at);

create table public.agent_logs (
  id bigint generated always as identity primary key,
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  ts timestamptz not null default now(),
  level text not null default 'info' check (level in ('debug', 'info', 'warn', 'error')),
  event text not null,
  message text,
  data jsonb not null default '{}'
);
create index agent_logs_of_deployment on public.agent_logs (deployment_id, ts);

create table public.agent_conversations (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid not null references public.deployments (id) on delete cascade,
  created_at timestamptz not null default now()
);

create table public.agent_messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  role text not null,
  content jsonb not null,
  created_at timestamptz not null default now()
);

-- One row per tick, live or simulated.
create table public.decision_snapshots (
  id uuid primary key default gen_random_uuid(),
  deployment_id uuid references public.deployments (id) on delete cascade,
  sim_run_id uuid references public.sim_runs (id) on delete cascade,
  tick_at timestamptz not null default now(),
  context jsonb,
  steps jsonb,
  proposed_action jsonb,
  verdict jsonb,
  prompt_tokens int,
  completion_tokens int,
  cost_usd numeric,
  check ((deployment_id is null) <> (sim_run_id is null))
);
create index decision_snapshots_of_deployment on public.decision_snapshots (deployment_id, tick_at);
create index decision_snapshots_of_sim_run on public.decision_snapshots (sim_run_id, tick_at)
  where sim_run_id is not null;

alter table public.deployments enable row level security;
alter table public.agent_state enable row level security;
alter table public.agent_commands enable row level security;
alter table public.agent_logs enable row level security;
alter table public.agent_conversations enable row level security;
alter table public.agent_messages enable row level security;
alter table public.decision_snapshots enable row level security;

create policy own_deployments on public.deployments to authenticated using (user_id = auth.uid());
create policy own_state on public.agent_state for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_commands on public.agent_commands to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_logs on public.agent_logs for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_conversations on public.agent_conversations to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
create policy own_messages on public.agent_messages to authenticated
  using (exists (
    select from public.agent_conversations as c
    join public.deployments as d on d.id = c.deployment_id
    where c.id = conversation_id and d.user_id = auth.uid()
  ));
create policy own_snapshots on public.decision_snapshots for select to authenticated
  using (exists (select from public.deployments as d where d.id = deployment_id and d.user_id = auth.uid()));
