-- Tell a runner about each new command on its own channel; the runner fetches the row by the id in the payload.

create function public.notify_agent_command() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  perform pg_notify('agent_commands_' || new.deployment_id, new.id::text);
  return null;
end
$$;
revoke all on function public.notify_agent_command() from public, anon, authenticated;

create trigger agent_commands_notify
  after insert on public.agent_commands
  for each row execute function public.notify_agent_command();
