"""Make JupyterLab save each file whole, so that a reader finds either the old file or the new one.

JupyterLab's own manager empties a file before it writes it, every few seconds, while kernels and commands read it.
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
    """A contents manager with which JupyterLab saves each file as a whole."""

    @contextmanager
    def atomic_writing(
        self, os_path: str, text: bool = True, encoding: str = "utf-8", **_: Any
    ) -> Iterator[io.StringIO | io.BytesIO]:
        """Yield a buffer. When the block ends, write the buffer's content to the file in one step.

        Raise `RecordError` if that fails.
        """
        if text:
            words = io.StringIO()
            yield words
            write_whole(Path(os_path), words.getvalue().encode(encoding))
        else:
            data = io.BytesIO()
            yield data
            write_whole(Path(os_path), data.getvalue())
