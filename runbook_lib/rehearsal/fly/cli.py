"""Stand in for the ``fly`` command line in what only it does: building an image and pushing it.

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
    """End with flyctl's error line and exit code."""
    say(f"Error: {text}", sys.stderr)
    raise SystemExit(1)


def say(text: str, stream: Any = None) -> None:
    """Write a line at once: whoever reads a build's output follows it."""
    (stream or sys.stdout).write(f"{text}\n")
    (stream or sys.stdout).flush()


# -- asking


def address(service: str) -> str:
    """Return the base address of a service of the rehearsal."""
    folder = os.environ.get("RUNBOOK_REHEARSAL")
    if not folder:
        fail("set RUNBOOK_REHEARSAL to the folder of a rehearsal: this fly is a stand-in")
    addresses: dict[str, str] = json.loads((Path(folder) / "addresses.json").read_text())
    return addresses[service]


def token() -> str:
    """Return the operator's token, without a scheme that was pasted with it."""
    token = os.environ.get("FLY_API_TOKEN", "")
    if not token:
        fail("no access token available. Please login with 'flyctl auth login'")
    return token.removeprefix("FlyV1 ").removeprefix("Bearer ").strip()


def send(base: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send one request to a stand-in; return status and body."""
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


def find_app(name: str) -> None:
    """End with the API's error unless the token may use the app."""
    headers = {"Authorization": f"Bearer {token()}"}
    status, raw = send(address("fly"), "GET", f"/v1/apps/{name}", None, headers)
    if status != 200:
        fail(json.loads(raw)["error"])


# -- building


def version(_: argparse.Namespace) -> None:
    say(VERSION)


def deploy_secrets(_: argparse.Namespace) -> None:
    say("Error: no machines available to deploy", sys.stderr)
    text = "'fly secrets deploy' will only work if the app has been deployed and there are machines available"
    say(f"{text}\n\nTry 'fly deploy' first", sys.stderr)
    raise SystemExit(1)


def deploy(options: argparse.Namespace) -> None:
    """Build from the working directory and push; the rehearsal's fly makes no machines."""
    if not (options.build_only and options.push):
        fail("the rehearsal's fly only builds: pass --build-only --push")
    for path, what in ((options.config, "app config"), (options.dockerfile, "dockerfile")):
        if not Path(path).is_file():
            fail(f"failed loading {what}: stat {path}: no such file or directory")
    find_app(options.app)
    say("==> Verifying app config\n--> Verified app config\n==> Building image")
    files = build(Path(options.dockerfile))
    tag = "deployment-" + "".join(secrets.choice(CROCKFORD) for _ in range(26))
    say("--> Building image done\n==> Pushing image to fly")
    push(options.app, tag, files)
    say(f"--> Pushing image done\nimage: registry.fly.io/{options.app}:{tag}\nimage size: {size(files)} MB")


def build(dockerfile: Path) -> dict[str, bytes]:
    """Return the files an image is made of, by path; the context is the working directory, as for Docker."""
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
    """Return the files behind a COPY source, none if there are none."""
    files: dict[str, bytes] = {}
    for path in sorted(Path().glob(source.strip("/") or "*")):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files |= {str(file): file.read_bytes() for file in inside if file.is_file()}
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
    base = address("registry")
    status, raw = send(base, "PUT", f"/v2/{app}/manifests/{tag}", manifest, headers)
    if status != 201:
        fail(f"failed to push image: HTTP {status} {raw.decode(errors='replace')}")


def size(files: dict[str, bytes]) -> int:
    """Return megabytes, as if a Node image were below."""
    return 180 + sum(len(content) for content in files.values()) // 10**6


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="fly", description=__doc__, allow_abbrev=False)
    groups = parser.add_subparsers(required=True, metavar="command")
    groups.add_parser("version").set_defaults(run=version)
    staged = groups.add_parser("secrets").add_subparsers(required=True).add_parser("deploy")
    staged.set_defaults(run=deploy_secrets)
    built = groups.add_parser("deploy", allow_abbrev=False)
    built.set_defaults(run=deploy)
    for command in (staged, built):
        command.add_argument("--app", "-a", required=True)
    built.add_argument("--config", "-c", default="fly.toml")
    built.add_argument("--dockerfile", default="Dockerfile")
    for flag in ("--remote-only", "--build-only", "--push"):
        built.add_argument(flag, action="store_true")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
