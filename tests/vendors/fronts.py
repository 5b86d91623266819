"""What stands before the stand-ins where a vendor's client insists: on one host for two, or on a pooler with TLS."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.core_fixtures import NOBODY
from tests.venue import listening

PORT = 5432  # whatever port the vendor names, its command line takes this one
TLS_WANTED = bytes.fromhex("0000000804d2162f")  # what a client of Postgres begins with


@contextmanager
def one_host(base: Callable[[str], str], edit: Callable[[str], str] = str) -> Iterator[str]:
    """Forward each request to the address that ``base`` gives for its path, and edit the reply; our own address."""

    async def forward(request: Request) -> Response:
        path = request.url.path
        url = f"{base(path)}{path}?{request.url.query}"
        headers = {name: value for name, value in request.headers.items() if name in ("authorization", "content-type")}
        async with httpx.AsyncClient(timeout=30, verify=NOBODY, trust_env=False) as client:
            reply = await client.request(request.method, url, content=await request.body(), headers=headers)
        return Response(edit(reply.text), reply.status_code, media_type=reply.headers.get("content-type"))

    methods = ["GET", "POST", "PATCH", "DELETE"]
    with listening(Starlette(routes=[Route("/{path:path}", forward, methods=methods)])) as address:
        yield address


@contextmanager
def pooler(port: int, folder: Path) -> Iterator[str]:
    """Stand before the Postgres at ``port`` as the vendor's pooler does: with TLS, and a name that has a domain.

    No resolver is asked for that name: ``127.9`` is how 127.0.0.9 may be written, yet a client takes it for a domain.
    """
    number = random.randrange(2, 250)
    try:
        listener = socket.create_server((f"127.0.0.{number}", PORT))
    except OSError as problem:
        pytest.skip(f"127.0.0.{number}:{PORT} cannot be listened on: {problem}")
    serving, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()
    context = _certified(folder)

    async def connected(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        if await client.readexactly(len(TLS_WANTED)) != TLS_WANTED:
            answers.close()
            return
        answers.write(b"S")
        await answers.start_tls(context)
        server, questions = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(client, questions), _copy(server, answers))

    async def serve() -> None:
        async with await asyncio.start_server(connected, sock=listener):
            serving.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert serving.wait(10)
        yield f"127.{number}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


def _certified(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody has signed: the client takes it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pooler", "-days", "1"]
    try:
        subprocess.run([*made, "-keyout", key, "-out", certificate], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
