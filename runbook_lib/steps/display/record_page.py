"""Show a record as one HTML page: what ran, when and by whom, and each step with its replies and charts.

The facts come from the ledger; the notebook only gives the order of reading, the headings and the charts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runbook_lib.records import ledger, past_presses, plan, signing, verify
from runbook_lib.settings import profiles
from runbook_lib.steps.display import rendering
from runbook_lib.steps.display.cards import OUTPUT, ROWS, standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record

Block = dict[str, Any]
LONGEST = 300  # characters of one value in a table
# Each has its own place on the page.
TOLD = {"opened", "sealed", "sending", "outcome", "closed", "shown", "vouched", "offered", "pressed", "lamp"}


def show(record: Record) -> Path:
    """Write a record's page as a file beside the record's folder. A file inside would break the record's seal."""
    return rendering.save(
        record.folder.with_name(f"{record.folder.name}.html"), rendering.page("record.html", view(record))
    )


def view(record: Record) -> Block:
    """Return everything that a record's page shows. Raise `RecordError` if the ledger cannot be read."""
    opened, seal = record.opened(), record.sealed()
    events = profiles.redactor_of_all().value(record.ledger.events())  # before anything is cut to length
    blocks = list(_without_empty(_blocks(record, _steps(events))))
    judgement = verify.judged(record.folder, signing.signers_of(record.folder))
    problems = list(judgement.problems or verify.unjudged(judgement)) if seal else []
    return {
        "title": f"{opened['phase']} on {opened['profile']}",
        "outcome": seal["outcome"] if seal else "not sealed",
        "problems": problems,
        "sound": "" if problems or not seal else verify.praise(judgement),
        "facts": list(_facts(record, opened, events, seal)),
        "steps": [block for block in blocks if block["kind"] == "step"],
        "blocks": blocks,
        "missing": seal["missing"] if seal else [],
        "others": [_other(event) for event in events if event["event"] not in TOLD],
    }


def _facts(record: Record, opened: Event, events: Sequence[Event], seal: Event | None) -> Iterator[tuple[str, str]]:
    """Yield the facts at the top of the page, each as a label and a value."""
    yield "record", record.name
    yield "when", f"{rendering.moment(opened['at'])} to {rendering.moment(events[-1]['at'])}"
    yield "by", f"{opened['operator']}, {opened['mode']}"
    yield "profile", f"{opened['profile']}, project {opened['project']}"
    if opened.get("parent"):
        yield "goes on from", f"{opened['parent']['record']}, seal {opened['parent']['seal']}"
    if opened.get("within"):
        yield "called within", " ".join(opened["within"].values())
    if opened.get("rests_on"):
        yield "gate opened by", f"{opened['rests_on']['record']}, seal {opened['rests_on']['seal']}"
    if opened.get("override"):
        yield "gate overridden", f"{opened['override']} (closed: {'; '.join(opened.get('closed', []))})"
    if opened.get("amber"):
        yield "rests on overrides", "; ".join(opened["amber"])
    if seal:
        counts = [f"{number} {word}" for word, number in seal["steps"].items() if number]
        counts += [f"{seal['recalled']} of them taken over"] if seal.get("recalled") else []
        yield "steps", ", ".join(counts) or "none"
        yield from _endings(seal)
        yield "seal", seal["hash"]
        yield "seal before it", seal["previous"] or "none: the first of this profile"
    yield "versions", ", ".join(f"{name} {version}" for name, version in opened["versions"].items())


def _endings(seal: Event) -> Iterator[tuple[str, str]]:
    """Yield the reasons why a run did not pass, each as a label and a value."""
    if seal.get("ended"):
        yield "ended", seal["ended"]
    bad = [cell for cell in seal.get("cells", []) if not str(cell).endswith(" passed")]
    if bad:
        yield "cells", ", ".join(map(str, bad))
    for claim in seal.get("unproven", []):
        yield "not proven", f"{claim['claim']}: {claim['why']}; {claim['due']} must prove it"
    if seal.get("owed"):
        yield "owes an undo", ", ".join(seal["owed"])


# --- the steps, from the ledger -------------------------------------------------------------------------------------


def _steps(events: Sequence[Event]) -> dict[str, Block]:
    """Return the page's block for each step, in the order in which the steps were first sent.

    A block shows the newest outcome, and lists the earlier outcomes.
    """
    blocks: dict[str, Block] = {}
    for event in events:
        number = str(event.get("step"))
        if event["event"] == "sending":
            blocks[number] = {**_sent(event), "earlier": _ended_before(blocks.get(number))}
        elif event["event"] == "outcome":
            before = blocks.get(number) or {**_sent({**event, "commands": []}), "earlier": []}
            blocks[number] = {**before, **_ended(event, before)}
        elif event["event"] == "vouched" and number in blocks:
            blocks[number]["by"] = f"{event['by']} vouched at {rendering.moment(event['at'])}"
        elif event["event"] == "vouched":
            blocks[number] = {**_sent({**event, "verb": "confirm", "title": event["statement"], "commands": []})}
            blocks[number] |= {"earlier": [], "by": f"{event['by']} vouched at {rendering.moment(event['at'])}"}
    return {number: {**block, "lamps": _lamps(events, number)} for number, block in blocks.items()}


def _lamps(events: Sequence[Event], number: str) -> list[str]:
    """Return who pressed a step's button and when, and which effects of the press were seen."""
    pressed = past_presses.press(events, number)
    if pressed is None:
        return []
    return [f"{pressed.label}: {pressed.words}", *(lamp.words for lamp in pressed.lamps if lamp.lit is not None)]


def _sent(event: Mapping[str, Any]) -> Block:
    """Return the page's block for a step that was sent and has no recorded answer: its outcome is unknown."""
    return {
        "kind": "step",
        "number": event["step"],
        "verb": event["verb"],
        "title": event["title"],
        "commands": event["commands"],
        "at": event["at"],
        "outcome": "unknown",
        "seen": "",
        "by": "",
        "took": "",
        "advice": [("found", "sent, and no answer was recorded")],
        "replies": [],
    }


def _ended(event: Event, before: Block) -> Block:
    advice = [("found", event["complaint"]), ("known as", event["symptom"]), ("fix", event["fix"])]
    if event.get("recalled"):
        whence = (
            f"it passed at {rendering.moment(event['recalled'])} in {event.get('recalled_from', 'a record before')}"
        )
        advice.append(("not made here", f"{whence}; {event.get('why', 'not sent again')}"))
    return {
        "title": event["title"],
        "outcome": event["outcome"],
        "seen": event["seen"],
        "took": _took(before, event),
        "at": event["at"],
        "advice": [(label, text) for label, text in advice if text],
        "replies": [_reply(reply) for reply in event["replies"]],
    }


def _took(before: Block, event: Event) -> str:
    if "seconds" in event:
        return f"{event['seconds']:.1f} s after the press"
    begun, ended = (ledger.instant(at) for at in (before["at"], event["at"]))
    return f"{(ended - begun).total_seconds():.2f} s"


def _ended_before(block: Block | None) -> list[str]:
    """Return a step's outcomes so far as texts, oldest first. The newest is the outcome in ``block``."""
    if block is None:
        return []
    why = "; ".join(text for label, text in block["advice"] if label == "found")
    return [*block["earlier"], f"{block['outcome']} at {rendering.moment(block['at'])}{': ' if why else ''}{why}"]


def _reply(reply: Mapping[str, Any]) -> Block:
    rows = standing(reply["rows"][:ROWS])
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {
        "columns": columns,
        "cells": [[_cell(row.get(name)) for name in columns] for row in rows],
        "more": max(0, len(reply["rows"]) - ROWS),
        "text": "" if rows else reply["text"][-OUTPUT:].strip(),
        "error": reply["error"] or "",
        "status": "" if reply["status"] is None else str(reply["status"]),
    }


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (whole in the ledger)"


# --- the order of reading, from the notebook ------------------------------------------------------------------------


def _blocks(record: Record, steps: Mapping[str, Block]) -> Iterator[Block]:
    """Yield a page's headings, steps and charts in the notebook's order. Steps without a cell come last.

    A step of a halt, or of a press in the console, has no cell.
    """
    left = dict(steps)
    if record.notebook.exists():
        cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
        numbers: dict[int, list[str]] = {}
        for step in plan.steps(record.notebook):
            numbers.setdefault(step.cell, []).append(step.number)
        for place, cell in enumerate(cells):
            yield from _headings(cell)
            yield from (left.pop(number) for number in numbers.get(place, []) if number in left)
            yield from _charts(cell)
    yield from left.values()


def _without_empty(blocks: Iterator[Block]) -> Iterator[Block]:
    """Drop the headings of sections in which nothing ran."""
    heading: Block | None = None
    for block in blocks:
        if block["kind"] != "heading" and heading:
            yield heading
        heading = block if block["kind"] == "heading" else None
        if block["kind"] != "heading":
            yield block


def _headings(cell: Mapping[str, Any]) -> Iterator[Block]:
    if cell["cell_type"] == "markdown":
        for line in "".join(cell["source"]).splitlines():
            if line.startswith("## "):
                yield {"kind": "heading", "text": line[3:].strip()}


def _charts(cell: Mapping[str, Any]) -> Iterator[Block]:
    """Yield every image in a cell's outputs, together with the cell's source."""
    for output in cell.get("outputs", []):
        image = output.get("data", {}).get("image/png")
        if image:
            yield {"kind": "chart", "png": "".join(image), "source": "".join(cell["source"]).strip()}


def _other(event: Event) -> Block:
    """Return the page's block for an event that belongs to no step's card.

    Such an event is an undo owed or carried out, or a note.
    """
    hidden = ("n", "at", "event", "hash", "command", "replies")
    words = [f"{name}: {_cell(value)}" for name, value in event.items() if name not in hidden and value]
    return {"at": event["at"], "event": event["event"], "words": words}
