"""Profiles: ``parameters/<profile>.yaml`` as typed settings, and the secrets of the environment.

A profile holds addresses, names, budgets, the ``allow`` list and the names of environment variables, never a secret.
Whatever is wrong raises `ConfigError` naming the key and the nearest valid one, before anything is sent.
"""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROFILES", "ROOT", "Settings", "load", "profiles"]

ROOT = Path(__file__).resolve().parent.parent  # the checkout: the project is always installed editable
PROFILES = ROOT / "parameters"
SHORTEST_SECRET = 8  # characters; anything shorter would be redacted out of ordinary text
COMMON_VALUES = {"password", "postgres", "changeme", "rehearsal", "production", "anthropic", "hyperliquid"}
POOLER_TRANSACTION_PORT = 6543  # swallows LISTEN without an error


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Service(Part):
    """One HTTP service: its address and the environment variable that holds its token."""

    url: str
    token: str | None = None
    scheme: Literal["Bearer", "Basic", "FlyV1"] = "Bearer"


class Database(Part):
    url: str  # without password; port 5432 direct or session pooler, never 6543
    password: str
    read_only_user: str | None = None
    read_only_password: str | None = None


class Fly(Service):
    org: str
    app: str
    region: str


class Vercel(Service):
    project: str
    team: str | None = None


class Web(Service):
    sweep: str = "vercel"  # who runs the heartbeat sweep: "vercel" or "fly:<app>"


class Venue(Service):
    wallet: str | None = None  # the master wallet's address, public


class Budgets(Part):
    """How long, in seconds, the platform may take; the words are the checklist's."""

    answer: float = 20.0  # one reply of any service
    clock_skew: float = 2.0
    redeploy: float = 300.0
    build: float = 1800.0


class Gates(Part):
    """How old, in hours, the record may be that the next phase rests on."""

    age: float = 168.0
    ages: dict[str, float] = Field(default_factory=dict)  # by the phase that was run, where it differs

    def hours(self, phase: str) -> float:
        return self.ages.get(phase, self.age)


class Settings(Part):
    """One profile."""

    kind: Literal["rehearsal", "production"]
    project: Annotated[str, Field(pattern=r"^[a-z]{20}$")]
    repository: str
    database: Database
    supabase: Service
    fly: Fly
    registry: Service
    vercel: Vercel
    web: Web
    hyperliquid: Venue
    openrouter: Service
    person: Service | None = None
    variables: dict[str, Literal["secret", "public"]]
    allow: Literal["all"] | list[str] = Field(default_factory=list)
    budgets: Budgets = Budgets()
    gates: Gates = Gates()
    name: str = ""

    def lookup(self, dotted: str) -> str:
        """The text of ``fly.app``, ``project`` and so on, for a command's ``{placeholder}``."""
        found: Any = self
        for key in dotted.split("."):
            known = type(found).model_fields if isinstance(found, BaseModel) else {}
            if key not in known:
                raise ConfigError(f"a command names {{{dotted}}}: {nearest(key, known or [dotted])}")
            found = getattr(found, key)
        return str(found)

    def service(self, name: str) -> Service:
        """The HTTP service called ``name``."""
        known = {k: v for k, v in self if isinstance(v, Service)}
        if name not in known:
            raise ConfigError(f"no service {name!r} in profile {self.name!r}: {nearest(name, known)}")
        return known[name]

    def variable(self, name: str) -> str:
        """The environment's value of a variable the profile names."""
        if name not in self.variables:
            raise ConfigError(f"variables: {name!r} is not declared: {nearest(name, self.variables)}")
        value = os.environ.get(name)
        if name == "SUPABASE_DB_PASSWORD" and not value:  # the Marketplace integration's name for the same value
            value = os.environ.get("POSTGRES_PASSWORD")
        if not value:
            raise ConfigError(f"environment variable {name} is not set; profile {self.name!r} needs it")
        return value

    def secrets(self) -> dict[str, str]:
        """Secret variables that are set: name -> value."""
        named = {n: os.environ.get(n, "") for n, kind in self.variables.items() if kind == "secret"}
        named["POSTGRES_PASSWORD"] = os.environ.get("POSTGRES_PASSWORD", "")
        return {name: value for name, value in named.items() if value}

    def redactor(self) -> Redactor:
        return Redactor(self.secrets())

    def allows(self, step: str) -> bool:
        """Whether an act may run headless."""
        return self.allow == "all" or step in self.allow

    def require_variables(self) -> None:
        """Raise `ConfigError` naming the first variable that is missing, or a secret that cannot be redacted."""
        for name, kind in self.variables.items():
            value = self.variable(name)
            if kind == "secret" and (len(value) < SHORTEST_SECRET or value.lower() in COMMON_VALUES):
                raise ConfigError(
                    f"environment variable {name} is declared secret but holds a short or common value: "
                    f"at least {SHORTEST_SECRET} characters that no ordinary text contains; "
                    f"or declare it public in the profile"
                )


def profiles(folder: Path = PROFILES) -> list[str]:
    """Names of the profiles there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(profile: str, *, folder: Path = PROFILES, rehearsal: Path | None = None) -> Settings:
    """Read a profile. ``rehearsal`` is the folder of the running rehearsal, whose ports replace every port 0."""
    if profile not in profiles(folder):
        raise ConfigError(f"no profile {profile!r}: {nearest(profile, profiles(folder))}")
    path = folder / f"{profile}.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected keys and values, found {type(raw).__name__}")
    settings = parse({**raw, "name": profile}, path.name)
    _refuse_wrong_addresses(settings, path.name)
    folder_in_use = rehearsal or _running_rehearsal()
    if settings.kind == "rehearsal" and folder_in_use:
        settings = _filled(settings, json.loads((folder_in_use / "addresses.json").read_text(encoding="utf-8")))
    return settings


def parse(raw: Mapping[str, Any], source: str) -> Settings:
    """Validate ``raw``; every complaint names its key, the first unknown key its nearest valid one."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        complaints = [_complaint(e, source) for e in error.errors()]
        raise ConfigError("; ".join(complaints)) from None


def _complaint(error: Any, source: str) -> str:
    path = [str(p) for p in error["loc"]]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}: {nearest(path[-1], _keys(path[:-1]))}"
    if error["type"] == "missing":
        return f"{source}: key {key!r} is missing"
    return f"{source}: {key}: {error['msg'].lower()}, found {error['input']!r}"


def _keys(path: list[str]) -> list[str]:
    """Valid keys of the part of the profile at ``path``."""
    part: type[BaseModel] = Settings
    for key in path:
        found = part.model_fields[key].annotation
        candidates = [found, *getattr(found, "__args__", ())]
        part = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return [name for name in part.model_fields if name != "name"]


def _addresses(settings: Settings) -> dict[str, str]:
    services = {f"{k}.url": v.url for k, v in settings if isinstance(v, Service)}
    return {"database.url": settings.database.url, **services}


def _refuse_wrong_addresses(settings: Settings, source: str) -> None:
    for key, url in _addresses(settings).items():
        parts = urlsplit(url)
        if not parts.scheme or not parts.hostname:
            raise ConfigError(f"{source}: {key}: expected an address such as https://host, found {url!r}")
        if _loopback(parts.hostname) != (settings.kind == "rehearsal"):
            wanted = "a loopback address" if settings.kind == "rehearsal" else "an outside address"
            raise ConfigError(f"{source}: {key}: a {settings.kind} profile needs {wanted}, found {url!r}")
    if settings.kind == "production" and settings.allow == "all":
        raise ConfigError(f"{source}: allow: 'all' is legal only in rehearsal; list the steps")
    if settings.kind == "production" and settings.person is not None:
        raise ConfigError(f"{source}: person: a stand-in for a person exists only in rehearsal")
    if urlsplit(settings.database.url).port == POOLER_TRANSACTION_PORT:
        raise ConfigError(
            f"{source}: database.url: port {POOLER_TRANSACTION_PORT} is a transaction pooler, which swallows "
            "LISTEN; use port 5432 (direct, or the session pooler)"
        )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _running_rehearsal() -> Path | None:
    folder = os.environ.get("RUNBOOK_REHEARSAL")
    return Path(folder) if folder else None


def _filled(settings: Settings, addresses: Mapping[str, str]) -> Settings:
    """Put the rehearsal's addresses where the profile says port 0."""
    changes: dict[str, Any] = {}
    for key, part in settings:
        if isinstance(part, Service | Database) and key in addresses and urlsplit(part.url).port == 0:
            changes[key] = part.model_copy(update={"url": addresses[key]})
    if "repository" in addresses:
        changes["repository"] = addresses["repository"]
    return settings.model_copy(update=changes)


def host_of(url: str) -> str:
    """``host:port`` of an address, for messages."""
    return urlunsplit(("", urlsplit(url).netloc.rpartition("@")[2], "", "", "")).lstrip("/")
