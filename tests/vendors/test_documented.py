"""What production would get is what the vendors document, row by row; and the rehearsal tells their hosts apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from runbook_lib.rehearsal.world.http_server import HOSTS
from runbook_lib.settings.profiles import Settings, parse
from tests.settings.test_profiles import PRODUCTION
from tests.vendors.sent_requests import Sent, sent_to_production

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("documented.yaml").read_text())
WEB = urlsplit(PRODUCTION["web"]["url"]).netloc


@dataclass(frozen=True)
class Row:
    """A request as its vendor documents it."""

    host: str
    request: str
    source: str
    scheme: str = ""
    may: tuple[str, ...] = ()
    must: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.request} of {self.host}"

    def describes(self, sent: Sent) -> bool:
        method, _, path = self.request.partition(" ")
        pattern = re.escape(path).replace(r"\*", "[^/]+")
        return (self.host, method) == (sent.host, sent.method) and re.fullmatch(pattern, sent.path) is not None

    def complaints(self, sent: Sent) -> Iterator[str]:
        if sent.scheme != self.scheme:
            yield f"{sent.place}: {self} takes {self.scheme or 'no authorisation'}, sent is {sent.scheme or 'none'}"
        if lacking := set(self.must) - sent.query:
            yield f"{sent.place}: {self} must name {', '.join(sorted(lacking))}"
        if unknown := sent.query - {*self.may, *self.must}:
            yield f"{sent.place}: {self} knows no {', '.join(sorted(unknown))}"


ROWS = [Row(host, **row) for host, rows in TABLE.items() for row in rows]


@pytest.fixture(scope="module")
def production() -> Settings:
    return parse({**PRODUCTION, "name": "production"}, "production.yaml")


@pytest.fixture(scope="module")
def sent(production: Settings) -> list[Sent]:
    return sent_to_production(production)


def test_every_request_is_one_that_its_host_documents(sent: list[Sent]) -> None:
    undocumented = [
        f"{one.place}: {one.method} {one.path} of {one.host}"
        for one in sent
        if not any(row.describes(one) for row in ROWS)
    ]
    assert not undocumented, "\n".join(undocumented)


def test_every_request_has_the_scheme_and_the_query_that_are_documented(sent: list[Sent]) -> None:
    wrong = [text for one in sent for row in ROWS if row.describes(one) for text in row.complaints(one)]
    assert not wrong, "\n".join(wrong)


def test_every_row_is_of_a_request_that_is_sent_and_has_a_source(sent: list[Sent]) -> None:
    assert [str(row) for row in ROWS if not any(row.describes(one) for one in sent)] == []
    assert [str(row) for row in ROWS if not row.source] == []


def test_a_request_to_another_host_is_found() -> None:
    [row] = [row for row in ROWS if row.host == "api.fly.io"]
    logs = Sent("here", "api.machines.dev", "GET", "/api/v1/apps/a/logs", "Bearer", frozenset())
    assert not any(other.describes(logs) for other in ROWS)
    ours = Sent("here", "api.fly.io", "GET", "/api/v1/apps/a/logs", "Bearer", frozenset({"tail"}))
    assert list(row.complaints(ours)) == [
        "here: GET /api/v1/apps/*/logs of api.fly.io takes FlyV1, sent is Bearer",
        "here: GET /api/v1/apps/*/logs of api.fly.io knows no tail",
    ]


def test_a_request_without_the_team_is_found() -> None:
    [row] = [row for row in ROWS if row.request == "GET /v7/deployments"]
    bare = Sent("here", "api.vercel.com", "GET", "/v7/deployments", "Bearer", frozenset({"limit"}))
    assert list(row.complaints(bare)) == ["here: GET /v7/deployments of api.vercel.com must name teamId"]


def test_each_host_of_the_rehearsal_knows_its_own_paths_and_nobody_elses(running) -> None:
    bases = {name: address.rstrip("/") for name, address in running.addresses.items() if name in HOSTS}
    with httpx.Client(timeout=30) as client:
        for row in ROWS:
            method, _, path = row.request.partition(" ")
            for name, base in bases.items():
                own = row.host == (WEB if name == "web" else HOSTS[name])
                reply = client.request("GET" if method == "HEAD" else method, base + path.replace("*", "x"))
                known = "knows no" not in reply.text
                # The roots of two hosts look alike; nothing is asked of the web app's but that it answers.
                assert known == own or row.request == "GET /", f"{row}, asked of {name}: {reply.text[:200]}"
