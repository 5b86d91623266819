-- Roles as on a new Supabase project.
-- They belong to the server, not to one database, so every statement keeps what is already there.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon',            'nologin'),
      ('authenticated',   'nologin'),
      ('service_role',    'nologin bypassrls'),
      ('authenticator',   'login noinherit'),
      ('postgres',        'login createrole createdb replication bypassrls')
    ) as roles (name, attributes)
  loop
    if not exists (select from pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.attributes);
    end if;
  end loop;
end
$$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role, authenticator to postgres with admin option;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres with admin option;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
