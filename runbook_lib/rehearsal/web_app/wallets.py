"""Pair master wallets with the web app, and keep the agents that trade for these wallets."""

from __future__ import annotations

import hashlib
import secrets
import time

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from runbook_lib.rehearsal.exchange.signatures import USER_DOMAIN, USER_SIGNED
from runbook_lib.rehearsal.world.http_server import Json, Refusal
from runbook_lib.rehearsal.world.loopback import WEB_APP, source_of
from runbook_lib.rehearsal.world.world import World

CHAIN = 42161  # Arbitrum One, where the wallet is when it signs
DOMAIN_TYPES = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}


class Wallets:
    """What a signed-in user of the web app can do with wallets.

    The keys of agents go into the Vault and are never shown.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def message(self, _: str, address: str) -> Json:
        """Return the text that a wallet signs to be paired with the web app."""
        return {"message": self._message(address)}

    def _message(self, address: str) -> str:
        return f"Pair {address.lower()} with {self.world.names.domain}.\nThis signature moves no funds."

    def pair(self, user: str, address: str, signature: str) -> Json:
        """Pair a wallet with the web app if the pairing text was signed by the wallet itself.

        Only a hash of the signature is stored.
        """
        try:
            signer = Account.recover_message(encode_defunct(text=self._message(address)), signature=signature)
        except (BadSignature, ValidationError, ValueError) as problem:
            raise Refusal(400, f"unreadable signature: {problem}") from problem
        if signer.lower() != address.lower():
            raise Refusal(403, f"the signature is of {signer}, not of {address}")
        [wallet] = self.world.query(
            "insert into public.hyperliquid_master_wallets (user_id, address, pairing_sig_hash, verified_at)"
            " values (%(user)s, %(address)s, %(hash)s, now()) on conflict (address) do update"
            " set pairing_sig_hash = excluded.pairing_sig_hash, verified_at = now() returning id::text, address",
            {"user": user, "address": address.lower(), "hash": hashlib.sha256(signature.encode()).hexdigest()},
        )
        return wallet

    def wallet(self, user: str, address: str) -> str:
        """Return the id of a wallet that this user paired with the web app.

        Raise a 404 `Refusal` for another user's wallet.
        """
        rows = self.world.query(
            "select id::text from public.hyperliquid_master_wallets"
            " where address = lower(%(address)s) and user_id = %(user)s and verified_at is not null",
            {"address": address, "user": user},
        )
        if not rows:
            raise Refusal(404, f"no paired wallet {address}")
        return str(rows[0]["id"])

    def propose(self, user: str, address: str, name: str | None = None) -> Json:
        """Generate an agent for a paired wallet, and put the agent's key into the Vault.

        Return the approval that the user's wallet must sign.
        """
        wallet, key_pair = self.wallet(user, address), Account.create()
        name = name or f"seyra-{secrets.token_hex(4)}"
        agent = {"wallet": wallet, "user": user, "agent": key_pair.address.lower(), "name": name}
        with self.world.connect() as connection:
            connection.execute("set role service_role")  # the only role that may make secrets
            stored = connection.execute(
                "select public.create_hyperliquid_agent_secret(%s, %s) as id",
                ("0x" + key_pair.key.hex().removeprefix("0x"), f"hyperliquid_agent_{agent['agent']}"),
            ).fetchone()
        self.world.query(
            "insert into public.pending_hyperliquid_agents"
            " (user_id, master_wallet_id, agent_address, agent_name, vault_key_id)"
            " values (%(user)s, %(wallet)s, %(agent)s, %(name)s, %(key)s)",
            agent | {"key": stored["id"] if stored else None},
        )
        nonce = time.time_ns() // 1_000_000  # the venue takes a nonce near its own clock only
        return {"agent_address": agent["agent"], "typed_data": typed_data(agent["agent"], name, nonce)}

    def approve(self, user: str, typed: Json, signature: str) -> Json:
        """Have the venue approve a pending agent: send the approval that the wallet signed.

        If the venue accepts the approval, store the pending agent as approved.
        """
        message = typed["message"]
        address = message["agentAddress"].lower()
        pending = self.world.query(
            "select * from public.pending_hyperliquid_agents"
            " where agent_address = %(agent)s and user_id = %(user)s and expires_at > now()",
            {"agent": address, "user": user},
        )
        if not pending:
            raise Refusal(404, f"no pending agent {address}")
        digest = self._submit(message, signature)
        [agent] = self.world.query(
            "with gone as (delete from public.pending_hyperliquid_agents where id = %(id)s returning *)"
            " insert into public.hyperliquid_agents (user_id, master_wallet_id, agent_address, agent_name,"
            " vault_key_id, approved_at, approval_tx_hash) select user_id, master_wallet_id, agent_address,"
            " agent_name, vault_key_id, now(), %(hash)s from gone returning id::text, agent_address, agent_name",
            {"id": pending[0]["id"], "hash": digest},
        )
        return agent

    def _submit(self, message: Json, signature: str) -> str:
        """Send a wallet's signed approval to the venue.

        Return a digest of the signature, which the audit trail keeps.
        """
        raw = bytes.fromhex(signature.removeprefix("0x"))
        action = {"type": "approveAgent", "signatureChainId": hex(CHAIN), **message}
        parts = {"r": f"0x{raw[:32].hex()}", "s": f"0x{raw[32:64].hex()}", "v": raw[64]}
        body = {"action": action, "nonce": message["nonce"], "signature": parts}
        status, reply = self.world.call("hyperliquid", "POST", "/exchange", body=body, source=source_of(WEB_APP))
        if status != 200 or reply.get("status") != "ok":
            raise Refusal(409, f"Hyperliquid: {reply.get('response') if isinstance(reply, dict) else reply}")
        return f"0x{hashlib.sha256(signature.encode()).hexdigest()}"


def typed_data(agent: str, name: str, nonce: int) -> Json:
    """Return the EIP-712 typed data that a wallet shows and signs to approve an agent for the web app."""
    kind, fields = USER_SIGNED["approveAgent"]
    types = {"EIP712Domain": DOMAIN_TYPES, kind: {"hyperliquidChain": "string"} | fields}
    return {
        "types": {part: [{"name": key, "type": of} for key, of in held.items()] for part, held in types.items()},
        "primaryType": kind,
        "domain": USER_DOMAIN | {"chainId": CHAIN},
        "message": {"hyperliquidChain": "Mainnet", "agentAddress": agent, "agentName": name, "nonce": nonce},
    }
