"""Recover the address that signed an action, from either of the exchange's two kinds of EIP-712 signature.

A wrong signature is not an error here: it recovers to some other address, which the exchange does not know. So does a
signature that was made for the test network, as the network is part of what is signed.
"""

from typing import Any

import msgpack
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

NOWHERE = "0x0000000000000000000000000000000000000000"  # the verifying contract of both domains
L1_DOMAIN = {"name": "Exchange", "version": "1", "chainId": 1337, "verifyingContract": NOWHERE}
NETWORK = "Mainnet"  # what the rehearsed exchange is: its own form of signature, or somebody unknown has signed
USER_DOMAIN = {"name": "HyperliquidSignTransaction", "version": "1", "verifyingContract": NOWHERE}
SIGNED = "HyperliquidTransaction:"
# What a master wallet signs itself: action type -> (primary type, fields in order, after hyperliquidChain).
USER_SIGNED = {
    "approveAgent": (
        f"{SIGNED}ApproveAgent",
        {"agentAddress": "address", "agentName": "string", "nonce": "uint64"},
    ),
    "usdSend": (f"{SIGNED}UsdSend", {"destination": "string", "amount": "string", "time": "uint64"}),
    "withdraw3": (f"{SIGNED}Withdraw", {"destination": "string", "amount": "string", "time": "uint64"}),
}


class Unreadable(Exception):
    """An error (HTTP 422) for a request body that the venue cannot read.

    The body has no readable signature, or is not in the venue's form.
    """


def l1_signer(body: dict[str, Any]) -> str:
    """Return the address whose key signed a trading action for mainnet."""
    vault, expires = body.get("vaultAddress"), body.get("expiresAfter")
    packed = msgpack.packb(body["action"]) + body["nonce"].to_bytes(8, "big")
    packed += b"\x00" if vault is None else b"\x01" + bytes.fromhex(vault.removeprefix("0x"))
    packed += b"" if expires is None else b"\x00" + expires.to_bytes(8, "big")
    agent = {"source": "a", "connectionId": keccak(packed)}  # "b" on the test network
    return recover(L1_DOMAIN, "Agent", {"source": "string", "connectionId": "bytes32"}, agent, body)


def user_signer(body: dict[str, Any]) -> str:
    """Return the address whose key signed a transfer or an approval for mainnet. Accept any ``signatureChainId``."""
    action = {"agentName": ""} | body["action"]  # an unnamed agent is signed with an empty name
    name, fields = USER_SIGNED[action["type"]]
    if action["hyperliquidChain"] not in {"Mainnet", "Testnet"}:
        raise Unreadable
    domain = USER_DOMAIN | {"chainId": int(action["signatureChainId"], 16)}
    types = {"hyperliquidChain": "string"} | fields
    message = {key: action[key] for key in types} | {"hyperliquidChain": NETWORK}
    return recover(domain, name, types, message, body)


def recover(domain: dict[str, Any], name: str, types: dict[str, str], message: Any, body: Any) -> str:
    """Return the address, in lower case, whose key made the signature in ``body`` over the typed data."""
    try:
        vrs = [body["signature"]["v"], *(int(body["signature"][key], 16) for key in "rs")]
        listed = {name: [{"name": key, "type": kind} for key, kind in types.items()]}
        return str(Account.recover_message(encode_typed_data(domain, listed, message), vrs=vrs)).lower()
    except (BadSignature, ValidationError) as error:
        raise Unreadable from error
