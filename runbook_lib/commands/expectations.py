"""Define expectations. Each says in a readable phrase what replies should be, and judges replies.

Judging returns what was seen and, if that is not as expected, a complaint that names the offending row; it never
returns a boolean. A reply that carries an error (HTTP 4xx or 5xx, exit code not 0, SQL error) gives a complaint of its
own, unless the expectation names the status it wants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from runbook_lib.commands.command import Command, Reply
from runbook_lib.errors import ConfigError

SHOWN = 60  # characters of a value in a verdict line


@dataclass(frozen=True)
class Claim:
    """A claim that an expectation could not prove yet, with the step that must prove it.

    ``why`` is the reason, and ``due`` the number of the step that must prove the claim later.
    """

    claim: str
    why: str
    due: str


@dataclass(frozen=True)
class Finding:
    """What an expectation finds in replies. ``complaint`` is None if the replies are as expected.

    If ``final``, looking again cannot change the complaint. If ``unsure``, nothing tells whether the expectation holds:
    the step then ends unknown, not failed. ``unproven`` are claims that pass although nobody has seen them proven; they
    are carried on to the step that must prove them.
    """

    seen: str
    complaint: str | None = None
    final: bool = False  # waiting cannot change it
    unsure: bool = False
    unproven: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Expectation:
    """What replies should be: a readable phrase, and the function that judges replies.

    ``empty`` declares that a reply without anything in it can be good. Such a reply does not say what was asked, so
    ``about`` holds the requests that must be among those sent; none where the step's own words are the request.
    """

    phrase: str
    judge: Callable[[Sequence[Reply]], Finding]
    empty: bool = False
    about: tuple[Command, ...] = ()

    def __and__(self, other: Expectation) -> Expectation:
        def both(replies: Sequence[Reply]) -> Finding:
            return _joined([self.judge(replies), other.judge(replies)])

        phrase = f"{self.phrase} and {other.phrase}"
        return Expectation(phrase, both, self.empty and other.empty, self.about + other.about)


@dataclass(frozen=True)
class Matcher:
    """A condition on a single value within an expectation: a test, and a readable phrase."""

    phrase: str
    test: Callable[[Any], bool]


def judge(expect: Expectation | Sequence[Expectation], replies: Sequence[Reply]) -> Finding:
    """Judge replies by one expectation about all of them, or by a list with one expectation for each reply."""
    if isinstance(expect, Expectation):
        return expect.judge(replies)
    if len(expect) != len(replies):
        raise ConfigError(f"{len(expect)} expectations for {len(replies)} commands: give one for all, or one for each")
    return _of_each([e.judge([r]) for e, r in zip(expect, replies, strict=True)])


# --- matchers -------------------------------------------------------------------------------------------------------


def at_least(bound: float) -> Matcher:
    """Expect of a value that it is a number of at least ``bound``. A number written as text counts as a number."""
    return Matcher(f"at least {bound}", lambda v: (number := _number(v)) is not None and number >= bound)


def between(low: float, high: float) -> Matcher:
    """Expect of a value that it is a number from ``low`` to ``high``. Too small is as wrong as too large."""
    phrase = f"{low:g} to {high:g}"
    return Matcher(phrase, lambda v: (number := _number(v)) is not None and low <= number <= high)


def matches(pattern: str, phrase: str | None = None) -> Matcher:
    """Expect of a value that it is text in which the regular expression ``pattern`` is found."""
    compiled = re.compile(pattern)
    return Matcher(phrase or f"like {pattern}", lambda v: v is not None and compiled.search(str(v)) is not None)


def one_of(*choices: Any) -> Matcher:
    """Expect of a value that it is one of ``choices``."""
    return Matcher(f"one of {', '.join(map(_short, choices))}", lambda v: any(_equal(v, c) for c in choices))


def version(bound: str) -> Matcher:
    """Expect of a value that it is a dotted version number of at least ``bound``. Version 1.2 is equal to 1.2.0."""
    if not (least := _version(bound)):
        raise ConfigError(f"version({bound!r}): expected a dotted number")
    return Matcher(f"version {bound} or later", lambda v: v is not None and _version(str(v)) >= least)


not_null = Matcher("not null", lambda v: v is not None)


# --- expectations over one reply (given several replies, each must hold) ---------------------------------------------


def rows(count: int | None = None, *, minimum: int = 1) -> Expectation:
    """Expect exactly ``count`` rows or, without ``count``, at least ``minimum`` rows."""
    phrase = _counted(count) if count is not None else f"at least {_counted(minimum)}"

    def test(answer: Reply) -> Finding:
        number = len(answer.rows)
        good = number == count if count is not None else number >= minimum
        return Finding(_counted(number), None if good else f"expected {phrase}, found {number}{_listed(answer)}")

    return over_each(phrase, test, empty=not (minimum if count is None else count))


def no_rows(what: str) -> Expectation:
    """Expect no rows from a command that selects wrong things. In the complaint, ``what`` names these things."""

    def test(answer: Reply) -> Finding:
        return Finding("none", f"{what}: {len(answer.rows)}{_listed(answer)}" if answer.rows else None)

    return over_each(f"none: {what}", test, empty=True)


def never(**unwanted: Any) -> Expectation:
    """Expect that no row has an ``unwanted`` value in a column: column -> value or matcher.

    Such a value does not change any more, so the step stops waiting as soon as it sees one.
    """
    matchers = {name: _matcher(w) for name, w in unwanted.items()}
    phrase = "never " + ", ".join(f"{n} {m.phrase}" for n, m in matchers.items())

    def test(answer: Reply) -> Finding:
        bad = [
            f"{name} is {_short(row[name])} and stays so"
            for row in answer.rows
            for name, m in matchers.items()
            if name in row and m.test(row[name])
        ]
        return Finding("", "; ".join(bad) or None, final=bool(bad))

    return over_each(phrase, test, empty=True)


def value(wanted: Any, column: str | None = None) -> Expectation:
    """Expect the value ``wanted`` (or a matcher) in the first row: in ``column``, or in its only column."""
    matcher = _matcher(wanted)

    def test(answer: Reply) -> Finding:
        if not answer.rows:
            return Finding("no row", f"expected {matcher.phrase}, found no row")
        row = answer.rows[0]
        if column is None and len(row) != 1:
            return Finding("", f"expected one column, found {', '.join(row) or 'none'}: name the one that is meant")
        name = column or next(iter(row))
        if name not in row:
            return Finding("", f"expected a column {name!r}, found {', '.join(row) or 'none'}")
        got = row[name]
        seen = f"{name}={_short(got)}"
        return Finding(seen, None if matcher.test(got) else f"{name}: expected {matcher.phrase}, found {_short(got)}")

    return over_each(f"{column or 'value'} {matcher.phrase}", test)


def each(minimum: int = 1, **wanted: Any) -> Expectation:
    """Expect at least ``minimum`` rows, each with the ``wanted`` values: column -> value or matcher."""
    matchers = {name: _matcher(w) for name, w in wanted.items()}
    phrase = "every row: " + ", ".join(f"{n} {m.phrase}" for n, m in matchers.items())

    def test(answer: Reply) -> Finding:
        bad = [
            f"{name}={_short(row.get(name))} (expected {m.phrase}) in {_row(row)}"
            for row in answer.rows
            for name, m in matchers.items()
            if not m.test(row.get(name))
        ]
        if len(answer.rows) < minimum:
            bad.insert(0, f"expected at least {_counted(minimum)}, found {len(answer.rows)}")
        more = [f"and {len(bad) - 3} more"] if len(bad) > 3 else []
        return Finding(_counted(len(answer.rows)), "; ".join([*bad[:3], *more]) or None)

    return over_each(phrase, test, empty=not minimum)


def else_unproven(claim: str, due: str) -> Expectation:
    """Accept a reply without rows. Then ``claim`` stays unproven, and the step ``due`` must prove it.

    To be joined with an expectation of each row, which no rows meet without showing anything.
    """

    def test(answer: Reply) -> Finding:
        return Finding("") if answer.rows else Finding("nothing shown yet", unproven=(Claim(claim, "no row yet", due),))

    return over_each(f"else {due} must prove that {claim}", test, empty=True)


def entries(key: str, column: str | None = None, /, *names: str, **wanted: Any) -> Expectation:
    """Expect a row for each of ``names``, and a row with the given value for each name in ``wanted``.

    ``wanted`` maps name -> value or matcher. ``key`` is the column that holds the names, ``column`` the column that
    holds the values. If several rows have the same name, each of them must have the value.
    """
    matchers = {name: _matcher(w) for name, w in wanted.items()}

    def test(answer: Reply) -> Finding:
        present_names = {str(row.get(key)) for row in answer.rows}
        missing = [n for n in (*names, *matchers) if n not in present_names]
        bad = [f"{n} is missing" for n in missing]
        for row in answer.rows:
            name, got = str(row.get(key)), row.get(column or "value")
            if name in matchers and not matchers[name].test(got):
                bad.append(f"{name}: expected {matchers[name].phrase}, found {_short(got)}")
        present = len(names) + len(matchers) - len(missing)
        return Finding(f"{present} of {len(names) + len(matchers)} present", "; ".join(bad) or None)

    return over_each(f"{key} has {', '.join((*names, *matchers))}", test)


def reply(status: int | None = None, /, **wanted: Any) -> Expectation:
    """Expect an answer with this status and the ``wanted`` fields: name -> value or matcher.

    ``status`` is an HTTP status or an exit code. If it is None, any HTTP status 2xx and exit code 0 are expected.
    """
    matchers = {name: _matcher(w) for name, w in wanted.items()}
    words = [f"status {status}"] if status is not None else []
    phrase = ", ".join([*words, *(f"{n} {m.phrase}" for n, m in matchers.items())])

    def test(answer: Reply) -> Finding:
        seen = [f"status={answer.status}"] if answer.status is not None else []
        if status is not None and answer.status != status:
            said = _short(answer.error or answer.text)
            return Finding(", ".join(seen), f"expected status {status}, found {answer.status}: {said}")
        if matchers and not answer.rows:
            return Finding(", ".join(seen), f"expected {phrase}, found no object: {_short(answer.text.strip())!r}")
        row = answer.rows[0] if answer.rows else {}
        bad = [
            f"{n}: expected {m.phrase}, found {_short(row.get(n))}"
            for n, m in matchers.items()
            if not m.test(row.get(n))
        ]
        seen += [f"{n}={_short(row.get(n))}" for n in matchers]
        return Finding(", ".join(seen), "; ".join(bad) or None)

    # Who asks for a status alone takes it with nothing behind it.
    return over_each(phrase or "an answer", test, errors_allowed=status is not None, empty=not matchers)


def turned_away() -> Expectation:
    """Expect that the service itself refuses the request with status 401.

    An HTML page with status 401 comes from something in front of the service, such as deployment protection: the
    service was never asked.
    """

    def test(answer: Reply) -> Finding:
        seen = f"status={answer.status}"
        if answer.text.lstrip().startswith("<"):
            return Finding(seen, f"{seen} with a page: deployment protection answered, not the service: {answer.error}")
        said = _short(answer.error or answer.text)
        return Finding(seen, None if answer.status == 401 else f"expected status 401, found {answer.status}: {said}")

    return over_each("turned away", test, errors_allowed=True, empty=True)


def text(pattern: str, phrase: str | None = None) -> Expectation:
    """Expect that the regular expression ``pattern`` is found in a command's output or in an answer's body."""

    def test(answer: Reply) -> Finding:
        hit = re.search(pattern, answer.text, re.MULTILINE)
        if hit is None:
            return Finding("", f"expected {phrase or pattern!r} in the output, found {_short(answer.text.strip())!r}")
        return Finding(_short(hit[0].strip()))

    return over_each(phrase or f"output like {pattern}", test)


# --- expectations across replies -------------------------------------------------------------------------------------


def same(column: str) -> Expectation:
    """Expect the same value of ``column`` in all rows of all replies, and at least one row in each reply."""

    def test(replies: Sequence[Reply]) -> Finding:
        empty = [i + 1 for i, r in enumerate(replies) if not r.rows]
        if empty:
            return Finding("", f"command {empty[0]} returned no row to compare")
        # Values are compared at full length, because digests that differ only at their end would be shown alike.
        different = sorted({"null" if v is None else str(v) for r in replies for v in r.column(column)})
        if any(v is None for r in replies for v in r.column(column)):
            return Finding("", f"{column} is null or missing somewhere: {' | '.join(different)}")
        bad = len(different) > 1
        return Finding(_short(different[0]), f"{column} differs: {' | '.join(different)}" if bad else None)

    return over_all(f"the same {column} everywhere", test)


def newer(column: str, *, than: str, name: str) -> Expectation:
    """Expect that the first reply's time in ``column`` is later than every time in the second reply's column ``than``.

    ``name`` is the column by which complaints name the rows of the second reply.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        first, second = _exactly(2, replies)
        newest = first.rows[0].get(column) if first.rows else None
        limit = _epoch(newest)
        if math.isnan(limit) or not second.rows:
            seen = f"{_short(newest)} and {len(second.rows)} rows"
            return Finding("", f"expected a time in {column} and at least one {than} to compare, found {seen}")
        late = [_short(row.get(name)) for row in second.rows if not _epoch(row.get(than)) < limit]
        when = _moment(limit)
        return Finding(f"{column}={when}", f"changed after {when}: {', '.join(late)}" if late else None)

    return over_all(f"{column} later than every {than}", test)


def clocks(*columns: str, within: float) -> Expectation:
    """Expect that this machine's clock and the times in the replies differ by at most ``within`` seconds.

    ``columns`` names one column for each reply, with a time in ISO 8601 or epoch milliseconds. Half the time that an
    answer took is allowed on top, because the answer was made at an unknown moment between sending and receiving.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        pairs = list(zip(columns, _exactly(len(columns), replies), strict=True))
        skews = [_epoch(r.rows[0].get(c) if r.rows else None) - r.at for c, r in pairs]
        seen = ", ".join(f"{c} {skew:+.2f} s" for (c, _), skew in zip(pairs, skews, strict=True))
        if any(map(math.isnan, skews)):
            lost = [c for (c, _), skew in zip(pairs, skews, strict=True) if math.isnan(skew)]
            return Finding("", f"expected a time in {', '.join(lost)}, found none")
        slack = max(r.seconds for r in replies) / 2
        spread = max([0.0, *skews]) - min([0.0, *skews])
        good = spread <= within + slack
        return Finding(seen, None if good else f"clocks are {spread:.2f} s apart, at most {within} s: {seen}")

    return over_all(f"clocks within {within} s of each other", test)


def holds(phrase: str, test: Callable[[Sequence[Reply]], str | None], seen: str = "") -> Expectation:
    """Make an expectation from ``test``, a function that gets the replies and returns a complaint or None."""
    return over_all(phrase, lambda replies: Finding(seen, test(replies)))


# --- inner workings ---------------------------------------------------------------------------------------------------


def over_each(
    phrase: str,
    test: Callable[[Reply], Finding],
    *,
    errors_allowed: bool = False,
    empty: bool = False,
    about: Sequence[Command] = (),
) -> Expectation:
    def judged(answer: Reply) -> Finding:
        refused = None if errors_allowed else _refusal(answer)
        return Finding("", refused) if refused else test(answer)

    return Expectation(phrase, lambda replies: _of_each([judged(r) for r in replies]), empty, tuple(about))


def over_all(
    phrase: str, test: Callable[[Sequence[Reply]], Finding], *, empty: bool = False, about: Sequence[Command] = ()
) -> Expectation:
    def over(replies: Sequence[Reply]) -> Finding:
        refused = [_refusal(r) for r in replies]
        return _of_each([Finding("", r) for r in refused]) if any(refused) or not replies else test(replies)

    return Expectation(phrase, over, empty, tuple(about))


def _refusal(answer: Reply) -> str | None:
    """Return a service's words of refusal. Return None if it did not refuse. An empty error counts as a refusal."""
    return None if answer.error is None else answer.error or "refused without a word"


def _of_each(findings: Sequence[Finding]) -> Finding:
    """Join the findings of several replies. Each complaint begins with the number of its command."""
    if not findings:
        return Finding("", "expected an answer, found no command")
    if len(findings) == 1:
        return findings[0]
    numbered = [
        replace(f, complaint=f"command {number}: {f.complaint}" if f.complaint else None)
        for number, f in enumerate(findings, 1)
    ]
    return _joined(numbered)


def _counted(number: int) -> str:
    return f"{number} rows" if number != 1 else "1 row"


def _joined(findings: Sequence[Finding]) -> Finding:
    seen = dict.fromkeys(f.seen for f in findings if f.seen)
    complaints = dict.fromkeys(f.complaint for f in findings if f.complaint)
    # The whole is unsure only if every complaint is: one thing known to be wrong makes it wrong.
    unsure = bool(complaints) and all(f.unsure for f in findings if f.complaint)
    unproven = tuple(claim for f in findings for claim in f.unproven)
    return Finding(", ".join(seen), "; ".join(complaints) or None, any(f.final for f in findings), unsure, unproven)


def _exactly(count: int, replies: Sequence[Reply]) -> Sequence[Reply]:
    if len(replies) != count:
        raise ConfigError(f"this expectation compares {count} replies, found {len(replies)}: give it {count} commands")
    return replies


def _matcher(wanted: Any) -> Matcher:
    if isinstance(wanted, Matcher):
        return wanted
    return Matcher(_short(wanted), lambda v: _equal(v, wanted))


def _equal(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(got, bool):
        return got is wanted
    if isinstance(wanted, int | float) and isinstance(got, str):
        return bool(_number(got) == wanted)
    return bool(got == wanted)


def _number(got: Any) -> float | None:
    """Convert ``got``, a number or a number as text, to a finite float. Return None for anything else."""
    if isinstance(got, bool) or not isinstance(got, int | float | str):
        return None
    try:
        number = float(got)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _version(dotted: str) -> tuple[int, ...]:
    hit = re.search(r"[0-9]{1,18}(?:\.[0-9]{1,18})*", dotted)
    parts = [int(part) for part in hit[0].split(".")] if hit else []
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _epoch(moment: Any) -> float:
    """Return a time as epoch seconds. Return NaN if ``moment`` is not a time.

    ``moment`` is ISO 8601 text, in UTC if it names no zone, or a number of epoch milliseconds.
    """
    if isinstance(moment, int | float):
        number = math.nan if isinstance(moment, bool) else _number(moment)
        return math.nan if number is None else number / 1000
    try:
        when = datetime.fromisoformat(str(moment).replace("Z", "+00:00"))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _moment(epoch: float) -> str:
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{epoch:.0f} s after 1970"


def _short(got: Any) -> str:
    shown = "null" if got is None else str(got)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"


def _row(row: Mapping[str, Any]) -> str:
    return _short(", ".join(f"{k}={v}" for k, v in row.items()))


def _listed(answer: Reply) -> str:
    return "".join(f"\n  {_row(row)}" for row in answer.rows[:5])
