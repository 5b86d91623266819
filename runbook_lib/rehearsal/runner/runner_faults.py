"""Make runners fail on purpose, through a control file in the rehearsal's folder. Runners read this file.

The file's keys are deployments, or ``*`` for all; the values are faults of ``KINDS``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook_lib.rehearsal.world.folders import write_json

FILE = "runner-faults.json"
KINDS = {
    "deaf": "commands are not heard",
    "slow_ack": "seconds until a command is acknowledged",
    "crash_at_boot": "the process ends with an error before it loads anything",
    "crash_mid_tick": "the process ends with an error after the order, before the snapshot",
    "silent": "the process lives and listens, without ticks or heartbeats",
    "stub_broker": "the mainnet broker of the image cannot place orders",
    "webdata2": "the image subscribes to webData2, which the venue has retired",
    "stale_skill": "the Skill is not read again after boot",
    "drift": "base units by which the WebSocket's positions are wrong",
    "tokens": "factor on the tokens a decision uses",
    "equity_off": "US dollars by which the equity it writes is wrong",
    "positions_off": "base units by which the size of every position it writes is wrong",
    "beats_ahead": "seconds by which its heartbeats lie in the future",
    "hurries": "times as often as it should it ticks",
    "forgets_pause": "it trades again after a restart though a person paused it",
    "forgets_stop": "it trades again when its machine is started though it was stopped",
    "mute_when_paused": "paused or halted, it writes no heartbeats",
    "propose": "the action to propose in place of the decision maker's",
}


def present(folder: Path, deployment: str) -> dict[str, Any]:
    """Return the faults in force for a deployment's runner. If there are none, the result is empty."""
    written = _written(folder)
    return written.get("*", {}) | written.get(deployment, {})


@contextmanager
def runner_fault(folder: Path, deployment: str = "*", **faults: Any) -> Iterator[None]:
    """Put faults of runners in force while the block runs. At the end, take these faults back."""
    if unknown := faults.keys() - KINDS:
        raise ValueError(f"unknown runner fault {', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    before = _written(folder)
    write_json(folder / FILE, before | {deployment: before.get(deployment, {}) | faults})
    try:
        yield
    finally:
        # faults may end in another order than they began: only ours are taken back
        now = _written(folder)
        others = {key: value for key, value in now.get(deployment, {}).items() if key not in faults}
        replaced = {key: value for key, value in before.get(deployment, {}).items() if key in faults}
        write_json(folder / FILE, now | {deployment: others | replaced})


def _written(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        written: dict[str, dict[str, Any]] = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    return written
