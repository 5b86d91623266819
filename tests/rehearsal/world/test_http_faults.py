"""A fault changes exactly the route it names, and goes away."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.rehearsal.conftest import client, fault


@pytest.fixture
def project(rehearsal):
    """Ask Vercel for the project."""
    with client(rehearsal, "vercel", "VERCEL_TOKEN") as opened:
        yield lambda: opened.get("/v9/projects/agentic-trading")


def test_a_status_comes_in_the_vendors_words_and_is_gone_afterwards(rehearsal, project):
    with fault(rehearsal, service="vercel", path="/v9/*", status=503):
        assert project().status_code == 503
        assert project().json() == {"error": {"code": "service_unavailable", "message": "Service Unavailable"}}
    assert project().status_code == 200


def test_too_many_requests_say_when_to_come_back(rehearsal, project):
    with fault(rehearsal, service="vercel", status=429):
        assert project().headers["retry-after"] == "1"


def test_a_fault_that_applies_once_applies_once(rehearsal, project):
    with fault(rehearsal, service="vercel", status=500, times=1):
        assert [project().status_code for _ in range(3)] == [500, 200, 200]


def test_a_delay_still_gives_the_answer(rehearsal, project):
    with fault(rehearsal, service="vercel", kind="delay", seconds=0.2):
        began = time.monotonic()
        assert project().status_code == 200
        assert time.monotonic() - began >= 0.2


def test_a_dropped_connection_gives_no_answer(rehearsal, project):
    with (
        fault(rehearsal, service="vercel", kind="drop"),
        pytest.raises(httpx.TransportError),
    ):
        project()


def test_garbage_is_a_200_that_cannot_be_read(rehearsal, project):
    with fault(rehearsal, service="vercel", kind="garbage"), pytest.raises(ValueError):
        assert project().raise_for_status().json()


def test_a_lost_answer_leaves_the_effect(rehearsal, vercel):
    variable = {"key": "LOST_ANSWER", "value": "1", "type": "plain", "target": ["production"]}
    lost = fault(rehearsal, service="vercel", method="POST", kind="lose")
    with lost, pytest.raises(httpx.TransportError):
        vercel.post("/v10/projects/agentic-trading/env", json=variable)
    kept = {one["key"]: one["id"] for one in vercel.get("/v10/projects/agentic-trading/env").json()["envs"]}
    vercel.delete(f"/v9/projects/agentic-trading/env/{kept['LOST_ANSWER']}").raise_for_status()


def test_other_routes_methods_and_services_are_untouched(rehearsal, project, person):
    with (
        fault(rehearsal, service="vercel", path="/v13/*", status=500),
        fault(rehearsal, service="vercel", method="POST", status=500),
        fault(rehearsal, service="web", status=500),
    ):
        assert project().status_code == 200
        assert len(person.get("/http-faults").json()) == 3
    assert person.get("/http-faults").json() == []


def test_a_fault_goes_away_with_an_error_in_its_block(rehearsal, project):
    with pytest.raises(ZeroDivisionError), fault(rehearsal, service="vercel", status=500):
        raise ZeroDivisionError
    assert project().status_code == 200


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ({"service": "vercle"}, "unknown service 'vercle'"),
        ({"service": "vercel", "kind": "explode"}, "unknown fault 'explode'"),
        ({"service": "vercel", "colour": "red"}, "colour"),
    ],
)
def test_a_fault_there_is_not_is_refused(rehearsal, what, complaint):
    with pytest.raises(AssertionError, match=complaint), fault(rehearsal, **what):
        pass


@pytest.mark.parametrize("kind", ["html", "null", "error", "deep", "cut"])
def test_an_answer_that_is_none_comes_with_a_good_status(rehearsal, project, kind):
    whole = project().text
    with fault(rehearsal, service="vercel", kind=kind):
        spoiled = project()
    assert spoiled.status_code == 200 and spoiled.text != whole
    assert (spoiled.text == whole[: len(spoiled.text)]) == (kind == "cut")


def test_an_old_answer_has_an_older_time_of_its_own_or_an_age(rehearsal, project):
    question = {"type": "clearinghouseState", "user": f"0x{1:040x}"}
    with fault(rehearsal, service="*", kind="stale"), client(rehearsal, "hyperliquid") as venue:
        assert project().headers["age"] == "600"
        state = venue.post("/info", json=question)
        assert 590 < time.time() - state.json()["time"] / 1000 < 610 and "age" not in state.headers


def test_a_made_up_answer_may_tell_the_present_time(rehearsal, project):
    with fault(rehearsal, service="vercel", status=200, body={"time": "now", "id": "prj_other"}):
        answer = project().json()
    assert answer["id"] == "prj_other" and abs(answer["time"] / 1000 - time.time()) < 10


def test_a_bomb_is_small_until_it_is_unpacked(rehearsal):
    with (
        fault(rehearsal, service="vercel", kind="bomb"),
        client(rehearsal, "vercel", "VERCEL_TOKEN") as opened,
        opened.stream("GET", "/v9/projects/agentic-trading") as reply,
    ):
        assert len(b"".join(reply.iter_raw())) < 100_000


def test_a_drip_begins_and_does_not_end(rehearsal):
    with (
        fault(rehearsal, service="vercel", kind="drip", seconds=0.02),
        client(rehearsal, "vercel", "VERCEL_TOKEN") as opened,
        opened.stream("GET", "/v9/projects/agentic-trading") as reply,
    ):
        pieces = reply.iter_raw()
        assert [next(pieces) for _ in range(3)] == [b" "] * 3


def test_one_book_of_many_is_chosen_by_its_name(rehearsal):
    question = {"type": "clearinghouseState", "user": "0x" + "ab" * 20}
    with (
        fault(rehearsal, service="hyperliquid", kind="null", asks="clearinghouseState xyz"),
        client(rehearsal, "hyperliquid") as venue,
    ):
        main, other = [venue.post("/info", json=question | {"dex": dex}).json() for dex in ("", "xyz")]
    assert main["assetPositions"] == [] and other is None


def test_one_client_of_many_is_chosen_by_its_address(rehearsal):
    address, question = rehearsal.addresses["hyperliquid"], {"type": "meta"}
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        fault(rehearsal, service="hyperliquid", kind="null", source="127.0.0.1"),
        client(rehearsal, "hyperliquid") as venue,
        httpx.Client(base_url=address, transport=elsewhere) as runner,
    ):
        assert venue.post("/info", json=question).json() is None
        assert runner.post("/info", json=question).json()["universe"]


def test_one_question_of_many_at_one_path_is_chosen_by_what_it_asks(rehearsal):
    with (
        fault(rehearsal, service="hyperliquid", kind="null", asks="meta"),
        client(rehearsal, "hyperliquid") as venue,
    ):
        answers = [venue.post("/info", json={"type": kind}).json() for kind in ("meta", "allMids")]
    assert answers[0] is None and answers[1]
