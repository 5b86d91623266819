-- Settings of the platform itself, such as live_runner_image.

create table public.platform_config (
  key text primary key,
  value jsonb not null,
  updated_at timestamptz not null default now()
);
alter table public.platform_config enable row level security;
