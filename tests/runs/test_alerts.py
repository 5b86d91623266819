"""Alerts reach a real server on loopback, and what does not arrive is said."""

from __future__ import annotations

import json

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.runs.alerts import Alerts
from tests.hearing import Hearing

NOBODY = "127.0.0.1:9"  # a port nobody listens on


@pytest.fixture
def hearing():
    with Hearing() as server:
        yield server


def alerts(chosen, monkeypatch, target=None, **changes):
    if target:
        monkeypatch.setenv("ALERT_TARGET", target)
    return Alerts(chosen.model_copy(update=changes))


def test_an_alert_arrives_without_the_secrets_it_may_hold(chosen, monkeypatch, hearing):
    told = alerts(chosen, monkeypatch, f"json://127.0.0.1:{hearing.port}/alarm")
    secret = chosen.variable("FLY_API_TOKEN")

    assert told.send("4.5b", f"drift {secret}") is None

    [(path, body)] = hearing.heard
    assert path == "/alarm"
    assert json.loads(body)["title"] == "4.5b"
    assert secret not in body and "drift" in body


def test_an_alert_that_nobody_takes_names_its_target(chosen, monkeypatch):
    told = alerts(chosen, monkeypatch, f"json://{NOBODY}/")

    assert told.send("4.5b", "drift") == "not delivered to ALERT_TARGET"


def test_without_a_target_nothing_is_sent_and_nothing_is_wrong(chosen, monkeypatch):
    told = alerts(chosen, monkeypatch)

    assert told.targets == {}
    assert told.send("4.5b", "drift") is None


@pytest.mark.parametrize(
    ("target", "says"), [("json://example.com/", "this machine only"), ("nothing://127.0.0.1/", "cannot take")]
)
def test_an_address_that_does_not_belong_is_refused_before_the_watch_begins(chosen, monkeypatch, target, says):
    with pytest.raises(ConfigError, match=f"ALERT_TARGET: .*{says}"):
        alerts(chosen, monkeypatch, target)


def test_the_dead_mans_service_is_called_and_its_silence_is_told(chosen, monkeypatch, hearing):
    there = chosen.deadman.model_copy(update={"url": f"http://127.0.0.1:{hearing.port}/all-well"})
    gone = chosen.deadman.model_copy(update={"url": f"http://{NOBODY}/all-well"})

    assert alerts(chosen, monkeypatch, deadman=there).alive() is None
    assert hearing.heard == [("/all-well", "")]
    assert "127.0.0.1:9" in alerts(chosen, monkeypatch, deadman=gone).alive()
    hearing.status = 404
    assert "404" in alerts(chosen, monkeypatch, deadman=there).alive()
    assert alerts(chosen, monkeypatch, deadman=None).alive() is None
