-- What the chat assistant was told to remember about a user.

create table public.user_facts (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  fact text not null,
  created_at timestamptz not null default now()
);
alter table public.user_facts enable row level security;
create policy own_facts on public.user_facts to authenticated using (user_id = auth.uid());
