-- What a new Supabase project has in its database before the first migration, as far as the platform uses it:
-- the schemas auth, extensions and vault, the users table, and the privileges that new objects get.
-- Applied by supabase_admin; it keeps what is already there.

create schema if not exists extensions;
grant usage on schema extensions to postgres, anon, authenticated, service_role, runbook_reader;

create schema if not exists auth;
grant usage on schema auth to postgres, anon, authenticated, service_role, runbook_reader;

create table if not exists auth.users (
  id uuid primary key,
  email text unique,
  created_at timestamptz default now()
);
grant all on auth.users to postgres with grant option;
grant select on auth.users to service_role, runbook_reader;

-- Who asks, from the claims that PostgREST sets for each request; row level security is written with it.
create or replace function auth.uid() returns uuid
language sql stable
as $$
  select nullif(coalesce(
    current_setting('request.jwt.claim.sub', true),
    current_setting('request.jwt.claims', true)::jsonb ->> 'sub'
  ), '')::uuid
$$;

create schema if not exists vault;

grant usage, create on schema public to postgres with grant option;
grant usage on schema public to anon, authenticated, service_role, runbook_reader;

-- Since 2026 the API roles get no privilege on new tables and sequences (Supabase's changelog 45329: new projects from
-- 30 May, all from 30 October): a migration must grant what they need. Functions are open to them as ever: that is
-- why revoking one from public alone leaves it executable by anon.
alter default privileges for role postgres in schema public
  grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres
  grant select on tables to runbook_reader;
alter default privileges for role postgres
  grant usage on schemas to runbook_reader;
