"""Make the virtual environment when the script ``runbook`` is first used. Only the standard library is imported.

The packages are those of requirements.lock, each checked by its hash. They are installed by uv: the uv on the PATH,
else the one that the lock pins. If uv cannot install them, pip does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

# Only settings of pip that say where to find packages are kept: PIP_TARGET, say, would install them elsewhere.
PLACES = {"INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "TRUSTED_HOST", "PROXY", "CACHE_DIR", "CONFIG_FILE"}
CERTIFICATES = {"CERT", "CLIENT_CERT", "DEFAULT_TIMEOUT", "RETRIES"}
UV_KEEPS = {
    "DEFAULT_INDEX",
    "INDEX",
    "INDEX_URL",
    "EXTRA_INDEX_URL",
    "NO_INDEX",
    "FIND_LINKS",
    "CACHE_DIR",
    "CONFIG_FILE",
}
UV_NAMES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
ALL = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", "requirements.lock")
PROJECT = ("--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")
# The imports of the first commands, compiled beforehand so that each of their processes need not compile them.
IMPORTED = (
    "import ipykernel.kernelapp, ipywidgets, pandas, matplotlib.pyplot, papermill, nbclient, rich.live, click",
    "import uvicorn, starlette.applications, psycopg, httpx, websockets, pydantic, eth_account, hyperliquid.exchange",
)
# Files that are templates, and no Python by themselves, fail to compile, which is ignored.
COMPILE = """
import compileall, os, re
os.nice(19)
compileall.compile_dir({!r}, quiet=2, workers=0, rx=re.compile("/(pip|setuptools)/"))
"""
BEGAN = time.monotonic()


def say(words: str) -> None:
    sys.stderr.write(f"runbook: {words}\n")


def stop(words: str) -> NoReturn:
    say(words)
    sys.exit(2)


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Return the ``environment`` for the first use, without variables that change where pip installs to or Python
    imports from.
    """
    kept = {}
    for name, value in environment.items():
        tool, _, setting = name.partition("_")
        if tool == "PIP" and setting not in PLACES | CERTIFICATES:
            continue
        if (tool == "UV" and setting not in UV_KEEPS) or name.startswith("PYTHON"):
            continue
        kept[name] = value
    return kept


class Environment:
    """The virtual environment that the script ``runbook`` makes when it is first used."""

    def __init__(self, base: str, venv: Path, uv: str | None) -> None:
        self.base, self.venv, self.uv = base, venv, uv
        self.python = str(venv / "bin" / "python")
        self.variables = clean(dict(os.environ))

    def make(self) -> None:
        """Make an empty virtual environment on first use.

        If there is no uv, install the uv that requirements.lock pins.
        """
        if self.uv:
            self._run(self.uv, "venv", "--quiet", "--no-project", "--python", self.base, str(self.venv))
            return
        self._run(self.base, "-I", "-m", "venv", str(self.venv))
        if pinned := re.search(
            r"^uv==[^\\\n]*(?:\\\n[^\\\n]*)*", Path("requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
        ):
            lines = self.venv / "uv.lock"
            lines.write_text(pinned[0].rstrip("\\\n") + "\n", encoding="utf-8")
            if self._pip("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(lines)):
                self.uv = str(self.venv / "bin" / "uv")

    def fill(self) -> None:
        """Install requirements.lock on first use. Exit with code 2 if neither uv nor pip can install the packages."""
        if not (self.uv and self._uv(*ALL)) and not self._pip(*ALL):
            stop("requirements.lock cannot be installed, see above: check the network, proxy and index")

    def install_project(self) -> None:
        """Install the project itself on first use, in editable mode.

        Exit with code 2 if neither uv nor pip can install it.
        """
        if not (self.uv and self._uv(*PROJECT)) and not self._pip(*PROJECT):
            stop("the project itself cannot be installed, see above: correct pyproject.toml, and start again")

    def compile(self) -> None:
        """Compile the installed modules on first use.

        Modules of the first commands are compiled at once, by importing them. All others are compiled later on.

        Each process runs Python with -I, which ignores PYTHONDONTWRITEBYTECODE: many containers set that variable, and
        every start would compile the modules anew.
        """
        for process in [self._beside(names) for names in IMPORTED]:
            process.wait()  # a failed import is shown by the command that needs it
        self._beside(COMPILE.format(str(self.venv / "lib")))

    def _beside(self, code: str) -> subprocess.Popen[bytes]:
        quiet, command = subprocess.DEVNULL, [self.python, "-I", "-c", code]
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

    def _uv(self, *arguments: str) -> bool:
        install = (str(self.uv), "pip", "install", "--quiet", "--python", self.python)
        # Any index may provide a file: the lock's hash proves that it is the right one, whoever serves it.
        return self._installed(*install, "--index-strategy", "unsafe-best-match", *arguments)

    def _pip(self, *arguments: str) -> bool:
        if not (self.venv / "bin" / "pip").exists():
            return False  # made by uv
        pip = (self.python, "-I", "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
        return self._installed(*pip, *arguments)

    def _installed(self, *command: str) -> bool:
        return subprocess.run(command, env=self._for_uv(), check=False).returncode == 0

    def _for_uv(self) -> dict[str, str]:
        """Return the variables that tell uv where pip finds packages and which certificate authority it trusts."""
        variables = dict(self.variables)
        variables.setdefault("UV_SYSTEM_CERTS", "1")  # a company's own authority is in the system's store
        for name, value in self._pip_settings().items():
            variables.setdefault(name, value)
        return variables

    def _pip_settings(self) -> dict[str, str]:
        if not (self.venv / "bin" / "pip").exists():
            return {}
        listing = [self.python, "-I", "-m", "pip", "config", "list"]
        settings = subprocess.run(listing, env=self.variables, check=False, capture_output=True, text=True).stdout
        variables = {}
        for line in settings.splitlines():
            key, _, value = line.partition("=")
            if (name := key.rpartition(".")[2]) in UV_NAMES and value:
                variables[UV_NAMES[name]] = " ".join(shlex.split(value)).replace("\\n", " ")
        return variables

    def _run(self, *command: str) -> None:
        if subprocess.run(command, env=self.variables, check=False).returncode:
            stop(f"{shlex.join(command)} failed, see above: correct what it says, and start again")


def main(base: str, venv: str, packages: str) -> None:
    """Make the virtual environment on first use. If ``packages`` is "kept", only install the project again."""
    environment = Environment(base, Path(venv), shutil.which("uv"))
    if packages == "kept":
        environment.install_project()
        return
    environment.make()
    environment.fill()
    say(f"the packages are in place, after {time.monotonic() - BEGAN:.0f} s")
    environment.install_project()
    environment.compile()
    say(f"ready, after {time.monotonic() - BEGAN:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
