"""Make and find the folders of rehearsals.

Each user has one root folder, and each rehearsal has a folder in the root. A rehearsal is alive as long as a process
holds the lock of its folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from runbook_lib.errors import ConfigError


def root() -> Path:
    """Return the folder that holds all of this user's rehearsals. Raise `ConfigError` if it belongs to another user."""
    path = _above() / f"launch-runbook-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    # Anybody may make a folder of this name in /tmp before us, or a link to one of theirs.
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to another user: remove it, or set TMPDIR to a folder of your own")
    path.chmod(0o700)
    return path


def _above() -> Path:
    """Return the folder for temporary files. If programs may not run there (noexec), return another folder."""
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home()]  # noqa: S108 - our folder in it is our own
    for place in places:
        with suppress(OSError):
            if not os.statvfs(place).f_flag & os.ST_NOEXEC and os.access(place, os.W_OK):
                return place
    tried = ", ".join(map(str, places))
    raise ConfigError(f"programs cannot be run in {tried}: set TMPDIR to a folder in which they can")


@contextmanager
def undisturbed() -> Iterator[Path]:
    """Yield the folder of all rehearsals while holding its lock.

    So no process removes dead rehearsals while another process makes a rehearsal.
    """
    folder = root()
    with (folder / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield folder


def create() -> tuple[Path, int]:
    """Make the folder of a new rehearsal. Return it with the file descriptor that holds its lock."""
    with undisturbed() as above:
        folder = Path(tempfile.mkdtemp(prefix=f"{datetime.now(UTC):%H%M%S}-", dir=above))
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock


def alive(folder: Path) -> bool:
    """Return whether the rehearsal in this folder still runs.

    A rehearsal runs as long as a process holds the lock of its folder.
    """
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def read_json(path: Path) -> dict[str, str] | None:
    """Read a JSON file of names and texts in a rehearsal's folder. Return None if it is not written yet."""
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON into a rehearsal's folder, replacing the file in one step.

    Only the owner of the file can read it.
    """
    # Readers look at any moment, and two threads may write at once: each has a partial file of its own.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, indent=1)
    partial.replace(path)
