"""Write files whole or not at all, and readable only by their owner."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from runbook_lib.errors import RecordError

FOLDER, FILE = 0o700, 0o600  # modes: records and notebooks tell of a platform that holds money


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step. A reader finds either the old bytes or the new ones, even after a crash.

    A new file can be read by its owner only, whatever the umask; an existing file keeps its mode. Raise `RecordError`
    if the file cannot be written; the old file, if there is one, is then untouched.
    """
    path = path.resolve()
    part = _part_of(path)
    try:
        for stale in path.parent.glob(f".{path.name}.*.part"):  # left by a writer that was killed
            stale.unlink(missing_ok=True)
        try:
            _fill(part, data, path.stat().st_mode & 0o777 if path.exists() else FILE)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        reach_the_disk(path.parent)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}") from error


def write_new(path: Path, data: bytes) -> None:
    """Write a new file. Raise `FileExistsError` if it exists."""
    _fill(path, data, FILE)


def is_there(path: Path) -> bool:
    """Return whether there is a file or folder at a path. For a path that the system does not accept, return False."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, say
        return False


def make_folder(path: Path) -> None:
    """Make a folder for files, with its missing parents. Only its owner can open it."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            try:
                folder.mkdir(FOLDER)
            except FileExistsError:
                continue  # another command was quicker
            folder.chmod(FOLDER)  # a umask may have taken the owner's own rights


def reach_the_disk(path: Path) -> None:
    """Flush a written file, or the folder of a renamed file, to the disk, so that the change survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: Path) -> None:
    """Raise `RecordError` if a file cannot be replaced. A run calls this first, so that it does not fail at its end."""
    probe = _part_of(path.resolve())
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}; nothing was run") from error


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _fill(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
