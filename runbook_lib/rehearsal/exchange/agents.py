"""Keep the stand-in exchange's agents, with their names and expiry, and the nonces of each signer.

An agent is a wallet that may trade for a master account. Times are in milliseconds. The words are the venue's, as
clients saw them in 2026.
"""

from dataclasses import dataclass

ZERO = "0x" + "0" * 40
DAY = 86_400_000  # milliseconds
SETTLING = 5_000  # a removal blocks further approvals this long


class Refused(Exception):
    """An error for an agent, a nonce or an order that the exchange refuses. Its text is the venue's.

    ``status`` is the status that a refused order gets.
    """

    def __init__(self, words: str, status: str = "rejected") -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Agent:
    """An approved agent: a wallet whose key may trade for ``master``, but not move money. An unnamed agent has an empty
    ``name``.
    """

    address: str
    master: str
    name: str
    valid_until: int


class Agents:
    """The exchange's agents that are approved now, and every address that was ever approved as an agent.

    Such an address is never approved again.
    """

    def __init__(self, limit: int = 3) -> None:
        self.limit, self._used = limit, set[str]()
        self._current: dict[str, Agent] = {}
        self._settled: dict[str, int] = {}  # master -> when its last removal is over
        self._nonces: dict[str, set[int]] = {}

    def of(self, address: str, now: int) -> Agent | None:
        """Return the agent that has this address and is approved now.

        Return None if the agent has expired, was replaced, or was removed.
        """
        agent = self._current.get(address)
        return agent if agent and now < agent.valid_until else None

    def all(self, master: str, now: int) -> list[Agent]:
        """Return the agents of a master account that are approved now, oldest first."""
        return [a for a in self._current.values() if a.master == master and now < a.valid_until]

    def approve(self, master: str, address: str, text: str, now: int) -> None:
        """Approve an agent for a master, in place of the master's earlier agent with the same name.

        With the zero address, only remove the agent that has the name.
        """
        name, until = read_name(text, now)
        same = [a for a in self.all(master, now) if a.name == name]
        if now < self._settled.get(master, 0):
            raise Refused("User has pending agent removal")
        if address == ZERO:
            return self.remove(master, same[0].address if same else ZERO, now)
        if address in self._used:
            raise Refused("Extra agent already used.")
        if name and not same and sum(bool(a.name) for a in self.all(master, now)) >= self.limit:
            words = "Too many extra agents for cumulative volume traded. Current limit is"
            raise Refused(f"{words} {self.limit}")
        for agent in same:
            del self._current[agent.address]
        self._used.add(address)
        self._current[address] = Agent(address, master, name, until)
        return None

    def remove(self, master: str, address: str, now: int) -> None:
        """Remove an approved agent, as a user does on the exchange's own page."""
        if address in self._current and self._current[address].master == master:
            del self._current[address]
            self._settled[master] = now + SETTLING

    def use_nonce(self, signer: str, nonce: int, now: int) -> None:
        """Use up a nonce of a signer (an agent or a master), or raise `Refused`.

        A nonce must be unused, above the smallest of the signer's 100 highest, and within 2 days before and 1 day after
        now.
        """
        kept = self._nonces.setdefault(signer, set())
        floor = max(now - 2 * DAY, min(kept) if len(kept) >= 100 else 0)
        if nonce in kept:
            raise Refused(f"Invalid nonce: duplicate nonce {nonce}")
        if not floor < nonce < now + DAY:
            low = nonce <= floor
            raise Refused(f"Invalid nonce: nonce too {'low' if low else 'high'} {nonce} "
                          f"{'<' if low else '>'} {floor if low else now + DAY}")  # fmt: skip
        kept.add(nonce)
        kept.difference_update(sorted(kept)[:-100])


def read_name(text: str, now: int) -> tuple[str, int]:
    """Split the text ``name valid_until <ms>`` into the name and the expiry of an agent.

    Without the suffix, the agent lives 90 days.
    """
    name, _, suffix = text.partition(" valid_until ")
    until = int(suffix) if suffix.isdecimal() else now + 90 * DAY
    if not now < until <= now + 180 * DAY:
        raise Refused("Agent valid_until already expired.")
    if len(name) > 16:
        raise Refused("Agent name is longer than 16 characters.")  # our words for a known rule
    return name, until
