"""Which shape belongs to which request, and what each lets pass."""

from __future__ import annotations

import pytest

from runbook_lib.commands.command import http
from runbook_lib.commands.vendor_shapes import ROUTES, VENUE, shape_of

ERROR = {"error": "upstream timed out"}
# A shape that would take one of these would take an outage for an answer.
NO_ANSWERS = (None, "", "<html>", 0, True, ERROR, {"error": {"message": "no"}})
EVERY = [(f"{service} {route}", shape) for service, routes in ROUTES.items() for route, shape in routes.items()]
JUDGED = [(name, shape) for name, shape in [*EVERY, *VENUE.items()] if shape.form is not None]


def info(kind):
    return http("hyperliquid", "POST /info", json={"type": kind}, reads=True)


@pytest.mark.parametrize(("name", "shape"), JUDGED, ids=[name for name, _ in JUDGED])
def test_no_shape_takes_an_outage_for_an_answer(name, shape):
    taken = [body for body in NO_ANSWERS if shape.complaint(body) is None]
    assert taken == (["<html>"] if name == "userAbstraction" else [])  # a text: which ones there are, its step knows


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (http("fly", "GET /v1/apps/{fly.app}/machines"), "a list of machines"),
        (http("fly", "GET /v1/apps/{fly.app}/machines/1"), "a machine"),
        (http("fly", "POST /v1/apps/{fly.app}/machines/1/stop", json={}), "that it is done"),
        (http("vercel", "GET /v10/projects/{vercel.project}/env", query={"decrypt": "true"}), "a list of variables"),
        (http("registry", "HEAD /v2/app/manifests/1"), "a page"),
        (http("openrouter", "GET /api/v1/key"), "a key with its data"),
        (info("clearinghouseState"), "a wallet's state with time and assetPositions"),
        (info("portfolio"), "JSON that is no error"),
        (http("web", "GET /api/jobs/heartbeat-sweep"), "JSON that is no error"),
    ],
)
def test_a_request_has_the_shape_of_its_route(command, words):
    assert shape_of(command).words == words


def test_a_change_that_nobody_described_may_be_answered_by_its_status_alone():
    assert shape_of(http("person", "POST /x")).complaint(None) is None
    assert shape_of(http("person", "GET /x")).complaint(None) is not None


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("clearinghouseState", {"assetPositions": []}),
        ("clearinghouseState", {"time": 1, "assetPositions": None}),
        ("clearinghouseState", {"time": 1, "assetPositions": [{"position": {"coin": "BTC", "szi": "NaN"}}]}),
        ("frontendOpenOrders", [{"coin": "BTC"}]),
        ("extraAgents", [{"name": "a"}]),
        ("spotClearinghouseState", {}),
        ("perpDexs", []),
        ("userFills", [None]),
    ],
)
def test_half_an_answer_of_the_venue_is_none(kind, body):
    assert shape_of(info(kind)).complaint(body) is not None


def test_the_first_page_of_several_is_not_all_there_is():
    shape = shape_of(http("vercel", "GET /v10/projects/p/env"))
    assert shape.complaint({"envs": [], "pagination": {"count": 0, "next": None}}) is None
    assert "another page" in shape.complaint({"envs": [], "pagination": {"count": 20, "next": 17}})
