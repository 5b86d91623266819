"""Judge an agent at the venue: a wallet's approval of the agent, and whether the venue knows the agent."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import inner, number
from runbook_lib.agentic_trading.venue_books import info
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

LONGEST = 181.0  # days: the venue's own limit of 180, and a day for clocks
AGENT_DAYS = 30.0  # an agent that expires sooner stops a launch: its runner could soon not trade any more
DAY = 86_400_000  # milliseconds
NONCE = 120_000  # milliseconds between the pending row and the nonce of what is signed
NOWHERE = "0x" + "0" * 40
APPROVAL = (
    ("hyperliquidChain", "string"),
    ("agentAddress", "address"),
    ("agentName", "string"),
    ("nonce", "uint64"),
)


def approval_of(typed: Any) -> Expectation:
    """Expect one new agent, and that the typed data (EIP-712) in the wallet's window approves exactly this agent (C24).

    ``typed`` is the data that a program read from the wallet. In production no program can: the person compares the
    wallet's window with the row that is shown.
    """

    def test(reply: Reply) -> Finding:
        if len(reply.rows) != 1:
            return Finding("", f"expected exactly 1 agent that was made now, found {len(reply.rows)}")
        row = reply.rows[0]
        if not str(row.get("agent_address")).startswith("0x") or number(row.get("created_ms")) is None:
            return Finding("", f"expected an agent's address and time, found {dict(row)}")
        seen = f"agent {row.get('agent_address')}, named {row.get('agent_name') or '(no name)'}"
        wrong = wrongly_asked(typed, row) if isinstance(typed, dict) else []
        return Finding(seen, f"do not sign: {'; '.join(wrong)}" if wrong else None)

    return over_each("the pending agent, and nothing else, is to be approved", test)


def agent_known(agent: str, master: str) -> Expectation:
    """Expect that the venue lets ``agent`` trade for ``master``, and that the approval is valid for long enough (C32).

    Replies: ``extraAgents``, ``userRole``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        days = valid_days(replies[0].rows, agent, time.time())
        master_of = _master(replies[1])
        if days is None:
            return Finding(
                "", f"extraAgents of {master} does not list {agent}: not approved, or approved without a name"
            )
        seen = f"valid for {days:.0f} days"
        if master_of != master.lower():
            return Finding(seen, f"userRole of {agent}: expected agent of {master}, found {dict(_first(replies[1]))}")
        if days > LONGEST:
            return Finding(seen, f"{seen}: the venue approves for at most {LONGEST - 1:.0f} days, so this is no time")
        return Finding(seen, None if days >= AGENT_DAYS else f"{seen}, at least {AGENT_DAYS:.0f} are needed")

    return over_all("the venue knows the agent", test)


def agent_gone(agent: str, keeps: str, master: str) -> Expectation:
    """Expect that the venue no longer knows ``agent``, and still knows the agent ``keeps`` (C24).

    Replies: ``extraAgents`` of the master wallet, ``userRole`` of the removed agent, ``userRole`` of the agent that
    stays.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        listed = [str(row.get("address")).lower() for row in replies[0].rows]
        bad = [f"extraAgents still lists {agent}"] if agent.lower() in listed else []
        bad += [] if keeps.lower() in listed else [f"extraAgents lists {keeps} no more: the first agent went with it"]
        role = _first(replies[1]).get("role")
        if role != "missing" and (role == "agent" or not isinstance(role, str)):
            bad.append(f"userRole of {agent} is still {dict(_first(replies[1]))}")
        if _master(replies[2]) != master.lower():
            bad.append(f"userRole of {keeps}: expected agent of {master}, found {dict(_first(replies[2]))}")
        return Finding("gone; the first agent is still there", "; ".join(bad) or None)

    about = [info("extraAgents", user=master), info("userRole", user=agent), info("userRole", user=keeps)]
    return over_all("the venue knows the revoked agent no more", test, about=about)


def _master(role: Reply) -> str | None:
    answer = _first(role)
    return str(inner(answer, "data").get("user")).lower() if answer.get("role") == "agent" else None


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}


def wrongly_asked(typed: Row, pending: Row) -> list[str]:
    """Return the wrong fields of the typed data (EIP-712) that a wallet shows before it signs an agent's approval.

    The fields are compared with the agent's pending row.

    ``pending`` needs ``agent_address``, ``agent_name`` and ``created_ms``. The name in the typed data may end with the
    venue's suffix ``valid_until <ms>``. The chain id is the wallet's own and says nothing; ``hyperliquidChain``
    decides.
    """
    domain, message = inner(typed, "domain"), inner(typed, "message")
    name = str(message.get("agentName") or "").partition(" valid_until ")[0]
    nonce, made = number(message.get("nonce")), number(pending.get("created_ms"))
    late = abs(nonce - made) if nonce is not None and made is not None else math.inf
    fields = inner(typed, "types").get("HyperliquidTransaction:ApproveAgent")
    listed = [(field.get("name"), field.get("type")) for field in fields or () if isinstance(field, dict)]
    compared = (
        ("primary type", typed.get("primaryType"), "HyperliquidTransaction:ApproveAgent"),
        ("fields", listed, list(APPROVAL)),
        ("domain", domain.get("name"), "HyperliquidSignTransaction"),
        ("domain version", domain.get("version"), "1"),
        ("verifying contract", domain.get("verifyingContract"), NOWHERE),
        ("chain", message.get("hyperliquidChain"), "Mainnet"),
        ("agent", _address(message.get("agentAddress")), _address(pending.get("agent_address"))),
        ("agent name", name, pending.get("agent_name") or ""),
    )
    wrong = [f"{name}: the wallet shows {seen}, expected {wanted}" for name, seen, wanted in compared if seen != wanted]
    if late > NONCE:
        wrong.append(
            f"nonce: the wallet shows {message.get('nonce')}, the pending row is of {pending.get('created_ms')}"
        )
    return wrong


def valid_days(agents: Iterable[Row], address: str, now: float) -> float | None:
    """Return for how many days an agent stays valid, according to the venue's list ``extraAgents``. ``now`` is in
    seconds since 1970.

    None if the venue does not list the agent: either it does not know the agent, or the agent has no name.
    """
    for agent in agents:
        until = number(agent.get("validUntil"))
        if _address(agent.get("address")) == _address(address):
            return math.inf if until is None else (until - now * 1000) / DAY
    return None


def _address(value: Any) -> str:
    return str(value).lower()
