"""Answer ``POST /info`` of the stand-in exchange in the venue's shapes: decimals are text, times are milliseconds.

What a WebSocket sends repeatedly are the same answers, wrapped. Without ``dex`` a question is about the main book.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import NIL, Account
from runbook_lib.rehearsal.exchange.agents import ZERO
from runbook_lib.rehearsal.exchange.market_prices import DEXES, PAIRS, TOKENS, named, universe, wire
from runbook_lib.rehearsal.exchange.orders_and_margin import MAKER, SPOT_MAKER, SPOT_TAKER, TAKER, Exchange

Ask = dict[str, Any]


def find_order(x: Exchange, ask: Ask) -> Ask:
    """Answer the info request ``orderStatus`` with the order that has an oid (the venue's id) or a cloid (the client's
    id).
    """
    for order in x.account(ask["user"]).orders.values():
        if ask["oid"] in {order.oid, order.cloid} - {None}:
            return {"status": "order", "order": order.settled()}
    return {"status": "unknownOid"}


def meta(dex: str = "") -> Ask:
    """Answer the info request ``meta`` with an exchange's perpetuals, and a margin table for each maximum leverage."""
    assets = universe(dex)
    listed = [{"name": a.name, "szDecimals": a.sz_decimals, "maxLeverage": a.max_leverage,
               "marginTableId": a.max_leverage} | ({"isDelisted": True} if a.delisted else {})
              for a in assets]  # fmt: skip
    tables = [[n, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": n}]}]
              for n in sorted({a.max_leverage for a in assets})]  # fmt: skip
    return {"universe": listed, "marginTables": tables, "collateralToken": 0}


def contexts(x: Exchange, ask: Ask) -> list[Any]:
    """Answer the info request ``metaAndAssetCtxs`` with an exchange's perpetuals and their market contexts."""
    dex = ask.get("dex") or ""
    return [meta(dex), [x.market.context(asset.name) for asset in universe(dex)]]


def dexes(_: Exchange, __: Ask) -> list[Ask | None]:
    """Answer the info request ``perpDexs`` with the builder-deployed exchanges.

    The list begins with None, which stands for the venue's main exchange.
    """
    return [None, *(
        {"name": name, "fullName": f"{name} of the rehearsal", "deployer": ZERO, "oracleUpdater": None,
         "feeRecipient": ZERO, "assetToStreamingOiCap": [[asset.name, "1000000.0"] for asset in assets],
         "subDeployers": [], "deployerFeeScale": "0.0", "lastDeployerFeeScaleChangeTime": "1970-01-01T00:00:00",
         "assetToFundingMultiplier": [], "assetToFundingInterestRate": []}
        for name, assets in DEXES.items()
    )]  # fmt: skip


def spot_meta() -> Ask:
    """Answer the info request ``spotMeta``: every token, and the pairs in which tokens are traded."""
    tokens = [{"name": name, "szDecimals": decimals, "weiDecimals": 8, "index": number, "isCanonical": number < 2,
               "tokenId": f"0x{number:032x}", "evmContract": None, "fullName": None,
               "deployerTradingFeeShare": "0.0"}
              for number, (name, decimals) in enumerate(TOKENS)]  # fmt: skip
    pairs = [{"name": asset.name, "tokens": [token, 0], "index": number, "isCanonical": number == 0}
             for number, (asset, token) in PAIRS.items()]  # fmt: skip
    return {"universe": pairs, "tokens": tokens}


def mids(x: Exchange, ask: Ask) -> dict[str, str]:
    """Answer the info request ``allMids`` with an exchange's mid prices.

    For the venue's main exchange, spot pairs are listed too.
    """
    dex = ask.get("dex") or ""
    assets = [*universe(dex), *(pair for pair, _ in ([] if dex else PAIRS.values()))]
    return {asset.name: wire(x.market.mid(asset.name)) for asset in assets}


def book(x: Exchange, coin: str) -> Ask:
    """Answer the info request ``l2Book`` with bids and asks, best first.

    ``n``, the number of orders at a level, is made up.
    """
    sides = [[{"px": wire(px), "sz": wire(sz), "n": 3} for px, sz in x.market.levels(coin, s)] for s in (-1, 1)]
    return {"coin": coin, "time": x.ms(), "levels": sides}


def position(x: Exchange, account: Account, coin: str) -> Ask:
    """Describe a position for an info answer, with profit and margin at the current mark."""
    held, mark, leverage = account.positions[coin], x.market.mid(coin), account.leverage_of(coin)
    most, sign = named(coin).max_leverage, 1 if held.szi > 0 else -1
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


def clearinghouse(x: Exchange, ask: Ask) -> Ask:
    """Answer the info request ``clearinghouseState`` with a user's positions and margin on one exchange."""
    account, dex = x.account(ask["user"]), ask.get("dex") or ""
    universe(dex)  # KeyError for an exchange there is not
    if x.faults.stale:
        account = Account(account.address, cash=account.paid_in, mode=account.mode)  # as before its first trade
    return _state(x, account, dex)


def _state(x: Exchange, account: Account, dex: str) -> Ask:
    coins = [coin for coin in account.positions if named(coin).dex == dex]
    signed = [account.szi(coin) * x.market.mid(coin) for coin in coins]
    value, used, nominal = x.value(account, dex), x.margin(account, dex=dex), sum(map(abs, signed), NIL)
    summary = {"accountValue": wire(value), "totalNtlPos": wire(nominal),
               "totalRawUsd": wire(value - sum(signed, NIL)), "totalMarginUsed": wire(used)}  # fmt: skip
    return {"marginSummary": summary, "crossMarginSummary": summary, "time": x.ms() - int(x.faults.stale * 1000),
            "crossMaintenanceMarginUsed": wire(round(x.maintenance(account), 6)),
            "withdrawable": wire(NIL if dex or account.unified else x.free(account)),
            "assetPositions": [position(x, account, coin) for coin in coins]}  # fmt: skip


def spot(x: Exchange, user: str) -> Ask:
    """Answer the info request ``spotClearinghouseState`` with a user's tokens in spot.

    A unified account has all of its USDC in spot.
    """
    account = x.account(user)
    margin = x.margin(account, account.resting) if account.unified else NIL
    rows = []
    for number, (token, _) in enumerate(TOKENS):
        total, hold = account.held(token), account.reserved(token) + (margin if token == "USDC" else NIL)
        if total or (token == "USDC" and account.unified and account.ledger):
            row = {"coin": token, "token": number, "total": wire(total), "hold": wire(hold), "entryNtl": "0.0"}
            rows.append(row)
    return {"balances": rows}


def fills(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``userFills`` with the latest 2000 fills, newest first.

    With ``startTime``, answer ``userFillsByTime``: the first 2000 fills since that time, oldest first.
    """
    booked = x.account(ask["user"]).fills
    if "startTime" not in ask:
        return booked[:-2001:-1]
    return [fill for fill in booked if ask["startTime"] <= fill["time"] <= (ask.get("endTime") or x.ms())][:2000]


def slices(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``userTwapSliceFills`` with the fills of TWAP orders, newest first."""
    return [{"fill": fill, "twapId": fill["twapId"]} for fill in fills(x, {"user": ask["user"]}) if fill["twapId"]]


def role(x: Exchange, address: str) -> Ask:
    """Answer the info request ``userRole`` with ``missing``, ``user``, or ``agent`` and the agent's master."""
    agent = x.agents.of(address.lower(), x.ms())
    if agent:
        return {"role": "agent", "data": {"user": agent.master}}
    return {"role": "user" if address.lower() in x.accounts else "missing"}


def portfolio(x: Exchange, user: str) -> list[Any]:
    """Answer the info request ``portfolio`` with account value and profit after each deposit and fill, and now.

    Unlike the venue's, every period (day, week, month) covers the account's whole life.
    """
    account = x.account(user)
    points = [*account.history, (x.ms(), x.equity(account), account.paid_in)]
    value = {"accountValueHistory": [[at, wire(equity)] for at, equity, _ in points],
             "pnlHistory": [[at, wire(equity - paid)] for at, equity, paid in points],
             "vlm": wire(account.volume)}  # fmt: skip
    periods = ("day", "week", "month", "allTime")
    return [[name, value] for name in (*periods, *(f"perp{p[0].upper()}{p[1:]}" for p in periods))]


def web_data(x: Exchange, user: str) -> Ask:
    """Answer the info request ``webData3`` with a user's unnamed agent, account mode and net deposits."""
    account, unnamed = x.account(user), [a for a in x.agents.all(user.lower(), x.ms()) if not a.name]
    state = {"agentAddress": unnamed[0].address if unnamed else None, "serverTime": x.ms(), "isVault": False,
             "agentValidUntil": unnamed[0].valid_until if unnamed else None, "user": user,
             "cumLedger": wire(account.paid_in), "abstraction": account.mode}  # fmt: skip
    return {"userState": state, "perpDexStates": [{"totalVaultEquity": "0.0", "perpsAtOpenInterestCap": []}]}


def trading_room(x: Exchange, ask: Ask) -> Ask:
    """Answer the info request ``activeAssetData`` with leverage, mark, and the size that the free margin can buy."""
    account, coin = x.account(ask["user"]), ask["coin"]
    leverage, mark, free = account.leverage_of(coin), x.market.mid(coin), wire(x.free(account))
    most = wire(round(x.free(account) * leverage / mark, named(coin).sz_decimals))
    return {"user": ask["user"], "coin": coin, "leverage": {"type": "cross", "value": leverage},
            "maxTradeSzs": [most, most], "availableToTrade": [free, free], "markPx": wire(mark)}  # fmt: skip


def fees(x: Exchange, user: str) -> Ask:
    """Answer the info request ``userFees`` with the rates for an account without discounts."""
    rates = {"cross": wire(TAKER), "add": wire(MAKER), "spotCross": wire(SPOT_TAKER), "spotAdd": wire(SPOT_MAKER)}
    schedule = rates | {"tiers": {"vip": [], "mm": []}, "referralDiscount": "0.04", "stakingDiscountTiers": []}
    return {"dailyUserVlm": [], "feeSchedule": schedule, "userCrossRate": wire(TAKER), "userAddRate": wire(MAKER),
            "activeReferralDiscount": "0.0", "trial": None, "feeTrialReward": "0.0"}  # fmt: skip


def allowance(x: Exchange, user: str) -> Ask:
    """Answer the info request ``userRateLimit`` with a user's allowance of actions.

    The allowance is 10 000 actions and one more per dollar traded. The stand-in does not enforce the allowance.
    """
    account = x.account(user)
    return {"cumVlm": wire(account.volume), "nRequestsUsed": account.requests,
            "nRequestsCap": 10_000 + int(account.volume), "nRequestsSurplus": 0}  # fmt: skip


def resting(x: Exchange, ask: Ask, full: bool = False) -> list[Ask]:
    """Answer the info request ``openOrders`` with a user's open orders on one exchange, newest first.

    For the venue's main exchange, spot orders are listed too.
    """
    dex = ask.get("dex") or ""
    universe(dex)  # KeyError for an exchange there is not
    orders = reversed(x.account(ask["user"]).resting.values())
    return [order.shape(full) for order in orders if named(order.coin).dex == dex]


def history(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``historicalOrders`` with the latest 2000 status updates of orders, newest first.

    An order has one entry for each of its status updates.
    """
    return x.account(ask["user"]).updates[:-2001:-1]


def agents(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``extraAgents`` with a user's named agents that are approved now.

    Unnamed agents are found only by ``userRole``.
    """
    named = [agent for agent in x.agents.all(ask["user"].lower(), x.ms()) if agent.name]
    return [{"name": agent.name, "address": agent.address, "validUntil": agent.valid_until} for agent in named]


def candles(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``candleSnapshot`` with a coin's candles.

    If the request names no end, the candles end now.
    """
    wanted = ask["req"]
    return x.market.candles(wanted["coin"], wanted["interval"], wanted["startTime"], wanted.get("endTime"))


def ledger(x: Exchange, ask: Ask) -> list[Ask]:
    """Answer the info request ``userNonFundingLedgerUpdates`` with deposits and transfers since ``startTime``.

    The oldest entry comes first.
    """
    return [entry for entry in x.account(ask["user"]).ledger if entry["time"] >= ask.get("startTime", 0)]


ANSWERS: dict[str, Callable[[Exchange, Ask], Any]] = {
    "activeAssetData": trading_room,
    "allMids": mids,
    "candleSnapshot": candles,
    "clearinghouseState": clearinghouse,
    "exchangeStatus": lambda x, ask: {"time": x.ms(), "specialStatuses": None},
    "extraAgents": agents,
    "frontendOpenOrders": lambda x, ask: resting(x, ask, full=True),
    "fundingHistory": lambda x, ask: x.market.funding(ask["coin"], ask["startTime"], ask.get("endTime")),
    "historicalOrders": history,
    "l2Book": lambda x, ask: book(x, ask["coin"]),
    "meta": lambda x, ask: meta(ask.get("dex") or ""),
    "metaAndAssetCtxs": contexts,
    "openOrders": resting,
    "orderStatus": find_order,
    "perpDexs": dexes,
    "portfolio": lambda x, ask: portfolio(x, ask["user"]),
    "spotClearinghouseState": lambda x, ask: spot(x, ask["user"]),
    "spotMeta": lambda x, ask: spot_meta(),
    "userAbstraction": lambda x, ask: x.account(ask["user"]).mode,
    "userFees": lambda x, ask: fees(x, ask["user"]),
    "userFills": lambda x, ask: fills(x, {"user": ask["user"]}),
    "userFillsByTime": lambda x, ask: fills(x, {"startTime": ask["startTime"]} | ask),
    "userNonFundingLedgerUpdates": ledger,
    "userRateLimit": lambda x, ask: allowance(x, ask["user"]),
    "userTwapSliceFills": slices,
    "userRole": lambda x, ask: role(x, ask["user"]),
}
