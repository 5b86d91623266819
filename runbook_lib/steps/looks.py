"""Repeat the looks of passed checks before a step that can cost money: what the checks saw may be out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.errors import ConfigError, StepPending
from runbook_lib.records import history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runbook_lib.records.record_folder import Record
    from runbook_lib.steps.verdicts import Verdicts


class Looks:
    """The looks of this kernel's checks, by number. Each look is a function that repeats its check.

    ``numbers`` are those of all steps, in order; ``limit`` is the profile's ``budgets.check_age``, in seconds.
    """

    def __init__(self, record: Record, numbers: Sequence[str], limit: float) -> None:
        self._record, self._numbers, self._limit = record, numbers, limit
        self._looks: dict[str, Callable[[Verdicts], None]] = {}

    def keep(self, number: str, look: Callable[[Verdicts], None]) -> None:
        """Keep a check's look, the function that repeats the check."""
        self._looks[number] = look

    def again(
        self,
        number: str,
        rests_on: Sequence[str],
        verdicts: Verdicts,
        *,
        moment: str | None = None,
        always: bool = False,
    ) -> None:
        """Repeat the looks of the checks that step ``number`` rests on, and keep their new outcomes.

        The checks that ``rests_on`` names are repeated ``always``, or else if they were too old at ``moment``, which is
        now if it is None. Other checks that were too old are repeated too, but for those that the run itself has
        overtaken: it changed what they saw on purpose, and whatever of it still matters is named. A step that rests on
        nothing cannot cost money.
        """
        if not rests_on:
            return
        earlier = self._numbers[: self._numbers.index(number)]
        if strange := [check for check in rests_on if check not in earlier]:
            raise ConfigError(f"{number} rests on {strange[0]!r}, which is no step before it")
        past, moment = history.read(self._record), moment or self._record.ledger.now()
        for check in earlier:
            named, old = check in rests_on, past.aged(check, moment, self._limit)
            if (named and (always or old)) or (old and past.overtaken(check) is None):
                self._again(check, number, verdicts)

    def until(self, rests_on: Sequence[str], again: str) -> str:
        """Return a text that says on which checks a gesture rests, for how long they count, and what to do after that.

        If the gesture rests on none, return an empty text.
        """
        words = f"it rests on {', '.join(rests_on)}, which count for {self._limit / 60:g} minutes: after that, {again}"
        return words if rests_on else ""

    def _again(self, check: str, number: str, verdicts: Verdicts) -> None:
        if check not in self._looks:
            raise StepPending(f"{number} rests on what {check} sees: run its cell again in this kernel, then this")
        self._looks[check](verdicts)
