"""Recovery of signers, against the signatures of the public SDK and of a wallet in a browser."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hyperliquid.utils import signing as sdk

from runbook_lib.rehearsal.exchange.signatures import Unreadable, l1_signer, user_signer

WALLET = Account.from_key("0x" + "11" * 32)
ADDRESS = WALLET.address.lower()
VAULT = "0x" + "ab" * 20
ORDER = {"type": "order", "orders": [{"a": 0, "b": True, "p": "80000", "s": "0.001", "r": False}], "grouping": "na"}


def l1_body(nonce: int, vault: str | None, expires: int | None, mainnet: bool) -> dict[str, Any]:
    signature = sdk.sign_l1_action(WALLET, ORDER, vault, nonce, expires, mainnet)
    return {"action": ORDER, "nonce": nonce, "signature": signature, "vaultAddress": vault, "expiresAfter": expires}


@pytest.mark.parametrize("vault", [None, VAULT])
@pytest.mark.parametrize("expires", [None, 1_795_348_860_000])
def test_the_signer_of_an_order_is_recovered_if_it_was_signed_for_mainnet(
    vault: str | None, expires: int | None
) -> None:
    assert l1_signer(l1_body(1_795_348_800_000, vault, expires, mainnet=True)) == ADDRESS
    assert l1_signer(l1_body(1_795_348_800_000, vault, expires, mainnet=False)) != ADDRESS


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 6},
        {"vaultAddress": VAULT},
        {"expiresAfter": 7},
        {"action": ORDER | {"grouping": "normalTpsl"}},
        {"action": dict(reversed(ORDER.items()))},
    ],
)
def test_any_change_makes_another_signer(change: dict[str, Any]) -> None:
    assert l1_signer(l1_body(5, None, None, mainnet=True) | change) != ADDRESS


def approval(**change: Any) -> dict[str, Any]:
    action = {"type": "approveAgent", "agentAddress": VAULT, "agentName": "runner", "nonce": 5}
    signature = sdk.sign_agent(WALLET, action, True)
    return {"action": action | change, "nonce": 5, "signature": signature}


def test_the_signer_of_an_approval_is_recovered() -> None:
    assert user_signer(approval()) == ADDRESS
    assert user_signer(approval(agentName="other")) != ADDRESS


def test_an_approval_that_was_signed_for_the_test_network_is_somebody_elses() -> None:
    action = {"type": "approveAgent", "agentAddress": VAULT, "agentName": "runner", "nonce": 5}
    signature = sdk.sign_agent(WALLET, action, False)
    assert user_signer({"action": action, "signature": signature}) != ADDRESS
    assert user_signer({"action": action | {"hyperliquidChain": "Mainnet"}, "signature": signature}) != ADDRESS


def test_an_unnamed_agent_is_signed_with_an_empty_name() -> None:
    action = {"type": "approveAgent", "agentAddress": VAULT, "agentName": "", "nonce": 5}
    signature = sdk.sign_agent(WALLET, action, True)
    del action["agentName"]
    assert user_signer({"action": action, "signature": signature}) == ADDRESS


def test_a_wallet_signs_on_the_chain_it_is_on() -> None:
    action = {"type": "approveAgent", "signatureChainId": "0xa4b1", "hyperliquidChain": "Mainnet"}
    action |= {"agentAddress": VAULT, "agentName": "runner", "nonce": 5}  # type: ignore[dict-item]
    domain = {"name": "HyperliquidSignTransaction", "version": "1", "chainId": 42_161}
    fields = {"hyperliquidChain": "string", "agentAddress": "address", "agentName": "string", "nonce": "uint64"}
    typed = encode_typed_data(
        domain | {"verifyingContract": "0x" + "0" * 40},
        {"HyperliquidTransaction:ApproveAgent": [{"name": name, "type": kind} for name, kind in fields.items()]},
        {name: action[name] for name in fields},
    )
    signed = WALLET.sign_message(typed)
    signature = {"r": hex(signed.r), "s": hex(signed.s), "v": signed.v}
    assert user_signer({"action": action, "signature": signature}) == ADDRESS


@pytest.mark.parametrize(
    "change",
    [
        {"signature": {"r": "0x0", "s": "0x0", "v": 27}},
        {"signature": {"r": "0x1", "s": "0x" + "f" * 64, "v": 27}},
        {"action": {"type": "approveAgent", "hyperliquidChain": "Moon"}},
    ],
)
def test_what_is_no_signature_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        user_signer(approval() | change)
