"""Which subscriptions a venue accepts, asked over a real socket."""

from __future__ import annotations

import pytest

from runbook_lib.commands.command import frozen, subscribe, thawed
from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.services import websocket
from runbook_lib.services.services import Services

USER = "0x0000000000000000000000000000000000000000"


def test_each_subscription_has_a_row_and_a_retired_one_the_venues_words(running):
    wanted = [{"type": kind, "user": USER} for kind in ("userFills", "webData2", "orderUpdates")]

    found = websocket.subscribe(running.addresses["hyperliquid"], wanted, 5.0)

    assert [(row["type"], row["accepted"]) for row in found] == [
        ("userFills", True),
        ("webData2", False),
        ("orderUpdates", True),
    ]
    assert found[1]["said"] not in ("", "no answer")


def test_a_socket_that_does_not_open_is_a_service_error_with_its_address(running):
    with pytest.raises(ServiceError, match=r"venue socket ws://127\.0\.0\.1:1/ws"):
        websocket.subscribe("http://127.0.0.1:1", [{"type": "allMids"}], 1.0)


def test_the_command_is_read_only_shown_and_kept(chosen):
    command = subscribe("hyperliquid", {"type": "allMids"})
    services = Services(chosen)

    assert services.look(command).column("accepted") == [True]
    assert '{"method": "subscribe", "subscription": {"type": "allMids"}}' in services.shown(command)
    assert thawed(frozen(command)) == command
    services.close()


def test_nothing_to_subscribe_to_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        subscribe("hyperliquid")
