"""Expectations: what the replies should be, as values with a readable phrase.

Judging returns what was seen and, when it is not as expected, a complaint that names the offending row: never a
boolean. A reply that carries an error (HTTP 4xx or 5xx, exit code not 0, SQL error) is a complaint of its own, unless
the expectation names the status it wants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook_lib.commands import Reply
from runbook_lib.errors import ConfigError

__all__ = [
    "Expectation",
    "Finding",
    "Matcher",
    "at_least",
    "at_most",
    "clocks",
    "each",
    "entries",
    "holds",
    "judge",
    "matches",
    "newer",
    "no_rows",
    "not_null",
    "one_of",
    "reply",
    "rows",
    "same",
    "text",
    "value",
    "version",
]

SHOWN = 60  # characters of a value in a verdict line


@dataclass(frozen=True)
class Finding:
    """What was seen; ``complaint`` is None when it is as expected."""

    seen: str
    complaint: str | None = None


@dataclass(frozen=True)
class Expectation:
    """A phrase and the judgement of replies behind it."""

    phrase: str
    judge: Callable[[Sequence[Reply]], Finding]

    def __and__(self, other: Expectation) -> Expectation:
        def both(replies: Sequence[Reply]) -> Finding:
            first, second = self.judge(replies), other.judge(replies)
            complaints = [f.complaint for f in (first, second) if f.complaint]
            seen = ", ".join(dict.fromkeys(f.seen for f in (first, second) if f.seen))
            return Finding(seen, "; ".join(complaints) or None)

        return Expectation(f"{self.phrase} and {other.phrase}", both)


@dataclass(frozen=True)
class Matcher:
    """One value's condition, with its phrase."""

    phrase: str
    test: Callable[[Any], bool]


def judge(expect: Expectation | Sequence[Expectation], replies: Sequence[Reply]) -> Finding:
    """Judge all replies: one expectation for all of them, or one for each in order."""
    if isinstance(expect, Expectation):
        return expect.judge(replies)
    if len(expect) != len(replies):
        raise ConfigError(f"{len(expect)} expectations for {len(replies)} commands: give one for all, or one for each")
    findings = [e.judge([r]) for e, r in zip(expect, replies, strict=True)]
    complaints = [f.complaint for f in findings if f.complaint]
    return Finding(", ".join(f.seen for f in findings if f.seen), "; ".join(complaints) or None)


# --- matchers -------------------------------------------------------------------------------------------------------


def at_least(bound: Any) -> Matcher:
    """At least ``bound``; numbers written as text are compared as numbers."""
    return Matcher(f"at least {bound}", lambda v: _number(v) is not None and _number(v) >= _number(bound))


def at_most(bound: Any) -> Matcher:
    """At most ``bound``."""
    return Matcher(f"at most {bound}", lambda v: _number(v) is not None and _number(v) <= _number(bound))


def matches(pattern: str, phrase: str | None = None) -> Matcher:
    """Text that the regular expression matches somewhere."""
    return Matcher(phrase or f"like {pattern}", lambda v: v is not None and re.search(pattern, str(v)) is not None)


def one_of(*choices: Any) -> Matcher:
    """One of ``choices``."""
    return Matcher(f"one of {', '.join(map(_short, choices))}", lambda v: any(_equal(v, c) for c in choices))


def version(bound: str) -> Matcher:
    """A dotted version number, at least ``bound``."""
    return Matcher(f"version {bound} or later", lambda v: v is not None and _version(str(v)) >= _version(bound))


not_null = Matcher("not null", lambda v: v is not None)


# --- expectations over one reply (given several replies, each must hold) ---------------------------------------------


def rows(count: int | None = None, *, minimum: int = 1) -> Expectation:
    """Exactly ``count`` rows, or at least ``minimum``."""
    phrase = f"{count} rows" if count is not None else f"at least {minimum} rows"

    def test(found: Reply) -> Finding:
        number = len(found.rows)
        good = number == count if count is not None else number >= minimum
        seen = f"{number} rows" if number != 1 else "1 row"
        return Finding(seen, None if good else f"expected {phrase}, found {number}{_listed(found)}")

    return over_each(phrase, test)


def no_rows(what: str) -> Expectation:
    """No row: the command asks for the offending ones, and ``what`` names them."""

    def test(found: Reply) -> Finding:
        return Finding("none", f"{what}: {len(found.rows)}{_listed(found)}" if found.rows else None)

    return over_each(f"none: {what}", test)


def value(wanted: Any, column: str | None = None) -> Expectation:
    """The first row's only column (or ``column``) is ``wanted``, a value or a matcher."""
    matcher = _matcher(wanted)

    def test(found: Reply) -> Finding:
        if not found.rows:
            return Finding("no row", f"expected {matcher.phrase}, found no row")
        got = found.value(column) if column is None or column in found.rows[0] else None
        name = column or next(iter(found.rows[0]), "value")
        seen = f"{name}={_short(got)}"
        return Finding(seen, None if matcher.test(got) else f"{name}: expected {matcher.phrase}, found {_short(got)}")

    return over_each(f"{column or 'value'} {matcher.phrase}", test)


def each(minimum: int = 1, **wanted: Any) -> Expectation:
    """Every row's columns are as ``wanted``, and there are at least ``minimum`` rows."""
    matchers = {name: _matcher(w) for name, w in wanted.items()}
    phrase = "every row: " + ", ".join(f"{n} {m.phrase}" for n, m in matchers.items())

    def test(found: Reply) -> Finding:
        bad = [
            f"{name}={_short(row.get(name))} (expected {m.phrase}) in {_row(row)}"
            for row in found.rows
            for name, m in matchers.items()
            if not m.test(row.get(name))
        ]
        if len(found.rows) < minimum:
            bad.insert(0, f"expected at least {minimum} rows, found {len(found.rows)}")
        return Finding(f"{len(found.rows)} rows", "; ".join(bad[:3]) or None)

    return over_each(phrase, test)


def entries(key: str, column: str | None = None, *names: str, **wanted: Any) -> Expectation:
    """Rows named by ``key``: each of ``names`` is there, and of each of ``wanted`` the ``column`` is as given."""
    matchers = {name: _matcher(w) for name, w in wanted.items()}

    def test(found: Reply) -> Finding:
        by_name = {str(row.get(key)): row for row in found.rows}
        missing = [n for n in (*names, *matchers) if n not in by_name]
        bad = [f"{n} is missing" for n in missing]
        for name, matcher in matchers.items():
            got = by_name[name].get(column or "value") if name in by_name else None
            if name in by_name and not matcher.test(got):
                bad.append(f"{name}: expected {matcher.phrase}, found {_short(got)}")
        present = len(names) + len(matchers) - len(missing)
        return Finding(f"{present} of {len(names) + len(matchers)} present", "; ".join(bad) or None)

    return over_each(f"{key} has {', '.join((*names, *matchers))}", test)


def reply(status: int | None = None, **wanted: Any) -> Expectation:
    """A single answer: its HTTP status or exit code (any 2xx or 0 when not named) and fields of its object."""
    matchers = {name: _matcher(w) for name, w in wanted.items()}
    phrase = ", ".join(
        [*([f"status {status}"] if status is not None else []), *(f"{n} {m.phrase}" for n, m in matchers.items())]
    )

    def test(found: Reply) -> Finding:
        row = found.rows[0] if found.rows else {}
        bad = [
            f"{n}: expected {m.phrase}, found {_short(row.get(n))}"
            for n, m in matchers.items()
            if not m.test(row.get(n))
        ]
        if status is not None and found.status != status:
            bad.insert(0, f"expected status {status}, found {found.status}: {_short(found.error or found.text)}")
        first = [f"status={found.status}"] if found.status is not None else []
        seen = ", ".join([*first, *(f"{n}={_short(row.get(n))}" for n in matchers)])
        return Finding(seen, "; ".join(bad) or None)

    return over_each(phrase or "an answer", test, errors_allowed=status is not None)


def text(pattern: str, phrase: str | None = None) -> Expectation:
    """Output or body that the regular expression matches."""

    def test(found: Reply) -> Finding:
        hit = re.search(pattern, found.text, re.MULTILINE)
        if hit is None:
            return Finding("", f"expected {phrase or pattern!r} in the output, found {_short(found.text.strip())!r}")
        return Finding(_short(hit[0].strip()))

    return over_each(phrase or f"output like {pattern}", test)


# --- expectations across replies -------------------------------------------------------------------------------------


def same(column: str) -> Expectation:
    """``column`` holds one and the same value in every row of every reply; each reply has a row."""

    def test(replies: Sequence[Reply]) -> Finding:
        found = [_short(v) for r in replies for v in r.column(column)]
        empty = [i + 1 for i, r in enumerate(replies) if not r.rows]
        if empty:
            return Finding("", f"command {empty[0]} returned no row to compare")
        different = sorted(set(found))
        bad = len(different) > 1 or different == ["null"]
        return Finding(different[0], f"{column} differs: {' | '.join(different)}" if bad else None)

    return over_all(f"the same {column} everywhere", test)


def newer(column: str, *, than: str, name: str) -> Expectation:
    """The first reply's ``column`` is later than every ``than`` of the second reply's rows; ``name`` names them."""

    def test(replies: Sequence[Reply]) -> Finding:
        first, second = replies
        if not first.rows or first.value(column) is None or not second.rows:
            return Finding("", f"expected a {column} and at least one {than} to compare, found none")
        limit = _epoch(first.value(column))
        times = [(row.get(name), row.get(than)) for row in second.rows]
        late = [str(who) for who, when in times if when is None or not _epoch(when) < limit]
        newest = _moment(first.value(column))
        return Finding(f"{column}={newest}", f"changed after {newest}: {', '.join(late)}" if late else None)

    return over_all(f"{column} later than every {than}", test)


def clocks(*columns: str, within: float) -> Expectation:
    """The time in each reply's column (ISO 8601 or epoch milliseconds) and this machine's lie within so many seconds.

    The answer was made somewhere between sending and receiving: half that time is allowed on top.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        pairs = list(zip(columns, replies, strict=True))
        skews = [_epoch(r.value(c)) - r.at if r.rows and r.value(c) is not None else math.nan for c, r in pairs]
        seen = ", ".join(f"{c} {skew:+.2f} s" for (c, _), skew in zip(pairs, skews, strict=True))
        slack = max(r.seconds for r in replies) / 2
        spread = max([0.0, *skews]) - min([0.0, *skews])
        good = not any(map(math.isnan, skews)) and spread <= within + slack
        return Finding(seen, None if good else f"clocks are {spread:.2f} s apart, at most {within} s: {seen}")

    return over_all(f"clocks within {within} s of each other", test)


def holds(phrase: str, test: Callable[[Sequence[Reply]], str | None], seen: str = "") -> Expectation:
    """An expectation of the library's own making: ``test`` returns the complaint."""
    return over_all(phrase, lambda replies: Finding(seen, test(replies)))


# --- inner workings ---------------------------------------------------------------------------------------------------


def over_each(phrase: str, test: Callable[[Reply], Finding], *, errors_allowed: bool = False) -> Expectation:
    def over(replies: Sequence[Reply]) -> Finding:
        findings = [Finding("", r.error) if r.error and not errors_allowed else test(r) for r in replies]
        complaints = [f.complaint for f in findings if f.complaint]
        return Finding(", ".join(f.seen for f in findings if f.seen), "; ".join(complaints) or None)

    return Expectation(phrase, over)


def over_all(phrase: str, test: Callable[[Sequence[Reply]], Finding]) -> Expectation:
    def over(replies: Sequence[Reply]) -> Finding:
        errors = [r.error for r in replies if r.error]
        return Finding("", "; ".join(errors)) if errors else test(replies)

    return Expectation(phrase, over)


def _matcher(wanted: Any) -> Matcher:
    if isinstance(wanted, Matcher):
        return wanted
    return Matcher(_short(wanted), lambda v: _equal(v, wanted))


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, int | float) and isinstance(found, str):
        return bool(_number(found) == wanted)
    return bool(found == wanted)


def _number(found: Any) -> Any:
    if isinstance(found, bool) or found is None:
        return None
    try:
        return float(found)
    except (TypeError, ValueError):
        return None


def _version(found: str) -> tuple[int, ...]:
    hit = re.search(r"\d+(?:\.\d+)*", found)
    return tuple(int(part) for part in hit[0].split(".")) if hit else ()


def _epoch(moment: Any) -> float:
    """Seconds since 1970 of ISO 8601 text or of epoch milliseconds; not a number when it is neither."""
    if isinstance(moment, int | float):
        return float(moment) / 1000
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return math.nan


def _moment(moment: Any) -> str:
    epoch = _epoch(moment)
    return "no time" if math.isnan(epoch) else datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(found: Any) -> str:
    shown = "null" if found is None else str(found)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"


def _row(row: Mapping[str, Any]) -> str:
    return _short(", ".join(f"{k}={v}" for k, v in row.items()))


def _listed(found: Reply) -> str:
    return "".join(f"\n  {_row(row)}" for row in found.rows[:5])
