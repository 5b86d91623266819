"""Answers that are none: too late, too large, too deep, of another shape, or about another time than now."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from runbook_lib.commands.command import http
from runbook_lib.errors import ServiceError
from runbook_lib.services import http_calls, websocket
from runbook_lib.services.deadlines import side_by_side
from runbook_lib.services.http_calls import IDLE, Answer, Web, reply_of
from runbook_lib.services.services import Services
from runbook_lib.settings.redaction import Redactor
from tests.core_fixtures import OPENED, at

MACHINES = http("fly", "GET /v1/apps/app/machines")
VENUE = http("hyperliquid", "POST /info", json={"type": "clearinghouseState", "user": "0x1"}, reads=True)


@pytest.fixture
def services(chosen, vendor):
    OPENED.append(Services(at(chosen, vendor, answer=5.0)))
    return OPENED[-1]


@pytest.fixture
def hurried(chosen, vendor):
    OPENED.append(Services(at(chosen, vendor, answer=0.6)))
    return OPENED[-1]


def answered(body, status=200, command=MACHINES):
    return reply_of(command, Answer(status, "OK", {"content-type": "application/json"}, body.encode()), Redactor({}))


@pytest.mark.parametrize(("value", "seen"), [("of-this-process", "$CRON_SECRET"), ("$CRON_SECRET", "$$CRON_SECRET")])
def test_a_name_that_was_pasted_in_place_of_a_secret_is_told_from_a_redacted_one(value, seen):
    body = json.dumps({"envs": [{"key": "CRON_SECRET", "value": value}]}).encode()
    command = http("vercel", "GET /v10/projects/{vercel.project}/env", pick="envs")
    answer = Answer(200, "OK", {"content-type": "application/json"}, body)
    assert reply_of(command, answer, Redactor({"CRON_SECRET": "of-this-process"})).rows[0]["value"] == seen


def test_a_connection_that_was_idle_carries_no_change(services):
    """Its other end may be closing it, and nobody could tell whether the change was taken."""
    change = http("openrouter", "POST /connection")
    first, at_once = (services.change(change).value("port") for _ in range(2))
    time.sleep(IDLE + 0.1)

    assert first == at_once
    assert services.change(change).value("port") != first


@pytest.mark.parametrize("where", ["head", "body"])
def test_an_answer_that_drips_holds_nobody_beyond_the_time_for_all_of_it(hurried, where):
    started = time.monotonic()
    with pytest.raises(ServiceError, match="not finished") as failure:
        hurried.look(http("openrouter", f"GET /drip/{where}"))
    assert time.monotonic() - started < 3.0 and failure.value.sent


def test_looks_at_the_same_time_share_one_client_which_is_closed_at_the_end(services, monkeypatch):
    made, client = [], httpx.Client

    def slowly(**options):
        time.sleep(0.05)
        made.append(client(**options))
        return made[-1]

    monkeypatch.setattr(httpx, "Client", slowly)
    side_by_side([lambda: services.look(http("openrouter", "GET /aged/0"))] * 4, 4)
    services.close()
    assert [one.is_closed for one in made] == [True]


def test_what_unpacks_to_more_than_an_answer_may_be_is_none(services):
    assert services.look(http("openrouter", "GET /packed/100000")).rows[0]["value"] == "x" * 99996
    for size in ("2000001", "9000000"):
        with pytest.raises(ServiceError, match="larger than 2,000,000 bytes"):
            services.look(http("openrouter", f"GET /packed/{size}"))


def test_an_answer_that_is_cut_off_is_none(services):
    with pytest.raises(ServiceError, match="cut off"):
        services.look(http("openrouter", "GET /packed/5000cut"))


def test_an_answer_from_before_the_question_is_none(services):
    assert services.look(http("openrouter", "GET /aged/0")).rows == ()
    with pytest.raises(ServiceError, match="an old answer: it was made 600 s ago"):
        services.look(http("openrouter", "GET /aged/600"))


@pytest.mark.parametrize(
    "body",
    [
        *("null", "", "{}", "true", '{"error": "upstream timed out"}', "<html>Maintenance</html>", '[{"id": "1"'),
        *('[{"id": 1, "state": "started"}]', '[{"id": "1"}]', "[[]]", "[" * 100 + "]" * 100, "[" * 100_000),
    ],
)
def test_what_is_no_list_of_machines_is_no_answer_and_is_shown(body):
    with pytest.raises(ServiceError, match="a list of machines") as failure:
        answered(body)
    assert body[:50] in str(failure.value) and len(str(failure.value)) < 600


def test_an_empty_list_is_an_answer():
    assert answered("[]").rows == ()


def test_an_error_status_is_an_answer_whatever_its_form():
    assert answered("<html>", 503).error == "HTTP 503 OK: <html>"


@pytest.mark.parametrize("number", ["409", "412", "429"])
def test_a_change_that_was_provably_not_made_is_sent_again(services, vendor, number):
    assert services.change(http("openrouter", f"POST /once/{number}")).status == 200
    assert vendor.sent("POST") == 2


def test_a_change_that_may_have_been_made_is_not_sent_again(services, vendor):
    assert services.change(http("openrouter", "POST /once/503")).status == 503
    assert vendor.sent("POST") == 1


@pytest.mark.parametrize("number", ["409", "412", "429", "500", "503"])
def test_a_look_is_sent_again_after_any_temporary_refusal(services, number):
    assert services.look(http("openrouter", f"GET /once/{number}")).status == 200


def test_a_refusal_that_is_final_is_not_asked_again(services, vendor):
    assert services.look(http("openrouter", "GET /once/404")).status == 404
    assert vendor.sent("GET") == 1


def test_a_request_is_proven_when_its_connection_stands_and_not_sent_where_the_proof_fails(chosen):
    """Connecting may take seconds, in which what was proven before is lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        stood = []

        def proof():
            stood.append(server.accept()[0])
            raise ServiceError("the lock was lost")

        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        there = chosen.model_copy(update={"openrouter": chosen.openrouter.model_copy(update={"url": url})})
        with pytest.raises(ServiceError, match="the lock was lost") as lost:
            Web(there, Redactor({})).request(http("openrouter", "POST /things/a"), 5.0, proof)
    with stood[0] as connection:
        assert not lost.value.sent and connection.recv(1) == b""


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", "SOCKS"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:1", "Unknown scheme"),
        ("HTTPS_PROXY", "http://127.0.0.1:port", "Invalid port"),
        ("SSL_CERT_FILE", "/nowhere/authorities.pem", "No such file"),
        ("SSL_CERT_FILE", "/etc/passwd", "no certificate"),
    ],
)
def test_with_a_proxy_or_certificates_that_cannot_be_used_nothing_is_sent_and_one_line_says_so(
    chosen, monkeypatch, variable, value, words
):
    monkeypatch.setenv(variable, value)
    http_calls._authorities.cache_clear()  # another test may have read them
    outside = chosen.model_copy(update={"fly": chosen.fly.model_copy(update={"url": "https://api.example.com"})})
    with pytest.raises(ServiceError, match=words) as failure:
        Services(outside).change(http("fly", "POST /v1/apps/app/machines"))
    assert not failure.value.sent and "\n" not in str(failure.value) and variable in str(failure.value)
    with pytest.raises(ServiceError, match=words):
        http_calls.ping("https://api.example.com", 1.0)


def test_a_proxy_that_the_venue_socket_cannot_use_is_said(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(ServiceError, match="SOCKS"):
        websocket.subscribe("https://api.example.com", [{"type": "userEvents"}], 1.0)
