"""Commands: what is shown is what is sent, what is kept is what comes back, and nothing leaves its transaction."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.commands.command import (
    Command,
    Http,
    Login,
    Reply,
    Series,
    Sql,
    fill,
    frozen,
    http,
    round_trip,
    shell,
    sql,
    thawed,
    trial,
)
from runbook_lib.commands.sql_text import literal, statements
from runbook_lib.errors import ConfigError, RecordError, StepRefused

NAMES = {"fly.app": "agentic-live-runner", "project": "abcdefghijklmnopqrst", "key": "7f3a", "odd": "a b/c;d"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NO_VARIABLES = TEXTS.filter(lambda text: "$" not in text)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def unquoted(text: str) -> str:
    """What Postgres reads in one standard-conforming text."""
    assert text[0] == text[-1] == "'", text
    inner = text[1:-1]
    assert "'" not in inner.replace("''", ""), text
    return inner.replace("''", "'")


# --- SQL as text


@given(NO_VARIABLES)
def test_a_text_value_is_one_quoted_literal_that_reads_back(value: str) -> None:
    assert unquoted(literal(value)) == value


@given(NO_VARIABLES)
def test_no_text_value_can_end_its_statement(value: str) -> None:
    written = sql("select %(v)s", v=value).text().removesuffix(";")
    assert statements(written) == ["select"]


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_so_that_it_reads_back_and_no_minus_meets_another(value: float) -> None:
    written = literal(value)
    assert type(value)(written.strip("()")) == value
    assert "--" not in sql("select 1 -%(v)s", v=value).text()


@given(st.dictionaries(TEXTS, SCALARS))
def test_an_object_is_written_as_jsonb(value: dict[str, Any]) -> None:
    written = literal(value)
    assert written.endswith("::jsonb")
    assert json.loads(unquoted(written.removesuffix("::jsonb"))) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (float("nan"), "'nan'::float8"),
        (float("-inf"), "'-inf'::float8"),
        ([1, 2], "array[1, 2]"),
        ([], "'{}'"),
        (["a", 'b"c\\', None], """'{"a", "b\\"c\\\\", null}'"""),
        ([["a"], ["b"]], """'{{"a"}, {"b"}}'"""),
        (b"\x00\xff", "'\\x00ff'"),
        ("$CRON_SECRET", ":'CRON_SECRET'"),
        ("Bearer $CRON_SECRET.", "('Bearer ' || :'CRON_SECRET' || '.')"),
        ({"a": "$CRON_SECRET"}, """'{"a": "$CRON_SECRET"}'::jsonb"""),  # not filled in: an object is sent as it is
    ],
)
def test_each_kind_of_value_is_written_as_the_server_reads_it(value: Any, written: str) -> None:
    assert literal(value) == written


def test_a_statement_without_values_keeps_its_percent_signs() -> None:
    assert sql("select 1 where 'a' like '%b%'").text() == "select 1 where 'a' like '%b%';"


def test_a_statement_with_values_undoubles_its_percent_signs() -> None:
    assert sql("select %(a)s like 'x%%'", a="y").text() == "select 'y' like 'x%';"


def test_the_end_of_a_statement_is_written_once() -> None:
    assert sql("select 1 ; \n").text() == "select 1;"


@pytest.mark.parametrize(
    ("statement", "values", "words"),
    [
        ("select %(adress)s", {"address": 1}, "did you mean 'address'"),
        ("select %(a)s", {}, "has no value"),
        ("select 1", {"a": 1}, "never uses the value 'a'"),
        ("select %(a)s like 'x%'", {"a": 1}, "doubles every other %"),
    ],
)
def test_a_statement_and_its_values_must_fit(statement: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sql(statement, **values)


def test_a_trial_is_shown_as_one_transaction_that_is_rolled_back() -> None:
    assert trial(sql("select 1"), sql("select 2")).text() == "begin;\nselect 1;\nselect 2;\nrollback;"


def test_a_trial_needs_a_statement() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        trial()


# --- what a check may not do

CONTROL = (
    *("begin", "start transaction", "commit", "end", "rollback", "abort", "savepoint a", "release a"),
    *("prepare transaction 'x'", "set transaction read write", "set session characteristics as transaction read write"),
    *("set transaction_read_only = off", "set local transaction_read_only = off", "notify a", "listen a"),
    *("unlisten *", "copy t to stdout", "call p()", "do $$begin end$$", "set default_transaction_read_only = off"),
)
PREFIXES = (
    "",
    "  \n\t",
    ";",
    " ; ; ",
    "-- a note\n",
    "--\r",
    "/* a note */",
    "/* one /* in another */ still */ ",
    "/**/--\n/**/",
    "(",
    "select 1; ",
    "select '--' ; ",
    "select '/*'; ",
    "select $$'$$; ",
    "select e'\\''; ",
    'select 1 as "--"; ',
)


@given(st.sampled_from(CONTROL), st.lists(st.sampled_from(PREFIXES), max_size=3), st.data())
def test_transaction_control_is_refused_however_it_is_dressed(
    words: str, prefixes: list[str], data: st.DataObject
) -> None:
    dressed = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in words)
    with pytest.raises(StepRefused):
        Sql("".join(prefixes) + dressed).refuse_control()


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_notify('a', 'b')",
        "select pg_catalog . PG_NOTIFY ('a', 'b')",
        "select pg_notify/* */('a', 'b')",
        "select pg_notify -- x\n ('a', 'b')",
        """select "pg_notify"('a', 'b')""",
        "select '--', pg_notify('a', 'b')",
        "select '/*', pg_notify('a', 'b'), '*/'",
        "with x as (select pg_notify('a', 'b')) select * from x",
        "select query_to_xml('select pg_notify(''a'', ''b'')', true, true, '')",
    ],
)
def test_a_notification_is_refused_wherever_it_hides(statement: str) -> None:
    with pytest.raises(StepRefused, match=r"(?i)notify"):
        sql(statement).refuse_control()


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "select ';', 'commit', $$; commit; $$, $a$ ; $b$ ; $a$ -- ; commit",
        "select e'\\'; commit; --'",
        'select 1 as "; commit"',
        "select committed, ended, done from started /* ; rollback */",
        "select 1 where prosrc ilike '%pg_notify%'",
        "-- commit\nselect 1",
        "set local role anon",
        "(select 1)",
        "insert into t values (1) on conflict do nothing",
        "select a$b$c from t",
    ],
)
def test_an_ordinary_statement_is_not_refused(statement: str) -> None:
    sql(statement).refuse_control()


def test_a_carriage_return_ends_a_line_comment() -> None:
    with pytest.raises(StepRefused, match="'commit' is refused"):
        sql("--\rcommit").refuse_control()


@pytest.mark.parametrize("statement", ["select 1; select 2", "", "-- nothing", ";"])
def test_only_one_statement_goes_into_a_command(statement: str) -> None:
    with pytest.raises(StepRefused, match="expected one statement"):
        sql(statement).refuse_control()


# --- names and variables


def test_names_of_the_profile_are_filled_in_where_they_stand() -> None:
    key = {"q": "{key}"}
    command = http("fly", "GET /v1/apps/{fly.app}", json={"a": ["{project}"]}, query=key, headers=key)
    filled = command.filled(NAMES.__getitem__)
    assert filled.target == "/v1/apps/agentic-live-runner?q=7f3a"
    assert (filled.json, filled.headers) == ({"a": ["abcdefghijklmnopqrst"]}, {"q": "7f3a"})


def test_a_name_in_a_path_or_a_shell_line_is_quoted() -> None:
    assert http("fly", "GET /v1/apps/{odd}").filled(NAMES.__getitem__).path == "/v1/apps/a%20b%2Fc%3Bd"
    assert shell("echo {odd}", folder="/").filled(NAMES.__getitem__).line == "echo 'a b/c;d'"


def test_the_shells_own_braces_stay() -> None:
    line = "for m in 1 2; do echo ${m}; done"
    assert shell(line, folder="/").filled(NAMES.__getitem__).line == line


def test_values_of_a_statement_are_filled_in_and_the_statement_is_not() -> None:
    filled = sql("select '{a}', %(k)s", k="k_{key}").filled(NAMES.__getitem__)
    assert filled.text() == "select '{a}', 'k_7f3a';"


def test_a_trial_and_a_round_trip_are_filled_in() -> None:
    assert "'7f3a'" in trial(sql("select %(k)s", k="{key}")).filled(NAMES.__getitem__).text()
    assert 'listen "a_7f3a"' in round_trip("a_{key}").filled(NAMES.__getitem__).text()


@given(JSON)
def test_filling_in_changes_nothing_but_names(value: Any) -> None:
    assert fill(value, lambda name: f"{{{name}}}") == value


def test_a_channel_with_a_quote_stays_one_name() -> None:
    assert round_trip('a"b').text().startswith('listen "a""b";')


# --- HTTP


@pytest.mark.parametrize("request_line", ["get /a", "GET a", "/a", " /a", "FETCH /a", "GET  /a", ""])
def test_a_request_reads_method_and_path(request_line: str) -> None:
    with pytest.raises(ConfigError, match="METHOD /path"):
        http("fly", request_line)


@pytest.mark.parametrize(
    ("method", "reads", "read_only"),
    [
        ("GET", False, True),
        ("HEAD", False, True),
        ("POST", False, False),
        ("POST", True, True),
        ("DELETE", False, False),
    ],
)
def test_only_looking_requests_are_read_only(method: str, reads: bool, read_only: bool) -> None:
    assert http("fly", f"{method} /", reads=reads).read_only is read_only


def test_a_query_writes_true_as_json_does_and_lists_one_by_one() -> None:
    assert http("vercel", "GET /a", query={"upsert": True, "id": [1, 2]}).target == "/a?upsert=true&id=1&id=2"


def test_a_head_request_is_not_shown_as_one_that_waits_for_a_body() -> None:
    assert http("registry", "HEAD /v2/").text("https://r").startswith("curl -sS -I 'https://r/v2/'")


def test_a_header_of_the_request_replaces_the_services_authorization() -> None:
    shown = http("web", "GET /", headers={"authorization": "Bearer wrong"}).text("http://w", "Bearer $CRON_SECRET")
    assert "Bearer wrong" in shown
    assert "CRON_SECRET" not in shown


def sent_by_shell(command: Http, authorization: str, environment: dict[str, str]) -> tuple[list[str], str]:
    """Arguments and standard input that curl would get if the shown text were pasted into a shell."""
    script = 'curl() { printf "%s\\0" "$@"; printf "\\1"; cat; }\n' + command.text("http://h", authorization)
    done = subprocess.run(["sh", "-euc", script], env=environment, input=b"", capture_output=True, check=True)
    arguments, _, body = done.stdout.decode().partition("\1")
    return arguments.split("\0")[:-1], body


ODD = """a"b'c\\d`e $(f) $g ${h} \\n é %25"""
ODDS = st.sampled_from([ODD, "\\", "\\\\`", "$", "$$", "$(echo x)", "x\ny", "'"])


@given(ODDS | NO_VARIABLES.filter(lambda text: "\1" not in text))
def test_a_pasted_request_sends_what_the_runbook_sends(odd: str) -> None:
    header = odd.replace("\n", " ").replace("\r", " ")
    command = http("fly", "POST /it's", json={"a": odd, "s": "$SECRET"}, headers={"X": header, "Y": "k $SECRET"})
    secrets = {"SECRET": "s3cr", "TOKEN": "t0k", "PATH": os.environ["PATH"]}
    arguments, body = sent_by_shell(command, "Bearer $TOKEN", secrets)
    headers = [value for flag, value in pairwise(arguments) if flag == "-H"]
    assert headers == ["Authorization: Bearer t0k", f"X: {header}", "Y: k s3cr"]
    assert "http://h/it's" in arguments
    assert json.loads(body) == {"a": odd, "s": "s3cr"}


def test_a_shown_secret_is_its_name() -> None:
    command = http("fly", "POST /", json={"v": "$OPENROUTER_API_KEY"})
    assert '"v": "$OPENROUTER_API_KEY"' in command.text()


# --- shell


def test_a_shell_line_changes_something_unless_it_says_otherwise() -> None:
    assert not shell("fly deploy").read_only
    assert shell("fly version", reads=True).read_only


def test_a_shell_line_is_shown_as_written() -> None:
    assert shell("\n    fly deploy \\\n      --push\n").text() == "fly deploy \\\n  --push"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_filled_in_name_is_one_word_of_the_shell(value: str) -> None:
    line = shell("echo {key}", folder="/").filled(lambda _: value).line
    assert shlex.split(line) == ["echo", value]


# --- kept and brought back

COMMANDS: list[Command] = [
    sql("select 1"),
    sql("select %(a)s, %(b)s", a=[1, None], b={"x": "y"}),
    trial(sql("select %(a)s", a=1.5), sql("select 2")),
    http("fly", "POST /a", json={"a": [1, None]}, query={"q": "1"}, headers={"H": "v"}, pick="a.b", reads=True),
    shell("fly version", reads=True, folder="/"),
    round_trip("a", within=1.5),
    Login("NEW_SECRET", "postgresql://127.0.0.1/x y"),
    Series((sql("select %(a)s", a=1), http("fly", "POST /a", json={"a": 1}))),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_kept_in_the_ledger_comes_back_equal(command: Command) -> None:
    back = thawed(json.loads(json.dumps(frozen(command))))
    assert back == command
    assert back.text() == command.text()


@given(st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), JSON, max_size=3))
def test_any_values_kept_in_the_ledger_come_back_equal(values: dict[str, Any]) -> None:
    command = Sql("select 1", values)
    assert thawed(json.loads(json.dumps(frozen(command)))) == command


@pytest.mark.parametrize("facts", [{}, {"kind": "Eval"}, {"kind": "Reply"}])
def test_a_command_of_unknown_kind_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="unknown kind"):
        thawed(facts)


# --- replies


def test_a_reply_is_read_by_column() -> None:
    found = Reply(({"a": 1, "b": 2}, {"a": 3}))
    assert (found.value(), found.value("b"), found.column("b")) == (1, 2, [2, None])
    assert Reply().value("a") is None


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'created_at'"):
        Reply(({"created_at": 1},)).value("create_at")


@given(st.lists(st.dictionaries(TEXTS, JSON, max_size=3), max_size=3), st.none() | TEXTS)
def test_a_recorded_reply_equals_the_live_one(rows: list[dict[str, Any]], error: str | None) -> None:
    live = Reply(tuple(rows), 200, error, "text", 1.25, 0.5)
    assert Reply.from_facts(json.loads(json.dumps(live.facts()))) == live
