"""Phase 0 passes whatever a shell, a site or an account has set; each run carries several settings that do not meet."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest

from runbook_lib.records import record_folder, verify
from runbook_lib.settings.profiles import ROOT

NOWHERE = "http://127.0.0.1:9"  # a proxy that answers nobody
SURROUNDINGS = {
    "database": {
        **{"PGDATESTYLE": "German", "PGCLIENTENCODING": "LATIN1", "PGOPTIONS": "-c search_path=nowhere"},
        **{"PGHOST": "nowhere.invalid", "PGPORT": "1", "PGSERVICE": "none", "PGSSLMODE": "verify-full"},
        **{"PGSSLROOTCERT": "/nowhere", "PGUSER": "nobody", "PGTZ": "America/Los_Angeles"},
    },
    "python": {
        **{"PYTHONPATH": "{folder}", "PYTHONSTARTUP": "{folder}/click.py", "PYTHONWARNINGS": "error"},
        **{"PYTHONOPTIMIZE": "2", "PIP_TARGET": "{folder}", "MPLBACKEND": "svg", "LC_ALL": "C", "LANG": "C"},
    },
    "network": {
        **{"HTTP_PROXY": NOWHERE, "http_proxy": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE},
        **{"REQUESTS_CA_BUNDLE": certifi.where(), "JUPYTER_CONFIG_PATH": "{folder}"},
    },
    "closed": {},
}
NOBODY = 65534


def narrow() -> None:
    """In a child: what a careful administrator and a script's background job leave to it."""
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1024))


def another_account(folder: Path) -> dict[str, Any]:
    """How a command is run as another account that owns ``folder``; empty where this suite cannot run it so."""
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    looks = ["test", "-r", str(ROOT / "runbook_lib"), "-a", "-x", sys.executable]
    if os.geteuid() != 0 or subprocess.run(looks, **other, check=False).returncode:
        return {}
    os.chown(folder, NOBODY, NOBODY)
    for above in folder.parents:
        if not above.stat().st_mode & stat.S_IXOTH:  # pytest makes its folders for its own account alone
            above.chmod(above.stat().st_mode | stat.S_IXOTH)
    return other


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_phase_0_passes_and_is_sealed(tmp_path, name):
    (tmp_path / "click.py").write_text("raise SystemExit('an old click')")
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "RUNBOOK_RECORDS": str(tmp_path / "records")}
    given = {name: value.format(folder=tmp_path) for name, value in SURROUNDINGS[name].items()}
    command = [sys.executable, "-I", "-m", "runbook_lib.cli", "rehearse", "phase_0"]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **home, **given},
        preexec_fn=narrow if name == "closed" else None,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **(another_account(tmp_path) if name == "closed" else {}),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [record] = record_folder.every(tmp_path / "records")
    assert record.sealed()["outcome"] == "passed" and verify.verify(record.folder) == []
