"""Records that ended in a certain way, with the lines that say so."""

from __future__ import annotations

from typing import Any

from runbook_lib.records import ledger, record_folder, seal_chain


def seal(record: record_folder.Record, outcome: str = "passed", **facts: Any) -> ledger.Event:
    """Seal a record as ended so. A step that is called 0.0z brings what its other lines lack."""
    if record.opened()["mode"] not in ("halt", "watch", "ack"):
        if outcome == "passed":
            record.ledger.append("closed", steps=0)
        elif outcome in ("waiting", "unknown"):
            record.ledger.append("outcome", step="0.0z", verb="act", title="t", outcome=outcome, replies=[])
        elif outcome == "interrupted":
            facts["ended"] = "interrupted: SIGINT"
    return seal_chain.seal(record, outcome, **facts)
