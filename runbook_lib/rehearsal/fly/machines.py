"""Run Fly Machines as operating-system processes. A machine's state follows from its process.

A ``Machine`` has many processes in its life: the first launch, restarts by policy, updates. This module has the
operations on a machine, and the vendor's words when it refuses them; the HTTP around them is in ``fly_api``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from runbook_lib.rehearsal.world.http_server import Json, Refusal

if TYPE_CHECKING:
    from runbook_lib.rehearsal.fly.apps import App, Fly

RESTARTS, WINDOW = 10, 300.0  # tries, seconds: policy of machines made without one
SLOWEST = 8  # times the usual pause, between two starts
STOP_TIMEOUT = 5.0  # seconds between the stop signal and SIGKILL
PERSISTENT = frozenset({"started", "stopped", "suspended", "failed", "destroyed"})


CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # the letters of an identifier that nobody mistakes for another


class Process(Protocol):
    """The process of a running Fly machine.

    ``wait`` returns the process's exit code, which is negative if a signal ended the process.
    """

    @property
    def pid(self) -> int: ...
    def send_signal(self, signal: int, /) -> None: ...
    async def wait(self) -> int: ...


def ulid() -> str:
    """Make an identifier of 26 characters, such as Fly gives machine instances and events."""
    return "".join(secrets.choice(CROCKFORD) for _ in range(26))


def timestamp(at: int | None = None) -> str:
    """Format a moment (nanoseconds) in RFC 3339 and UTC, as Fly does for its machines.

    Without a moment, format the time now.
    """
    moment = (time.time_ns() if at is None else at) / 1e9
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Lease:
    """A Fly machine's lease, which reserves the machine for one client.

    Until ``expires_at`` (epoch seconds), only a client that sends the lease's nonce may change the machine.
    """

    description: str
    expires_at: float
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    def view(self) -> Json:
        """Return the Lease object of Fly's machines, without the nonce."""
        return {"expires_at": int(self.expires_at), "owner": "another@client.test", "description": self.description}


@dataclass
class Machine:
    """A Fly machine: its configuration, its state and the process behind it."""

    fly: Fly
    app: App
    name: str
    region: str
    config: Json
    image_ref: Json
    id: str = field(default_factory=lambda: secrets.token_hex(7))
    instance_id: str = field(default_factory=ulid)
    version: int = 1
    state: str = "created"
    created_at: str = field(default_factory=timestamp)
    updated_at: str = field(default_factory=timestamp)
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=200))  # newest first
    process: Process | None = None
    lease: Lease | None = None
    _secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    _stop_requested: bool = False
    _life: asyncio.Task[None] | None = field(default=None, repr=False)
    _killer: asyncio.Task[None] | None = field(default=None, repr=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)  # two restarts would leave two processes
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self._secrets = self.app.values()
        self.event("launch", "created", "user")

    # -- what the API shows of it

    def view(self) -> Json:
        """Return the Machine object of Fly's API."""
        kept = ("id", "name", "state", "region", "instance_id", "created_at", "updated_at", "config", "image_ref",
                "version")  # fmt: skip
        private_ip = f"fdaa:0:1:a7b:{self.id[:4]}:{self.id[4:8]}:{self.id[8:12]}:2"
        more = {"private_ip": private_ip, "events": list(self.events)[:20], "checks": [], "host_status": "ok"}
        return {key: getattr(self, key) for key in kept} | more

    def log(self, provider: str, message: str) -> None:
        """Add a line to the Fly machine's log."""
        self.fly.log(self.app.name, self, provider, message)

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a process in this Fly machine.

        They are the image's, those of ``config.env``, and the app's secrets; a later source replaces variables of an
        earlier one.
        """
        return {
            **self.fly.image_environment,
            **{key: str(value) for key, value in (self.config.get("env") or {}).items()},
            **self._secrets,
            "FLY_APP_NAME": self.app.name,
            "FLY_MACHINE_ID": self.id,
            "FLY_MACHINE_VERSION": self.instance_id,
            "FLY_REGION": self.region,
            "FLY_IMAGE_REF": str(self.config.get("image", "")),
        }

    def event(self, kind: str, status: str, source: str, request: Json | None = None) -> None:
        """Add an event at the beginning of the Fly machine's list. The API lists the newest event first."""
        head = {"id": ulid(), "type": kind, "status": status, "source": source}
        self.events.appendleft(head | {"timestamp": time.time_ns() // 1_000_000, "request": request or {}})

    async def wait(self, states: frozenset[str], timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until the Fly machine is in one of ``states``.

        Return False if the time is over before that.
        """
        deadline = time.monotonic() + timeout
        while self.state not in states:
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                return False
        return True

    # -- what may be asked of it

    def start(self, source: str = "user") -> str:
        """Start the Fly machine, and return the state that the machine was in before.

        Raise a 412 `Refusal` if it is between two states, as while it stops.
        """
        before = self.state
        if before == "started":
            return before
        if before not in {"created", "stopped", "suspended", "failed"} or self._alive():
            raise Refusal(412, f"failed_precondition: unable to start machine from current state: '{before}'")
        if before != "created":
            self._take_secrets_if_switched()
        self._begin(source)
        return before

    def take_lease(self, ttl: float, description: str) -> Lease:
        """Lease the Fly machine for ``ttl`` seconds."""
        self.lease = Lease(description, time.time() + ttl)
        return self.lease

    def refuse_leased(self, nonce: str) -> None:
        """Raise a 409 `Refusal` if the Fly machine is leased with another nonce than ``nonce``."""
        if self.lease is not None and self.lease.expires_at < time.time():
            self.lease = None
        if self.lease is not None and nonce != self.lease.nonce:
            until = timestamp(int(self.lease.expires_at * 1e9))
            raise Refusal(409, f"failed_precondition: lease currently held by another@client.test, expires at {until}")

    async def stop(self, number: int = signal.SIGINT, timeout: float = STOP_TIMEOUT) -> None:
        """Send a signal to stop the Fly machine's process, and return at once.

        After ``timeout`` seconds, a process that still runs gets SIGKILL.
        """
        if self.state in {"stopped", "stopping", "destroyed", "suspended"}:
            return
        self._stop_requested = True
        self.event("stop", "stopping", "user")
        self._set("stopping" if self._alive() else "stopped")
        if self.process is not None:
            self.signal(number)
        self._killer = asyncio.create_task(self._kill_later(timeout))  # kept: the loop holds weak references

    async def restart(self, number: int = signal.SIGINT, timeout: float = STOP_TIMEOUT) -> None:
        """Stop the Fly machine, then start it with the same version.

        It starts with the same secrets, unless the switch ``restart_takes_new_secrets`` is on. If it is just starting,
        for example after a crash, wait for that first.
        """
        async with self._turn:
            if self.state == "starting":
                await self.wait(PERSISTENT, timeout)
            if self.state not in {"started", "stopped"}:
                raise Refusal(412, f"failed_precondition: unable to restart machine from current state: '{self.state}'")
            self.event("restart", "restarting", "user")
            await self._end(number, timeout)
            self._take_secrets_if_switched()
            self._begin("user")

    async def update(self, config: Json, image_ref: Json, *, launch: bool = True) -> None:
        """Make a new version of the Fly machine, with a new instance id and configuration.

        The new version takes the app's current secrets.
        """
        async with self._turn:
            if self.state == "destroyed":
                raise Refusal(412, "failed_precondition: machine has been destroyed")
            self._set("replacing")
            await self._end(signal.SIGINT, STOP_TIMEOUT)
            self.config, self.image_ref = config, image_ref
            self.instance_id, self.version = ulid(), self.version + 1
            self._secrets = self.app.values()
            self.event("update", "replaced", "user")
            if launch:
                self._begin("user")
            else:
                self._set("stopped")

    async def destroy(self, *, force: bool) -> None:
        """Destroy the Fly machine. If the machine runs and ``force`` is False, raise a 412 `Refusal`."""
        async with self._turn:
            if self.state not in {"stopped", "suspended", "failed", "created"} and not force:
                raise Refusal(412, "failed_precondition: unable to destroy machine, not currently stopped")
            self._set("destroying")
            await self._end(signal.SIGKILL, STOP_TIMEOUT)
            self._destroyed("user")

    def signal(self, number: int) -> None:
        """Send the signal ``number`` to the Fly machine's process.

        Raise a 412 `Refusal` if the machine has no process.
        """
        if self.process is None:
            raise Refusal(412, f"failed_precondition: machine not running, state is '{self.state}'")
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def execute(self, command: list[str], stdin: str, timeout: float) -> Json:
        """Run ``command`` in the environment of the Fly machine. Return the command's output and exit code."""
        if self.state != "started":
            raise Refusal(412, f"failed_precondition: machine not running, state is '{self.state}'")
        pipe = asyncio.subprocess.PIPE
        environment = {"PATH": os.defpath, **self.environment()}
        try:
            child = await asyncio.create_subprocess_exec(
                *command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as problem:
            raise Refusal(400, f"failed to exec command: {problem.strerror}: {command[0]}") from problem
        try:
            out, err = await asyncio.wait_for(child.communicate(stdin.encode()), timeout)
        except TimeoutError:
            child.kill()
            await child.wait()
            raise Refusal(408, "deadline_exceeded: command did not finish in time") from None
        code, said = child.returncode or 0, {"stdout": out.decode(errors="replace")}
        return {"exit_code": max(code, 0), "exit_signal": max(-code, 0), "stderr": err.decode(errors="replace")} | said

    # -- its life

    def _alive(self) -> bool:
        return self._life is not None and not self._life.done()

    def _set(self, state: str) -> None:
        self.state, self.updated_at = state, timestamp()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _take_secrets_if_switched(self) -> None:
        if self.fly.restart_takes_new_secrets:
            self._secrets = self.app.values()

    def _begin(self, source: str) -> None:
        self._stop_requested = False
        self._set("starting")
        self._life = asyncio.create_task(self._live(source), name=f"machine {self.id}")

    async def _end(self, number: int, timeout: float) -> None:
        """End the Fly machine's process, if there is one, and prevent a restart."""
        if self._life is None or self._life.done():
            return
        self._stop_requested = True
        if self.process is not None:
            self.signal(number)
        await self._kill_later(timeout)
        await asyncio.wait({self._life})

    async def _kill_later(self, timeout: float) -> None:
        life = self._life
        if life is not None:
            await asyncio.wait({life}, timeout=timeout)
            if not life.done() and self.process is not None:
                self.signal(signal.SIGKILL)

    async def _live(self, source: str) -> None:
        """Run the Fly machine's process, and restart it as often as the restart policy allows."""
        crashes: deque[float] = deque()
        while True:
            try:
                code = await self._run_once(source)
            except (OSError, Refusal) as problem:
                self.log("runner", f"machine failed to launch: {problem}")
                self._set("failed")
                return
            if self._stop_requested or not self._may_restart(code, crashes):
                break
            source = "flyd"
            # each crash in a row is waited for longer, so that the policy's tries are not over at once
            await asyncio.sleep(self.fly.restart_delay * min(2 ** (len(crashes) - 1), SLOWEST))
            if self._stop_requested:  # asked while it was down
                break
            self._set("starting")
        if self.state in {"replacing", "destroying"}:
            return
        if self.config.get("auto_destroy") and not self._stop_requested:
            self._destroyed("flyd")
        else:
            self._set("stopped")

    async def _run_once(self, source: str) -> int:
        read, write = os.pipe()
        try:
            self.process = await self.fly.launch(self.environment(), write)
        finally:
            os.close(write)
        output = asyncio.create_task(self._collect(read))
        self.event("start", "started", source)
        if self._stop_requested:  # asked while it was starting
            self.signal(signal.SIGKILL)
        else:
            self._set("started")
        code = await self.process.wait()
        self.process = None
        # what it left behind may hold the pipe open: do not wait for that
        _, pending = await asyncio.wait({output}, timeout=1)
        for task in pending:
            task.cancel()
        self._exited(code)
        return code

    async def _collect(self, descriptor: int) -> None:
        """Copy the process's output into the machine's log, line by line, until the process ends."""
        reader = asyncio.StreamReader(limit=1 << 20)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            while line := await reader.readline():
                self.log("app", line.decode(errors="replace").rstrip("\n"))
        finally:
            transport.close()

    def _exited(self, code: int) -> None:
        how = f"with signal (with signal '{-code}')" if code < 0 else f"normally with code: {code}"
        self.log("runner", f" INFO Main child exited {how}")
        shown = max(code, 0)
        exit_event = {"exit_code": shown, "guest_exit_code": shown, "signal": -code if code < 0 else -1,
                      "oom_killed": False, "requested_stop": self._stop_requested,
                      "exited_at": timestamp()}  # fmt: skip
        self.event("exit", "stopped", "flyd", {"exit_event": exit_event})

    def _may_restart(self, code: int, crashes: deque[float]) -> bool:
        """Return whether the restart policy allows another start. The default policy allows ten in 5 minutes, after
        failures only.
        """
        policy = self.config.get("restart") or {}
        kind = policy.get("policy", "on-failure")
        if kind == "no" or (kind == "on-failure" and code == 0):
            return False
        now = time.monotonic()
        while crashes and crashes[0] < now - WINDOW:
            crashes.popleft()
        limit = int(policy.get("max_retries", RESTARTS))
        if kind == "on-failure" and len(crashes) >= limit:
            self.log("runner", f"machine has reached its max restart count of {limit}")
            return False
        crashes.append(now)
        return True

    def _destroyed(self, source: str) -> None:
        self.event("destroy", "destroyed", source)
        self._set("destroyed")
