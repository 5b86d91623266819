"""Answer ``POST /exchange``: check the signer and the nonce of a signed action, then carry the action out."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import IMMEDIATE, Account, Order
from runbook_lib.rehearsal.exchange.agents import Refused
from runbook_lib.rehearsal.exchange.market_prices import BY_ID, wire
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from runbook_lib.rehearsal.exchange.signatures import USER_SIGNED, Unreadable, l1_signer, user_signer

Action = dict[str, Any]
BATCHES = {"order", "cancel", "cancelByCloid"}
SCHEDULED = 1_000_000  # US dollars an account must have traded before it may schedule a cancel


def act(exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
    """Check and carry out a signed action that was sent to ``POST /exchange``.

    Raise `Unreadable` if the body is not in the venue's form.
    """
    with exchange.lock:
        exchange.advance()
        try:
            return {"status": "ok", "response": _perform(exchange, body, body["action"])}
        except Refused as no:
            return {"status": "err", "response": str(no)}
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Unreadable from error


def _perform(exchange: Exchange, body: dict[str, Any], action: Action) -> dict[str, Any]:
    """Carry out a signed action that has been checked.

    The whole action is read before any part of it is done, so that a body with a mistake near its end changes nothing.
    """
    kind = action["type"]
    orders = [read_order(item) for item in action["orders"]] if kind == "order" else []
    cancels = [_cancelled(item) for item in action["cancels"]] if kind.startswith("cancel") else []
    if kind not in SINGLE.keys() | BATCHES:
        raise Unreadable
    signer, account = _signed_by(exchange, body, kind in USER_SIGNED)
    nonce = action["nonce" if kind == "approveAgent" else "time"] if kind in USER_SIGNED else body["nonce"]
    exchange.agents.use_nonce(signer, nonce, exchange.ms())
    account.requests += max(1, len(orders) + len(cancels))
    if kind in SINGLE:
        SINGLE[kind](exchange, account, action)
        return {"type": "default"}
    statuses = [exchange.place(account, order) for order in orders]
    statuses += [exchange.cancel(account, *wanted) for wanted in cancels]
    # the venue answers a cancel by cloid as it does a cancel by number
    return {"type": "order" if kind == "order" else "cancel", "data": {"statuses": statuses}}


def _signed_by(exchange: Exchange, body: dict[str, Any], by_master: bool) -> tuple[str, Account]:
    """Return the address that signed an action, and the account for which this address may act.

    An agent acts for the account of its master. Any other signer acts for the account of its own address. ``by_master``
    says that no agent may sign this action.
    """
    signer = user_signer(body) if by_master else l1_signer(body)
    agent = None if by_master else exchange.agents.of(signer, exchange.ms())
    account = exchange.account(agent.master if agent else signer)
    if not by_master and account.address not in exchange.accounts:
        raise Refused(f"User or API Wallet {signer} does not exist.")
    if exchange.equity(account) <= 0:
        raise Refused(f"Must deposit before performing actions. User: {account.address}")
    if body.get("vaultAddress"):
        raise Refused(f"Vault not registered: {body['vaultAddress']}")
    if exchange.ms() > (body.get("expiresAfter") or exchange.ms()):
        raise Refused(f"Action expired: expiresAfter {body['expiresAfter']} < {exchange.ms()}")
    return signer, account


def _approve(exchange: Exchange, account: Account, action: Action) -> None:
    name = action.get("agentName") or ""
    exchange.agents.approve(account.address, action["agentAddress"].lower(), name, exchange.ms())


def _transfer(exchange: Exchange, account: Account, action: Action) -> None:
    amount, kind = number(action["amount"]), action["type"]
    if not 0 < amount <= exchange.free(account):
        raise Refused("Insufficient balance for withdrawal.")
    delta = {"type": {"usdSend": "internalTransfer"}.get(kind, "withdraw"), "usdc": wire(amount)}
    delta |= {"user": account.address, "destination": action["destination"], "fee": "0.0"}
    exchange.move(account.address, -amount, delta)
    if kind == "usdSend":
        exchange.move(action["destination"], amount, delta)


def _set_leverage(exchange: Exchange, account: Account, action: Action) -> None:
    asset, before, wanted = BY_ID[action["asset"]], account.leverage, int(action["leverage"])
    if not action["isCross"]:
        raise Refused("Isolated margin is not played in a rehearsal: use cross margin.")
    if not 1 <= wanted <= asset.max_leverage:
        raise Refused(f"Invalid leverage {wanted}: the maximum is {asset.max_leverage}.")
    account.leverage = before | {asset.name: wanted}
    if exchange.margin(account, account.resting) > exchange.equity(account):
        account.leverage = before
        raise Refused("Insufficient cross margin available to decrease leverage.")


def _schedule(exchange: Exchange, account: Account, action: Action) -> None:
    if account.volume < SCHEDULED:
        words = f"Cannot set scheduled cancel time until enough volume traded. Required: ${SCHEDULED}. Traded:"
        raise Refused(f"{words} ${account.volume:.0f}.")
    if action.get("time") is not None and action["time"] < exchange.ms() + 5000:
        raise Refused("Scheduled cancel time too early, must be at least 5 seconds from now.")
    account.cancel_at = action.get("time")


def _nothing(_: Exchange, __: Account, ___: Action) -> None:
    """Do nothing. The action ``noop`` only uses up its nonce."""


SINGLE: dict[str, Callable[[Exchange, Account, Action], None]] = {
    "approveAgent": _approve,
    "noop": _nothing,
    "scheduleCancel": _schedule,
    "updateLeverage": _set_leverage,
    "usdSend": _transfer,
    "withdraw3": _transfer,
}


def read_order(item: dict[str, Any]) -> Order:
    """Read one order of a signed order action. A trigger order gets ``trigger`` as its time in force."""
    sz, cloid = number(item["s"]), item.get("c")
    tif = item["t"]["limit"]["tif"] if "limit" in item["t"] else "trigger"
    if tif not in {"Gtc", "Alo", "trigger", *IMMEDIATE} or (cloid and not re.fullmatch("0x[0-9a-f]{32}", cloid)):
        raise Unreadable
    sign, coin = 1 if item["b"] else -1, BY_ID[item["a"]].name
    return Order(coin, sign, number(item["p"]), sz, tif, bool(item["r"]), cloid, asked=sz)


def number(text: str) -> Decimal:
    """Read a decimal number of a signed action: at most eight decimals, no sign, no exponent."""
    if not re.fullmatch(r"\d{1,12}(\.\d{1,8})?", text, re.ASCII):
        raise Unreadable
    return Decimal(text)


def _cancelled(item: dict[str, Any]) -> tuple[int | str, int]:
    """Return which order a signed cancel names, by oid or cloid, and the number of the order's asset."""
    return (int(item["o"]), item["a"]) if "o" in item else (str(item["cloid"]), item["asset"])
