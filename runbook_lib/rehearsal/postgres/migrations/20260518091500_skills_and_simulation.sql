-- Skills, their immutable versions, drafts from the chat, and backtests.

create table public.skills (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  name text not null,
  slug text not null,
  description text,
  latest_version int not null default 1,
  is_archived boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (user_id, slug)
);

create table public.skill_versions (
  skill_id uuid not null references public.skills (id) on delete cascade,
  version int not null,
  payload jsonb not null,
  payload_hash text not null,
  notes text,
  created_at timestamptz not null default now(),
  primary key (skill_id, version)
);

create table public.skill_drafts (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  skill_id uuid references public.skills (id) on delete cascade,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table public.sim_runs (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  skill_id uuid not null,
  skill_version int not null,
  symbol text not null,
  bars_interval text not null default '5m',
  range_from timestamptz not null,
  range_to timestamptz not null,
  status text not null default 'queued' check (
    status in ('queued', 'loading', 'running', 'computing_metrics', 'complete', 'error', 'cancelled')
  ),
  progress_pct int not null default 0 check (progress_pct between 0 and 100),
  error_text text,
  metrics_json jsonb,
  cost_usd numeric,
  started_at timestamptz,
  finished_at timestamptz,
  created_at timestamptz not null default now(),
  foreign key (skill_id, skill_version) references public.skill_versions (skill_id, version) on delete cascade
);
create index sim_runs_waiting on public.sim_runs (created_at) where status = 'queued';

-- Keys of exchanges that have no agent wallets; encrypted by the web app, read by the runner at boot.
create table public.exchange_credentials (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  exchange text not null,
  ciphertext text not null,
  created_at timestamptz not null default now()
);

alter table public.skills enable row level security;
alter table public.skill_versions enable row level security;
alter table public.skill_drafts enable row level security;
alter table public.sim_runs enable row level security;
alter table public.exchange_credentials enable row level security;

create policy own_skills on public.skills to authenticated using (user_id = auth.uid());
create policy own_versions on public.skill_versions to authenticated
  using (exists (select from public.skills as s where s.id = skill_id and s.user_id = auth.uid()));
create policy own_drafts on public.skill_drafts to authenticated using (user_id = auth.uid());
create policy own_runs on public.sim_runs to authenticated using (user_id = auth.uid());
create policy own_credentials on public.exchange_credentials to authenticated using (user_id = auth.uid());
