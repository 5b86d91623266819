-- Stand-in for the Supabase Vault: the objects, signatures, owners, privileges and error texts of 0.3.1, in SQL.
--
-- It is NOT encryption. Secrets are masked with a stream derived from a constant in this file, so that they do not
-- lie about in clear in a table, a dump or a log; whoever reads this file can unmask them. It is for made-up
-- secrets on a rehearsal's own server and for nothing else.

create function vault._crypto_aead_det_encrypt(
  message bytea, additional bytea, key_id bigint, context bytea = 'pgsodium', nonce bytea = null
) returns bytea
language plpgsql immutable
set search_path = ''
as $$
declare
  seed bytea := convert_to('rehearsal:' || key_id, 'UTF8') || context || coalesce(nonce, '') || additional;
  tag bytea := substring(sha256(seed || message) from 1 for 16);
  mask bytea := '';
  masked bytea := message;
begin
  for place in 0 .. length(message) - 1 loop
    if place % 32 = 0 then
      mask := sha256(seed || convert_to(place::text, 'UTF8'));
    end if;
    masked := set_byte(masked, place, get_byte(masked, place) # get_byte(mask, place % 32));
  end loop;
  return tag || masked;
end
$$;

create function vault._crypto_aead_det_decrypt(
  message bytea, additional bytea, key_id bigint, context bytea = 'pgsodium', nonce bytea = null
) returns bytea
language plpgsql immutable
set search_path = ''
as $$
declare
  seed bytea := convert_to('rehearsal:' || key_id, 'UTF8') || context || coalesce(nonce, '') || additional;
  mask bytea := '';
  plain bytea := substring(message from 17);
begin
  for place in 0 .. length(plain) - 1 loop
    if place % 32 = 0 then
      mask := sha256(seed || convert_to(place::text, 'UTF8'));
    end if;
    plain := set_byte(plain, place, get_byte(plain, place) # get_byte(mask, place % 32));
  end loop;
  if substring(message from 1 for 16) is distinct from substring(sha256(seed || plain) from 1 for 16) then
    raise exception 'pgsodium_crypto_aead_det_decrypt_by_id: invalid ciphertext';
  end if;
  return plain;
end
$$;

-- Immutable, as in the real one: the planner calls it before anybody's right to the table is looked at, which
-- is why a direct insert is refused on this function and not on the table.
create function vault._crypto_aead_det_noncegen() returns bytea
language plpgsql immutable
set search_path = ''
as $$
begin
  return uuid_send(gen_random_uuid());
end
$$;

create table vault.secrets (
  id uuid primary key default gen_random_uuid(),
  name text,
  description text not null default '',
  secret text not null,
  key_id uuid,
  nonce bytea default vault._crypto_aead_det_noncegen(),
  created_at timestamptz not null default current_timestamp,
  updated_at timestamptz not null default current_timestamp
);
comment on table vault.secrets is 'Masked secrets of a rehearsal';
create unique index secrets_name_idx on vault.secrets using btree (name) where name is not null;

create view vault.decrypted_secrets as
select
  id, name, description, secret,
  convert_from(
    vault._crypto_aead_det_decrypt(
      decode(secret, 'base64'), convert_to(id::text, 'utf8'), 0, 'pgsodium'::bytea, nonce
    ),
    'utf8'
  ) as decrypted_secret,
  key_id, nonce, created_at, updated_at
from vault.secrets;

create function vault.create_secret(
  new_secret text, new_name text = null, new_description text = '', new_key_id uuid = null
) returns uuid
language plpgsql security definer
set search_path = ''
as $$
declare
  new_id uuid := gen_random_uuid();
  new_nonce bytea := uuid_send(gen_random_uuid());
begin
  insert into vault.secrets (id, name, description, nonce, secret)
  values (new_id, new_name, new_description, new_nonce, encode(
    vault._crypto_aead_det_encrypt(
      convert_to(new_secret, 'utf8'), convert_to(new_id::text, 'utf8'), 0, 'pgsodium'::bytea, new_nonce
    ),
    'base64'
  ));
  return new_id;
end
$$;

create function vault.update_secret(
  secret_id uuid, new_secret text = null, new_name text = null, new_description text = null, new_key_id uuid = null
) returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  update vault.secrets as kept set
    -- nothing to encrypt: the secret stays, and only its name or its description changes
    secret = case when new_secret is null then kept.secret else encode(
      vault._crypto_aead_det_encrypt(
        convert_to(new_secret, 'utf8'), convert_to(kept.id::text, 'utf8'), 0, 'pgsodium'::bytea, kept.nonce
      ),
      'base64'
    ) end,
    name = coalesce(new_name, kept.name),
    description = coalesce(new_description, kept.description),
    updated_at = now()
  where kept.id = secret_id;
end
$$;

-- Privileges as the platform grants them after it creates the extension (37 entries, without MAINTAIN).
revoke all on all functions in schema vault from public;
grant usage on schema vault to postgres with grant option;
grant usage on schema vault to service_role;
grant select, delete, truncate, references on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on function
  vault.create_secret, vault.update_secret, vault._crypto_aead_det_decrypt to postgres with grant option;
grant execute on function
  vault.create_secret, vault.update_secret, vault._crypto_aead_det_decrypt to service_role;

-- Ours, not the platform's: the read-only role may count and join secrets, but not unmask one.
do $$
begin
  if exists (select from pg_roles where rolname = 'runbook_reader') then
    grant usage on schema vault to runbook_reader;
    grant select on vault.secrets, vault.decrypted_secrets to runbook_reader;
  end if;
end
$$;
