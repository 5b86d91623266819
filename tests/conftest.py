"""What holds for the whole suite: no outside, no operator's secrets, no comfortable time zone."""

from __future__ import annotations

import errno
import ipaddress
import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Saves 0.9 s in every process that imports nbformat; must come before that import.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

pytest_plugins = ["tests.core_fixtures"]  # fixtures of the core's tests: made only for those that ask

# POSIX zones, so that neither the C library nor Postgres needs a time zone database. Not one is UTC: a month that
# starts at local midnight, or a naive timestamp, shows here.
ZONES = ("<+14>-14", "<-08>8", "<+0530>-5:30", "<-0330>3:30")
# What an operator's shell may hold: with these, a forgotten fixture could reach production.
OPERATOR = (
    *("SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ACCESS_TOKEN"),
    *("SUPABASE_URL", "OPENROUTER_API_KEY", "FLY_API_TOKEN", "FLY_DEPLOY_TOKEN", "VERCEL_TOKEN", "CRON_SECRET"),
    *("HYPERLIQUID_LIVE_ENABLED", "NEXT_PUBLIC_THIRDWEB_CLIENT_ID", "NEXT_PUBLIC_SUPABASE_URL"),
    *("NEXT_PUBLIC_SUPABASE_ANON_KEY", "RUNBOOK_MODE", "RUNBOOK_RECORD", "RUNBOOK_REHEARSAL"),
    *("RUNBOOK_SIGNING_KEY", "REHEARSAL_TOKEN"),
)
# Files and folders whose tests take longest, the longest first.
LONGEST = (
    "test_other_names.py",
    "test_attended.py",
    "test_main.py",
    "test_watch.py",
    "test_halt.py",
    "browser",
    "drills",
    "engine",
    "vendors",
    "rehearsal",
)
LIBPQ = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE", "PGOPTIONS")


def pytest_configure() -> None:
    # Started in the background of a script, the suite would hand an ignored SIGINT on to the commands it interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in (*OPERATOR, *LIBPQ):
        os.environ.pop(name, None)
    # Set PGTZ to repeat a run that failed in the zone its header names.
    zone = os.environ.setdefault("PGTZ", random.choice(ZONES))
    os.environ["TZ"] = zone
    time.tzset()
    sys.addaudithook(refuse_outside)
    # A busy machine is not a failure: what must be quick is measured in the benchmarks. Forty examples a run: the suite
    # runs often, and each time with others.
    hypothesis.settings.register_profile("unhurried", deadline=None, max_examples=40)
    hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: next((at for at, name in enumerate(LONGEST) if name in item.path.parts), len(LONGEST)))


def pytest_report_header() -> str:
    return f"time zone of this run, here and in Postgres: PGTZ='{os.environ['PGTZ']}'"


def refuse_outside(event: str, arguments: tuple[Any, ...]) -> None:
    """Let no test connect to anything but this machine."""
    if event not in ("socket.connect", "socket.sendto") or not isinstance(arguments[-1], tuple):
        return
    host = arguments[-1][0]
    if not loopback(host):
        raise OSError(errno.ENETUNREACH, f"tests stay on this machine: refused a connection to {host}")


def loopback(host: str) -> bool:
    """Whether an address, or a name not looked up yet, stays on this machine."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("localhost", "")


@pytest.fixture(autouse=True)
def environment_as_found() -> Iterator[None]:
    """Give each test the environment that the one before it found."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)
