"""The stand-in of the ``fly`` command line: the few commands the runbook and the checklist use.

Runs as a script on the bare standard library (``python -I -S fly_cli.py``), so that it starts fast. It asks the
addresses in ``FLY_FLAPS_BASE_URL`` and ``FLY_REGISTRY_HOST``, or those of the rehearsal whose folder is
``RUNBOOK_REHEARSAL``; the token comes from ``FLY_API_TOKEN``. Texts are flyctl's (facts 1.4).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

VERSION = "fly v0.3.210 linux/amd64 Commit: rehearsal BuildDate: 2026-11-03T12:00:00Z"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LONGEST_POLL = 4.0  # seconds between two looks at the log, doubling from 64 ms as flyctl does


def fail(text: str) -> NoReturn:
    """End with flyctl's error line and exit code."""
    say(f"Error: {text}", sys.stderr)
    raise SystemExit(1)


def say(text: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(f"{text}\n")
    (stream or sys.stdout).flush()


# -- asking


def address(variable: str, key: str) -> str:
    """Base address of a service: from the environment, else from the rehearsal's folder."""
    if os.environ.get(variable):
        return os.environ[variable]
    folder = os.environ.get("RUNBOOK_REHEARSAL")
    if not folder:
        fail(f"set {variable}, or RUNBOOK_REHEARSAL to the folder of a rehearsal: this fly is a stand-in")
    addresses: dict[str, str] = json.loads((Path(folder) / "addresses.json").read_text())
    return addresses[key]


def token() -> str:
    found = os.environ.get("FLY_API_TOKEN", "")
    if not found:
        fail("no access token available. Please login with 'flyctl auth login'")
    return found.removeprefix("FlyV1 ").removeprefix("Bearer ").strip()


def send(base: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """One request to a stand-in; status and body."""
    place = base.partition("://")[2] or base
    connection = http.client.HTTPConnection(place, timeout=90)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as problem:
        fail(f"failed to reach {place}: {problem}")
    finally:
        connection.close()


def api(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One request to the Machines API; its JSON, or the end with its error."""
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    payload = json.dumps(body).encode() if body is not None else None
    status, raw = send(address("FLY_FLAPS_BASE_URL", "fly"), method, path, payload, headers)
    found = json.loads(raw) if raw else {}
    if status >= 400:
        fail(found.get("error") or f"{method} {path}: HTTP {status}")
    return found


# -- apps, tokens, secrets


def create_app(options: argparse.Namespace) -> None:
    api("POST", "/v1/apps", {"name": options.name, "org_slug": options.org})
    say(f"New app created: {options.name}")


def create_token(options: argparse.Namespace) -> None:
    say(api("POST", f"/v1/apps/{options.app}/deploy_token", {"expiry": options.expiry})["token"])


def set_secrets(options: argparse.Namespace) -> None:
    """Set them; running machines notice only if ``fly deploy`` made them."""
    values = {}
    for pair in options.pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            fail(f"Secrets must be provided as NAME=VALUE pairs ({pair[:20]} is invalid)")
        values[name] = value
    api("POST", f"/v1/apps/{options.app}/secrets", {"values": values})
    if options.stage:
        text = "Secrets have been staged, but not set on VMs. "
        say(text + "Deploy or update machines in this app for the secrets to take effect.")
        return
    machines = api("GET", f"/v1/apps/{options.app}/machines")
    if not machines:
        say("Secrets are staged for the first deployment")
        return
    managed = [one for one in machines if "fly_platform_version" in (one["config"].get("metadata") or {})]
    if not managed:
        fail(
            "error loading appv2 config: failed to grab app config from existing machines, error: "
            "could not create a fly.toml from any machines :-(\nNo machines configured for this app"
        )
    for one in managed:
        api("POST", f"/v1/apps/{options.app}/machines/{one['id']}", {"config": one["config"]})
        say(f"Updating machine {one['id']}: success")


def list_secrets(options: argparse.Namespace) -> None:
    found = api("GET", f"/v1/apps/{options.app}/secrets")["secrets"]
    machines = api("GET", f"/v1/apps/{options.app}/machines")
    rows = [{"name": s["name"], "digest": s["digest"], "status": status_of(s, machines)} for s in found]
    if options.json:
        say(json.dumps(rows, indent=4))
        return
    marks = {"Staged": "* ", "Partial": "! "}
    table(
        ["NAME", "DIGEST", "STATUS"], [[marks.get(r["status"], "") + r["name"], r["digest"], r["status"]] for r in rows]
    )


def status_of(secret: dict[str, str], machines: list[dict[str, Any]]) -> str:
    """What flyctl computes: how many machines were launched after the secret was set."""
    newer = [one for one in machines if launched(one) > secret["updated_at"]]
    if not newer:
        return "Staged"
    return "Deployed" if len(newer) == len(machines) else "Partial"


def launched(machine: dict[str, Any]) -> str:
    """When a machine last took the app's secrets: its newest launch or update, in the API's form."""
    times = [event["timestamp"] for event in machine["events"] if event["type"] in {"launch", "update"}]
    at = max(times, default=0)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at / 1000)) + f".{at % 1000:03d}Z"


def deploy_secrets(_: argparse.Namespace) -> None:
    say("Error: no machines available to deploy", sys.stderr)
    text = "'fly secrets deploy' will only work if the app has been deployed and there are machines available"
    say(f"{text}\n\nTry 'fly deploy' first", sys.stderr)
    raise SystemExit(1)


# -- machines and logs


def list_machines(options: argparse.Namespace) -> None:
    machines = api("GET", f"/v1/apps/{options.app}/machines")
    if options.json:
        say(json.dumps(machines, indent=4))
        return
    if options.quiet:
        say("\n".join(one["id"] for one in machines))
        return
    if not machines:
        say(f"No machines are available on this app {options.app}")
        return
    say(f"{len(machines)} machines have been retrieved from app {options.app}.\n")
    columns = ["id", "name", "state", "region", "private_ip", "created_at", "updated_at"]
    rows = [[str(one[column]) for column in columns] for one in machines]
    table(["ID", "NAME", "STATE", "REGION", "IP ADDRESS", "CREATED", "LAST UPDATED"], rows)


def change_machines(options: argparse.Namespace) -> None:
    for machine in options.ids:
        CHANGES[options.verb](f"/v1/apps/{options.app}/machines/{machine}", machine, options)


def start(path: str, machine: str, _: argparse.Namespace) -> None:
    api("POST", f"{path}/start")
    say(f"{machine} has been started")


def stop(path: str, machine: str, _: argparse.Namespace) -> None:
    say(f"Sending kill signal to machine {machine}...")
    api("POST", f"{path}/stop", {})
    say(f"{machine} has been successfully stopped")


def restart(path: str, machine: str, options: argparse.Namespace) -> None:
    say(f"Restarting machine {machine}")
    api("POST", f"{path}/restart" + ("?force_stop=true" if options.force else ""))
    say(f"  Waiting for {machine} to become healthy (started, 1/1)")
    api("GET", f"{path}/wait?state=started&timeout=60")
    say(f"Machine {machine} restarted successfully!")


def destroy(path: str, machine: str, options: argparse.Namespace) -> None:
    state = api("GET", path)["state"]
    if state == "destroyed":
        fail(f"machine {machine} has already been destroyed")
    if state not in {"stopped", "suspended"} and not options.force:
        fail(f"machine {machine} currently {state}, either stop first or use --force flag")
    say(f"machine {machine} was found and is currently in {state} state, attempting to destroy...")
    api("DELETE", path + ("?kill=true" if options.force else ""))
    say(f"{machine} has been destroyed")


CHANGES = {"start": start, "stop": stop, "restart": restart, "destroy": destroy}


def execute(options: argparse.Namespace) -> None:
    if len(options.command) != 1:
        fail(f"accepts at most 2 arg(s), received {len(options.command) + 1}")
    path = f"/v1/apps/{options.app}/machines/{options.id}/exec"
    found = api("POST", path, {"cmd": options.command[0], "timeout": options.timeout})
    if found["exit_code"]:
        say(f"Exit code: {found['exit_code']}")
    sys.stdout.write(found["stdout"])
    sys.stderr.write(found["stderr"])


def logs(options: argparse.Namespace) -> None:
    """Print the log, and go on printing unless asked not to."""
    following, delay = "", 0.064
    while True:
        query = f"instance={options.instance or ''}&next_token={following}"
        page = api("GET", f"/api/v1/apps/{options.app}/logs?{query}")
        for line in page["data"]:
            print_line(line["attributes"], options.json)
        following = page["meta"]["next_token"] or following
        if not page["data"] and options.no_tail:
            return
        delay = 0.064 if page["data"] else min(delay * 2, LONGEST_POLL)
        if not options.no_tail:
            time.sleep(delay)
        elif not following:
            return


def print_line(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        kept = ("level", "instance", "message", "region", "timestamp", "meta")
        say(json.dumps({key: line[key] for key in kept}))
        return
    provider = line["meta"]["event"]["provider"]
    say(f"{line['timestamp']} {provider}[{line['instance']}] {line['region']} [{line['level']}]{line['message']}")


def table(headers: list[str], rows: list[list[str]]) -> None:
    """Columns separated by tabs, padded, as flyctl prints them to a pipe."""
    widths = [max(len(row[at]) for row in [headers, *rows]) for at in range(len(headers))]
    for row in [headers, *rows]:
        say("\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


# -- building


def deploy(options: argparse.Namespace) -> None:
    """Build from the working directory and push; the rehearsal's fly makes no machines."""
    if not (options.build_only and options.push):
        fail("the rehearsal's fly only builds: pass --build-only --push")
    for path, what in ((options.config, "app config"), (options.dockerfile, "dockerfile")):
        if not Path(path).is_file():
            fail(f"failed loading {what}: stat {path}: no such file or directory")
    api("GET", f"/v1/apps/{options.app}")
    say("==> Verifying app config\n--> Verified app config\n==> Building image")
    files = build(Path(options.dockerfile))
    tag = f"deployment-{ulid()}"
    say("--> Building image done\n==> Pushing image to fly")
    push(options.app, tag, files)
    say(f"--> Pushing image done\nimage: registry.fly.io/{options.app}:{tag}\nimage size: {size(files)} MB")


def build(dockerfile: Path) -> dict[str, bytes]:
    """The files an image is made of, by path; the context is the working directory, as for Docker."""
    files = {"Dockerfile": dockerfile.read_bytes()}
    instructions = re.sub(r"\\\n", " ", dockerfile.read_text()).splitlines()
    for number, line in enumerate(instructions, 1):
        words = shlex.split(line, comments=True)
        if not words or words[0].upper() not in {"COPY", "ADD"} or any(w.startswith("--from") for w in words):
            continue
        for source in [word for word in words[1:-1] if not word.startswith("--")]:
            found = context(source)
            if not found:
                not_found(dockerfile, number, line, source)
            files |= found
    return files


def context(source: str) -> dict[str, bytes]:
    """The files behind a COPY source, none if there are none."""
    files: dict[str, bytes] = {}
    for path in sorted(Path().glob(source.strip("/") or "*")):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files |= {str(one): one.read_bytes() for one in inside if one.is_file()}
        if path.is_dir():
            files.setdefault(f"{path}/", b"")
    return files


def not_found(dockerfile: Path, number: int, line: str, source: str) -> NoReturn:
    """Fail as BuildKit does when a COPY source is not in the build context."""
    path = f"/tmp/buildkit-mount{secrets.randbelow(10**9)}/{source}"  # noqa: S108  a text, not a file
    say(f"------\n > {line}:\n------\n{dockerfile}:{number}\n--------------------", sys.stderr)
    say(f"   {number} | >>> {line}\n--------------------", sys.stderr)
    fail(
        "failed to fetch an image or build from source: error building: failed to solve: failed to compute cache "
        f'key: failed to walk {path}: lstat {path}: no such file or directory: "/{source}": not found'
    )


def push(app: str, tag: str, files: dict[str, bytes]) -> None:
    """Push a manifest whose layers are the files: the same files give the same digest."""
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "size": len(content),
            "annotations": {"org.opencontainers.image.title": path},
        }
        for path, content in sorted(files.items())
    ]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers}).encode()
    basic = base64.b64encode(f"x:{token()}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": MANIFEST}
    base = address("FLY_REGISTRY_HOST", "registry")
    status, raw = send(base, "PUT", f"/v2/{app}/manifests/{tag}", manifest, headers)
    if status != 201:
        fail(f"failed to push image: HTTP {status} {raw.decode(errors='replace')}")


def size(files: dict[str, bytes]) -> int:
    """Megabytes, as if a Node image were below."""
    return 180 + sum(len(content) for content in files.values()) // 10**6


def ulid() -> str:
    """A sortable identifier of 26 characters, as in deployment tags."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


# -- reading the command line


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fly", description=__doc__, allow_abbrev=False)
    groups = parser.add_subparsers(required=True, metavar="command")
    groups.add_parser("version").set_defaults(run=lambda _: say(VERSION))
    apps = groups.add_parser("apps").add_subparsers(required=True)
    create = command(apps, "create", create_app)
    create.add_argument("name")
    create.add_argument("--org", "-o", default="personal")
    kinds = groups.add_parser("tokens").add_subparsers(required=True).add_parser("create").add_subparsers(required=True)
    made = command(kinds, "deploy", create_token, app=True)
    made.add_argument("--expiry", "-x", default="175200h")
    _secrets(groups.add_parser("secrets").add_subparsers(required=True))
    _machines(groups.add_parser("machines", aliases=["machine", "m"]).add_subparsers(required=True))
    tail = command(groups, "logs", logs, app=True)
    tail.add_argument("--machine", "--instance", "-m", "-i", dest="instance")
    tail.add_argument("--no-tail", "-n", action="store_true")
    tail.add_argument("--json", "-j", action="store_true")
    _deploy(command(groups, "deploy", deploy, app=True))
    return parser


def command(group: Any, name: str, run: Any, *, app: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, allow_abbrev=False)
    if app:
        parser.add_argument("--app", "-a", required=True)
    parser.set_defaults(run=run, verb=name)
    return parser


def _secrets(group: Any) -> None:
    put = command(group, "set", set_secrets, app=True)
    put.add_argument("pairs", nargs="+", metavar="NAME=VALUE")
    put.add_argument("--stage", action="store_true")
    put.add_argument("--detach", action="store_true")
    command(group, "list", list_secrets, app=True).add_argument("--json", "-j", action="store_true")
    command(group, "deploy", deploy_secrets, app=True)


def _machines(group: Any) -> None:
    listing = command(group, "list", list_machines, app=True)
    listing.add_argument("--json", "-j", action="store_true")
    listing.add_argument("--quiet", "-q", action="store_true")
    inside = command(group, "exec", execute, app=True)
    inside.add_argument("id")
    inside.add_argument("command", nargs="+")
    inside.add_argument("--timeout", type=int, default=60)
    for verb in CHANGES:
        change = command(group, verb, change_machines, app=True)
        change.add_argument("ids", nargs="+")
        change.add_argument("--force", "-f", action="store_true")


def _deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", "-c", default="fly.toml")
    parser.add_argument("--dockerfile", default="Dockerfile")
    for flag in ("--remote-only", "--build-only", "--push"):
        parser.add_argument(flag, action="store_true")


def main() -> None:
    """Run one command."""
    options = arguments().parse_args()
    try:
        options.run(options)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
