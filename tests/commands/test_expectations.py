"""Expectations: each passes on what it wants, names the offending row on anything else, and survives any junk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import (
    Claim,
    Expectation,
    Matcher,
    at_least,
    between,
    clocks,
    each,
    else_unproven,
    entries,
    holds,
    judge,
    matches,
    never,
    newer,
    no_rows,
    not_null,
    one_of,
    reply,
    rows,
    same,
    text,
    turned_away,
    value,
    version,
)
from runbook_lib.errors import ConfigError

Row = dict[str, Any]


def of(*found: Row, **facts: Any) -> Reply:
    return Reply(found, **facts)


def complaint(expect: Expectation | Sequence[Expectation], *replies: Reply) -> str:
    """The complaint about replies; empty when there is none."""
    return judge(expect, replies).complaint or ""


# --- matchers

MATCHED: list[tuple[Matcher, list[Any], list[Any]]] = [
    (at_least(3), [3, 3.5, "3", "4.0", 10**30], [2, "2.9", None, True, "three", "", math.nan, "nan", "inf", [], {}]),
    (between(0, 3), [3, 2, "0.5", 0], [4, "3.1", -0.1, None, False, "three", -math.inf, math.nan, "NaN", [3], 10**400]),
    (matches("^a.c$"), ["abc"], ["abd", None, "", 5, {"a": 1}]),
    (one_of("a", 1, None), ["a", 1, 1.0, "1", None], ["b", 2, True, "", [1]]),
    (version("1.2.0"), ["1.2", "v1.2.0", "1.10", "2", "tool 1.3.1 (new)"], ["1.1.9", "1", None, "none", "", 1]),
    (not_null, [0, "", False, []], [None]),
]


@pytest.mark.parametrize(("matcher", "good", "bad"), MATCHED, ids=lambda m: getattr(m, "phrase", ""))
def test_a_matcher_accepts_what_its_phrase_says_and_nothing_else(
    matcher: Matcher, good: list[Any], bad: list[Any]
) -> None:
    assert [v for v in good if not matcher.test(v)] == []
    assert [v for v in bad if matcher.test(v)] == []


@pytest.mark.parametrize(
    ("wanted", "found", "equal"),
    [
        (4, "4", True),
        (4, "4.0", True),
        ("4", 4, False),
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, "", False),
        (4, "four", False),
        ([], [], True),
    ],
)
def test_a_plain_value_is_compared_by_kind_except_numbers_written_as_text(wanted: Any, found: Any, equal: bool) -> None:
    assert (complaint(value(wanted, "v"), of({"v": found})) == "") is equal


def test_a_state_that_stays_ends_the_waiting_whatever_else_is_judged() -> None:
    both = never(status="error") & reply(status="running")
    assert [judge(both, [one]).final for one in (of({"status": "error"}), of({"status": "starting"}))] == [True, False]
    assert judge((rows(), never(status="error")), [ONE_ROW, TWO_ROWS]).final


def test_a_version_without_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="dotted number"):
        version("latest")


# --- expectations over one reply

ONE_ROW = of({"id": "m1", "status": "running"})
TWO_ROWS = of({"id": "m1", "status": "running"}, {"id": "m2", "status": "error"})
EMPTY = Reply()
ANSWER = of({"checked": 3, "marked": 0}, status=200)

COMPLAINTS: list[tuple[Expectation, Reply, str]] = [
    (rows(2), ONE_ROW, "expected 2 rows, found 1\n  id=m1, status=running"),
    (rows(), EMPTY, "expected at least 1 row, found 0"),
    (rows(0), ONE_ROW, "expected 0 rows, found 1\n  id=m1, status=running"),
    (never(status="error"), TWO_ROWS, "status is error and stays so"),
    (no_rows("strays"), ONE_ROW, "strays: 1\n  id=m1, status=running"),
    (value(5, "n"), of({"n": 4}), "n: expected 5, found 4"),
    (value(5), of({"n": 4}), "n: expected 5, found 4"),
    (value(None, "n"), of({"m": 4}), "expected a column 'n', found m"),
    (value(4), of({"n": 4, "m": 5}), "expected one column, found n, m: name the one that is meant"),
    (value(4), of({}), "expected one column, found none: name the one that is meant"),
    (value(4), EMPTY, "expected 4, found no row"),
    (each(status="running"), TWO_ROWS, "status=error (expected running) in id=m2, status=error"),
    (each(status="running"), EMPTY, "expected at least 1 row, found 0"),
    (entries("id", "status", m2="running"), TWO_ROWS, "m2: expected running, found error"),
    (entries("id", None, "m1", "m3"), TWO_ROWS, "m3 is missing"),
    (entries("id", "status", m1="running"), of(*ONE_ROW.rows, {"id": "m1"}), "m1: expected running, found null"),
    (reply(200), of(status=201), "expected status 200, found 201: "),
    (reply(401), of({"checked": 1}, status=200), "expected status 401, found 200: "),
    (reply(200), of(status=500, error="HTTP 500: broken"), "expected status 200, found 500: HTTP 500: broken"),
    (reply(200, marked=0), of({"marked": 2}, status=200), "marked: expected 0, found 2"),
    (reply(disabledAt=None), EMPTY, "expected disabledAt null, found no object: ''"),
    (reply(), of(status=500, error="HTTP 500"), "HTTP 500"),
    (text("^ok$"), of(text="no\n"), "expected '^ok$' in the output, found 'no'"),
]


@pytest.mark.parametrize(("expect", "found", "said"), COMPLAINTS, ids=lambda p: getattr(p, "phrase", ""))
def test_a_complaint_names_what_is_wrong(expect: Expectation, found: Reply, said: str) -> None:
    assert complaint(expect, found) == said


PASSING: list[tuple[Expectation, Sequence[Reply], str]] = [
    (rows(2), [TWO_ROWS], "2 rows"),
    (rows(), [ONE_ROW], "1 row"),
    (rows(minimum=2), [TWO_ROWS], "2 rows"),
    (no_rows("strays"), [EMPTY], "none"),
    (never(status="error") & rows(1), [ONE_ROW], "1 row"),
    (never(status=one_of("error", "stopped")), [of({"state": "error"}), EMPTY], ""),
    (value(at_least(4), "n"), [of({"n": 4, "m": 1})], "n=4"),
    (value("running", "status"), [TWO_ROWS], "status=running"),
    (each(id=matches("^m")), [TWO_ROWS], "2 rows"),
    (each(minimum=0, key=not_null), [EMPTY], "0 rows"),
    (entries("id", "status", "m1", m2="error"), [TWO_ROWS], "2 of 2 present"),
    (entries("id", None, "m1", "m2"), [TWO_ROWS], "2 of 2 present"),
    (reply(200, checked=at_least(0), marked=0), [ANSWER], "status=200, checked=3, marked=0"),
    (reply(role="postgres"), [of({"role": "postgres"})], "role=postgres"),
    (reply(status="running"), [ONE_ROW], "status=running"),
    (reply(401), [of(status=401, error="HTTP 401: no")], "status=401"),
    (text(r"^v\d+$"), [of(text="tool\nv12\n", status=0)], "v12"),
    (same("id"), [ONE_ROW, ONE_ROW], "m1"),
    (
        newer("created", than="updatedAt", name="key"),
        [of({"created": 3000}), of({"key": "A", "updatedAt": 2000}, {"key": "B", "updatedAt": 1000})],
        "created=1970-01-01T00:00:03Z",
    ),
    (
        clocks("now", "time", within=2),
        [of({"now": "1970-01-01T00:16:40Z"}, at=1000.5), of({"time": 1_001_000}, at=1000.5)],
        "now -0.50 s, time +0.50 s",
    ),
    (holds("a fact of the library", lambda found: None if found[0].rows else "no row"), [ONE_ROW], ""),
]


@pytest.mark.parametrize(("expect", "replies", "seen"), PASSING, ids=lambda p: getattr(p, "phrase", ""))
def test_what_is_wanted_passes_and_says_what_was_seen(expect: Expectation, replies: Sequence[Reply], seen: str) -> None:
    assert judge(expect, replies).complaint is None
    assert judge(expect, replies).seen == seen


@pytest.mark.parametrize(("expect", "replies", "_"), PASSING, ids=lambda p: getattr(p, "phrase", ""))
def test_a_refusal_is_a_complaint_unless_its_status_is_wanted(
    expect: Expectation, replies: Sequence[Reply], _: str
) -> None:
    refused = [Reply(r.rows, 418, "HTTP 418: a teapot", r.text, r.at, r.seconds) for r in replies]
    assert "teapot" in complaint(expect, *refused)


@pytest.mark.parametrize(("expect", "replies", "_"), PASSING, ids=lambda p: getattr(p, "phrase", ""))
def test_a_refusal_without_words_is_a_complaint_too(expect: Expectation, replies: Sequence[Reply], _: str) -> None:
    if "status" not in expect.phrase:
        refused = [Reply(r.rows, r.status, "", r.text, r.at, r.seconds) for r in replies]
        assert "refused without a word" in complaint(expect, *refused)


@pytest.mark.parametrize(("expect", "replies", "_"), PASSING, ids=lambda p: getattr(p, "phrase", ""))
def test_no_reply_at_all_never_passes(expect: Expectation, replies: Sequence[Reply], _: str) -> None:
    assert complaint(expect)


def test_a_field_called_status_is_a_field_and_not_the_status_of_the_answer() -> None:
    assert complaint(reply(status="ACTIVE_HEALTHY"), of({"status": "PAUSED"}, status=200)) == (
        "status: expected ACTIVE_HEALTHY, found PAUSED"
    )


def test_more_than_three_offending_rows_are_counted() -> None:
    assert complaint(each(a=1), *[of(*[{"a": n} for n in range(2, 8)])]).endswith("; and 3 more")


# --- several replies


def test_one_expectation_holds_for_all_replies_and_says_which_is_wrong() -> None:
    assert complaint(rows(1), ONE_ROW, TWO_ROWS).startswith("command 2: expected 1 row, found 2")


def test_one_expectation_for_each_reply_in_order() -> None:
    assert judge([rows(1), rows(2)], [ONE_ROW, TWO_ROWS]).seen == "1 row, 2 rows"
    assert complaint([rows(2), rows(2)], ONE_ROW, TWO_ROWS).startswith("command 1: expected 2 rows, found 1")


def test_expectations_and_commands_must_be_as_many() -> None:
    with pytest.raises(ConfigError, match="2 expectations for 1 commands"):
        judge([rows(1), rows(1)], [ONE_ROW])


@pytest.mark.parametrize("expect", [newer("a", than="b", name="c"), clocks("a", "b", within=1)])
def test_an_expectation_across_replies_says_how_many_it_compares(expect: Expectation) -> None:
    with pytest.raises(ConfigError, match="compares 2 replies, found 1"):
        judge(expect, [ONE_ROW])


def test_two_expectations_joined_complain_together_and_not_twice() -> None:
    both = rows(1) & each(status="running")
    assert both.phrase == "1 row and every row: status running"
    assert complaint(both, TWO_ROWS).count(";") == 1
    assert complaint(both, of(error="gone")) == "gone"


def test_what_no_row_shows_is_left_for_a_step_to_prove() -> None:
    expect = each(minimum=0, n=1) & else_unproven("n is one", "4.3b")

    assert judge(expect, [of()]).unproven == (Claim("n is one", "no row yet", "4.3b"),)
    assert complaint(expect, of()) == "" and judge(expect, [of({"n": 1})]).unproven == ()
    assert complaint(expect, of({"n": 2})).startswith("n=2 (expected 1)")


@pytest.mark.parametrize("expect", [else_unproven("c", "4.3b"), (rows(1), else_unproven("c", "4.3b"))])
def test_a_claim_about_one_of_several_replies_is_kept(expect: Expectation | Sequence[Expectation]) -> None:
    assert [claim.due for claim in judge(expect, [of({"n": 1}), of()]).unproven] == ["4.3b"]


def test_the_same_value_is_compared_whole() -> None:
    digests = [f"registry.fly.io/agentic-live-runner@sha256:{63 * '0'}{end}" for end in "12"]
    assert "differs" in complaint(same("image"), *[of({"image": d}) for d in digests])


@pytest.mark.parametrize("odd", [{"image": None}, {}, {"image": "null"}])
def test_the_same_value_is_there_in_every_row(odd: Row) -> None:
    assert complaint(same("image"), of({"image": "a"}), of(odd))
    assert complaint(same("image"), of({}), of({"image": None}))
    assert complaint(same("image"), of({"image": "a"}), EMPTY) == "command 2 returned no row to compare"


@pytest.mark.parametrize(
    ("created", "updated", "late"),
    [(3000, 3000, "A"), (3000, 3001, "A"), (3000, None, "A"), (3000, "soon", "A"), (3000, True, "A")],
)
def test_a_variable_that_is_not_older_is_named(created: Any, updated: Any, late: str) -> None:
    found = complaint(
        newer("created", than="at", name="key"), of({"created": created}), of({"key": "A", "at": updated})
    )
    assert found == f"changed after 1970-01-01T00:00:03Z: {late}"


@pytest.mark.parametrize("created", [None, "", "soon", True, math.nan, math.inf, [], {}, 10**400])
def test_a_deployment_without_a_time_is_not_newer(created: Any) -> None:
    other = of({"key": "A", "at": 1})
    assert "expected a time" in complaint(newer("created", than="at", name="key"), of({"created": created}), other)


def test_a_time_that_names_no_zone_is_utc() -> None:
    naive, aware = of({"t": "1970-01-01T00:16:40"}, at=1000), of({"t": "1970-01-01T00:16:40+00:00"}, at=1000)
    assert complaint(clocks("t", "t", within=0.1), naive, aware) == ""


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0, 10), st.floats(0, 4))
def test_clocks_agree_exactly_when_all_three_lie_within_the_limit(
    a: float, b: float, within: float, took: float
) -> None:
    replies = [of({"t": (1000 + skew) * 1000}, at=1000, seconds=took) for skew in (a, b)]
    apart = max(0, a, b) - min(0, a, b)
    if not math.isclose(apart, within + took / 2, abs_tol=1e-6):
        assert (complaint(clocks("t", "t", within=within), *replies) == "") is (apart <= within + took / 2)


def test_clocks_that_disagree_say_by_how_much() -> None:
    found = complaint(clocks("a", "b", within=2), of({"a": 1_003_000}, at=1000), of({"b": 1_000_000}, at=1000))
    assert found == "clocks are 3.00 s apart, at most 2 s: a +3.00 s, b +0.00 s"


# --- junk

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["nan", "inf", "-1", "1_0", "٣", "2026-11-22T00:00:00Z", "0001-01-01"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)
COLUMNS = st.sampled_from(["id", "status", "n", "created", "updatedAt", "key", "now", "time", "checked", "marked"])
REPLIES = st.builds(
    Reply,
    st.lists(st.dictionaries(COLUMNS, JUNK, max_size=4), max_size=3).map(tuple),
    st.none() | st.integers(0, 600),
    st.none() | st.text(max_size=5),
    st.text(max_size=8),
    st.floats(0, 2e9),
    st.floats(0, 100),
)


@pytest.mark.parametrize(("expect", "replies", "_"), PASSING, ids=lambda p: getattr(p, "phrase", ""))
@given(data=st.data())
def test_junk_never_crashes_a_judgement(
    expect: Expectation, replies: Sequence[Reply], _: str, data: st.DataObject
) -> None:
    found = judge(expect, [data.draw(REPLIES) for _ in replies])
    assert isinstance(found.seen, str)
    assert found.complaint is None or found.complaint


@given(JUNK)
def test_junk_never_crashes_a_matcher(found: Any) -> None:
    assert {type(matcher.test(found)) for matcher, _, _ in MATCHED} == {bool}


@given(st.sampled_from([rows(1), no_rows("x"), each(n=1), value(1, "n"), reply(n=1)]), REPLIES)
def test_long_values_are_shortened_in_complaints(expect: Expectation, found: Reply) -> None:
    long = Reply(tuple(dict.fromkeys(row, "x" * 500) for row in found.rows), found.status)
    assert "x" * 61 not in complaint(expect, long)


def test_a_test_of_the_librarys_own_sees_no_refused_reply() -> None:
    def never(replies: Sequence[Reply]) -> str:
        raise AssertionError(replies)

    assert complaint(holds("mine", never), of(error="gone")) == "gone"


# --- refused by whom


def test_a_refusal_of_the_services_own_is_one() -> None:
    assert complaint(turned_away(), of({"error": "unauthorized"}, status=401, error="HTTP 401 Unauthorized")) == ""
    assert complaint(turned_away(), of(status=401, error="HTTP 401 Unauthorized: unauthorized", text="no")) == ""


@pytest.mark.parametrize("page", ["<!doctype html><title>Authentication Required</title>", "\n <HTML>"])
def test_a_page_in_front_of_a_service_is_no_refusal_of_its_own(page: str) -> None:
    said = complaint(turned_away(), of(status=401, error=f"HTTP 401 Unauthorized: {page}", text=page))
    assert said.startswith("status=401 with a page: deployment protection answered")


@pytest.mark.parametrize("status", [200, 308, 403, 500])
def test_another_status_is_no_refusal(status: int) -> None:
    assert complaint(turned_away(), of(status=status)).startswith(f"expected status 401, found {status}")
