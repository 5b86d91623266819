"""Commands sent to a real Postgres, a real HTTP server and a real shell: what comes back, and what does not."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from runbook_lib.commands.command import Login, Series, http, round_trip, shell, sql, trial
from runbook_lib.errors import ConfigError, ServiceError, StepRefused
from runbook_lib.records import plan
from runbook_lib.services.services import Services
from tests.core_fixtures import OPENED, at, connect, eventually
from tests.step_queries import looked_up, query


@pytest.fixture
def services(chosen, vendor):
    return opened(at(chosen, vendor, answer=1.0, build=1.0))


def opened(settings):
    OPENED.append(Services(settings))
    return OPENED[-1]


def running_as(pid):
    """Whether a process runs; a zombie, which nobody reaped yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- Postgres -------------------------------------------------------------------------------------------------------


def test_the_servers_own_words_are_the_error(services):
    assert services.look(sql("select * from nowhere")).error == 'relation "nowhere" does not exist'
    assert services.look(sql("select 1 as n")).rows == ({"n": 1},)


def test_times_are_utc_whatever_the_environment_says(services, monkeypatch):
    monkeypatch.setenv("PGTZ", "Asia/Singapore")
    found = services.look(sql("select date_trunc('month', '2026-01-31 20:00Z'::timestamptz) as month, now() as now"))
    assert found.rows[0]["month"] == "2026-01-01T00:00:00Z" and found.rows[0]["now"].endswith("Z")


def test_no_variable_of_libpq_leads_elsewhere(services, monkeypatch):
    for name, value in {"PGHOSTADDR": "127.0.0.9", "PGPORT": "1", "PGOPTIONS": "-c search_path=nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert services.look(sql("select current_setting('search_path') like '%public%' as same")).value() is True


def test_several_statements_in_one_are_refused(services, table, count):
    with pytest.raises((StepRefused, ConfigError)):
        services.change(sql(f"insert into public.{table} values (gen_random_uuid(), 'x'); select 1"))
    assert count() == 0


def test_a_literal_percent_is_left_alone(services):
    assert services.look(sql("select 'abc' like 'a%' as like, 7 % 4 as rest")).rows == ({"like": True, "rest": 3},)
    assert services.look(sql("select 'abc' like 'a%%' and %(x)s::int = 1 as like", x=1)).value() is True


def test_only_declared_variables_are_filled_in(services, environment, monkeypatch):
    monkeypatch.setenv("UNDECLARED", "x")
    found = services.look(
        sql(
            "select length(%(a)s) as known, %(b)s as unknown, %(c)s::jsonb ->> 'k' as inner",
            a="$SUPABASE_DB_PASSWORD",
            b="$UNDECLARED",
            c={"k": "$HYPERLIQUID_LIVE_ENABLED"},
        )
    )
    assert found.rows[0] == {
        "known": len(environment["SUPABASE_DB_PASSWORD"]),
        "unknown": "$UNDECLARED",
        "inner": "true",
    }


def test_a_secret_is_redacted_before_anything_is_cut_to_length(services, environment, vendor):
    secret = environment["CRON_SECRET"]
    assert services.look(sql("select %(s)s as word", s="$CRON_SECRET")).value() == "$CRON_SECRET"
    cut = "x" * 570
    found = services.look(shell(f'echo "{cut}$CRON_SECRET" >&2; exit 3', reads=True, folder="/"))
    assert found.status == 3 and secret[:8] not in (found.error or "") + found.text
    with pytest.raises(ServiceError) as failure:
        services.look(http("openrouter", f"GET /text/{secret}"))
    assert "$CRON_SECRET" in str(failure.value) and secret[:8] not in str(failure.value)


def test_a_statement_over_its_time_is_an_answer_and_changes_nothing(services, table, count):
    slow = sql(f"insert into public.{table} select gen_random_uuid(), pg_sleep(20)::text")
    started = time.monotonic()
    assert services.change(slow).error == "canceling statement due to statement timeout"
    assert time.monotonic() - started < 10 and count() == 0


@contextmanager
def between(url):
    """A relay to the database that can fall silent or hang up: yields its URL and the two switches."""
    target, silent, hung_up = urlsplit(url), threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    ends = []

    def copy(source, sink):
        try:
            while data := source.recv(65536):
                silent.is_set() or sink.sendall(data)
        except OSError:
            pass

    def serve():
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection((target.hostname, target.port))
            ends.extend((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    def hang_up():
        hung_up.set()
        for end in ends:
            end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/postgres", silent, hang_up
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for end in ends:
            end.close()


def through(settings, url):
    return opened(settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})}))


def test_a_server_that_falls_silent_is_hung_up_on(services, running):
    with between(running.addresses["database"]) as (url, silent, _):
        mine = through(services.settings, url)
        assert mine.look(sql("select 1 as n")).value() == 1
        silent.set()
        with pytest.raises(ServiceError) as failure:
            mine.look(sql("select 1 as n"))
        assert failure.value.sent is False


def test_a_reading_connection_that_was_lost_is_made_again(services, running):
    with between(running.addresses["database"]) as (url, _, hang_up):
        mine = through(services.settings, url)
        assert mine.look(sql("select 1 as n")).value() == 1
        hang_up()
        assert mine.look(sql("select 2 as n")).value() == 2


def test_a_change_whose_connection_breaks_may_have_been_made(services, running, table):
    slow = sql(f"insert into public.{table} select gen_random_uuid(), pg_sleep(0.7)::text")
    with between(running.addresses["database"]) as (url, _, hang_up):
        mine, errors = through(services.settings, url), []

        def change():
            try:
                mine.change(slow)
            except ServiceError as error:
                errors.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and query like %s"
        with connect(running) as watching:
            eventually(lambda: watching.execute(asleep, [f"%{table}%"]).fetchone(), "the insert runs")
            hang_up()
            thread.join()
    assert [error.sent for error in errors] == [True]


def test_a_database_that_is_not_there_got_nothing(services):
    mine = through(services.settings, "postgresql://postgres@127.0.0.1:1/postgres")
    for send in (mine.look, mine.change):
        with pytest.raises(ServiceError, match=r"database 127\.0\.0\.1:1") as failure:
            send(sql("select 1"))
        assert failure.value.sent is False


def test_a_wrong_password_is_said_without_it(services, monkeypatch):
    monkeypatch.setenv("SUPABASE_DB_PASSWORD", "not-the-password")
    with pytest.raises(ServiceError, match="password authentication failed") as failure:
        services.look(sql("select 1"))
    assert "not-the-password" not in str(failure.value)


def test_a_password_that_was_reset_gives_way_to_the_new_one_and_is_not_tried_again(services, monkeypatch):
    monkeypatch.setenv("NEW_SECRET", os.environ["SUPABASE_DB_PASSWORD"])
    monkeypatch.setenv("SUPABASE_DB_PASSWORD", "reset-a-minute-ago")
    assert services.look(sql("select 1 as n")).value() == 1
    monkeypatch.setenv("SUPABASE_DB_PASSWORD", "")  # looking it up now would raise
    assert services.change(sql("select 2 as n")).value() == 2


def test_a_login_says_which_password_is_accepted(services, monkeypatch):
    monkeypatch.setenv("NEW_SECRET", "not-yet-the-password")
    rows = [services.look(Login(name)).rows[0] for name in ("SUPABASE_DB_PASSWORD", "NEW_SECRET")]
    assert rows == [
        {"variable": "SUPABASE_DB_PASSWORD", "accepted": True},
        {"variable": "NEW_SECRET", "accepted": False},
    ]


def with_reader(chosen):
    """Services of a profile that names the read-only role."""
    reader = {"read_only_user": "runbook_reader", "read_only_password": "SUPABASE_READER_PASSWORD"}
    variables = {**chosen.variables, "SUPABASE_READER_PASSWORD": "secret"}
    database = chosen.database.model_copy(update=reader)
    return opened(chosen.model_copy(update={"database": database, "variables": variables}))


def test_looking_uses_the_read_only_role_when_there_is_one(chosen, table, count):
    mine = with_reader(chosen)
    who = sql("select current_user::text as role")
    assert mine.look(who).value() == "runbook_reader"
    assert mine.change(who).value() == "postgres"
    assert mine.look(trial(who)).value() == "postgres"
    assert mine.look(sql(f"insert into public.{table} values (gen_random_uuid(), 'x')")).error
    assert count() == 0


def test_a_trial_with_a_commit_in_it_is_refused_as_an_act_too(services, table, count):
    tried = trial(sql(f"insert into public.{table} values (gen_random_uuid(), 'x')"), sql("commit"))
    for send in (services.look, services.change):
        with pytest.raises(StepRefused):
            send(tried)
    assert count() == 0


def test_a_notification_goes_round(services):
    row = services.look(round_trip("try_channel")).rows[0]
    assert (row["delivered"], row["mode"]) == (True, "direct") and row["milliseconds"] > 0
    assert row["lock"] == "one holder"


# --- HTTP -----------------------------------------------------------------------------------------------------------


def test_a_redirect_is_not_followed_and_says_where_it_leads(services):
    found = services.look(http("openrouter", "GET /elsewhere/x"))
    assert found.status == 308
    assert found.error.startswith("HTTP 308 Permanent Redirect to https://www.trading.example/?key=")


def test_an_error_status_is_an_answer_with_the_vendors_words(services):
    found = services.look(http("openrouter", "GET /status/418"))
    assert found.status == 418 and "as asked" in found.error and "tok_1234567890" not in found.error


def test_no_answer_in_time_may_have_taken_effect(services, vendor):
    with pytest.raises(ServiceError, match="no answer") as failure:
        services.change(http("openrouter", "POST /never"))
    assert failure.value.sent is True and vendor.sent("POST") == 1


def test_a_connection_closed_without_an_answer_may_have_taken_effect(services):
    with pytest.raises(ServiceError, match="no answer") as failure:
        services.change(http("openrouter", "POST /lost/a"))
    assert failure.value.sent is True


def test_a_refused_connection_got_nothing(services):
    nobody = services.settings.openrouter.model_copy(update={"url": "http://127.0.0.1:1"})
    mine = opened(services.settings.model_copy(update={"openrouter": nobody}))
    with pytest.raises(ServiceError, match="cannot connect") as failure:
        mine.change(http("openrouter", "POST /things/a"))
    assert failure.value.sent is False


def test_a_connection_nobody_accepts_got_nothing(services):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        silent = services.settings.openrouter.model_copy(update={"url": f"http://127.0.0.1:{address[1]}"})
        mine = opened(services.settings.model_copy(update={"openrouter": silent}))
        with pytest.raises(ServiceError, match="cannot connect") as failure:
            mine.change(http("openrouter", "POST /things/a"))
        for filler in fillers:
            filler.close()
    assert failure.value.sent is False


def test_values_json_does_not_know_and_fields_that_may_hold_secrets(services):
    row = services.look(http("openrouter", "GET /json")).rows[0]
    assert row == {"ratio": "nan", "half": "?", "decrypted_secret": "dropped: may hold a secret", "n": 1}


def test_a_picked_path_that_is_not_there_is_an_error(services):
    assert "has no 'data.list'" in services.look(http("openrouter", "GET /json", pick="data.list")).error


def test_variables_are_filled_in_headers_and_bodies_but_never_in_what_is_shown(services, environment, vendor):
    command = http("openrouter", "POST /things/a", json={"k": "$CRON_SECRET"}, headers={"X-Key": "$VERCEL_TOKEN"})
    services.change(command)
    _, _, body, headers = vendor.requests[-1]
    assert environment["CRON_SECRET"] in body and headers["X-Key"] == environment["VERCEL_TOKEN"]
    assert headers["Authorization"] == f"Bearer {environment['OPENROUTER_API_KEY']}"
    shown = services.shown(command)
    assert "$CRON_SECRET" in shown and "Bearer $OPENROUTER_API_KEY" in shown
    assert not [value for value in services.settings.secrets().values() if value in shown]


def test_a_proxy_of_the_environment_is_not_used(services, vendor, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert services.change(http("openrouter", "POST /things/a")).status == 200


def test_a_stream_without_an_end_is_read_until_it_is_quiet(services):
    found = services.look(http("openrouter", "GET /stream/3"))
    assert [row["message"] for row in found.rows] == ["line 0", "line 1", "line 2"]
    assert found.error is None


def test_a_stream_that_is_never_quiet_is_read_as_long_as_an_answer_may_take(services):
    found = services.look(http("openrouter", "GET /chatter"))
    assert {row["message"] for row in found.rows} == {"on and on"}


# --- several in a row ------------------------------------------------------------------------------------------------


def test_a_series_is_sent_one_after_another_and_its_rows_are_one_reply(services, vendor):
    made = Series(tuple(http("openrouter", f"POST /things/{name}") for name in "ab"))
    assert [row["name"] for row in services.change(made).rows] == ["a", "b"]
    assert services.change(Series()).rows == ()
    with pytest.raises(StepRefused, match="a check only looks"):
        services.look(made)
    assert vendor.things == {"a", "b"}


def test_a_series_stops_at_the_first_refusal_and_says_which(services, vendor):
    made = Series(tuple(http("openrouter", path) for path in ("POST /things/a", "GET /status/500", "POST /things/b")))
    assert services.change(made).error.startswith("2 of 3: HTTP 500")
    assert vendor.things == {"a"}


def test_a_series_that_was_begun_may_have_taken_effect(chosen, vendor):
    nowhere = chosen.fly.model_copy(update={"url": "http://127.0.0.1:1"})
    services = opened(at(chosen, vendor).model_copy(update={"fly": nowhere}))
    made = Series((http("openrouter", "POST /things/a"), http("fly", "POST /x")))
    with pytest.raises(ServiceError, match="2 of 2: fly") as failure:
        services.change(made)
    assert failure.value.sent is True


def test_an_unknown_service_names_the_nearest(services):
    with pytest.raises(ConfigError, match=r"no service 'openrooter'.*did you mean 'openrouter'"):
        services.look(http("openrooter", "GET /"))


def test_at_the_limit_of_open_files_a_change_was_not_sent_and_the_connection_stays(services, table, count):
    insert = sql(f"insert into public.{table} values (gen_random_uuid(), 'x')")
    with services.database.connect() as connection:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # below every number that is free
        try:
            with pytest.raises(ServiceError, match="Too many open files") as failure:
                services.database._transact(connection, [insert], None, read_only=False, keep=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not failure.value.sent and not connection.closed and count() == 0
        assert services.database._transact(connection, [insert], None, read_only=False, keep=True).error is None


# --- shell ----------------------------------------------------------------------------------------------------------


def test_an_exit_code_is_an_answer_with_the_last_words(services):
    found = services.look(shell("echo out; echo err >&2; exit 7", reads=True, folder="/"))
    assert (found.status, found.error, found.text) == (7, "exit 7: err", "out\nerr\n")


def test_json_on_stdout_becomes_rows_without_what_may_be_secret(services):
    found = services.look(shell("""echo '[{"n": 1, "token": "unknown-to-us"}]'""", reads=True, folder="/"))
    assert found.rows == ({"n": 1, "token": "dropped: may hold a secret"},)
    assert "unknown-to-us" not in found.text


def test_a_line_stops_at_its_first_failure_and_at_an_unset_variable(services):
    assert services.look(shell("false; echo on", reads=True, folder="/")).text == ""
    assert services.look(shell("echo $NOT_SET_ANYWHERE", reads=True, folder="/")).status != 0


def test_at_the_time_limit_the_whole_process_group_ends_and_nobody_knows(services, tmp_path):
    line = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/shell; wait"
    with pytest.raises(ServiceError, match="no end within 1 s") as failure:
        services.change(shell(line, folder="/"))
    assert failure.value.sent is True
    pids = [int((tmp_path / name).read_text()) for name in ("child", "shell")]
    eventually(lambda: not any(map(running_as, pids)), "the group is gone")


def test_what_a_line_leaves_behind_ends_with_it(services, tmp_path):
    started = time.monotonic()
    found = services.change(shell(f"sleep 300 & echo $! > {tmp_path}/child; echo done", folder="/"))
    assert found.text == "done\n" and time.monotonic() - started < 1
    eventually(lambda: not running_as(int((tmp_path / "child").read_text())), "the child is gone")


def test_a_line_that_cannot_be_started_was_not_sent(services):
    with pytest.raises(ServiceError, match="cannot run in /nowhere: No such file or directory") as failure:
        services.change(shell("true", folder="/nowhere"))
    assert not failure.value.sent


def test_output_that_is_not_text_is_kept_readable(services):
    assert "�" in services.look(shell(r"printf '\377'", reads=True, folder="/")).text


def test_a_shell_has_the_environment_of_the_run(services):
    assert services.look(shell("echo $PATH", reads=True, folder="/")).text.strip() == os.environ["PATH"]


def test_the_read_only_role_may_ask_what_every_check_asks(paper):
    """Explaining a query judges its rights; what needs the owner's, a secret's value say, is asked in a trial."""
    password = paper.environment["SUPABASE_READER_PASSWORD"]
    refused, asked = [], 0
    log_in = {"user": "runbook_reader", "password": password, "autocommit": True}
    with psycopg.connect(paper.addresses["database"], **log_in) as reader:
        for notebook in plan.notebooks():
            for number, statement in looked_up(notebook):
                asked += 1
                refused += [f"{number}: another role answers"] if "current_user" in statement else []
                try:
                    reader.execute("explain " + re.sub(r"%\(\w+\)s", "null", statement).replace("%%", "%"))
                except psycopg.errors.InsufficientPrivilege as error:
                    refused.append(f"{number}: {error}")
                except psycopg.Error:  # without its values not every query can be planned
                    continue
    assert refused == [] and asked > 60


def test_the_owner_answers_0_1b_where_a_read_only_role_is_named(chosen):
    answer = with_reader(chosen).look(trial(sql(query("phase_0", "0.1b"))))
    assert (answer.value("role"), answer.value("writable")) == ("postgres", True)
