"""Judge a live deployment: its image, its Skill's limits, its first orders.

The arithmetic is in ``venue_answers`` and ``audit_trail``; this module holds the expectations about replies.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.agentic_trading.machines import MACHINES
from runbook_lib.checklist.audit_trail import differing_trails
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CENT = 0.01
SHOWN = 12  # mismatches a complaint lists
IMAGE = ("FLY_LIVE_RUNNER_IMAGE", "live_runner_image")  # Vercel's variable, the row of platform_config
ACTIVE = ("started", "starting", "stopping", "restarting")


def one_image(built: str | None = None) -> Expectation:
    """Expect that all places that name the runner's image name the same digest, and that every machine runs it (C30).

    Replies: Vercel's variables, rows of ``platform_config``, Fly's machines. ``built`` is the digest that phase 0
    recorded.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        variables, config, machines = replies
        named = {str(row.get("key")): row.get("value") for row in (*variables.rows, *config.rows)}
        digests = {name: _digest(named[name]) for name in IMAGE if name in named}
        if IMAGE[0] not in digests:
            return Finding("", f"{IMAGE[0]} is not set for production")
        for row in machines.rows:
            if row.get("state") in ACTIVE:
                digests[f"machine {row.get('id')}"] = str(venue_answers.inner(row, "image_ref").get("digest"))
        pinned = digests[IMAGE[0]]
        if not pinned.startswith("sha256:"):
            return Finding(pinned, f"{IMAGE[0]} is {named[IMAGE[0]]}, which is no digest: a tag can be moved")
        if built is not None and pinned != built:
            return Finding(pinned, f"{IMAGE[0]} names {pinned}, phase 0 has built and recorded {built}")
        bad = [f"{name}: {digest}" for name, digest in digests.items() if digest != pinned]
        return Finding(f"{pinned[:19]}… in {', '.join(digests)}", f"not {pinned}: {'; '.join(bad)}" if bad else None)

    return over_all("one image everywhere", test, empty=True, about=[MACHINES])


def _digest(image: Any) -> str:
    """Return the digest in ``repository@sha256:…``; the whole text if it holds no digest."""
    return str(image).rpartition("@")[2]


# --- the Skill's limits -------------------------------------------------------------------------------------------


def limits(**sheet: Any) -> Expectation:
    """Expect that no cap in the Skill's ``risk`` is looser than on the limit sheet; a cap may be tighter.

    Reply: a row ``risk``.
    """

    def test(reply: Reply) -> Finding:
        caps = _object(_first(reply), "risk")
        bad = venue_answers.looser(sheet, caps)
        seen = ", ".join(f"{name}={caps.get(name)}" for name in sheet)
        return Finding(seen, "; ".join(bad) or None)

    return over_each(f"limits no looser than {', '.join(f'{k}={v}' for k, v in sheet.items())}", test)


def can_trade(balance: float) -> Expectation:
    """Expect that the caps allow, in at least one symbol, an order large enough for the venue to accept (C17).

    Replies: a row with the Skill's ``risk``, the venue's ``meta`` and ``allMids``. ``balance`` is the equity in US
    dollars.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        caps, meta, mids = _object(_first(replies[0]), "risk"), _first(replies[1]), _first(replies[2])
        markets = {name: market for name in _names(caps.get("allowedSymbols")) if (market := _market(name, meta, mids))}
        rooms = {name: venue_answers.order_room(name, caps, balance, *market) for name, market in markets.items()}
        seen = ", ".join(f"{name}: largest order ${room.largest:.2f}" for name, room in rooms.items())
        if any(room.enough for room in rooms.values()):
            return Finding(seen)
        cure = "; ".join(_cure(name, caps, balance, market) for name, market in markets.items())
        smallest = next(iter(rooms.values())).smallest if rooms else venue_answers.SMALLEST
        said = f"this Skill can never trade: {seen or 'no allowed symbol has a market'}, needed ${smallest:.2f}"
        return Finding(seen, f"{said}. {cure}" if cure else said)

    return over_all("the caps leave room for an order", test)


def _cure(name: str, caps: Mapping[str, Any], balance: float, market: tuple[float, int]) -> str:
    remedy = venue_answers.remedy(caps, balance, *market)
    percent = (
        None
        if remedy.percent is None
        else (f"maxPositionPct and maxTotalExposurePct of at least {remedy.percent:g} at ${balance:.2f}")
    )
    dollars = f"a balance of at least ${remedy.balance:.0f} with these caps" if remedy.balance else None
    return f"{name} would trade with {' or '.join(filter(None, (percent, dollars))) or 'other caps'}"


def _market(name: str, meta: Mapping[str, Any], mids: Mapping[str, Any]) -> tuple[float, int] | None:
    """Return the price and the szDecimals of a symbol; None if the venue does not trade it."""
    listed = meta.get("universe")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    market: Mapping[str, Any] = next((row for row in rows if row.get("name") == name), {})
    price, decimals = venue_answers.number(mids.get(name)), venue_answers.number(market.get("szDecimals"))
    if price is None or price <= 0 or decimals is None or market.get("isDelisted") or not 0 <= decimals <= 8:
        return None
    return price, int(decimals)


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def lasts(ticks: int) -> Expectation:
    """Expect that the monthly cost cap pays for at least this number of ticks (C18).

    Reply: a row ``cap_usd``, ``usd_per_tick``, ``tick_seconds``.
    """

    def test(reply: Reply) -> Finding:
        row = _first(reply)
        numbers = [venue_answers.number(row.get(name)) for name in ("cap_usd", "usd_per_tick", "tick_seconds")]
        cap, cost, interval = (number or 0.0 for number in numbers)
        if min(cap, cost, interval) <= 0:
            return Finding("", f"expected cap_usd, usd_per_tick and tick_seconds above 0, found {dict(row)}")
        span = venue_answers.horizon(cap, cost, interval)
        until = datetime.now(UTC) + timedelta(seconds=min(span.seconds, 1e9))
        length = f"{span.seconds / 3600:.1f} h, until {until:%Y-%m-%dT%H:%MZ}"
        seen = f"${cap:g} pays for {span.ticks} ticks at ${cost:.4f}: {length}"
        return Finding(seen, None if span.ticks >= ticks else f"{seen}; expected at least {ticks} ticks")

    return over_each(f"the cost cap pays for at least {ticks} ticks", test)


# --- the first tick and the trail ---------------------------------------------------------------------------------


def started_flat(balance: float) -> Expectation:
    """Expect that the broker started and then reconciled, with no position and with the equity ``balance`` (2.5).

    ``balance`` is what the venue said; it must match to the cent. Reply: a row ``broker_started_at``, ``reconciled_at``
    (ISO 8601), ``positions``, ``equity_usd``.
    """

    def test(reply: Reply) -> Finding:
        row = _first(reply)
        started, done = row.get("broker_started_at"), row.get("reconciled_at")
        if not started or not done or str(done) < str(started):
            return Finding("", f"expected broker_started, then reconciled; found {started} and {done}")
        held, equity = venue_answers.number(row.get("positions")), venue_answers.number(row.get("equity_usd"))
        seen = f"positions={row.get('positions')}, equity_usd={row.get('equity_usd')}"
        if held != 0:
            return Finding(
                seen, f"the first reconciliation found {row.get('positions')} positions, expected 0", final=True
            )
        if equity is None or abs(equity - balance) > CENT + 1e-9:
            said = f"the first reconciliation says equity ${row.get('equity_usd')}, the venue said ${balance:.2f}"
            return Finding(seen, said, final=True)
        return Finding(seen)

    return over_each("broker_started, then reconciled flat", test)


def same_positions() -> Expectation:
    """Expect the same sizes at the venue and in ``agent_state``.

    Replies: ``clearinghouseState``, and a row ``positions``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        bad = venue_answers.differing_sizes(_first(replies[0]), _first(replies[1]).get("positions"))
        held = _first(replies[0]).get("assetPositions")
        seen = ", ".join(map(venue_answers.held, held)) if isinstance(held, list) and held else "flat in the main book"
        return Finding(seen, "; ".join(bad) or None)

    return over_all("the same positions in the venue's main book and in agent_state", test)


def trails_agree() -> Expectation:
    """Expect that the rows, the runner's log and the venue agree on every order, on its fills and on its fees (C21).

    Replies: ``mainnet_orders`` of the wallet, the ``agent_logs`` of these orders, ``historicalOrders``, ``userFills``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        orders, logs, placed, fills = (reply.rows for reply in replies)
        bad = differing_trails(orders, logs, placed, fills)
        shown = "".join(f"\n  {line}" for line in bad[:SHOWN]) + (
            f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        )
        seen = f"{len(orders)} orders, {len(fills)} fills, everywhere the same"
        return Finding(seen, f"{len(bad)} mismatches:{shown}" if bad else None)

    return over_all("rows, log and venue tell the same of every order", test)


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}


def _object(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return venue_answers.inner(row, key)
