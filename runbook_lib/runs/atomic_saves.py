"""Save JupyterLab's files whole: whoever reads a notebook, or kills the server, finds the old one or the new one.

Its own manager empties the file first and then writes it, every few seconds, while kernels and commands read it.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from runbook_lib.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator


class WholeFiles(AsyncLargeFileManager):
    """Replaces each of JupyterLab's files as a whole."""

    @contextmanager
    def atomic_writing(
        self, os_path: str, text: bool = True, encoding: str = "utf-8", **_: Any
    ) -> Iterator[io.StringIO | io.BytesIO]:
        """Take what is to be in a file, and put it there at the end. Raise `RecordError` if it cannot be written."""
        if text:
            words = io.StringIO()
            yield words
            write_whole(Path(os_path), words.getvalue().encode(encoding))
        else:
            data = io.BytesIO()
            yield data
            write_whole(Path(os_path), data.getvalue())
