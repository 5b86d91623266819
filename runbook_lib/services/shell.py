"""Run shell lines to their end or their time limit. Leave no process running that a line started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any

from runbook_lib.commands.command import Reply
from runbook_lib.errors import ServiceError
from runbook_lib.services.plain_rows import LAST, rows_of
from runbook_lib.services.secret_fields import drop_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook_lib.commands.command import Shell
    from runbook_lib.settings.redaction import Redactor


OUTPUT = 20_000  # characters of a command's output that are kept


def run(command: Shell, limit: float, redact: Redactor, environment: Mapping[str, str]) -> Reply:
    """Run a shell line in its own process group. Kill the group when the line ends or its time is over.

    ``limit`` is in seconds. The line sees the variables of ``environment`` and no others. Output goes to files, because
    a pipe would stay open as long as any process that the line left behind. Raise `ServiceError` if the line cannot be
    started, or does not end in time.
    """
    with _file() as output, _file() as errors:
        try:
            process = subprocess.Popen(
                ["sh", "-euc", command.line],
                cwd=command.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ServiceError(f"shell: cannot run in {command.folder}: {error.strerror}") from None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            last = _written(errors, redact).strip() or _written(output, redact).strip() or "no output"
            words = f"shell: {command.line.splitlines()[0]!r}: no end within {limit:g} s: {last[-LAST:]}"
            raise ServiceError(words, sent=True) from None
        finally:
            _end_group(process.pid)
            process.wait()
        return _shell_reply(code, _written(output, redact), _written(errors, redact), redact)


def _file() -> IO[bytes]:
    """Open a temporary file for a shell line's output.

    Raise `ServiceError`, before the line is run, if this process may open no more files.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise ServiceError(f"shell: cannot start: {error.strerror}") from error


def _shell_reply(code: int, output: str, errors: str, redact: Redactor) -> Reply:
    parsed: Any = None
    with contextlib.suppress(ValueError):
        parsed = json.loads(output)
    structured = isinstance(parsed, dict | list)
    # A field that is dropped from the rows must not come in as text either.
    kept = ((drop_text(parsed, redact.shown) if structured else output) + errors)[-OUTPUT:]
    if code == 0:
        return Reply(rows_of(parsed, None) if structured else (), code, text=kept)
    last = (errors.strip() or kept.strip() or "no output")[-LAST:]
    return Reply((), code, f"exit {code}: {last}", kept)


def _written(file: IO[bytes], redact: Redactor) -> str:
    file.seek(0)
    return redact.text(file.read().decode(errors="replace"))


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
