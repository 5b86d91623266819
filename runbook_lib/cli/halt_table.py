"""Show a running halt with a line for each part. At the end, print what must be done by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from runbook_lib.cli.terminal import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from runbook_lib.halt.state import Halting, Part
    from runbook_lib.halt.stop import Done


class Picture:
    """The display of a running halt on a terminal, a table that is redrawn in place.

    If the output is no terminal, one line is printed for each part that ends.
    """

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None
        self._printed: set[str] = set()

    def __enter__(self) -> Picture:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, halting: Halting) -> None:
        parts = list(halting.parts.values())
        if self._live is not None:
            self._live.update(table(parts, halting.now()), refresh=True)
            return
        fresh = [part for part in parts if part.outcome is not None and part.name not in self._printed]
        for part in sorted(fresh, key=lambda part: part.ended or 0):
            self._printed.add(part.name)
            self._out.print(line(part), soft_wrap=True)


def line(part: Part) -> Text:
    """Return the halt table's line for a part that ended: seconds since the command, outcome, title, what was seen."""
    seconds, word = f"{part.ended or 0:6.1f} s  ", f"{part.outcome:8} "
    style = STYLES.get(part.outcome or "", "dim")
    said = " ".join(filter(None, [part.seen, part.complaint]))
    return Text.assemble(seconds, (word, style), f"{part.title}  ", (said, "dim"))


def table(parts: Iterable[Part], now: float) -> Table:
    """Return the table of a halt's parts: title, outcome, seconds since the command, what was seen or is wrong."""
    proofs = Table("proof", "outcome", "seconds", "")
    for part in parts:
        word = part.outcome or "under way"
        seconds = part.ended if part.ended is not None else now
        said = " ".join(filter(None, [part.seen, part.complaint]))
        proofs.add_row(part.title, Text(word, STYLES.get(word, "dim")), f"{seconds:.1f}", Text(said))
    return proofs


def closing(out: Console, ended: Done) -> None:
    """Print the halt's outcome, record and seal below its table.

    If the halt did not pass, print what is left to do by hand.
    """
    out.print(Text(ended.outcome, STYLES[ended.outcome]))
    if ended.complaint:
        out.print(f"no whole record of this: {ended.complaint}", style="red", markup=False, highlight=False)
    if ended.record is not None:
        out.print(f"record {ended.record.path}", markup=False, highlight=False, soft_wrap=True)
    if ended.seal is not None:
        out.print(f"seal   {ended.seal['hash']}", markup=False, highlight=False, soft_wrap=True)
    if ended.outcome != "passed":
        out.print("what failed or is unknown is done by hand, or by halting again: that is always safe", style="yellow")
