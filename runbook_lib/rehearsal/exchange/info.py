"""What the stand-in exchange answers to ``POST /info``, in the venue's shapes: decimals as text, times in ms.

The pictures a WebSocket repeats are the same answers, wrapped.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import NIL, Account
from runbook_lib.rehearsal.exchange.exchange import MAKER, TAKER, Exchange
from runbook_lib.rehearsal.exchange.market import ASSETS, INDEX, wire

Ask = dict[str, Any]
UNIFIED = {"unifiedAccount", "portfolioMargin"}  # modes that keep all money in spot
USDC = {"name": "USDC", "szDecimals": 8, "weiDecimals": 8, "index": 0, "isCanonical": True,
        "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054", "evmContract": None, "fullName": None}  # fmt: skip


def find_order(x: Exchange, ask: Ask) -> Ask:
    """``orderStatus`` by oid or cloid."""
    for order in x.account(ask["user"]).orders.values():
        if ask["oid"] in {order.oid, order.cloid} - {None}:
            return {"status": "order", "order": order.settled()}
    return {"status": "unknownOid"}


def meta() -> Ask:
    """Every perpetual in the order of its asset id, with a margin table per maximum leverage."""
    universe = [{"name": a.name, "szDecimals": a.sz_decimals, "maxLeverage": a.max_leverage,
                 "marginTableId": a.max_leverage} | ({"isDelisted": True} if a.delisted else {})
                for a in ASSETS]  # fmt: skip
    tables = [[n, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": n}]}]
              for n in sorted({a.max_leverage for a in ASSETS})]  # fmt: skip
    return {"universe": universe, "marginTables": tables, "collateralToken": 0}


def mids(x: Exchange) -> dict[str, str]:
    """Mid price by coin."""
    return {asset.name: wire(x.market.mid(asset.name)) for asset in ASSETS}


def book(x: Exchange, coin: str) -> Ask:
    """Bids and asks, best first; ``n`` orders a level is made up."""
    sides = [[{"px": wire(px), "sz": wire(sz), "n": 3} for px, sz in x.market.levels(coin, s)] for s in (-1, 1)]
    return {"coin": coin, "time": x.ms(), "levels": sides}


def position(x: Exchange, account: Account, coin: str) -> Ask:
    """A position with its profit and margin at the mark of now."""
    held, mark, leverage = account.positions[coin], x.market.mid(coin), account.leverage_of(coin)
    most, sign = ASSETS[INDEX[coin]].max_leverage, 1 if held.szi > 0 else -1
    value, profit = abs(held.szi) * mark, held.szi * mark - held.cost
    room = (x.equity(account) - x.maintenance(account)) / abs(held.szi)
    liquidation = mark - sign * room / (1 - sign / Decimal(2 * most))
    return {"type": "oneWay", "position": {
        "coin": coin, "szi": wire(held.szi), "leverage": {"type": "cross", "value": leverage},
        "entryPx": wire(round(held.cost / held.szi, 6)), "positionValue": wire(value), "unrealizedPnl": wire(profit),
        "returnOnEquity": wire(round(profit * leverage / abs(held.cost), 10)), "maxLeverage": most,
        "liquidationPx": wire(round(liquidation, 6)) if liquidation > 0 else None,
        "marginUsed": wire(round(value / leverage, 6)),
        "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"}}}  # fmt: skip


def clearinghouse(x: Exchange, user: str) -> Ask:
    """The perpetual side: of a unified account only what backs its positions, so nothing when it is flat."""
    account, unified = x.account(user), x.account(user).mode in UNIFIED
    used, signed = x.margin(account), {c: p.szi * x.market.mid(c) for c, p in account.positions.items()}
    equity = x.equity(account) - account.cash + used if unified else x.equity(account)
    summary = {"accountValue": wire(equity), "totalNtlPos": wire(sum(map(abs, signed.values()), NIL)),
               "totalRawUsd": wire(equity - sum(signed.values(), NIL)), "totalMarginUsed": wire(used)}  # fmt: skip
    return {"marginSummary": summary, "crossMarginSummary": summary, "time": x.ms(),
            "crossMaintenanceMarginUsed": wire(round(x.maintenance(account), 6)),
            "withdrawable": wire(NIL if unified else x.free(account)),
            "assetPositions": [position(x, account, coin) for coin in account.positions]}  # fmt: skip


def spot(x: Exchange, user: str) -> Ask:
    """The spot side: USDC, which only a unified account keeps here."""
    account = x.account(user)
    row = {"coin": "USDC", "token": 0, "total": wire(account.cash), "entryNtl": "0.0"}
    row |= {"hold": wire(x.margin(account, account.resting))}
    return {"balances": [row] if account.mode in UNIFIED and account.ledger else []}


def fills(x: Exchange, ask: Ask) -> list[Ask]:
    """The latest 2000 first, or those of a span of time, oldest first."""
    found = x.account(ask["user"]).fills
    if "startTime" not in ask:
        return found[:-2001:-1]
    return [f for f in found if ask["startTime"] <= f["time"] <= (ask.get("endTime") or x.ms())][:2000]


def role(x: Exchange, address: str) -> Ask:
    """``missing``, ``user``, or ``agent`` with its master."""
    agent = x.agents.of(address.lower(), x.ms())
    if agent:
        return {"role": "agent", "data": {"user": agent.master}}
    return {"role": "user" if address.lower() in x.accounts else "missing"}


def portfolio(x: Exchange, user: str) -> list[Any]:
    """Account value and profit after every deposit and fill, and now; each period starts with the account."""
    account = x.account(user)
    points = [*account.history, (x.ms(), x.equity(account), account.paid_in)]
    value = {"accountValueHistory": [[at, wire(equity)] for at, equity, _ in points],
             "pnlHistory": [[at, wire(equity - paid)] for at, equity, paid in points],
             "vlm": wire(account.volume)}  # fmt: skip
    periods = ("day", "week", "month", "allTime")
    return [[name, value] for name in (*periods, *(f"perp{p[0].upper()}{p[1:]}" for p in periods))]


def web_data(x: Exchange, user: str) -> Ask:
    """``webData3``: who trades for the user, and how the user keeps the money."""
    account, unnamed = x.account(user), [a for a in x.agents.all(user.lower(), x.ms()) if not a.name]
    state = {"agentAddress": unnamed[0].address if unnamed else None, "serverTime": x.ms(), "isVault": False,
             "agentValidUntil": unnamed[0].valid_until if unnamed else None, "user": user,
             "cumLedger": wire(account.paid_in), "abstraction": account.mode}  # fmt: skip
    return {"userState": state, "perpDexStates": [{"totalVaultEquity": "0.0", "perpsAtOpenInterestCap": []}]}


def trading_room(x: Exchange, ask: Ask) -> Ask:
    """``activeAssetData``: what the free margin would buy."""
    account, coin = x.account(ask["user"]), ask["coin"]
    leverage, mark, free = account.leverage_of(coin), x.market.mid(coin), wire(x.free(account))
    most = wire(round(x.free(account) * leverage / mark, ASSETS[INDEX[coin]].sz_decimals))
    return {"user": ask["user"], "coin": coin, "leverage": {"type": "cross", "value": leverage},
            "maxTradeSzs": [most, most], "availableToTrade": [free, free], "markPx": wire(mark)}  # fmt: skip


def fees(x: Exchange, user: str) -> Ask:
    """Rates of an account without discounts."""
    rates = {"cross": wire(TAKER), "add": wire(MAKER), "spotCross": "0.0007", "spotAdd": "0.0004"}
    schedule = rates | {"tiers": {"vip": [], "mm": []}, "referralDiscount": "0.04", "stakingDiscountTiers": []}
    return {"dailyUserVlm": [], "feeSchedule": schedule, "userCrossRate": wire(TAKER), "userAddRate": wire(MAKER),
            "activeReferralDiscount": "0.0", "trial": None, "feeTrialReward": "0.0"}  # fmt: skip


def allowance(x: Exchange, user: str) -> Ask:
    """``userRateLimit``: 10 000 actions, and one more per dollar traded; not enforced."""
    account = x.account(user)
    return {"cumVlm": wire(account.volume), "nRequestsUsed": account.requests,
            "nRequestsCap": 10_000 + int(account.volume), "nRequestsSurplus": 0}  # fmt: skip


def resting(x: Exchange, ask: Ask, full: bool = False) -> list[Ask]:
    """Open orders, newest first."""
    return [order.shape(full) for order in reversed(x.account(ask["user"]).resting.values())]


def history(x: Exchange, ask: Ask) -> list[Ask]:
    """The latest 2000 orders with what became of each, newest first."""
    return [order.settled() for order in reversed(x.account(ask["user"]).orders.values())][:2000]


def agents(x: Exchange, ask: Ask) -> list[Ask]:
    """``extraAgents``: the named ones in force; the unnamed one shows in ``userRole`` only."""
    named = [agent for agent in x.agents.all(ask["user"].lower(), x.ms()) if agent.name]
    return [{"name": agent.name, "address": agent.address, "validUntil": agent.valid_until} for agent in named]


def candles(x: Exchange, ask: Ask) -> list[Ask]:
    """``candleSnapshot``."""
    return x.market.candles(*(ask["req"][key] for key in ("coin", "interval", "startTime", "endTime")))


def ledger(x: Exchange, ask: Ask) -> list[Ask]:
    """Deposits and transfers since ``startTime``, oldest first."""
    return [entry for entry in x.account(ask["user"]).ledger if entry["time"] >= ask.get("startTime", 0)]


ANSWERS: dict[str, Callable[[Exchange, Ask], Any]] = {
    "activeAssetData": trading_room,
    "allMids": lambda x, ask: mids(x),
    "candleSnapshot": candles,
    "clearinghouseState": lambda x, ask: clearinghouse(x, ask["user"]),
    "exchangeStatus": lambda x, ask: {"time": x.ms(), "specialStatuses": None},
    "extraAgents": agents,
    "frontendOpenOrders": lambda x, ask: resting(x, ask, full=True),
    "historicalOrders": history,
    "l2Book": lambda x, ask: book(x, ask["coin"]),
    "meta": lambda x, ask: meta(),
    "metaAndAssetCtxs": lambda x, ask: [meta(), [x.market.context(asset.name) for asset in ASSETS]],
    "openOrders": resting,
    "orderStatus": find_order,
    "portfolio": lambda x, ask: portfolio(x, ask["user"]),
    "spotClearinghouseState": lambda x, ask: spot(x, ask["user"]),
    "spotMeta": lambda x, ask: {"universe": [], "tokens": [USDC]},
    "userAbstraction": lambda x, ask: x.account(ask["user"]).mode,
    "userFees": lambda x, ask: fees(x, ask["user"]),
    "userFills": lambda x, ask: fills(x, {"user": ask["user"]}),
    "userFillsByTime": lambda x, ask: fills(x, {"startTime": ask["startTime"]} | ask),
    "userNonFundingLedgerUpdates": ledger,
    "userRateLimit": lambda x, ask: allowance(x, ask["user"]),
    "userRole": lambda x, ask: role(x, ask["user"]),
}
