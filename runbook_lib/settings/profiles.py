"""Read ``parameters/<profile>.yaml`` as typed settings, and the secrets from the environment.

A profile holds addresses, names, budgets, the ``allow`` list and the names of environment variables, never a secret.
Any mistake raises `ConfigError` naming the key and the nearest valid one, before anything is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_lib.errors import ConfigError, cited, nearest
from runbook_lib.settings import addresses
from runbook_lib.settings.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]  # the checkout: the project is always installed editable
PROFILES = ROOT / "parameters"
INCOMING = "NEW_SECRET"  # the variable that holds a secret's next value while it is rotated
SHORTEST_SECRET = 8  # characters; anything shorter would be redacted out of ordinary text
COMMON_VALUES = {"password", "postgres", "changeme", "rehearsal", "production", "anthropic", "hyperliquid"}
VARIABLE = r"^[A-Z][A-Z0-9_]*$"
PLACEHOLDER = re.compile(r"<[^<>]*>")
# An operator and a public key, as ssh-keygen reads them, but without its wildcards in names: a key is one person's.
OPTION = r"[a-z-]+(?:=\"[^\"\n]*\")?"
SIGNER = re.compile(rf"[^\s,\"*?!#]+ (?:{OPTION}(?:,{OPTION})* )?(?P<kind>\S+) AAAA[\w+/]+=*(?: .*)?")
NAME_OF_A_SIGNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@_+-]*")  # ASCII, because letters of other scripts look alike
KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
SHOWN = 60  # characters of a wrong value in a message

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Service(Part):
    """An HTTP service in a profile: its address, and the environment variable that holds its token."""

    url: str
    token: str | None = None
    scheme: Literal["Bearer", "Basic", "FlyV1"] = "Bearer"


class Database(Part):
    url: str  # without password; port 5432 direct or session pooler, never 6543
    ca: Annotated[str, Field(pattern="^/")] | None = None  # the certificate that proves the server, for verify-full
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
    # who runs the heartbeat sweep: "vercel" or "fly:<app>"
    sweep: Annotated[str, Field(pattern=r"^(vercel|fly:[a-z0-9-]+)$")] = "vercel"


class Venue(Service):
    wallet: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")] | None = None  # the master wallet's address, public
    operator_key: str | None = None  # name of the variable that holds a key of the operator's: cancels and closes only


class Halt(Part):
    """The seconds that a profile allows for the parts of a halt.

    They count from the moment of the operator's command.
    """

    answer: Seconds = 5.0  # one reply of any service
    pause: Seconds = 6.0  # until a runner has paused; if it has not by then, its machine is stopped
    flat: Seconds = 30.0  # until the venue shows no position; if it still does, the paused machine keeps running
    stop: Seconds = 60.0  # until Fly shows a machine stopped


class Budgets(Part):
    """The seconds that a profile allows the platform for each task, named as in the checklist."""

    answer: Seconds = 20.0  # one reply of any service
    clock_skew: Seconds = 2.0
    redeploy: Seconds = 300.0
    build: Seconds = 1800.0
    backtest: Seconds = 7200.0  # 24 h of five-minute ticks of a real model take 80 minutes
    provisioning: Seconds = 30.0  # 1.3
    acknowledge: Seconds = 1.0  # 1.5, from row to acknowledgement
    machine_gone: Seconds = 30.0  # 1.5, after Stop
    marks: Seconds = 180.0  # 2.5, until the venue's WebSocket has shown the runner its marks
    heartbeat: Seconds = 900.0  # 3.2, the shortest silence a sweep marks, even if three intervals are less
    revoked: Seconds = 60.0  # 3.3, from Revoke to stopped
    check_age: Seconds = 900.0  # of a passed check on which a gesture rests that can cost money: 2.4i, 4.2f
    halt: Halt = Halt()


class Alerts(Part):
    """Where a profile sends a watch's alerts, and how often.

    ``repeat`` is the seconds after which an alert is repeated.
    """

    targets: list[str] = Field(default_factory=list)  # names of the variables that hold addresses as apprise takes them
    repeat: Seconds = 300.0  # until somebody has acknowledged


# Hours that a record stays good for the phase after it, where a week is too long or too short. Phases 2 to 4 belong to
# one sitting; phase 5 judges a week of what phase 4 has deployed, and must not ask for it to be deployed again.
AGES = {"phase_2_first_mainnet": 24.0, "phase_3_dry_runs": 12.0, "phase_4_first_day": 720.0}


class Gates(Part):
    """The age, in hours, up to which a profile lets a phase's record open the next gate.

    An older record does not open the gate of the next phase.
    """

    age: float = 168.0
    ages: dict[str, float] = Field(default_factory=dict)  # exceptions to ``age``, by the phase that was run

    def hours(self, phase: str) -> float:
        return self.ages.get(phase, AGES.get(phase, self.age))


class Settings(Part):
    """The settings of one profile."""

    kind: Literal["rehearsal", "production"]
    project: Annotated[str, Field(pattern=r"^[a-z]{20}$")]
    repository: str
    database: Database
    supabase: Service
    fly: Fly
    fly_logs: Service  # another host than the machines', and another scheme
    registry: Service
    vercel: Vercel
    vercel_logs: Service  # another host too: the history that `vercel logs` reads
    web: Web
    hyperliquid: Venue
    openrouter: Service
    person: Service | None = None
    deadman: Service | None = None  # a watch calls this address after every good round; the service alerts on silence
    variables: dict[str, Literal["secret", "public", "optional secret"]]
    shown: list[str]  # the platform's variables that are no secret, wherever they are read
    allow: Literal["all"] | list[str] = Field(default_factory=list)
    allowed_signers: list[str] = Field(default_factory=list)  # operators and their SSH public keys, one a line
    archive: Annotated[str, Field(pattern="^/")] | None = None  # folder that sealed records are copied to
    budgets: Budgets = Budgets()
    alerts: Alerts = Alerts()
    gates: Gates = Gates()
    name: str = ""  # the profile's name; like ``platform`` it is set by `load` and is no key of the file
    platform: str = ""  # the name of the running rehearsal: records of another rehearsal prove nothing about this one

    def lookup(self, dotted: str) -> str:
        """Return the profile's setting that a command names, such as ``{fly.app}``, as text."""
        value: Any = self
        for key in dotted.split("."):
            known = type(value).model_fields if isinstance(value, BaseModel) else {}
            if key not in known:
                raise ConfigError(f"a command names {{{dotted}}}: {nearest(key, known)}")
            value = getattr(value, key)
        if not isinstance(value, str):
            fault = "has no value" if value is None else "is no text"
            raise ConfigError(f"a command names {{{dotted}}}, which {fault} in profile {self.name!r}")
        return value

    def service(self, name: str) -> Service:
        """Return the profile's HTTP service called ``name``."""
        known = {k: v for k, v in self if isinstance(v, Service)}
        if name not in known:
            raise ConfigError(f"no service {name!r} in profile {self.name!r}: {nearest(name, known)}")
        return known[name]

    def query(self, service: str) -> dict[str, str]:
        """Return the query parameters that every request to a profile's service needs, such as Vercel's team."""
        team = self.vercel.team if service in ("vercel", "vercel_logs") else None
        return {"teamId": team} if team else {}

    def variable(self, name: str) -> str:
        """Return the environment's value of a variable that the profile declares.

        Raise `ConfigError` if the profile does not declare the variable, or the environment does not hold it.
        """
        if name not in self.variables:
            raise ConfigError(f"variables: {name!r} is not declared: {nearest(name, self.variables)}")
        value = os.environ.get(name)
        if name == "SUPABASE_DB_PASSWORD" and not value:  # the Marketplace integration sets it under this other name
            value = os.environ.get("POSTGRES_PASSWORD")
        if not value:
            raise ConfigError(f"environment variable {name} is not set; profile {self.name!r} needs it")
        return value

    def has(self, name: str) -> bool:
        """Return whether the environment sets a variable that the profile declares."""
        return name in self.variables and bool(os.environ.get(name))

    def secrets(self) -> dict[str, str]:
        """Return the profile's secrets that the environment holds: name -> value."""
        named = {n: os.environ.get(n, "") for n, kind in self.variables.items() if kind != "public"}
        second_name = os.environ.get("POSTGRES_PASSWORD", "")
        # A common word that is not our password must not be redacted out of ordinary text.
        if "SUPABASE_DB_PASSWORD" in named and (not named["SUPABASE_DB_PASSWORD"] or not _too_plain(second_name)):
            named["POSTGRES_PASSWORD"] = second_name
        return {name: value for name, value in named.items() if value}

    def redactor(self) -> Redactor:
        return Redactor(self.secrets(), self.shown)

    def allows(self, step: str) -> bool:
        """Return whether the profile allows the act of this step in a headless run."""
        return self.allow == "all" or step in self.allow

    def require_variables(self) -> None:
        """Raise `ConfigError` if a variable of the profile is missing, or if its value is wrong or cannot be redacted.

        An optional variable may be missing; the step that needs the variable says so.
        """
        for name, kind in self.variables.items():
            if kind == "optional secret" and not self.has(name):
                continue
            value = self.variable(name)
            if ref := addresses.other_project(self, value):
                raise ConfigError(f"environment variable {name} is of project {ref!r}, not {self.project!r}")
            if value != value.strip():
                raise ConfigError(f"environment variable {name} has white space around its value: copy it again")
            if kind != "public" and _too_plain(value):
                raise ConfigError(
                    f"environment variable {name} is declared secret but holds a short or common value: "
                    f"at least {SHORTEST_SECRET} characters that no ordinary text contains; "
                    f"or declare it public in the profile"
                )


def _too_plain(value: str) -> bool:
    return len(value) < SHORTEST_SECRET or value.lower() in COMMON_VALUES


def profiles(folder: Path = PROFILES) -> list[str]:
    """Return the names of all profiles, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(profile: str, *, folder: Path = PROFILES, rehearsal: Path | None = None) -> Settings:
    """Read a profile and return its settings.

    ``rehearsal`` is the folder of the running rehearsal, whose addresses replace every address with port 0.
    """
    if profile not in profiles(folder):
        raise ConfigError(f"no profile {cited(profile)}: {nearest(profile, profiles(folder))}")
    path = folder / f"{profile}.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected keys and values, found {type(raw).__name__}")
    unfilled = [f"{key} ({text})" for key, text in _texts(raw) if PLACEHOLDER.search(text)]
    if unfilled:
        raise ConfigError(f"{path.name}: still to be filled in: {', '.join(unfilled)}")
    settings = parse({**raw, "name": profile}, path.name)
    _refuse_undeclared(settings, path.name)
    _refuse_rehearsals_own(settings, path.name)
    _refuse_wrong_signers(settings, path.name)
    addresses.refuse_wrong(settings, path.name)
    folder_in_use = rehearsal or _running_rehearsal()
    if settings.kind == "rehearsal" and folder_in_use:
        settings = _filled(settings, _rehearsal_addresses(folder_in_use))
        settings = settings.model_copy(update={"platform": folder_in_use.name})
        addresses.refuse_wrong(settings, "addresses.json")
    return settings


def redactor_of_all(folder: Path = PROFILES) -> Redactor:
    """Return a redactor for the secrets that any profile declares.

    It serves messages made before a profile is chosen.
    """
    names = {"POSTGRES_PASSWORD"}
    for path in folder.glob("*.yaml"):
        with contextlib.suppress(yaml.YAMLError, AttributeError, OSError):
            declared = yaml.safe_load(path.read_text(encoding="utf-8"))["variables"]
            names |= {str(name) for name, kind in declared.items() if "secret" in str(kind)}
    values = {name: os.environ.get(name, "") for name in sorted(names)}
    return Redactor({name: value for name, value in values.items() if len(value) >= SHORTEST_SECRET})


def parse(raw: Mapping[str, Any], source: str) -> Settings:
    """Convert ``raw``, the content of a profile's file, into `Settings`.

    Raise `ConfigError` naming each key that is wrong and, for each unknown key, the nearest valid one.
    """
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        # pydantic complains of "allow" once for each of its two types; one complaint is enough.
        errors = [e for e in error.errors() if e["loc"][:2] != ("allow", "list[str]")]
        complaints = [_complaint(e, source) for e in errors]
        raise ConfigError("; ".join(complaints)) from None


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a profile with its dotted key, such as ``fly.app``."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


def _complaint(error: Any, source: str) -> str:
    path = [str(p) for p in error["loc"]]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}: {nearest(path[-1], _keys(path[:-1]))}"
    if error["type"] == "missing":
        return f"{source}: key {key!r} is missing"
    value = repr(error["input"])
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
    if path[0] == "allow":
        return f"{source}: allow: expected 'all' or a list of step numbers in quotes, found {shown}"
    said = error["msg"][:1].lower() + error["msg"][1:]
    return f"{source}: {key}: {said}, found {shown}"


def _keys(path: list[str]) -> list[str]:
    """Return the keys that a profile may have in the section at ``path``."""
    part: type[BaseModel] = Settings
    for key in path:
        annotation = part.model_fields[key].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        part = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return [name for name in part.model_fields if name not in ("name", "platform")]


def _refuse_undeclared(settings: Settings, source: str) -> None:
    """Raise `ConfigError` if a profile uses a variable as a secret without declaring it secret.

    Only declared secrets are redacted.
    """
    database = settings.database
    names = {f"{key}.token": part.token for key, part in settings if isinstance(part, Service)}
    names |= {"database.password": database.password, "database.read_only_password": database.read_only_password}
    names["hyperliquid.operator_key"] = settings.hyperliquid.operator_key
    names |= {f"alerts.targets.{number}": name for number, name in enumerate(settings.alerts.targets)}
    for key, name in names.items():
        if name is None or settings.variables.get(name) in ("secret", "optional secret"):
            continue
        if not re.fullmatch(VARIABLE, name):  # not shown: it may be the secret itself
            raise ConfigError(f"{source}: {key}: expected the name of an environment variable, in capitals")
        if name in settings.variables:
            raise ConfigError(f"{source}: variables: {key} names {name}, which is declared public; declare it secret")
        raise ConfigError(f"{source}: {key}: {name!r} is not among variables: {nearest(name, settings.variables)}")
    if (database.read_only_user is None) != (database.read_only_password is None):
        raise ConfigError(f"{source}: database: read_only_user and read_only_password come together")


def _refuse_rehearsals_own(settings: Settings, source: str) -> None:
    """Raise `ConfigError` if a production profile has a setting that only a rehearsal may have."""
    if settings.kind == "production" and settings.allow == "all":
        raise ConfigError(f"{source}: allow: 'all' is legal only in rehearsal; list the steps")
    if settings.kind == "production" and settings.person is not None:
        raise ConfigError(f"{source}: person: a stand-in for a person exists only in rehearsal")


def _refuse_wrong_signers(settings: Settings, source: str) -> None:
    """Raise `ConfigError` for a line of a profile's ``allowed_signers`` that is not an operator's name and public key.

    Names must differ in more than capitals, and be written in letters that cannot be taken for others.
    """
    for line in settings.allowed_signers:
        match = SIGNER.fullmatch(line)
        if not match:
            raise ConfigError(f"{source}: allowed_signers: expected 'NAME ssh-ed25519 AAAA…', found {line[:SHOWN]!r}")
        if match["kind"] not in KEYS:
            raise ConfigError(f"{source}: allowed_signers: no key {match['kind']!r}: {nearest(match['kind'], KEYS)}")
    names = {line.split()[0] for line in settings.allowed_signers}
    for name in sorted(names):
        if not NAME_OF_A_SIGNER.fullmatch(name):
            shown = name.encode("ascii", "backslashreplace").decode()
            raise ConfigError(f"{source}: allowed_signers: {shown} may only look like another name: write it in ASCII")
        if alike := sorted(other for other in names - {name} if other.casefold() == name.casefold()):
            raise ConfigError(f"{source}: allowed_signers: {name} and {alike[0]} look alike: they need other names")


def _running_rehearsal() -> Path | None:
    folder = os.environ.get("RUNBOOK_REHEARSAL")
    return Path(folder) if folder else None


def _rehearsal_addresses(folder: Path) -> dict[str, str]:
    try:
        by_name: dict[str, str] = json.loads((folder / "addresses.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"no rehearsal runs in {folder}: start one with ./runbook rehearse --keep") from None
    return by_name


def _filled(settings: Settings, running: Mapping[str, str]) -> Settings:
    """Return the profile's settings with the running rehearsal's addresses in place of those with port 0."""
    changes: dict[str, Any] = {}
    for key, part in settings:
        if isinstance(part, Service | Database) and key in running and urlsplit(part.url).port == 0:
            changes[key] = part.model_copy(update={"url": running[key]})
    if "repository" in running:
        changes["repository"] = running["repository"]
    return settings.model_copy(update=changes)
