"""HTTP: one client a service, time limits always, the credential only in the header."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

import httpx

from runbook_lib.commands.command import Reply
from runbook_lib.errors import ServiceError
from runbook_lib.services.plain_rows import LAST, picked, rows_of
from runbook_lib.services.secret_fields import drop_text
from runbook_lib.services.variables import expanded
from runbook_lib.settings.profiles import host_of

if TYPE_CHECKING:
    from runbook_lib.commands.command import Http
    from runbook_lib.settings.profiles import Service, Settings
    from runbook_lib.settings.redaction import Redactor

__all__ = ["Web", "authorization", "ping"]

TEXT = 20_000  # characters of an answer that is no JSON that are kept
QUIET = 1.0  # seconds without a new line after which a stream has said what it had to say
STREAMS = ("application/stream+json", "application/x-ndjson")  # answers without an end, one JSON object a line
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError)
KEPT_HEADERS = {"docker-content-digest", "x-ratelimit-limit", "x-ratelimit-remaining"}


class Web:
    """The HTTP services a profile addresses."""

    def __init__(self, settings: Settings, redact: Redactor) -> None:
        self.settings = settings
        self._redact = redact
        self._http: dict[str, httpx.Client] = {}

    def close(self) -> None:
        """Close every connection."""
        for client in self._http.values():
            client.close()
        self._http.clear()

    def request(self, command: Http) -> Reply:
        service = self.settings.service(command.service)
        client = self._client(command.service, service)
        body = expanded(command.json, self.settings)
        try:
            request = client.build_request(
                command.method,
                command.target,
                json=body if command.json is not None else None,
                headers={k: expanded(v, self.settings) for k, v in command.headers.items()},
            )
            answer = client.send(request, stream=True)
            with contextlib.closing(answer):
                if _kind(answer) in STREAMS:
                    return self._streamed(answer)
                answer.read()
        except NOT_SENT as error:
            raise ServiceError(
                f"{command.service} {service.url}: cannot connect: {self._redact.text(_words(error))}"
            ) from None
        except httpx.HTTPError as error:
            raise ServiceError(
                f"{command.service} {service.url}: no answer: {self._redact.text(_words(error))}", sent=True
            ) from None
        return _answer(answer, self._redact.text(answer.text), command.pick)

    def _streamed(self, answer: httpx.Response) -> Reply:
        """What a stream without an end says, one row a line: until it is quiet, or as long as an answer may take."""
        until, lines = time.monotonic() + self.settings.budgets.answer, b""
        answer.request.extensions["timeout"]["read"] = QUIET  # looked at anew before each piece
        with contextlib.suppress(httpx.ReadTimeout):
            for piece in answer.iter_bytes():
                lines += piece
                if time.monotonic() > until:
                    break
        whole = self._redact.text(lines.decode(errors="replace")).splitlines(keepends=True)
        return _answer_of_lines(answer, [line for line in whole if line.endswith("\n")])

    def _client(self, name: str, service: Service) -> httpx.Client:
        if name not in self._http:
            self._http[name] = httpx.Client(
                base_url=service.url,
                headers={"Authorization": value} if (value := self._credential(service)) else {},
                timeout=self.settings.budgets.answer,
                trust_env=False,
            )
        return self._http[name]

    def _credential(self, service: Service) -> str | None:
        if service.token is None:
            return None
        # Tokens are often pasted with the scheme in front.
        token = re.sub(r"^(Bearer|FlyV1)\s+", "", self.settings.variable(service.token))
        if service.scheme == "Basic":
            return "Basic " + base64.b64encode(f"x:{token}".encode()).decode()
        return f"{service.scheme} {token}"


def authorization(service: Service) -> str:
    if service.token is None:
        return ""
    if service.scheme == "Basic":
        return f"Basic $(printf %s x:${service.token} | base64 -w0)"
    return f"{service.scheme} ${service.token}"


def ping(url: str, within: float) -> None:
    """Call an address whose answer tells nothing but that it was called; raise `ServiceError` if it did not take it."""
    try:
        answer = httpx.get(url, timeout=within, trust_env=False)
    except httpx.HTTPError as error:
        raise ServiceError(f"{host_of(url)}: {_words(error)}") from None
    if not answer.is_success:
        raise ServiceError(f"{host_of(url)}: HTTP {answer.status_code} {answer.reason_phrase}")


def _answer(answer: httpx.Response, text: str, pick: str | None) -> Reply:
    try:
        body: Any = json.loads(text) if text else None
    except ValueError:
        body = text
    headers = {k.lower().replace("-", "_"): v for k, v in answer.headers.items() if k.lower() in KEPT_HEADERS}
    rows = rows_of(body, pick) if not isinstance(body, str) else ()
    if headers:
        rows = rows or ({},)
        rows = ({**rows[0], **headers}, *rows[1:])
    error = None
    if not answer.is_success:
        error = f"HTTP {answer.status_code} {answer.reason_phrase}: {drop_text(body)}"[:LAST]
    elif pick is not None and picked(body, pick) is None:
        error = f"the answer has no {pick!r}: {drop_text(body)}"[:LAST]
    return Reply(rows, answer.status_code, error, text[:TEXT] if isinstance(body, str) else "")


def _answer_of_lines(answer: httpx.Response, lines: list[str]) -> Reply:
    """One row a line; lines that hold no JSON object are passed over."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            rows += [found] if isinstance(found, dict) else []
    error = None if answer.is_success else f"HTTP {answer.status_code} {answer.reason_phrase}"
    return Reply(tuple(rows), answer.status_code, error)


def _kind(answer: httpx.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
