"""Run the platform process of a rehearsal: ``python -m runbook_lib.rehearsal FOLDER``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from runbook_lib.forks import die_with
from runbook_lib.rehearsal.world import folders, processes


def main() -> None:
    """Run the platform process of one rehearsal until the supervisor ends the process.

    The supervisor is the process that started the platform process. A rehearsal that was ready has its folder removed
    at the end.
    """
    folder = Path(sys.argv[1])
    options: dict[str, Any] = folders.read_json(folder / "rehearsal.json") or {}
    if options["keep"] and os.fork():
        os._exit(0)  # whoever started us is free of us; the lock and the folder pass to the child
    os.set_inheritable(options["lock"], False)  # the lock is this process's life, not its children's
    processes.record(folder, "platform", os.getpid())
    try:
        asyncio.run(_live(folder, options))
    finally:
        if (folder / "ready").exists():  # else our supervisor reads the log, and removes what is left
            shutil.rmtree(folder, ignore_errors=True)


async def _live(folder: Path, options: dict[str, Any]) -> None:
    """Start the database. Then import and serve the stand-ins until the platform process must end.

    Starting and importing do not overlap: while one thread imports, a thread that copies a thousand files waits for the
    interpreter's lock at each file, and both together take twice as long as one after the other.
    """
    ended = asyncio.Event()
    _watch(ended, keep=options["keep"])
    environment = folders.read_json(folder / "environment.json") or {}
    database = _database(folder, environment)
    try:
        from runbook_lib.rehearsal.assembly import Assembly  # noqa: PLC0415  slow, and the server boots meanwhile

        await Assembly(folder, environment, options, database).run(ended)
    finally:
        database.stop()


def _database(folder: Path, environment: dict[str, str]) -> Any:
    from runbook_lib.rehearsal.postgres.database import Database  # noqa: PLC0415  slow

    return Database.start(
        folder,
        password=environment["SUPABASE_DB_PASSWORD"],
        reader_password=environment["SUPABASE_READER_PASSWORD"],
    )


def _watch(ended: asyncio.Event, *, keep: bool) -> None:
    """Set ``ended`` when the platform process must end.

    The process ends on a signal. Without ``keep`` it also ends when the supervisor, which started it, closes the pipe
    or dies.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if keep:
        return
    parent = os.getppid()
    # The pipe stays open when a fork of the supervisor holds it; the death signal also comes when only the
    # thread that started us ends. Together they miss nothing and are wrong about nothing.
    loop.add_signal_handler(signal.SIGUSR1, lambda: None if os.getppid() == parent else ended.set())
    die_with(parent, signal.SIGUSR1)
    threading.Thread(target=_wait_for_pipe, args=(loop, ended), daemon=True).start()


def _wait_for_pipe(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        while os.read(0, 1):
            pass
        loop.call_soon_threadsafe(ended.set)


if __name__ == "__main__":
    main()
