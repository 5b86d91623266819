"""What an auditor waits for: ten thousand records verified by the stand-alone program, and what signatures cost.

`./runbook bench records` calls `rows`.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook_lib.records import verify
from tests.benchmarks.figures import Row

MANY, FEW = 10_000, 1_000
EVENTS = 80  # lines of a ledger: a phase of forty steps
REPLY = 300  # characters of a reply
NOTEBOOK = 64 * 1024  # bytes; every record has the same one
START = datetime(2026, 11, 22, tzinfo=UTC)


def rows(rounds: int = 3) -> list[Row]:
    """Medians of so many interleaved rounds: linear if the time for each record stays, flat if the memory does."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        key = _key(folder)
        few, many, signed = (folder / name for name in ("few", "many", "signed"))
        _make(few, FEW)
        _make(many, MANY)
        _make(signed, FEW, key)
        times = [[_verified(one) for one in (few, many, signed)] for _ in range(rounds)]
    small, large, proven = ([one[index] for one in times] for index in range(3))
    seconds = [statistics.median(one[0] for one in group) for group in (small, large, proven)]
    memory = [statistics.median(one[1] for one in group) for group in (small, large)]
    busy = statistics.median(one[2] for one in proven)
    return [
        Row(f"records verified, of {MANY}", MANY / seconds[1], unit="/s"),
        Row(f"records verified, of {FEW} signed", FEW / seconds[2], unit="/s"),
        Row(f"processor time of a record, of {FEW} signed", busy / FEW * 1000, unit="ms"),
        Row(f"a record, of {MANY} beside {FEW}", seconds[1] / MANY * 1000, seconds[0] / FEW * 1000, "ms"),
        Row(f"memory, of {MANY} beside {FEW}", memory[1], memory[0], "MiB"),
    ]


def _verified(folder: Path) -> tuple[float, float, float]:
    """Seconds, greatest memory in MiB and processor seconds of the program, with every ssh-keygen it started."""
    command = [sys.executable, "-I", verify.__file__, str(folder)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    last = process.stdout.read().splitlines()[-1]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, last
    return time.perf_counter() - started, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def _make(root: Path, number: int, key: Path | None = None) -> None:
    """So many records of one profile, sealed one after the other, signed by a key or not at all."""
    profile = root / ("production" if key else "rehearsal")
    profile.mkdir(parents=True)
    notebook = root.parent / f"{root.name}.ipynb"
    notebook.write_bytes(b"x" * NOTEBOOK)
    previous, folders = None, []
    for index in range(number):
        moment = START + timedelta(minutes=index)
        folders.append(profile / f"{moment:%Y-%m-%d}" / f"{moment:%H%M%S}Z_bench")
        previous = _record(folders[-1], notebook, moment, previous)
    if key:
        (profile / verify.SIGNERS).write_text(f"ada {key.with_suffix('.pub').read_text()}")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda folder: _sign(folder, key), folders))


def _record(folder: Path, notebook: Path, moment: datetime, previous: str | None) -> str:
    """A sealed record as the library writes one, without waiting for the disk; its seal's hash."""
    folder.mkdir(parents=True)
    os.link(notebook, folder / "notebook.ipynb")
    at = f"{moment:%Y-%m-%dT%H:%M:%S}.000000Z"
    name = "/".join(folder.parts[-3:])
    events = [{"event": "opened", "record": name, "profile": folder.parts[-3], "kind": folder.parts[-3]}]
    reply = {"rows": [{"seen": "x" * REPLY}], "status": 200}
    events += [{"event": "outcome", "step": f"0.{n}a", "outcome": "passed", "replies": [reply]} for n in range(EVENTS)]
    files = {"notebook.ipynb": hashlib.sha256(b"x" * NOTEBOOK).hexdigest()}
    events.append({"event": "sealed", "outcome": "passed", "files": files, "previous": previous, "operator": "ada"})
    last, lines = "", []
    for number, event in enumerate(events, 1):
        body = json.dumps({"n": number, "at": at, **event}, separators=(",", ":"))[:-1]
        last = verify.digest_of(last, body)
        lines.append(f'{body},"hash":"{last}"}}\n')
    (folder / verify.LEDGER).write_text("".join(lines))
    return last


def _key(folder: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "ada"], check=True)
    return folder / "ada"


def _sign(folder: Path, key: Path) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", verify.NAMESPACE, "-f", str(key)]
    done = subprocess.run(command, input=verify.last_line(folder), capture_output=True, check=True)
    (folder / verify.SIGNATURE).write_bytes(done.stdout)
