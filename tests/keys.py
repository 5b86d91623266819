"""Operators with SSH keys, and records of a production that they sealed and signed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from runbook_lib.records import record_folder, run_record, seal_chain, verify

PROFILE = "profile: {kind: production}\n"


def key(folder: Path, name: str) -> Path:
    """A private key's file; its public key lies beside it."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def line(path: Path, options: str = "", name: str | None = None) -> str:
    """What a profile's allowed_signers say of a key."""
    words = path.with_suffix(".pub").read_text().split()[:2]
    return " ".join(filter(None, [name or path.name, options, *words]))


def signed(root: Path, using: Path, phase: str = "phase_try", **facts: Any) -> record_folder.Record:
    """A sealed record of production, signed with a key by the operator of its name."""
    told = {"id": "x", "kind": "production", "operator": using.name, "mode": "headless", "parent": None, **facts}
    record = run_record.create(root, "production", phase, PROFILE, **told)
    record.ledger.append("outcome", step="0.1a", outcome="passed", seen="“ok”\n", rows=[{"n": 1.5}])
    record.ledger.append("closed", steps=1)
    (record.folder / "charts").mkdir()
    (record.folder / "charts" / "one.png").write_bytes(bytes(range(256)))
    seal_chain.seal(record)
    sign(record, using)
    return record


def sign(record: record_folder.Record, using: Path) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "launch-runbook", "-f", str(using)]
    line = (record.folder / verify.LEDGER).read_bytes().splitlines(keepends=True)[-1]
    made = subprocess.run(command, input=line, capture_output=True, check=True)
    (record.folder / verify.SIGNATURE).write_bytes(made.stdout)
