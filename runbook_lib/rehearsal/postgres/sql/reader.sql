-- runbook_reader: the login of checks, charts and the console. It sees every table and setting, changes nothing,
-- and may count and join secrets but not unmask one. The same statements make it in production.

do $$
begin
  if not exists (select from pg_roles where rolname = 'runbook_reader') then
    create role runbook_reader login bypassrls connection limit 20;
    grant pg_monitor to runbook_reader;
    alter role runbook_reader set default_transaction_read_only = on;
    alter role runbook_reader set statement_timeout = '30s';
  end if;
end
$$;
