"""Tiny notebooks made in code, the engine in a process of its own, and waiting for conditions."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from runbook_lib.engine.notebook import prepare
from runbook_lib.engine.outcome import Result
from runbook_lib.engine.run import run as execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60  # seconds until a condition that does not come fails its test; this machine may be busy
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
COMMAND = """
import os, sys
from pathlib import Path
from runbook_lib import errors
from runbook_lib.engine.run import run as execute
options = eval(sys.argv[2])
try:
    result = execute(Path(sys.argv[1]), env=dict(os.environ), cwd=Path(sys.argv[1]).parent, redact=str, **options)
except errors.RunbookError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(result.outcome, result.signal, result.reason, sep="\\n")
"""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition()``."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which nobody reaped yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def obey_permissions() -> None:
    """In a child: have the file system refuse root what it refuses others."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@dataclass
class Folder:
    """A folder with a source notebook and its prepared copy, where the cells run."""

    path: Path
    wait_for = staticmethod(wait_for)
    alive = staticmethod(alive)
    obey_permissions = staticmethod(obey_permissions)
    COMMAND = COMMAND

    @property
    def source(self) -> Path:
        return self.path / "source.ipynb"

    @property
    def copy(self) -> Path:
        return self.path / "copy.ipynb"

    def notebook(self, *sources: str, tags: tuple[str, ...] = ()) -> Path:
        """A source notebook: a heading, a parameters cell ``n = 1``, then ``sources``, the first of them tagged."""
        cells = [new_code_cell(source) for source in sources]
        if tags:
            cells[0].metadata["tags"] = list(tags)
        first = new_code_cell("n = 1", metadata={"tags": ["parameters"]})
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nb = new_notebook(cells=[new_markdown_cell("# Try"), first, *cells], metadata={"kernelspec": kernel})
        nbformat.write(nb, self.source)
        return self.source

    def prepared(self, *sources: str, **options: Any) -> Path:
        """A prepared notebook of ``sources``."""
        return prepare(self.notebook(*sources, **options), self.copy, {}).path

    def run(self, *sources: str, **options: Any) -> Result:
        """Prepare and run ``sources`` here, in this process."""
        given = {"env": dict(os.environ), "cwd": self.path, "redact": str, **options}
        return execute(self.prepared(*sources), **given)

    def command(self, options: str = "{}", **process: Any) -> subprocess.Popen[str]:
        """Run the prepared notebook in a process of its own; ``options`` is Python text of `execute`'s."""
        return self.process([sys.executable, "-c", COMMAND, str(self.copy), options], **process)

    def process(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.path, **options}
        return subprocess.Popen(command, **given)

    def read(self) -> Any:
        return nbformat.read(self.copy, as_version=4)

    def said(self, name: str) -> str:
        """What a cell wrote into a file, once it has."""
        return wait_for(lambda: (self.path / name).exists() and (self.path / name).read_text(), f"{name} written")

    def outcomes(self) -> list[str]:
        """The word of each code cell after the parameters, as the file on disk has it."""
        return [c.metadata.runbook.outcome for c in self.read().cells if c.cell_type == "code"][1:]

    def outputs(self, index: int) -> str:
        """All outputs of a code cell after the parameters, as JSON text."""
        return json.dumps([c for c in self.read().cells if c.cell_type == "code"][index + 1].outputs)

    def leftovers(self) -> list[str]:
        """Names of files that are being written, or were when their writer was killed."""
        return [path.name for path in self.path.iterdir() if path.suffix == ".part"]

    def writing(self) -> bool:
        """Whether something has been written into such a file."""
        try:
            return any((self.path / name).stat().st_size for name in self.leftovers())
        except FileNotFoundError:  # just renamed
            return True


@pytest.fixture(scope="session")
def new_folder() -> type[Folder]:
    """Makes a `Folder` of a path."""
    return Folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    yield Folder(tmp_path)


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Notes a process that must end with the test, whatever becomes of it."""
    processes: list[subprocess.Popen[str]] = []

    def note(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        processes.append(process)
        return process

    yield note
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
