"""List what the doctor probes on the operator's machine: keys, folders, addresses for alerts. Nothing is sent."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.commands.expectations import Finding
from runbook_lib.errors import RunbookError
from runbook_lib.records import plan, signing
from runbook_lib.runs.alerts import Alerts
from runbook_lib.services.doctor import Probe
from runbook_lib.settings.addresses import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.settings.profiles import Settings

TESTNET = "testnet"  # in the address of the venue's other network, whose money is play money


def probes() -> list[Probe]:
    """Return the doctor's probes of this machine and of what the profile says about it."""
    looks: list[tuple[str, Callable[[Settings], Finding], str, str]] = [
        (
            "certificate",
            _certificate,
            "every connection to the database",
            "download it anew (Project Settings, Database, SSL Configuration) and name it in database.ca",
        ),
        (
            "venue network",
            _network,
            "2.1: a signature for the other network reads as an unknown user's",
            "hyperliquid.url of the main network is https://api.hyperliquid.xyz",
        ),
        (
            "signing key",
            _signing,
            "every seal: no gate of production opens on a record that is not signed",
            "RUNBOOK_SIGNING_KEY names your SSH key, RUNBOOK_OPERATOR you; allowed_signers in the profile lists both",
        ),
        (
            "archive",
            _archive,
            "the copy of every sealed record",
            "make the folder that archive in the profile names, and let this user write to it",
        ),
        (
            "alert targets",
            _targets,
            "4.4: a watch would find a fault and nobody would hear of it",
            "export the variables that alerts.targets names, with an address each, as apprise takes it",
        ),
        (
            "notebooks",
            _notebooks,
            "every gate: a record of another plan opens none",
            "git checkout notebooks; or, if the change is meant, ./runbook accept --plans",
        ),
    ]
    return [Probe(name, (), (), breaks, fix, here=look) for name, look, breaks, fix in looks]


def _certificate(settings: Settings) -> Finding:
    """Find out whether the certificates by which we recognise the database server can be read, and have not expired."""
    if settings.database.ca is None:
        return Finding("none named: the server proves itself by the password")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(settings.database.ca)
    except (OSError, ssl.SSLError) as error:
        return Finding("", f"{settings.database.ca}: {error}")
    ends = [ssl.cert_time_to_seconds(str(authority["notAfter"])) for authority in context.get_ca_certs()]
    if not ends:
        return Finding("", f"{settings.database.ca} holds no certificate of an authority")
    last = datetime.fromtimestamp(max(ends), UTC)
    return Finding(f"good until {last:%Y-%m-%d}", None if last > datetime.now(UTC) else f"expired on {last:%Y-%m-%d}")


def _network(settings: Settings) -> Finding:
    host = host_of(settings.hyperliquid.url)
    return Finding(host, f"{host} is the test network" if TESTNET in host else None)


def _signing(settings: Settings) -> Finding:
    if settings.kind != "production":
        return Finding("a rehearsal's records are not signed")
    return Finding(f"{signing.operator()} can sign", "; ".join(signing.unable(settings)) or None)


def _archive(settings: Settings) -> Finding:
    if settings.archive is None:
        return Finding("none named: the records are kept on this machine only")
    folder = Path(settings.archive)
    if not folder.is_dir():
        return Finding("", f"there is no folder {folder}")
    return Finding(str(folder), None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written")


def _targets(settings: Settings) -> Finding:
    missing = [name for name in settings.alerts.targets if not settings.has(name)]
    try:
        ready = list(Alerts(settings).targets)
    except RunbookError as error:
        return Finding("", str(error))
    if settings.kind == "production" and missing:
        return Finding("", f"{', '.join(missing)} not set")
    return Finding(", ".join(ready) or "nobody")


def _notebooks(_: Settings) -> Finding:
    changed = [name for name in plan.notebooks() if plan.accepted(name) != plan.written_down(plan.notebook(name))]
    return Finding("each as accepted", f"other cells than accepted: {', '.join(changed)}" if changed else None)
