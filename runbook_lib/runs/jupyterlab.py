"""Serve one folder with JupyterLab while a block runs.

The server listens on loopback only, asks for a token, and uses none of the operator's own Jupyter settings.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import nbformat
from nbformat.sign import NotebookNotary

from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.forks import die_with

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

START = 60.0  # seconds it may take to come up on a busy machine
STOP = 15.0  # seconds it may take to end its kernels before it is killed
OPTIONS = (
    *("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--ServerApp.port_retries=0"),
    *("--ServerApp.terminals_enabled=False", "--KernelManager.transport_encryption=required"),
    "--ServerApp.contents_manager_class=runbook_lib.runs.atomic_saves.WholeFiles",
    "--ServerApp.kernel_manager_class=runbook_lib.runs.trusted_kernels.TrustedKernels",
    *("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly"),
)
REDIRECT = '<!doctype html><meta http-equiv="refresh" content="0;url={}">'
# What differs from JupyterLab's own settings: saves often, for a tab may close; asks nobody for news.
SETTINGS = {
    "docmanager-extension/plugin": {"autosaveInterval": 3},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {
        "windowingMode": "none",  # every cell is there: found by Ctrl-F, and printed
        "codeCellConfig": {"lineWrap": True},  # and every word of it is in sight
    },
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab server that already answers requests."""

    process: subprocess.Popen[bytes]
    address: str  # http://127.0.0.1:port/
    token: str

    folder: Path  # of its own, for us alone

    def url(self, path: str) -> str:
        """Return the JupyterLab address that opens one file of the served folder, without the file browser."""
        return f"{self.address}doc/tree/{path}?token={self.token}"

    def page(self, path: str) -> str:
        """Return the address of a local page that redirects a browser to JupyterLab's `url`.

        Only the operator can read the page, while every user of the machine can read a browser's arguments and so the
        token.
        """
        page = self.folder / "open.html"
        page.touch(mode=0o600)
        page.write_text(REDIRECT.format(escape(self.url(path))), encoding="utf-8")
        return page.as_uri()


@contextmanager
def serving(root: Path, environment: Mapping[str, str], trusted: Collection[str] = ()) -> Iterator[Lab]:
    """Serve the files of ``root`` with a JupyterLab whose kernels get ``environment``, while the block runs.

    The variables named in ``trusted`` go to the kernels alone, and into the environment of no other process of Jupyter.
    At the end of the block the server and its kernels are ended. Raise `ServiceError` with the end of the server's log
    if the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="launch-runbook-lab-") as place:
        folder, token = Path(place), secrets.token_urlsafe(24)
        _trust(root, folder / "data")
        public = {name: value for name, value in environment.items() if name not in trusted}
        process = _start(root, folder, {**public, **_private(folder), "JUPYTER_TOKEN": token})
        _hand_over(process, {name: environment[name] for name in trusted if name in environment})
        try:
            address = _address(process, folder)
            _refuse_an_open_door(process, address)
            yield Lab(process, address, token, folder)
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _refuse_an_open_door(process: subprocess.Popen[bytes], address: str) -> None:
    """Raise `ConfigError` if JupyterLab answers a request without the token, as some Jupyter settings make it do."""
    direct, deadline = build_opener(ProxyHandler({})), time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            direct.open(f"{address}api/contents", timeout=START).close()
        except HTTPError:
            return  # 403, as it should be
        except OSError:
            time.sleep(0.02)  # it has written its address down and does not listen yet
        else:
            raise ConfigError(
                "JupyterLab asks for no token here: a Jupyter setting opens it to every user of this machine"
            )


def _private(folder: Path) -> dict[str, str]:
    """Return variables that make Jupyter and IPython read their settings from ``folder``.

    The operator's own settings are not read.
    """
    names = {f"JUPYTER_{name}_DIR": name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    names["JUPYTER_CONFIG_PATH"] = "config"
    names |= {f"JUPYTERLAB_{name}_DIR": name.lower() for name in ("SETTINGS", "WORKSPACES")} | {"IPYTHONDIR": "ipython"}
    for name, settings in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")
    # Not those of the machine or of the virtual environment either: one that empties the token would win over ours.
    return {**{variable: str(folder / place) for variable, place in names.items()}, "JUPYTER_NO_CONFIG": "1"}


def _trust(root: Path, data: Path) -> None:
    """Sign the notebooks in ``root``, because JupyterLab drops the styles of outputs in an unsigned notebook."""
    data.mkdir()
    notary = NotebookNotary(data_dir=str(data))  # type: ignore[no-untyped-call]
    for path in root.glob("*.ipynb"):
        notary.sign(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
    notary.store.close()


def _start(root: Path, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    places = (f"--ServerApp.root_dir={root}", f"--FileCheckpoints.checkpoint_dir={folder / 'checkpoints'}")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "runbook_lib.runs.jupyterlab", str(os.getpid()), *OPTIONS, *places],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the command's to act on
        )


def _hand_over(process: subprocess.Popen[bytes], variables: Mapping[str, str]) -> None:
    """Pass variables to the JupyterLab server over its standard input, which no other process can read."""
    if process.stdin is None:
        raise AssertionError("the server was started without a pipe")
    with suppress(BrokenPipeError):  # the server has ended; `_address` says why
        process.stdin.write(json.dumps(dict(variables)).encode())
        process.stdin.close()


def _address(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait until the JupyterLab server has written its address to a file. Return the address."""
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        for path in (folder / "runtime").glob("jpserver-*.json"):
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["url"])
            except ValueError:
                pass  # half written
        time.sleep(0.02)
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    raise ServiceError(f"JupyterLab did not come up; the end of its log:\n{log[-2000:].strip()}")


def _main(parent: str, *options: str) -> NoReturn:
    from jupyterlab.labapp import main  # noqa: PLC0415 - slow, and only this process needs it

    from runbook_lib.runs import trusted_kernels  # noqa: PLC0415

    die_with(int(parent))
    trusted_kernels.variables.update(json.load(sys.stdin))
    sys.exit(main(options))


if __name__ == "__main__":
    _main(*sys.argv[1:])
