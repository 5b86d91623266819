"""Which addresses a profile may hold: a rehearsal's stay on this machine, a production's are outside and encrypted."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from runbook_lib.settings.profiles import Settings

POOLER_TRANSACTION_PORT = 6543  # swallows LISTEN without an error
# What libpq takes from an address besides its host: any of it would lead elsewhere, or is a secret.
ELSEWHERE = {"host", "hostaddr", "port", "user", "password", "passfile", "service", "dbname"}
ENCRYPTED = {"require", "verify-ca", "verify-full"}  # values of sslmode


def refuse_wrong(settings: Settings, source: str) -> None:
    """Raise `ConfigError`, naming the key, if an address does not belong into a profile of this kind."""
    for key, url in _addresses(settings).items():
        _refuse_wrong_address(settings.kind, f"{source}: {key}", url)
    _refuse_unsafe_database(settings, f"{source}: database.url")


def _refuse_wrong_address(kind: str, place: str, url: str) -> None:
    parts = _split(place, url)
    schemes = ("postgresql", "postgres") if place.endswith("database.url") else ("http", "https")
    if parts.password is not None:
        raise ConfigError(f"{place}: holds a password; secrets belong into the environment")
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(f"{place}: expected an address such as {schemes[-1]}://host, found {url!r}")
    if _loopback(parts.hostname) != (kind == "rehearsal"):
        wanted = "a loopback address" if kind == "rehearsal" else "an outside address"
        raise ConfigError(f"{place}: a {kind} profile needs {wanted}, found {url!r}")
    if kind == "production" and parts.scheme == "http":
        raise ConfigError(f"{place}: tokens would travel in clear; use https, not {url!r}")


def _refuse_unsafe_database(settings: Settings, place: str) -> None:
    parts = _split(place, settings.database.url)
    options = parse_qs(parts.query, keep_blank_values=True)
    if wrong := sorted(ELSEWHERE & options.keys()):
        raise ConfigError(f"{place}: {', '.join(wrong)} after the ? would override the address: leave it out")
    if settings.kind == "production" and not ENCRYPTED & set(options.get("sslmode", ())):
        raise ConfigError(f"{place}: add ?sslmode=require: the password must not travel in clear")
    if parts.port == POOLER_TRANSACTION_PORT:
        raise ConfigError(
            f"{place}: port {POOLER_TRANSACTION_PORT} is a transaction pooler, which swallows "
            "LISTEN; use port 5432 (direct, or the session pooler)"
        )


def _split(place: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read here, because a port that is no number is noticed only when it is read
    except ValueError:  # the address is not shown: a password with a # in it ends up here
        raise ConfigError(f"{place}: expected an address such as https://host:port; this one cannot be read") from None
    return parts


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _addresses(settings: Settings) -> dict[str, str]:
    services = {f"{k}.url": v.url for k, v in settings if hasattr(v, "url") and k != "database"}
    return {"database.url": settings.database.url, **services}
