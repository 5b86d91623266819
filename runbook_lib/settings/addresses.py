"""Check a profile's addresses: a rehearsal's must be on this machine, production's elsewhere and encrypted."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit, urlunsplit

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from runbook_lib.settings.profiles import Settings

POOLER_TRANSACTION_PORT = 6543  # swallows LISTEN without an error
# The only options allowed after the ? of a database's address; they say how the server proves its identity.
PARAMETERS = ("sslmode", "require_auth", "channel_binding")
# With these options the server proves that it knows the password, and that nobody sits between it and us.
BOUND = {"require_auth": "scram-sha-256", "channel_binding": "require"}
ENCRYPTED = ("require", "verify-ca", "verify-full")  # values of sslmode
CERTIFICATE = "the dashboard has the file: Project Settings, Database, SSL Configuration, Download certificate"
# Host names at Supabase that contain the ref of their project.
OF_A_PROJECT = re.compile(r"(?:db\.)?(?P<ref>[a-z]{20})\.supabase\.co")
POOLER = ".pooler.supabase.com"


def refuse_wrong(settings: Settings, source: str) -> None:
    """Raise `ConfigError` if an address is not allowed in a profile of this kind. The error names the address's key."""
    for key, url in _addresses(settings).items():
        _refuse_wrong_address(settings.kind, f"{source}: {key}", url)
    _refuse_unsafe_database(settings, f"{source}: database.url")
    _refuse_other_project(settings, f"{source}: database.url")


def _refuse_wrong_address(kind: str, place: str, url: str) -> None:
    parts = _split(place, url)
    schemes = ("postgresql", "postgres") if place.endswith("database.url") else ("http", "https")
    if parts.password is not None:
        raise ConfigError(f"{place}: holds a password; secrets belong into the environment")
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(f"{place}: expected an address such as {schemes[-1]}://host, found {url!r}")
    if is_loopback(parts.hostname) != (kind == "rehearsal"):
        wanted = "a loopback address" if kind == "rehearsal" else "an outside address"
        raise ConfigError(f"{place}: a {kind} profile needs {wanted}, found {url!r}")
    if kind == "production" and parts.scheme == "http":
        raise ConfigError(f"{place}: tokens would travel in clear; use https, not {url!r}")


def _refuse_unsafe_database(settings: Settings, place: str) -> None:
    parts = _split(place, settings.database.url)
    options = parse_qs(parts.query, keep_blank_values=True)
    if wrong := sorted(options.keys() - {*PARAMETERS}):
        known = ", ".join(PARAMETERS)
        raise ConfigError(f"{place}: {', '.join(wrong)} after the ? is not taken from an address, only {known}")
    if twice := [name for name, values in options.items() if len(values) > 1]:
        raise ConfigError(f"{place}: {', '.join(twice)} is given twice after the ?")
    if settings.kind == "production":
        _refuse_unproven_server(settings, place, {name: values[0] for name, values in options.items()})
    if parts.port == POOLER_TRANSACTION_PORT:
        raise ConfigError(
            f"{place}: port {POOLER_TRANSACTION_PORT} is a transaction pooler, which swallows "
            "LISTEN; use port 5432 (direct, or the session pooler)"
        )


def _refuse_unproven_server(settings: Settings, place: str, options: dict[str, str]) -> None:
    """Raise `ConfigError` if nothing proves that the database server is the right one. Encryption alone does not."""
    if options.get("sslmode") == "verify-full":
        if settings.database.ca is None:
            raise ConfigError(
                f"{place}: verify-full needs database.ca, the path of the project's certificate; {CERTIFICATE}"
            )
    elif options.get("sslmode") not in ENCRYPTED or any(options.get(name) != value for name, value in BOUND.items()):
        bound = "&".join(f"{name}={value}" for name, value in BOUND.items())
        raise ConfigError(
            f"{place}: nothing proves that the server is yours: add ?sslmode=verify-full and name database.ca "
            f"({CERTIFICATE}), or ?sslmode=require&{bound}"
        )


def _refuse_other_project(settings: Settings, place: str) -> None:
    """Raise `ConfigError` if the database's address or user belongs to another project. The error names both
    projects.
    """
    parts = _split(place, settings.database.url)
    host, users = parts.hostname or "", [parts.username or "", settings.database.read_only_user]
    refs = [match["ref"]] if (match := OF_A_PROJECT.fullmatch(host)) else []
    if host.endswith(POOLER):
        refs += [user.rpartition(".")[2] for user in users if user is not None]
    for ref in refs:
        if ref != settings.project:
            raise ConfigError(f"{place}: is of project {ref!r}, the profile's project is {settings.project!r}")


def other_project(settings: Settings, url: str) -> str | None:
    """Return the project that a Supabase address names, if it is another project than the profile's.

    Return None for any other address.
    """
    match = OF_A_PROJECT.fullmatch(urlsplit(url).hostname or "") if "://" in url else None
    return match["ref"] if match and match["ref"] != settings.project else None


def _split(place: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading the port raises ValueError if it is no number
    except ValueError:  # the address is not shown: a password with a # in it ends up here
        raise ConfigError(f"{place}: expected an address such as https://host:port; this one cannot be read") from None
    return parts


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return ``host:port`` of an address in a profile, for messages."""
    return urlunsplit(("", urlsplit(url).netloc.rpartition("@")[2], "", "", "")).lstrip("/")


def _addresses(settings: Settings) -> dict[str, str]:
    services = {f"{k}.url": v.url for k, v in settings if hasattr(v, "url") and k != "database"}
    return {"database.url": settings.database.url, **services}
