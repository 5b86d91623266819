"""Start rehearsals, find running ones, and end them.

A rehearsal is taken down even if the command that asked for the rehearsal is killed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.rehearsal import named_faults, platform_repository, states
from runbook_lib.rehearsal.world import folders, processes
from runbook_lib.rehearsal.world.names_and_secrets import Names, made_up_secrets

CHECKOUT = Path(__file__).resolve().parents[2]  # whose rehearsals these are
START = 30.0  # seconds a rehearsal may take to come up on a machine that is busy with other things
STOP = 10.0  # seconds it may take to go down before it is killed

Platform = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Running:
    """A rehearsal that is up, with the base address of each service and the operator's environment variables."""

    folder: Path
    addresses: dict[str, str]
    environment: dict[str, str]


@contextmanager
def rehearse(*, state: str = "clean", faults: Sequence[str] = (), tick: float = 1.0) -> Iterator[Running]:
    """Run a rehearsal, a platform of stand-ins on loopback, while the block runs.

    ``state`` is where the rehearsal starts, ``faults`` are in force from then on, ``tick`` is in seconds. Raise
    `ConfigError` for an unknown state or fault, `ServiceError` with the end of the platform's log if the platform does
    not come up.
    """
    sweep()
    with _terminable():
        folder, platform = _launch(state, faults, tick, keep=False)
        try:
            yield _await(folder)
        finally:
            _end(folder, platform)


def keep(*, state: str = "clean", faults: Sequence[str] = (), tick: float = 1.0) -> Running:
    """Start a rehearsal that outlives this command. It runs until `stop` ends it."""
    sweep()
    folder, platform = _launch(state, faults, tick, keep=True)
    platform.wait()  # it has left a process of its own behind
    try:
        return _await(folder)
    except BaseException:
        _remove(folder)
        raise


def begin(*, state: str = "clean") -> Running:
    """Start a rehearsal that ends with this process.

    Callers that cannot use a ``with``, such as a kernel, use this instead of `rehearse`.
    """
    sweep()
    folder, platform = _launch(state, (), 1.0, keep=False)
    atexit.register(_end, folder, platform)
    return _await(folder)


def attach(folder: Path) -> Running:
    """Return the rehearsal that runs in a folder. Raise `ConfigError` if no rehearsal runs there."""
    addresses = folders.read_json(folder / "addresses.json")
    environment = folders.read_json(folder / "environment.json")
    if addresses is None or environment is None or not (folder / "ready").exists() or not folders.alive(folder):
        raise ConfigError(f"no rehearsal runs in {folder}: start one with ./runbook rehearse --keep")
    return Running(folder, addresses, environment)


def find(*, kept: bool = False, everywhere: bool = False) -> list[Running]:
    """Return this checkout's running rehearsals, oldest first.

    With ``everywhere``, return those of all of this user's checkouts. With ``kept``, return only those that `keep`
    brought up.
    """
    running = []
    for folder in _all(folders.root()):
        options = folders.read_json(folder / "rehearsal.json") or {}
        ours = everywhere or options.get("checkout") == str(CHECKOUT)
        with suppress(ConfigError):
            if ours and (options.get("keep") or not kept):
                running.append(attach(folder))
    return running


def sweep() -> list[Path]:
    """End the processes that dead rehearsals left behind, then remove the folders of these rehearsals.

    Return the removed folders.
    """
    with folders.undisturbed() as above:
        return [folder for folder in _all(above) if not folders.alive(folder) and _remove(folder)]


def stop(folder: Path) -> None:
    """End a rehearsal. Return when its processes and its folder are gone."""
    attach(folder)
    platform = [entry for entry in processes.recorded(folder) if entry["role"] == "platform"]
    processes.end(platform, grace=STOP)
    _remove(folder)


def _launch(state: str, faults: Sequence[str], tick: float, *, keep: bool) -> tuple[Path, Platform]:
    # a name that is misspelt is told before anything is started
    states.state(state)
    for name in faults:
        named_faults.fault(name)
    folder, lock = folders.create()
    try:
        folders.write_json(
            folder / "rehearsal.json",
            {
                **{"state": state, "faults": list(faults), "tick": tick, "lock": lock, "keep": keep},
                "checkout": str(CHECKOUT),
            },
        )
        environment = made_up_secrets(Names()) | {"RUNBOOK_REHEARSAL": str(folder)}
        folders.write_json(folder / "environment.json", environment)
        platform_repository.write(folder)
        return folder, _spawn(folder, lock, subprocess.DEVNULL if keep else subprocess.PIPE)
    finally:
        os.close(lock)  # the platform process holds its own copy: the lock lives as long as it does


def _spawn(folder: Path, lock: int, stdin: int) -> Platform:
    """Start the platform process of a rehearsal.

    Its standard input is a pipe that closes when this process ends, even if killed, and so tells the platform to end.
    """
    with (folder / "logs" / "platform.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "runbook_lib.rehearsal", str(folder)],
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,  # a Ctrl-C in the terminal is ours to act on
        )


def _await(folder: Path) -> Running:
    """Wait until the platform has written the file ``ready``, then return the rehearsal."""
    deadline = time.monotonic() + START
    while not (folder / "ready").exists():
        if not folders.alive(folder):
            _complain(folder, "the rehearsal ended while starting")
        if time.monotonic() > deadline:
            _complain(folder, f"the rehearsal did not come up within {START:.0f} s")
        time.sleep(0.01)
    return attach(folder)


def _complain(folder: Path, message: str) -> NoReturn:
    """Raise `ServiceError` with ``message`` and the last lines of the platform's log."""
    try:
        log = (folder / "logs" / "platform.log").read_text(errors="replace").strip()
    except OSError:
        log = "(its folder is gone)"
    raise ServiceError(f"{message}; the end of its log:\n{log[-2000:]}")


def _end(folder: Path, platform: Platform) -> None:
    """End the platform process, wait for its end, and remove what the rehearsal left."""
    if platform.stdin:
        platform.stdin.close()
    platform.send_signal(signal.SIGTERM)
    try:
        platform.wait(STOP)
    except subprocess.TimeoutExpired:
        platform.kill()
        platform.wait()
    _remove(folder)


def _remove(folder: Path) -> bool:
    """End the recorded processes of a dead rehearsal, then remove its folder. Return whether the folder is gone."""
    processes.end(processes.recorded(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _all(above: Path) -> list[Path]:
    """Return the folders of all rehearsals below ``above``, oldest first."""
    return sorted((path for path in above.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception while the block runs, so that the rehearsal is taken down before the process
    ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # whoever set a handler decides what it means
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
