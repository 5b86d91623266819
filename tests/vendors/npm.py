"""Vendors' clients from npm, at the versions that were tried, in a temporary folder that later runs find again."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(tempfile.gettempdir()) / f"runbook-npm-{os.geteuid()}"
PATIENCE = 120  # seconds an installation may take; what it has fetched by then, npm has at hand the next time
OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--engine-strict")
# Where the registry is out of reach the tests are skipped soon.
NO_WAITING = ("--fetch-retries=0", "--fetch-timeout=20000")
# No client tells its vendor that it was run, looks for its next version, or asks the operator's keyring.
SILENT = {
    **dict.fromkeys(("CI", "DO_NOT_TRACK", "NO_UPDATE_NOTIFIER", "VERCEL_TELEMETRY_DISABLED"), "1"),
    **dict.fromkeys(("SUPABASE_NO_KEYRING", "SUPABASE_NO_UPDATE_NOTIFIER", "SUPABASE_TELEMETRY_DISABLED"), "1"),
}


def installed(*packages: str, options: tuple[str, ...] = ()) -> Path:
    """The folder whose ``node_modules`` holds packages (``name@version``).

    The test is skipped where node, npm or npm's registry is not there.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    if FOLDER.stat().st_uid != os.geteuid():
        pytest.skip(f"{FOLDER} is somebody else's")
    folder = FOLDER / hashlib.sha256(" ".join((*packages, *options)).encode()).hexdigest()[:12]
    if not folder.exists():
        _install(folder, packages, options)
    return folder


def _install(folder: Path, packages: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Install beside the folder and rename: what was interrupted is not found, and of two at once one is kept."""
    partial = FOLDER / f"installing-{secrets.token_hex(4)}"
    partial.mkdir()
    command = ["npm", "install", "--prefix", str(partial), *OPTIONS, *NO_WAITING, *options, *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm installs no {', '.join(packages)}: {' '.join(done.stderr.split())[:200]}")
        if not folder.exists():
            partial.rename(folder)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not installed {', '.join(packages)} within {PATIENCE} s")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
