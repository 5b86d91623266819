"""Rotate a secret: find the places that hold it, change each place, and judge that no place was missed (checklist 1.7).

Until the rotation is done, the environment keeps the old value under the secret's own name and the new value as
``NEW_SECRET``. This module sends nothing. ``rotation_machines`` proves that the new value has arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import environment
from runbook_lib.commands.command import Login, Reply, Series, http
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.settings.profiles import INCOMING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PASSWORD, CRON = "SUPABASE_DB_PASSWORD", "CRON_SECRET"
NAMES = {PASSWORD: (PASSWORD, "POSTGRES_PASSWORD")}  # secrets the platform knows by several names
OWN = ("FLY_API_TOKEN", "VERCEL_TOKEN", "SUPABASE_ACCESS_TOKEN")  # the operator's tokens, which the platform lacks
NEW = f"${INCOMING}"
RESTING = ("stopped", "suspended", "failed", "created")  # states in which a machine runs no process


# --- who holds it ---------------------------------------------------------------------------------------------------


def held(secret: str) -> Expectation:
    """Expect that Fly, Vercel or a machine holds the secret to be rotated, under one of its names.

    Replies: Fly's secrets, Vercel's variables, machines.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        fly, vercel, machines = replies
        if not all(row.get("name") for row in fly.rows) or not all(row.get("key") for row in vercel.rows):
            return Finding("", "a secret of Fly or a variable of Vercel has no name: the lists cannot be read")
        places = {
            "Fly": list(_among(fly.rows, "name", secret)),
            "Vercel": list(_among(vercel.rows, "key", secret)),
            "machines": [str(row["id"]) for row in holding(fly, machines, secret)],
        }
        seen = "; ".join(f"{place}: {', '.join(holders)}" for place, holders in places.items() if holders)
        if secret in OWN:
            return Finding(seen, f"{secret} is the operator's own: make another one in the vendor's dashboard")
        return Finding(seen, None if seen else f"neither Fly nor Vercel holds {secret}: is it spelled right?")

    return over_all(f"{secret} is held by Fly or Vercel", test, empty=True)  # one of them may hold nothing


def names(secret: str) -> tuple[str, ...]:
    """Return every name under which the platform holds the secret to be rotated."""
    return NAMES.get(secret, (secret,))


def _among(rows: Sequence[Mapping[str, Any]], column: str, secret: str) -> dict[str, Mapping[str, Any]]:
    """Return the rows of a list that hold the secret: the secret's name in the list -> the row.

    Of Vercel's rows, only those for production are returned.
    """
    return {
        str(row[column]): row
        for row in rows
        if row.get(column) in names(secret) and ("target" not in row or "production" in (row["target"] or ()))
    }


def holding(fly: Reply, machines: Reply, secret: str) -> list[Mapping[str, Any]]:
    """Return the machines that hold the secret being rotated.

    All machines hold a secret of the Fly app. Any other secret is held by the machines that set it themselves.
    """
    everywhere = bool(_among(fly.rows, "name", secret))
    existing = [row for row in machines.rows if row.get("state") not in ("destroyed", "destroying", None)]
    return [row for row in existing if everywhere or set(names(secret)) & set(environment(row))]


def awake(fly: Reply, machines: Reply, secret: str) -> list[Mapping[str, Any]]:
    """Return the running machines that hold the secret being rotated.

    These machines must be restarted, and can be asked for the secret's hash.
    """
    return [row for row in holding(fly, machines, secret) if row.get("state") not in RESTING]


# --- changing it ----------------------------------------------------------------------------------------------------


def reset(secret: str) -> Series:
    """Change the password of the database role, if that is the rotated secret. Otherwise return an empty series of
    commands.
    """
    if secret != PASSWORD:
        return Series()
    return Series((http("supabase", "PATCH /v1/projects/{project}/database/password", json={"password": NEW}),))


def logins(secret: str) -> tuple[Login, ...]:
    """Log in with the rotated database password, then with the old one.

    For another secret, log in once, with the unchanged password.
    """
    return (Login(INCOMING), Login(PASSWORD)) if secret == PASSWORD else (Login(PASSWORD),)


def let_in(secret: str) -> Expectation:
    """Expect that the database accepts the rotated password and refuses the old one. Replies: those of `logins`."""
    wanted = [True, False] if secret == PASSWORD else [True]

    def test(replies: Sequence[Reply]) -> Finding:
        got = [(reply.value("variable"), reply.value("accepted")) if reply.rows else (None, None) for reply in replies]
        seen = ", ".join(f"{variable} {'accepted' if accepted else 'refused'}" for variable, accepted in got)
        good = [accepted for _, accepted in got] == wanted
        words = "the new value is accepted and the old one refused" if len(wanted) == 2 else "the password is accepted"
        return Finding(seen, None if good else f"expected that {words}, found {seen}")

    return over_all("the database lets in whom it should", test)


def stage(fly: Reply, secret: str) -> Series:
    """Set the rotated secret at Fly under every name that the app has for it. Running machines keep the old value."""
    values = dict.fromkeys(_among(fly.rows, "name", secret), NEW)
    return Series((http("fly", "POST /v1/apps/{fly.app}/secrets", json={"values": values}),) if values else ())


def mirror(vercel: Reply, secret: str) -> Series:
    """Set the rotated secret at Vercel under every name. The web app keeps the old value until it is redeployed."""
    kinds = {key: str(row.get("type")) for key, row in _among(vercel.rows, "key", secret).items()}
    body = [
        {"key": key, "value": NEW, "type": kind.replace("plain", "sensitive"), "target": ["production"]}
        for key, kind in kinds.items()
    ]
    upsert = http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)
    return Series((upsert,) if body else ())


def changed(secret: str, noted: Reply) -> Expectation:
    """Expect that every copy of the rotated secret at Fly and Vercel has changed since ``noted``.

    Neither Fly nor Vercel shows a value: Fly shows a digest, Vercel the time of the last change. Replies: Fly's
    secrets, Vercel's variables.
    """
    before = _marks(noted.rows, secret)

    def test(replies: Sequence[Reply]) -> Finding:
        now = _marks([row for reply in replies for row in reply.rows], secret)
        old = [place for place, mark in now.items() if mark is None or mark == before.get(place)]
        lost = [place for place in before if place not in now]
        bad = [f"not changed since this run began: {', '.join(old)}"] if old else []
        bad += [f"gone since this run began: {', '.join(lost)}"] if lost else []
        return Finding(f"changed: {', '.join(now)}", "; ".join(bad) or None)

    # A place that never held the secret may show none at all; one that did is missed by name.
    both = {place.partition("'")[0] for place in before} == {"Fly", "Vercel"}
    return over_all(f"{secret} was changed wherever it is held", test, empty=not both)


def _marks(rows: Sequence[Mapping[str, Any]], secret: str) -> dict[str, Any]:
    """Return a mark for each copy of the secret at Fly and Vercel. The mark changes when the copy changes.

    The mark is Fly's digest, or Vercel's time of the last change.
    """
    fly = {f"Fly's {name}": row.get("digest") for name, row in _among(rows, "name", secret).items()}
    return fly | {f"Vercel's {key}": row.get("updatedAt") for key, row in _among(rows, "key", secret).items()}


# --- the cron endpoints ---------------------------------------------------------------------------------------------


def cron_key(secret: str) -> str:
    """Return the authorization header that the cron endpoints must accept after the rotation."""
    return f"Bearer {NEW}" if secret == CRON else f"Bearer ${CRON}"


def old_cron_key(secret: str) -> str:
    """Return an authorization header that the cron endpoints must refuse after the rotation.

    It holds the old secret or, if another secret is rotated, a made-up one.
    """
    return f"Bearer ${CRON}" if secret == CRON else "Bearer not-the-secret"
