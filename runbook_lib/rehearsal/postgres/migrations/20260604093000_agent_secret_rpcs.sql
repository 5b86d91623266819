-- The only two ways to an agent's private key. Both run as postgres, which may use the Vault; the API roles may
-- not call them. Functions in public are open to PUBLIC by default and to anon and authenticated by the
-- platform's default privileges, so both are closed here.

create function public.create_hyperliquid_agent_secret(secret text, name text) returns uuid
language plpgsql security definer
set search_path = ''
as $$
begin
  return vault.create_secret(secret, name);
end
$$;

-- Null unless an agent of ours references the secret.
create function public.get_hyperliquid_agent_secret(secret_id uuid) returns text
language plpgsql security definer
set search_path = ''
as $$
begin
  return (
    select kept.decrypted_secret
    from vault.decrypted_secrets as kept
    where kept.id = secret_id
      and exists (select from public.hyperliquid_agents as agent where agent.vault_key_id = secret_id)
  );
end
$$;

alter function public.create_hyperliquid_agent_secret(text, text) owner to postgres;
alter function public.get_hyperliquid_agent_secret(uuid) owner to postgres;
revoke all on function public.create_hyperliquid_agent_secret(text, text) from public, anon, authenticated;
revoke all on function public.get_hyperliquid_agent_secret(uuid) from public, anon, authenticated;
grant execute on function public.create_hyperliquid_agent_secret(text, text) to service_role;
grant execute on function public.get_hyperliquid_agent_secret(uuid) to service_role;
