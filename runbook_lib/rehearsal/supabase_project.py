"""Which project a ``supabase`` command of the stand-in means, and the way into its database."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

VERSION = "2.122.1"
REFERENCE = re.compile(r"[a-z]{20}")
LOCAL, REMOTE = "local", "remote"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOT_LINKED = "Cannot find project ref. Have you run supabase link?"
NO_TOKEN = (
    "Access token not provided. Supply an access token by running supabase login or setting the "
    "SUPABASE_ACCESS_TOKEN environment variable."
)


class Refusal(Exception):
    """Why the command ends with exit code 1."""


@dataclass(frozen=True)
class Target:
    """Where a command goes: the local stack, the linked project, or any address."""

    kind: str
    reference: str | None = None
    address: str | None = None

    @property
    def banner(self) -> str:
        """The line that version 3 begins with."""
        if self.kind == LOCAL:
            return "Target: local"
        place = urlsplit(self.address).netloc.rpartition("@")[2] if self.address else self.reference
        return f"Target: remote ({place})"


def note(text: str) -> None:
    """Say something about the progress."""
    sys.stderr.write(f"{text}\n")


def say(text: str) -> None:
    """Say the result."""
    sys.stdout.write(f"{text}\n")


def major() -> int:
    """Which of the two command lines this one speaks like."""
    return int(version().partition(".")[0])


def version() -> str:
    """The version it claims to be."""
    return os.environ.get("REHEARSAL_SUPABASE_VERSION") or VERSION


def chosen_target(arguments: argparse.Namespace) -> Target:
    """What the flags mean, and what no flag means: the linked project to version 2, the local stack to version 3."""
    target = _chosen(arguments)
    if major() > 2:
        note(target.banner)
    return target


def _chosen(arguments: argparse.Namespace) -> Target:
    asked = [name for name in ("db_url", "linked", "local", "remote") if getattr(arguments, name) not in (None, False)]
    if len(asked) > 1:
        names = " ".join(name.replace("_", "-") for name in asked)
        raise Refusal(
            f"if any flags in the group [db-url linked local] are set none of the others can be; [{names}] were all set"
        )
    if major() > 2 and (arguments.db_url or arguments.linked):
        flag = "--db-url" if arguments.db_url else "--linked"
        note(f"Flag {flag} has been deprecated, use --remote instead.")
    if arguments.local or (major() > 2 and not asked):
        return Target(LOCAL)
    place = arguments.db_url or arguments.remote or ""
    if "://" in place:
        return Target(REMOTE, address=place)
    return Target(REMOTE, reference=_reference(arguments, place))


def _reference(arguments: argparse.Namespace, given: str) -> str:
    wanted = given or arguments.project_ref or os.environ.get("SUPABASE_PROJECT_ID", "")
    if wanted:
        know(wanted)
        return wanted
    try:
        return link_file(arguments).read_text().strip()
    except OSError:
        raise Refusal(NOT_LINKED) from None


def connect(target: Target, arguments: argparse.Namespace) -> psycopg.Connection[Any]:
    """A connection to the project's database, or to the address given, in autocommit mode."""
    address = _inside(target.address) if target.address else rehearsal("addresses")["database"]
    password = None if target.address else _password(target, arguments)
    try:
        return psycopg.connect(address, password=password, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as problem:
        parts = urlsplit(address)
        where = f"host={parts.hostname} user={parts.username} database={parts.path.strip('/')}"
        raise Refusal(
            f"failed to connect to postgres: failed to connect to `{where}`: {_reason(str(problem))}\n"
            "Try rerunning the command with --debug to troubleshoot the error."
        ) from None


def _inside(address: str) -> str:
    """``address``, unless it leads out of the rehearsal."""
    if urlsplit(address).hostname not in LOOPBACK:
        raise Refusal(f"this supabase is a stand-in and reaches only 127.0.0.1, not {urlsplit(address).hostname}")
    return address


def _reason(text: str) -> str:
    """Postgres' own words in the frame the vendor puts around them."""
    if refused := re.search(r"FATAL:\s+(password authentication failed.*)", text):
        return f"failed SASL auth (FATAL: {refused[1]} (SQLSTATE 28P01))"
    return text.strip().splitlines()[0].rpartition(" failed: ")[2]


def _password(target: Target, arguments: argparse.Namespace) -> str | None:
    """The password given; else, with a good token, that of a login made for the occasion."""
    given: str | None = arguments.password or os.environ.get("SUPABASE_DB_PASSWORD")
    if given or not os.environ.get("SUPABASE_ACCESS_TOKEN"):
        return given
    note("Initialising login role...")
    know(target.reference or "")
    found: str | None = rehearsal("environment").get("SUPABASE_DB_PASSWORD")
    return found


def rehearsal(name: str) -> dict[str, str]:
    """The rehearsal's ``addresses`` or ``environment``."""
    place = os.environ.get("RUNBOOK_REHEARSAL", "")
    try:
        found: dict[str, str] = json.loads(Path(place, f"{name}.json").read_text())
    except OSError:
        raise Refusal(f"no rehearsal runs in {place!r} (RUNBOOK_REHEARSAL): this supabase is a stand-in") from None
    return found


def folder(arguments: argparse.Namespace) -> Path:
    """The project's ``supabase`` folder."""
    return Path(arguments.workdir or os.environ.get("SUPABASE_WORKDIR") or ".") / "supabase"


def link_file(arguments: argparse.Namespace) -> Path:
    """Where the linked project is remembered."""
    return folder(arguments) / ".temp" / "project-ref"


def know(reference: str) -> None:
    """Refuse a project that does not exist, is paused, or is not the token's."""
    if not REFERENCE.fullmatch(reference):
        raise Refusal("Invalid project ref format. Must be like `abcdefghijklmnopqrst`.")
    token = os.environ.get("SUPABASE_ACCESS_TOKEN")
    if not token:
        raise Refusal(NO_TOKEN)
    status, body = _ask(f"/v1/projects/{reference}", token)
    if status == 404:
        raise Refusal(f"Authorization failed for the access token and project ref pair: {body}")
    if status != 200:
        raise Refusal(f"Unexpected error retrieving remote project status: {body}")
    if json.loads(body).get("status") == "INACTIVE":
        raise Refusal(
            "project is paused\nAn admin must unpause it from the Supabase dashboard at "
            f"https://supabase.com/dashboard/project/{reference}"
        )


def _ask(path: str, token: str) -> tuple[int, str]:
    connection = HTTPConnection(urlsplit(rehearsal("addresses")["supabase"]).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as problem:
        raise Refusal(f"failed to retrieve remote project status: {problem}") from None
    finally:
        connection.close()
