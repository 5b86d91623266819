"""Stand in for the ``fly`` command: build and push an image, and run the commands that the runbook advises.

Runs as a script on the bare standard library (``python -I -S cli.py``), so that it starts fast. The folder of the
rehearsal comes from ``RUNBOOK_REHEARSAL``, the token from ``FLY_API_TOKEN``. Texts are flyctl's.
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
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

VERSION = "fly v0.3.210 linux/amd64 Commit: rehearsal BuildDate: 2026-11-03T12:00:00Z"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def fail(text: str) -> NoReturn:
    """End the ``fly`` command as flyctl does: with an error line and exit code 1."""
    say(f"Error: {text}", sys.stderr)
    raise SystemExit(1)


def say(text: str, stream: Any = None) -> None:
    """Write a line of the ``fly`` command's output, and flush it at once for a reader who waits."""
    (stream or sys.stdout).write(f"{text}\n")
    (stream or sys.stdout).flush()


# -- asking


def address(service: str) -> str:
    """Return the base address of the stand-in to which the ``fly`` command sends its requests."""
    folder = os.environ.get("RUNBOOK_REHEARSAL")
    if not folder:
        fail("set RUNBOOK_REHEARSAL to the folder of a rehearsal: this fly is a stand-in")
    addresses: dict[str, str] = json.loads((Path(folder) / "addresses.json").read_text())
    return addresses[service]


def token() -> str:
    """Return the ``fly`` command's token from ``FLY_API_TOKEN``.

    A scheme (``FlyV1``, ``Bearer``) that was pasted with the token is removed.
    """
    token = os.environ.get("FLY_API_TOKEN", "")
    if not token:
        fail("no access token available. Please login with 'flyctl auth login'")
    return token.removeprefix("FlyV1 ").removeprefix("Bearer ").strip()


def send(base: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send one request of the ``fly`` command to a stand-in, and return the reply's status and body."""
    host = urlsplit(base).netloc
    connection = http.client.HTTPConnection(host, timeout=90)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except OSError as problem:
        fail(f"failed to reach {host}: {problem}")
    finally:
        connection.close()


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send the ``fly`` command's request to the Machines API, and return the JSON of the reply.

    If the reply is an error, print the error and end the command.
    """
    content = None if body is None else json.dumps(body).encode()
    status, raw = send(address("fly"), method, path, content, {"Authorization": f"Bearer {token()}"})
    if status >= 400:
        fail(json.loads(raw)["error"])
    return json.loads(raw or b"null")


# -- machines, secrets, logs


def machines_of(app: str) -> list[dict[str, Any]]:
    machines: list[dict[str, Any]] = ask("GET", f"/v1/apps/{app}/machines")
    return machines


def app_of(options: argparse.Namespace) -> str:
    """Return the app that the ``fly`` command line names.

    If the command line names only a machine, return the machine's app, as flyctl does.
    """
    if options.app:
        return str(options.app)
    for app in ask("GET", "/v1/apps")["apps"]:
        if options.id in [machine["id"] for machine in machines_of(app["name"])]:
            return str(app["name"])
    fail(f"could not get machine {options.id}: machine not found")


def list_machines(options: argparse.Namespace) -> None:
    machines = machines_of(options.app)
    if options.json:
        say(json.dumps(machines, indent=4))
    elif not machines:
        say(f"No machines are available on this app {options.app}")
    else:
        lines = [f"{m['id']}\t{m['name']}\t{m['state']}\t{m['region']}" for m in machines]
        say("\n".join(["ID\tNAME\tSTATE\tREGION", *lines]))


def change_machine(options: argparse.Namespace) -> None:
    """Start, stop or restart a machine, as the ``fly machine`` commands do."""
    app, body = app_of(options), {}
    if options.command == "stop" and options.signal:
        body = {"signal": options.signal}
    ask("POST", f"/v1/apps/{app}/machines/{options.id}/{options.command}", body)
    done = {"start": "has been started", "stop": "has been successfully stopped", "restart": "restarted successfully!"}
    say(f"{options.id} {done[options.command]}")


def destroy_machine(options: argparse.Namespace) -> None:
    app, force = app_of(options), "?kill=true" if options.force else ""  # the older name of force, which flyctl sends
    ask("DELETE", f"/v1/apps/{app}/machines/{options.id}{force}")
    say(f"{options.id} has been destroyed")


def update_machine(options: argparse.Namespace) -> None:
    """Run ``fly machine update``: set a machine's variables in a new version of the machine.

    The new version takes the app's current secrets.
    """
    app = app_of(options)
    config = ask("GET", f"/v1/apps/{app}/machines/{options.id}")["config"]
    config["env"] = {**(config.get("env") or {}), **pairs(options.env)}
    ask("POST", f"/v1/apps/{app}/machines/{options.id}", {"config": config})
    say(f"Machine {options.id} updated successfully!")


def list_secrets(options: argparse.Namespace) -> None:
    secrets = ask("GET", f"/v1/apps/{options.app}/secrets")["secrets"]
    shown = [{"name": secret["name"], "digest": secret["digest"], "status": "Unknown"} for secret in secrets]
    text = "\n".join(["NAME\tDIGEST", *(f"{secret['name']}\t{secret['digest']}" for secret in shown)])
    say(json.dumps(shown, indent=4) if options.json else text)


def set_secrets(options: argparse.Namespace) -> None:
    """Run ``fly secrets set`` for an app.

    Machines that were made through the API keep the old values until their next update.
    """
    ask("POST", f"/v1/apps/{options.app}/secrets", {"values": pairs(options.pairs)})
    text = "Secrets have been staged, but not set on VMs."
    say(f"{text} Deploy or update machines in this app for the secrets to take effect.")


def pairs(texts: list[str]) -> dict[str, str]:
    """Split the ``NAME=value`` texts of a ``fly`` command line into names and values."""
    for text in texts:
        if "=" not in text:
            fail(f"'{text}': must be in the format NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def show_logs(options: argparse.Namespace) -> None:
    """Run ``fly logs``: write the newest lines of an app's log.

    Unlike flyctl, this stand-in does not go on to write new lines.
    """
    query = f"?instance={options.instance}" if options.instance else ""
    headers = {"Authorization": f"FlyV1 {token()}"}
    status, raw = send(address("fly_logs"), "GET", f"/api/v1/apps/{options.app}/logs{query}", None, headers)
    reply = json.loads(raw)
    if status != 200:
        fail(reply["error"])
    for line in (entry["attributes"] for entry in reply["data"]):
        say(f"{line['timestamp']} app[{line['instance']}] {line['region']} [{line['level']}]{line['message']}")


# -- building


def version(_: argparse.Namespace) -> None:
    say(VERSION)


def deploy_secrets(_: argparse.Namespace) -> None:
    say("Error: no machines available to deploy", sys.stderr)
    text = "'fly secrets deploy' will only work if the app has been deployed and there are machines available"
    say(f"{text}\n\nTry 'fly deploy' first", sys.stderr)
    raise SystemExit(1)


def deploy(options: argparse.Namespace) -> None:
    """Run ``fly deploy``: build an image from the working directory, and push the image.

    Unlike flyctl, this stand-in makes no machines.
    """
    if not (options.build_only and options.push):
        fail("the rehearsal's fly only builds: pass --build-only --push")
    for path, kind in ((options.config, "app config"), (options.dockerfile, "dockerfile")):
        if not Path(path).is_file():
            fail(f"failed loading {kind}: stat {path}: no such file or directory")
    ask("GET", f"/v1/apps/{options.app}")
    say("==> Verifying app config\n--> Verified app config\n==> Building image")
    files = build(Path(options.dockerfile))
    tag = "deployment-" + "".join(secrets.choice(CROCKFORD) for _ in range(26))
    say("--> Building image done\n==> Pushing image to fly")
    push(options.app, tag, files)
    say(f"--> Pushing image done\nimage: registry.fly.io/{options.app}:{tag}\nimage size: {size(files)} MB")


def build(dockerfile: Path) -> dict[str, bytes]:
    """Return the files that the Dockerfile of ``fly deploy`` copies into the image: path -> content."""
    files = {"Dockerfile": dockerfile.read_bytes()}
    instructions = re.sub(r"\\\n", " ", dockerfile.read_text()).splitlines()
    for number, line in enumerate(instructions, 1):
        words = shlex.split(line, comments=True)
        if not words or words[0].upper() not in {"COPY", "ADD"} or any(word.startswith("--from") for word in words):
            continue
        for source in [word for word in words[1:-1] if not word.startswith("--")]:
            copied = context(source)
            if not copied:
                not_found(dockerfile, number, line, source)
            files |= copied
    return files


def context(source: str) -> dict[str, bytes]:
    """Return the files that one COPY in the Dockerfile of ``fly deploy`` names: path -> content.

    If the COPY's source does not exist, no files are returned.
    """
    files: dict[str, bytes] = {}
    for path in sorted(Path().glob(source.strip("/") or "*")):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files |= {str(file): file.read_bytes() for file in inside if file.is_file()}
        if path.is_dir():
            files.setdefault(f"{path}/", b"")
    return files


def not_found(dockerfile: Path, number: int, line: str, source: str) -> NoReturn:
    """End ``fly deploy`` with BuildKit's error for a COPY whose source is not in the build context."""
    path = f"/tmp/buildkit-mount{secrets.randbelow(10**9)}/{source}"  # noqa: S108  a text, not a file
    say(f"------\n > {line}:\n------\n{dockerfile}:{number}\n--------------------", sys.stderr)
    say(f"   {number} | >>> {line}\n--------------------", sys.stderr)
    fail(
        "failed to fetch an image or build from source: error building: failed to solve: failed to compute cache "
        f'key: failed to walk {path}: lstat {path}: no such file or directory: "/{source}": not found'
    )


def push(app: str, tag: str, files: dict[str, bytes]) -> None:
    """Push the manifest of ``fly deploy``, with the files as layers. The same files give the same digest."""
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
    base = address("registry")
    status, raw = send(base, "PUT", f"/v2/{app}/manifests/{tag}", manifest, headers)
    if status != 201:
        fail(f"failed to push image: HTTP {status} {raw.decode(errors='replace')}")


def size(files: dict[str, bytes]) -> int:
    """Return the image size that ``fly deploy`` prints, in megabytes.

    The size is that of a Node image to which the files were added.
    """
    return 180 + sum(len(content) for content in files.values()) // 10**6


def main() -> None:
    """Run one command of the ``fly`` command line."""
    options = parser().parse_args()
    options.run(options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the ``fly`` command line."""
    parser = argparse.ArgumentParser(prog="fly", description=__doc__, allow_abbrev=False)
    groups = parser.add_subparsers(required=True, metavar="command")
    groups.add_parser("version").set_defaults(run=version)
    _secret_commands(groups.add_parser("secrets").add_subparsers(required=True))
    _machine_commands(groups.add_parser("machines", aliases=["machine", "m"]).add_subparsers(required=True))
    logs = _command(groups, "logs", show_logs)
    logs.add_argument("--machine", "--instance", "-m", "-i", dest="instance")
    logs.add_argument("--no-tail", "-n", action="store_true")
    built = _command(groups, "deploy", deploy)
    built.add_argument("--config", "-c", default="fly.toml")
    built.add_argument("--dockerfile", default="Dockerfile")
    for flag in ("--remote-only", "--build-only", "--push"):
        built.add_argument(flag, action="store_true")
    return parser


def _secret_commands(commands: Any) -> None:
    _command(commands, "deploy", deploy_secrets)
    _command(commands, "list", list_secrets).add_argument("--json", "-j", action="store_true")
    _command(commands, "set", set_secrets).add_argument("pairs", nargs="+")


def _machine_commands(commands: Any) -> None:
    _command(commands, "list", list_machines).add_argument("--json", "-j", action="store_true")
    for name in ("start", "stop", "restart"):
        changed = _command(commands, name, change_machine, machine=True)
        changed.set_defaults(command=name)
        changed.add_argument("--signal", "-s")
    _command(commands, "destroy", destroy_machine, machine=True).add_argument("--force", "-f", action="store_true")
    updated = _command(commands, "update", update_machine, machine=True)
    updated.add_argument("--env", "-e", action="append", default=[])
    updated.add_argument("--yes", "-y", action="store_true")


def _command(commands: Any, name: str, run: Any, *, machine: bool = False) -> argparse.ArgumentParser:
    """Add one ``fly`` command to the parser. The command acts on an app.

    With ``machine``, the command acts on a machine, and the command line need not name the machine's app.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, allow_abbrev=False)
    parser.set_defaults(run=run)
    parser.add_argument("--app", "-a", required=not machine)
    if machine:
        parser.add_argument("id")
    return parser


if __name__ == "__main__":
    main()
