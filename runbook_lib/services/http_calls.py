"""Send HTTP requests with one client per service. Limit every answer in time, size and shape.

A credential is sent only in the header.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import ssl
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from runbook_lib.commands.answer_shapes import NOT_JSON, parsed
from runbook_lib.commands.command import Reply
from runbook_lib.commands.vendor_shapes import shape_of
from runbook_lib.errors import ServiceError
from runbook_lib.services import deadlines
from runbook_lib.services.freshness import ServiceClock
from runbook_lib.services.plain_rows import LAST, picked, rows_of
from runbook_lib.services.secret_fields import drop_text
from runbook_lib.services.variables import expanded
from runbook_lib.settings.addresses import host_of, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runbook_lib.commands.answer_shapes import Shape
    from runbook_lib.commands.command import Http
    from runbook_lib.settings.profiles import Service, Settings
    from runbook_lib.settings.redaction import Redactor

TEXT = 20_000  # characters that are kept of an answer that is no JSON
SHOWN = 200  # characters that an error shows of an answer in the wrong shape
QUIET = 1.0  # seconds without a new line after which a stream counts as complete
PASTED_NAME = re.compile(r'"\$(?=[A-Z][A-Z0-9_]*")')  # a text that would be taken for a redacted secret gets a second $
GRACE = 0.25  # seconds beyond its own time limit after which a request is abandoned
IDLE = 1.0  # seconds a connection is kept unused: vendors close theirs after five, maybe just as a change is on its way
STREAMS = ("application/stream+json", "application/x-ndjson")  # answers without an end, one JSON object a line
PACKED = ("", "identity", "gzip", "deflate")  # encodings that can be unpacked piece by piece, up to a limit
EITHER = 47  # zlib's word for "gzip or zlib, see the header"
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError)
KEPT_HEADERS = {"docker-content-digest", "x-ratelimit-limit", "x-ratelimit-remaining"}


class BadAnswer(Exception):
    """An error for an HTTP answer whose body is too large, cut off, not finished in time, or compressed in an unknown
    way.
    """


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it was received. ``asked`` and ``received`` are epoch seconds by this machine's clock."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    asked: float = 0.0
    received: float = 0.0

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Web:
    """The HTTP services that a profile addresses."""

    def __init__(self, settings: Settings, redact: Redactor) -> None:
        self.settings = settings
        self._redact = redact
        self._clients: dict[str, httpx.Client] = {}
        self._opening = threading.Lock()  # looks side by side must not open a client each
        self._clocks: dict[str, ServiceClock] = {}

    def close(self) -> None:
        """Close the HTTP connections to every service."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def request(self, command: Http, seconds: float, proof: Callable[[], None] | None = None) -> Reply:
        """Send an HTTP request and read its answer, in ``seconds`` altogether.

        ``proof`` is called once the connection is made, right before the first byte is sent; if it raises, nothing is
        sent. Raise `ServiceError` if there is no answer, or if the answer has the wrong shape or is too old.
        """
        service = self.settings.service(command.service)
        place, shape = f"{command.service} {service.url}", shape_of(command)
        client = self._client(command.service, service)
        try:
            answer = deadlines.within(seconds + GRACE, lambda: self._fetched(client, command, shape, seconds, proof))
        except NOT_SENT as error:
            raise ServiceError(f"{place}: cannot connect: {self._redact.text(_words(error))}") from None
        except (httpx.HTTPError, BadAnswer) as error:
            raise ServiceError(f"{place}: no answer: {self._redact.text(_words(error))}", sent=True) from None
        except TimeoutError:
            raise ServiceError(f"{place}: no answer: not finished within {seconds:g} s", sent=True) from None
        reply = reply_of(command, answer, self._redact)
        if answer.good and command.read_only and shape.fresh:
            clock = self._clocks.setdefault(command.service, ServiceClock())
            if old := outdated(shape, answer, clock):
                raise ServiceError(f"{command.service} {command.path}: an old answer: {old}", sent=True)
        return reply

    def _fetched(
        self, client: httpx.Client, command: Http, shape: Shape, seconds: float, proof: Callable[[], None] | None
    ) -> Answer:
        """Send an HTTP request and read the answer's body, in a thread that the caller may abandon."""
        asked, until = time.time(), time.monotonic() + seconds
        request = client.build_request(
            command.method,
            command.target,
            json=expanded(command.json, self.settings) if command.json is not None else None,
            headers={name: expanded(value, self.settings) for name, value in command.headers.items()},
            timeout=seconds,
            extensions={"trace": functools.partial(_proven, proof)} if proof else None,
        )
        with contextlib.closing(client.send(request, stream=True)) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status_code, response.reason_phrase, headers)
            streams = answer.kind in STREAMS
            body = _streamed(response, until, shape.most) if streams else _whole(response, until, shape.most)
        return Answer(answer.status, answer.reason, headers, body, asked, time.time())

    def _client(self, name: str, service: Service) -> httpx.Client:
        with self._opening:
            if name not in self._clients:
                # Only encodings that can be unpacked up to a limit are asked for: 65 kB may hold 64 MB.
                headers = {"Accept-Encoding": "gzip, deflate"}
                headers |= {"Authorization": value} if (value := self._credential(service)) else {}
                with _as_configured(f"{name} {service.url}"):
                    self._clients[name] = httpx.Client(
                        base_url=service.url,
                        headers=headers,
                        limits=httpx.Limits(keepalive_expiry=IDLE),
                        **_way_to(service.url),
                    )
            return self._clients[name]

    def _credential(self, service: Service) -> str | None:
        if service.token is None:
            return None
        # Tokens are often pasted with the scheme in front.
        token = re.sub(r"^(Bearer|FlyV1)\s+", "", self.settings.variable(service.token))
        if service.scheme == "Basic":
            return "Basic " + base64.b64encode(f"x:{token}".encode()).decode()
        return f"{service.scheme} {token}"


def _proven(proof: Callable[[], None], step: str, _: Mapping[str, Any]) -> None:
    """Call ``proof`` just before the request is sent, because an earlier proof may be out of date by then."""
    if step.endswith("send_request_headers.started"):
        proof()


def _way_to(url: str) -> dict[str, Any]:
    """Return the options of an HTTP client for an address: whether a proxy counts, and which authorities do.

    Vendors, but no stand-in, may be reached through a company's proxy and verified by its own authority.
    """
    return {"trust_env": not is_loopback(urlsplit(url).hostname or ""), "verify": _trusted(url)}


@contextlib.contextmanager
def _as_configured(place: str) -> Iterator[None]:
    """Raise `ServiceError` if the environment names a proxy or certificates with which no client can be made."""
    try:
        yield
    # No SOCKS support, an address or a port that is none, a file of certificates that is missing or holds none.
    except (ImportError, ValueError, httpx.InvalidURL, OSError) as error:
        words = f"no connection with this proxy or these certificates: {_words(error).splitlines()[0]}"
        raise ServiceError(f"{place}: {words}; correct HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE") from None


def _trusted(url: str) -> ssl.SSLContext:
    """Return the certificate authorities to trust for an address. For an address without encryption, trust none."""
    return _authorities() if urlsplit(url).scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Read the certificate authorities from ``SSL_CERT_FILE``, or else from certifi.

    They are read once in a process, because reading them takes 40 ms.
    """
    return httpx.create_ssl_context()


def authorization(service: Service) -> str:
    """Return an HTTP request's Authorization header for display, with the variable's name in place of the token."""
    if service.token is None:
        return ""
    if service.scheme == "Basic":
        return f"Basic $(printf %s x:${service.token} | base64 -w0)"
    return f"{service.scheme} ${service.token}"


def ping(url: str, within: float) -> None:
    """Send an HTTP request, and ignore the body of its answer.

    Raise `ServiceError` if the call fails or has an error status.
    """
    try:
        with _as_configured(host_of(url)):
            client = httpx.Client(timeout=within, **_way_to(url))
        with client:
            answer = deadlines.within(within + GRACE, lambda: client.get(url))
    except (httpx.HTTPError, TimeoutError) as error:
        raise ServiceError(f"{host_of(url)}: {_words(error)}") from None
    if not answer.is_success:
        raise ServiceError(f"{host_of(url)}: HTTP {answer.status_code} {answer.reason_phrase}")


# --- reading a body -------------------------------------------------------------------------------------------------


def _whole(response: httpx.Response, until: float, most: int) -> bytes:
    """Return the whole body of an HTTP answer, decompressed.

    Raise `BadAnswer` if the body is too large, cut off, or not finished in time.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in PACKED:
        raise BadAnswer(f"it is packed as {encoding}, which was not asked for")
    unpack = zlib.decompressobj(EITHER) if encoding in ("gzip", "deflate") else None
    body = b""
    for piece in _pieces(response, until):
        # One byte above the limit is enough to know that the body is too large; a zip bomb is not unpacked further.
        body += unpack.decompress(piece, most + 1 - len(body)) if unpack else piece
        if len(body) > most or (unpack and unpack.unconsumed_tail):
            raise BadAnswer(f"it is larger than {most:,} bytes")
    if unpack and body and not unpack.eof:
        raise BadAnswer("it is cut off")
    return body


def _streamed(response: httpx.Response, until: float, most: int) -> bytes:
    """Return what an endless HTTP stream has sent when it first pauses for a second.

    Stop earlier if the limit of time or size is reached.
    """
    lines = b""
    with contextlib.suppress(httpx.ReadTimeout, BadAnswer):
        for piece in _pieces(response, until, QUIET):
            lines += piece
            if len(lines) > most:
                break
    return lines


def _pieces(response: httpx.Response, until: float, quiet: float | None = None) -> Iterator[bytes]:
    """Yield the pieces of an HTTP body as they arrive. Raise `BadAnswer` if the body has not ended in time.

    httpx limits the time of each read, not of the whole body: a body of one byte a second would hold us for hours.
    """
    limits = response.request.extensions["timeout"]
    pieces = response.iter_raw()
    while (left := until - time.monotonic()) > 0:
        limits["read"] = left if quiet is None else min(left, quiet)  # httpx reads this limit before each piece
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece
    raise BadAnswer("it was not finished in time")


# --- from an answer to a reply --------------------------------------------------------------------------------------


def reply_of(command: Http, answer: Answer, redact: Redactor) -> Reply:
    """Convert an HTTP answer into a reply.

    Raise `ServiceError` if the answer does not have the shape that its route asks for. If the answer has an error
    status, the reply's ``error`` holds the service's own words, in whatever form they came.
    """
    text = redact.text(PASTED_NAME.sub('"$$', answer.body.decode(errors="replace")))
    if answer.kind in STREAMS:
        return _reply_of_lines(answer, text)
    body = parsed(text)
    known = text if body is NOT_JSON else body
    if not answer.good:
        # Redirects are not followed: they may lead to another host, which is for the operator to decide.
        location = answer.headers.get("location")
        elsewhere = f" to {redact.text(location)}" if location else ""
        error = f"HTTP {answer.status} {answer.reason}{elsewhere}: {drop_text(known, redact.shown)}"[:LAST]
        return Reply(_rows(known, answer, command.pick), answer.status, error, _text(known, text), again=_again(answer))
    if complaint := shape_of(command).complaint(body):
        shown = drop_text(known, redact.shown).strip()[:SHOWN]
        place = redact.text(f"{command.service} {command.method} {command.path}")
        raise ServiceError(f"{place}: {complaint}; the answer is {shown!r}", sent=True)
    missing = None
    if command.pick is not None and picked(known, command.pick) is None:
        missing = f"the answer has no {command.pick!r}: {drop_text(known, redact.shown)}"[:LAST]
    return Reply(_rows(known, answer, command.pick), answer.status, missing, _text(known, text))


def outdated(shape: Shape, answer: Answer, clock: ServiceClock) -> str | None:
    """Return why an HTTP answer is out of date by its service's clock. Return None if it is fresh."""
    moment = parsed(answer.body.decode(errors="replace"))[shape.moment] / 1000 if shape.moment else None
    return clock.complaint(answer.headers, moment, answer.asked, answer.received)


def _rows(body: Any, answer: Answer, pick: str | None) -> tuple[dict[str, Any], ...]:
    """Return the rows of an HTTP body. Add the response headers in `KEPT_HEADERS` to the first row."""
    rows = rows_of(body, pick) if not isinstance(body, str) else ()
    headers = {name.replace("-", "_"): value for name, value in answer.headers.items() if name in KEPT_HEADERS}
    if not headers:
        return rows
    first = rows[0] if rows else {}
    return ({**first, **headers}, *rows[1:])


def _text(body: Any, text: str) -> str:
    return text[:TEXT] if isinstance(body, str) else ""


def _again(answer: Answer) -> float:
    """Return how many seconds the service's Retry-After header asks to wait.

    Without the header, return 0.
    """
    wanted = answer.headers.get("retry-after", "").strip()
    return float(wanted) if wanted.isdigit() else 0.0


def _reply_of_lines(answer: Answer, text: str) -> Reply:
    """Return a row for each line of an HTTP stream that is a JSON object. Skip a last line that is cut off."""
    rows: list[dict[str, Any]] = []
    for line in text.splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            event = json.loads(line) if line.endswith("\n") else None
            rows += [event] if isinstance(event, dict) else []
    error = None if answer.good else f"HTTP {answer.status} {answer.reason}"
    return Reply(tuple(rows), answer.status, error)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
