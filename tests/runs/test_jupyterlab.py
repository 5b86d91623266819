"""JupyterLab for one folder: on loopback, behind a token, and gone with its command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nbformat
import pytest
from nbformat.v4 import new_notebook

from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.runs import jupyterlab
from tests.core_fixtures import eventually

DIES = """
import os, sys
from pathlib import Path
from runbook_lib.runs import jupyterlab
with jupyterlab.serving(Path(sys.argv[1]), dict(os.environ)) as served:
    print(served.process.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_it_serves_the_folder_to_whoever_has_the_token_and_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "record"
    folder.mkdir()
    nbformat.write(new_notebook(), folder / "notebook.ipynb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with jupyterlab.serving(folder, dict(os.environ)) as served:
        assert urlsplit(served.address).hostname == "127.0.0.1"
        assert httpx.get(served.url("notebook.ipynb")).status_code == 200
        contents = f"{served.address}api/contents"
        assert httpx.get(contents).status_code == 403
        listed = httpx.get(contents, headers={"Authorization": f"token {served.token}"}).json()
        assert [one["name"] for one in listed["content"]] == ["notebook.ipynb"]
        page = Path(urlsplit(served.page("notebook.ipynb")).path)
        assert served.token in page.read_text() and page.stat().st_mode & 0o077 == 0
        assert page.parent.stat().st_mode & 0o077 == 0 and served.token not in page.as_uri()
        command = subprocess.run(["ps", "-o", "args=", "-p", str(served.process.pid)], capture_output=True, check=True)
        assert served.token.encode() not in command.stdout
    assert served.process.returncode is not None
    assert [path.name for path in folder.iterdir()] == ["notebook.ipynb"], "no checkpoints"
    at_home = {path.name for path in (tmp_path / "home").glob("*")}
    assert not {".jupyter", ".ipython", ".local"} & at_home, "what the operator has set up is neither read nor changed"


def test_a_secret_is_in_the_environment_of_the_kernel_and_of_no_other_process(tmp_path):
    """The server, and whatever helpers its extensions start, have no use for it."""
    tell = "import os; print([os.environ.get(name) for name in ('SECRET', 'PLAIN')])"
    environment = {**os.environ, "SECRET": "only-for-kernels-01", "PLAIN": "for-all"}
    with jupyterlab.serving(tmp_path, environment, ["SECRET", "UNSET"]) as served:
        headers = {"Authorization": f"token {served.token}"}
        kernels = f"{served.address}api/kernels"
        kernel = httpx.post(kernels, headers=headers, json={"name": "python3"}, timeout=60).json()["id"]
        assert said(served, kernel, tell) == "['only-for-kernels-01', 'for-all']\n"
        assert httpx.post(f"{kernels}/{kernel}/restart", headers=headers, timeout=60).status_code == 200
        assert said(served, kernel, tell) == "['only-for-kernels-01', 'for-all']\n"
        assert b"only-for-kernels" not in Path(f"/proc/{served.process.pid}/environ").read_bytes()
        assert b"PLAIN=for-all" in Path(f"/proc/{served.process.pid}/environ").read_bytes()


def said(served, kernel, code):
    """What a kernel of the server prints; asked as a browser asks."""
    from jupyter_client import BlockingKernelClient

    [connection] = (served.folder / "runtime").glob(f"kernel-{kernel}.json")
    client = BlockingKernelClient()
    client.load_connection_file(str(connection))
    client.hb_channel.time_to_dead = 10.0  # on a busy machine a kernel may be silent for more than the usual second
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        heard = []
        client.execute_interactive(code, output_hook=heard.append, timeout=60)
        return "".join(m["content"]["text"] for m in heard if m["msg_type"] == "stream")
    finally:
        client.stop_channels()


@pytest.mark.parametrize("variable", ["JUPYTER_CONFIG_PATH", "JUPYTER_CONFIG_DIR"])
def test_a_setting_that_empties_the_token_is_not_read(tmp_path, variable):
    (tmp_path / "jupyter_server_config.json").write_text('{"IdentityProvider": {"token": ""}}')
    with jupyterlab.serving(tmp_path, {**os.environ, variable: str(tmp_path)}) as served:
        assert httpx.get(f"{served.address}api/contents").status_code == 403


def test_a_server_that_asks_for_no_token_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jupyterlab, "OPTIONS", (*jupyterlab.OPTIONS, "--IdentityProvider.token="))
    with (
        pytest.raises(ConfigError, match="asks for no token here"),
        jupyterlab.serving(tmp_path, dict(os.environ)),
    ):
        pass


def test_it_does_not_outlive_a_command_that_is_killed(tmp_path, processes):
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    pid = int(processes[-1].stdout.readline())
    eventually(lambda: not alive(pid), "the server is gone")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_one_that_does_not_come_up_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(jupyterlab, "OPTIONS", ("--ServerApp.nothing=here", "--port=-1"))
    with (
        pytest.raises(ServiceError, match="JupyterLab did not come up; the end of its log"),
        jupyterlab.serving(tmp_path / "gone", dict(os.environ)),
    ):
        pass
