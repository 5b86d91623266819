"""A project with the bootstrap of this one and a lock of one tiny wheel, so that a first use takes seconds, offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests import small_wheel

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
TOOLS = ("sh", "cksum", "readlink", "ls", "rm", "mkdir", "mv", "env")  # all that the bootstrap may call besides Python

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1.0"
"""
BACKEND = """\
from pathlib import Path
from small_wheel import write

def build_editable(folder, config_settings=None, metadata_directory=None):
    return write(Path(folder), "small", {"small.pth": str(Path.cwd())}).name
"""
CLI = """\
import json, os, sys
import pebble, runbook_lib
told = {"arguments": sys.argv[1:], "pebble": pebble.VERSION, "library": runbook_lib.__file__}
print(json.dumps({**told, "environment": sys.prefix, "folder": os.getcwd()}))
sys.exit(int(os.environ.get("EXIT", "0")))
"""


@dataclass
class SmallProject:
    """Where it is, the wheels it can install, and the programs on its PATH."""

    folder: Path
    outside: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, parent: Path) -> SmallProject:
        project = cls(parent / "a project", parent / "outside")
        for path in (project.folder / "runbook_lib", project.wheels, project.bin, project.outside / "home"):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "runbook", project.folder)
        (project.folder / "pyproject.toml").write_text(PYPROJECT)
        (project.folder / "backend.py").write_text(BACKEND)
        shutil.copy(ROOT / "tests" / "small_wheel.py", project.folder)
        (project.folder / "runbook_lib" / "__init__.py").write_text("")
        (folder := project.folder / "runbook_lib" / "cli").mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "__main__.py").write_text(CLI)
        shutil.copy(ROOT / "runbook_lib" / "cli" / "first_use.py", folder)
        (project.folder / "uv.toml").write_text(f'no-index = true\nfind-links = ["{project.wheels}"]\n')
        for tool in TOOLS:
            (project.bin / tool).symlink_to(str(shutil.which(tool)))
        project.lock("1.0")
        project.put_on_path("python3", f'exec "{PYTHON}" "$@"')
        return project

    @property
    def wheels(self) -> Path:
        return self.outside / "wheels"

    @property
    def bin(self) -> Path:
        return self.outside / "bin"

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    def lock(self, version: str, digest: str | None = None) -> None:
        """Pin the tiny package to ``version``, with its own hash or a given one."""
        wheel = small_wheel.write(self.wheels, "pebble", {"pebble.py": f"VERSION = {version!r}\n"}, version)
        digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.folder / "requirements.lock").write_text(f"pebble=={version} \\\n    --hash=sha256:{digest}\n")

    def put_on_path(self, name: str, line: str) -> None:
        """A program of one shell line."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def start(self, *arguments: str, script: Path | None = None, **options: object) -> subprocess.Popen[str]:
        """Start the bootstrap in a session of its own, with a fresh HOME and no package index."""
        environment = {
            "HOME": str(self.outside / "home"),
            "PATH": str(self.bin),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            **self.environment,
        }
        return subprocess.Popen(
            [str(script or self.folder / "runbook"), *arguments],
            env=environment,
            cwd=str(options.get("cwd", self.outside)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, script: Path | None = None, **options: object) -> Answer:
        """Run it to its end, at most five minutes."""
        process = self.start(*arguments, script=script, **options)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return Answer(process.returncode, out, err)


@dataclass(frozen=True)
class Answer:
    """How it ended, and what it said on either stream."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, object]:
        """What the command itself printed."""
        assert self.out, self.err
        found: dict[str, object] = json.loads(self.out)
        return found
