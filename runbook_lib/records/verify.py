"""Verify records: that each is as it was sealed, who signed it and when, and that none was removed.

Needs Python 3.11 and, for signatures, ssh-keygen; nothing else of this project, so that a stranger can run the file:

    python3 -I verify.py FOLDER... [--signers FILE] [--head HASH] [--tell]

A record is a folder <profile>/<date>/<time>_<phase>. Its ledger.jsonl holds one JSON object a line, in one form only:
what Python's json.dumps writes of it without blanks. Each line ends in "hash", the SHA-256 of the hash of the line
before it, a line feed, and its own bytes up to ',"hash"'. The first line says what was planned: the cells and steps of
the source notebook. The last line is the seal: the SHA-256 of every other file, what the lines add up to, and the hash
of the profile's previous seal. seal.sig is the SSH signature of that line, made by the operator whom the line names.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

LEDGER = "ledger.jsonl"
NOTEBOOK = "notebook.ipynb"
SIGNATURE = "seal.sig"
SIGNERS = "allowed_signers"  # beside an archive's records: who may sign, in the format of ssh-keygen
NAMESPACE = "launch-runbook"  # a signature made for another purpose is none of a seal
HASH = ',"hash":"'
TAIL = len(HASH) + 64 + len('"}')  # characters of the hash at the end of a line
SKEW = timedelta(minutes=1)  # that a clock may have been set back between two seals
BATCH = 256  # records in hand at a time, however many there are
NAME = re.compile(r"\d{6}Z_")  # how the name of a record's folder begins
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")  # UTC, the only zone there is
DIGEST = re.compile(r"[0-9a-f]{64}")
GONE = "is not here: it is gone, or its record is damaged"
UNASKED = "whether a date lies in the future was not judged: no database was asked for its time"
HEADLESS = "newer ones were removed, or it is not theirs, or its record is damaged"
SHOWN = 200  # characters of a reply that a story shows
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
COLUMNS = 70  # of a signature as ssh-keygen writes it
LONGEST = 16 * 1024  # bytes of a signature, or of a list of signers: what any pipe takes at once

OUTCOMES = ("passed", "failed", "waiting", "unknown")  # of a step
ENDS = (*OUTCOMES, "interrupted")  # of a run
WORST_FIRST = ("unknown", "failed", "waiting")
KINDS = ("rehearsal", "production")
# What made a record. A run's outcome follows from its steps; that of the others is judged by who made them.
RUNS = ("headless", "attended")
JUDGED = ("halt", "watch", "ack", "unlock")
MODES = (*RUNS, *JUDGED, "undo", "confirm", "press", "drill")
RESTS = {"parent": "goes on from", "rests_on": "rests on"}  # how a record names another one and its seal
LABELS = {**RESTS, "recalled": "not made here, passed at", "recalled_from": "taken over from"}

# The events there are, and what each must say. Whoever writes another one adds it here first.
EVENTS = {
    "opened": "phase profile record id kind mode operator parent",
    "edited": "cell steps text",  # a cell was run that the plan does not hold
    "clock": "behind",  # seconds that this clock was behind the last line's
    "shown": "commands rows",
    "offered": "step title commands",
    "pressed": "step verb label by",
    "press failed": "step error",
    "sending": "step verb title commands",
    "outcome": "step outcome",
    "unproven": "step claim why due",  # what a step could not prove, and the step that must
    "lamp": "step lamp lit",
    "vouched": "step statement by",
    "owed": "step command text",
    "undoing": "step command",
    "undone": "step",
    "unlocked": "by held",  # who ended whose session that held the writing lock
    "closed": "steps",
    "drilled": "verdict",
    "mutated": "notebook made survivors",  # what became of the changes made to a notebook
    "unbroken": "why",
    "watching": "every ends since",
    "round": "from until",
    "raised": "alarm",
    "recurred": "alarm",
    "cleared": "alarm",
    "acked": "alarm by",
    "alerted": "alarms",
    "kernel": "how",
    "not pinged": "complaint",
    "sealed": "outcome files previous",
}
# What the first line and the seal may say beyond that: what gates and auditors rest on has no synonyms.
MORE = {
    "opened": "project platform versions after plan owes carried rests_on amber override closed by within since"
    " recheck",
    "sealed": "phase profile kind project operator parent versions steps missing owed edited recalled unproven"
    " ended cells seconds drills open beside",
}
WORDS = {
    "verb": ("check", "act", "confirm"),
    "outcome": ENDS,
    "kind": KINDS,
    "mode": MODES,
    "lamp": ("sent", "acknowledged", "effect", "venue"),
    "verdict": ("caught", "missed", "false alarm"),
}
TYPES: dict[str, Any] = {
    **dict.fromkeys(("step", "title", "phase", "profile", "record", "id", "operator", "statement", "by", "text"), str),
    **dict.fromkeys(("claim", "why", "due", "alarm", "how", "error", "cell", "ended"), str),
    **dict.fromkeys(("seen", "complaint", "project", "platform", "after", "previous", "override", "since"), str | None),
    **dict.fromkeys(("replies", "amber", "missing", "owed", "edited", "unproven", "cells", "open"), list),
    **dict.fromkeys(("owes", "carried", "alarms"), list),
    **dict.fromkeys(("parent", "rests_on", "plan", "within"), dict | None),
    **dict.fromkeys(("files", "versions", "drills"), dict),
    **dict.fromkeys(("seconds", "behind", "every"), int | float | None),
}
# What the seal says again of the first line.
TWICE = ("phase", "profile", "kind", "project", "operator", "parent", "versions")

# A story begins each event with these, and leaves those out: they are about the form, or as long as they are dull.
HEAD = ("at", "event", "step", "outcome", "title", "seen")
UNTOLD = ("n", "hash", "id", "files", "cells", "versions", "command", "verb", "previous", "record", "plan", "after")

Event = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """The result of verifying one record: its problems and, in ``seal``, the facts that later checks need."""

    folder: Path
    problems: tuple[str, ...]
    seal: Event | None = None
    signer: str = ""  # who signed, in words


@dataclass
class Told:
    """A summary of a ledger's lines, with which the seal is verified. `take` adds the next line."""

    opened: Event = field(default_factory=dict)
    last: Event = field(default_factory=dict)
    ends: dict[str, tuple[str, bool]] = field(default_factory=dict)  # of each step: outcome, whether it was taken over
    owed: dict[str, None] = field(default_factory=dict)
    edited: dict[str, None] = field(default_factory=dict)
    unproven: list[Event] = field(default_factory=list)
    vouched: dict[str, str] = field(default_factory=dict)  # of each step: who did
    closed: bool = False

    def take(self, event: Event) -> None:
        """Add the next line of a ledger to the summary. The line's form has been verified before."""
        kind, step = event["event"], str(event.get("step"))
        if not self.opened:
            self.opened = event
            self.owed = dict.fromkeys(map(str, event.get("owes") or ()))
            self.unproven = [dict(claim) for claim in event.get("carried") or ()]
        self.last = event
        match kind:
            case "sending":
                self._asked_again(step)
                if event["verb"] == "act":
                    self.ends[step] = ("unknown", False)  # until an outcome tells
            case "outcome":
                self._ended(step, str(event["outcome"]), taken_over=bool(event.get("recalled")))
            case "unproven":
                self.unproven.append({name: event[name] for name in ("step", "claim", "why", "due")})
            case "vouched":
                self.vouched[step] = str(event["by"])
            case "owed":
                self.owed[step] = None
            case "undone":
                self.owed.pop(step, None)
            case "edited":
                self.edited |= dict.fromkeys(map(str, event["steps"] or [event["cell"]]))
            case "closed":
                self.closed = True

    def _asked_again(self, step: str) -> None:
        self.unproven = [claim for claim in self.unproven if claim["step"] != step]

    def _ended(self, step: str, outcome: str, *, taken_over: bool) -> None:
        self.ends[step] = (outcome, taken_over)
        if outcome == "passed" and not taken_over:
            # What the step itself could not prove, though it was due, stays.
            self.unproven = [claim for claim in self.unproven if claim["due"] != step or claim["step"] == step]

    @property
    def planned(self) -> list[str]:
        """Return the numbers of the steps that a verified ledger's first line plans."""
        return [str(step[0]) for step in (self.opened.get("plan") or {}).get("steps", ())]

    @property
    def taken_over(self) -> int:
        return sum(taken for _, taken in self.ends.values())

    def claims(self, edits: Iterable[str]) -> Event:
        """Return the facts that a seal after these lines must state. ``edits`` are the edits found in the notebook."""
        counts = Counter(outcome for outcome, _ in self.ends.values())
        return {name: self.opened[name] for name in TWICE if name in self.opened} | {
            "steps": {word: counts[word] for word in OUTCOMES},
            "missing": [step for step in self.planned if step not in self.ends],
            "owed": list(self.owed),
            "edited": list(self.edited | dict.fromkeys(edits)),
            "recalled": self.taken_over,
            "unproven": self.unproven,
        }

    def outcome(self, ended: str | None) -> str | None:
        """Return the outcome that a ledger's lines give, to compare it with the outcome in the seal. Return None for a
        halt or a watch.

        ``ended`` says why the run was ended early, None if it was not.
        """
        mode, words = self.opened["mode"], {outcome for outcome, _ in self.ends.values()}
        if mode in JUDGED or self.opened["phase"] == "halt":
            return None
        if mode == "confirm":
            return "waiting"
        whole = (self.closed or mode == "undo") and not self.owed and all(step in self.ends for step in self.planned)
        outcome = next((word for word in WORST_FIRST if word in words), "passed" if whole else "failed")
        if ended and outcome != "unknown" and ended.startswith("interrupted"):
            return "interrupted"
        return "failed" if ended and outcome == "passed" else outcome


# --- one record -------------------------------------------------------------------------------------------------------


def verify(folder: Path, signers: str | None = None) -> list[str]:
    """Verify a record and return everything wrong with it. Each problem names its file and, in the ledger, its line.

    ``signers`` is text in ssh-keygen's format of allowed signers: then the seal must be signed by the operator whom it
    names, with a key that was valid when the record was sealed. Without ``signers``, only damage is found. Only the
    record's folder is read.
    """
    return list(judged(folder, signers).problems)


def judged(folder: Path, signers: str | None) -> Found:
    path = folder / LEDGER
    try:
        if folder.is_symlink() or not folder.is_dir():
            return Found(folder, (f"{folder}: not a folder of its own: links are not followed",))
        lines, problem = read(path)
        problem = problem or _unsealed(lines)
        if problem:
            return Found(folder, (f"{path}: {problem}",))  # nothing after it, the seal included, is to be believed
        opened, seal = lines.opened, lines.last
        problems = [*_misplaced(folder, opened), *_changed(folder, seal["files"])]
        problems += [f"{path}: {words}" for words in _contradictions(lines, edits(folder, opened.get("plan")))]
        signer, complaint = _signed(folder, opened, seal, signers)
    except OSError as error:
        return Found(folder, (f"{error.filename or path}: cannot be read: {error.strerror}",))
    return Found(folder, (*problems, *complaint), linked(opened, seal) | {"steps": len(lines.ends)}, signer)


def linked(opened: Event, seal: Event) -> Event:
    """Return the facts of a verified seal that `chain` and `report` use.

    The seal's list of files is left out.
    """
    kept = {name: seal.get(name) for name in ("hash", "previous", "at", "operator", "outcome")}
    more = {name: seal.get(name) for name in ("owed", "unproven", "edited", "recalled")}
    more |= {name: opened.get(name) for name in ("kind", "owes", "carried", *RESTS)}
    return kept | {name: value for name, value in more.items() if value}


def read(path: Path) -> tuple[Told, str | None]:
    """Read and verify a ledger. Return the summary of its lines up to the first bad line, and the problem if there is
    one.

    Lines after a bad one are not read, because the hash of each depends on the line before it.
    """
    lines, previous = Told(), ""
    if path.exists() and not plain(path):
        return lines, "not a plain file"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            complaint, event = _read_line(line, previous, number)
            complaint = complaint or _misfit(event, lines, number)
            if lines.last.get("event") == "sealed":
                complaint = "something stands after the seal"
            if complaint:
                return lines, f"line {number}: {complaint}"
            lines.take(event)
            previous = event["hash"]
    return lines, None


def _unsealed(lines: Told) -> str | None:
    """Return why a ledger counts as not sealed. Return None if its last line is a seal."""
    if lines.last.get("event") != "sealed":
        return "not sealed: the run was cut off, or the end of the ledger was removed"
    return None


def _contradictions(lines: Told, edited: Iterable[str]) -> Iterator[str]:
    """Yield each fact in which a seal contradicts the lines before it, or the record's notebook."""
    opened, seal = lines.opened, lines.last
    for name, value in lines.claims(edited).items():
        if seal.get(name) != value:
            yield f"the seal says {name} {_facts(seal.get(name))}, its lines say {_facts(value)}"
    word = lines.outcome(seal.get("ended"))
    bad = [step for step, (outcome, _) in lines.ends.items() if outcome != "passed"]
    if word not in (None, seal["outcome"]):
        yield f"sealed as {seal['outcome']}, its lines say {word}{f': {_facts(bad)}' if bad else ''}"
    elif seal["outcome"] == "passed" and bad:
        yield f"sealed as passed, and these steps did not pass: {', '.join(bad)}"
    elif seal["outcome"] == "passed" and opened["mode"] == "undo" and lines.owed:
        yield f"sealed as passed, and an undo is owed: {', '.join(lines.owed)}"
    for step, who in lines.vouched.items() if opened["kind"] == "production" else ():
        if who != opened["operator"]:
            yield f"{step} was vouched for by {who}, and {opened['operator']} signs: who vouches is who signs"
    if opened["profile"] in KINDS and opened["profile"] != opened["kind"]:
        yield f"of profile {opened['profile']}, and says that it is of kind {opened['kind']}"


# --- one line ---------------------------------------------------------------------------------------------------------


def written(body: Event, previous: str) -> tuple[bytes, str]:
    """Return a new ledger line, in the form that a ledger must have, and the line's hash. ``previous`` is the hash of
    the line before it.

    Raise `ValueError` for a value that JSON cannot hold, such as NaN.
    """
    # A reply may hold half a surrogate pair, which UTF-8 cannot write: it is kept as the mark of what is lost.
    text = _dumped(body)[:-1].encode(errors="replace").decode()
    hashed = digest_of(previous, text)
    return f'{text}{HASH}{hashed}"}}\n'.encode(), hashed


def _dumped(event: Event) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _read_line(line: bytes, previous: str, number: int) -> tuple[str | None, Event]:
    """Return the event in a ledger's line, and what is wrong with the line's form, if anything."""
    try:
        text = line.decode()
        event = json.loads(text, object_pairs_hook=_without_duplicates)
        same = isinstance(event, dict) and f"{_dumped(event)}\n".encode() == line
    except (ValueError, RecursionError):
        return "not a JSON object in the one form that the runbook writes", {}
    if not same:
        return "not a JSON object in the one form that the runbook writes", {}
    if event.get("n") != number or type(event["n"]) is not int or [*event][:3] != ["n", "at", "event"]:
        return f"expected event number {number} and a line end", {}
    body = text[: -TAIL - 1]
    if text[:-1] != f'{body}{HASH}{digest_of(previous, body)}"}}':
        return "the line, or one before it, was changed", event
    return None, event


def _without_duplicates(pairs: list[tuple[str, Any]]) -> Event:
    event = dict(pairs)
    if len(event) != len(pairs):
        raise ValueError("a key is there twice")
    return event


def _misfit(event: Event, lines: Told, number: int) -> str | None:
    """Return why an event cannot come next in its ledger. Return None if it can.

    The reason may be the event's time, its place or its content.
    """
    moment = _moment(event.get("at"))
    if moment is None:
        return f"its time is {_brief(event.get('at'))!r}, not one as in 2026-11-22T14:53:57.000001Z"
    if lines.last and event["at"] < lines.last["at"]:
        return f"its time, {event['at']}, is before that of the line above"
    if (event["event"] == "opened") != (number == 1):
        return "the first line, and no other, says what was opened"
    return misworded(event)


def misworded(event: Event) -> str | None:
    """Return what is wrong with an event's kind, names or values. Return None for a good event."""
    kind = event.get("event")
    if not isinstance(kind, str) or kind not in EVENTS:
        return f"there is no event {_brief(kind)!r}"
    lacking = [name for name in EVENTS[kind].split() if name not in event]
    if lacking:
        return f"{kind} does not say {', '.join(lacking)}"
    if kind in MORE:
        known = {"n", "at", "event", "hash", *EVENTS[kind].split(), *MORE[kind].split()}
        if unknown := [name for name in event if name not in known]:
            return f"{kind} says {', '.join(unknown)}, which no such line says"
    for name, value in event.items():
        if name == "kind" and kind not in MORE:
            continue  # of a frozen command, not of a profile
        if complaint := _wrong_value(kind, name, value):
            return complaint
    return _wrong_reference(event) if kind in MORE else None


def _wrong_value(kind: str, name: str, value: Any) -> str | None:
    words = WORDS.get(name, ())
    if name == "outcome" and kind == "outcome":
        words = OUTCOMES
    if words and value not in words:
        return f"{name} {_brief(value)!r}: expected one of {', '.join(words)}"
    if name in TYPES and (not isinstance(value, TYPES[name]) or isinstance(value, bool)):
        return f"{name} {_brief(value)!r}: not of the type that it has"
    return None


def _wrong_reference(event: Event) -> str | None:
    """Return which reference in a ledger's first line or seal has a wrong form. Return None if none has.

    References are to files, to seals, to claims and to the plan.
    """
    for name in RESTS:
        other = event.get(name)
        if other is not None and (sorted(other) != ["record", "seal"] or not _is_digest(other["seal"])):
            return f"{name} {_brief(_facts(other))!r}: expected a record and its seal"
    for name in ("previous", "after"):
        if event.get(name) is not None and not _is_digest(event[name]):
            return f"{name} {_brief(event[name])!r}: not the hash of a seal"
    if not all(_is_digest(hashed) for hashed in event.get("files", {}).values()):
        return "files: not the hashes of files"
    for claim in (*event.get("carried", ()), *event.get("unproven", ())):
        if not isinstance(claim, dict) or sorted(claim) != ["claim", "due", "step", "why"]:
            return "unproven: expected claims, each with step, claim, why and due"
    if event["event"] == "sealed" and not _counts(event.get("steps", {})):
        return "steps: expected how many steps ended how"
    return _wrong_plan(event.get("plan"))


def _counts(steps: Any) -> bool:
    return isinstance(steps, dict) and all(type(number) is int for number in steps.values())


def _wrong_plan(plan: Any) -> str | None:
    if plan is None:
        return None
    good = sorted(plan) == ["cells", "notebook", "steps"] and isinstance(plan["notebook"], str)
    good = good and all(isinstance(plan[name], list) for name in ("cells", "steps"))
    good = good and all(_is_digest(cell) for cell in plan["cells"])
    good = good and all(isinstance(step, list) and [*map(type, step)] == [str, str, str, int] for step in plan["steps"])
    return None if good else "plan: expected a notebook, the hashes of its cells, and its steps"


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def digest_of(previous: str, text: str) -> str:
    """Return the hash of a ledger's line, with which the line is verified.

    It is the SHA-256 of the previous line's hash, a line feed, and the line's text before its own hash.
    """
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


# --- the plan ---------------------------------------------------------------------------------------------------------


def edits(folder: Path, plan: Mapping[str, Any] | None) -> list[str]:
    """Compare a record's notebook with its plan, and return the differences.

    A changed step is named by its number, any other cell by its place.
    """
    if plan is None:
        return []
    try:
        sources = code_cells(json.loads((folder / NOTEBOOK).read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [NOTEBOOK]
    present, planned = [cell_digest(source) for source in sources], list(plan["cells"])
    if present == planned:
        return []
    steps: dict[int, list[str]] = {}
    for number, _, _, cell in plan["steps"]:
        steps.setdefault(cell, []).append(number)
    changed = [
        word for at, cell in enumerate(planned) if cell not in present for word in steps.get(at, [f"cell {at + 1}"])
    ]
    added = [f"added cell {at + 1}" for at, cell in enumerate(present) if cell not in planned]
    return [*changed, *added] or ["the order of the cells"]


def code_cells(notebook: Any) -> list[str]:
    """Return a notebook's code cells that the plan covers. Leave out empty cells and injected parameters.

    The record holds the injected parameters in a file of their own.
    """
    sources, before = [], ""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", ())
        given = "injected-parameters" in tags and before == "parameters" and _plain_values(source)
        sources += [source] if source.strip() and not given else []
        before = "parameters" if "parameters" in tags else ""
    return sources


def cell_digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()


def _plain_values(source: str) -> bool:
    """Return whether a cell only assigns literal values to names."""
    try:
        for line in ast.parse(source).body:
            if not isinstance(line, ast.Assign) or not all(isinstance(name, ast.Name) for name in line.targets):
                return False
            ast.literal_eval(line.value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return False
    return True


# --- the other files --------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misplaced(folder: Path, opened: Event) -> Iterator[str]:
    """Yield a problem if a record lies in another folder than the one that its ledger names.

    The record was then swapped, or moved to another profile. For a record that was copied out of its profile's folders,
    only the name of its folder is judged.
    """
    if not opened["record"].startswith(f"{opened['profile']}/"):
        yield f"{folder}: of profile {opened['profile']}, and says that it is the record {opened['record']}"
    named = str(opened.get("record", "")).split("/")
    actual = list(folder.parts[-3:])
    if not DATE.fullmatch(folder.parent.name) and named[:1] != actual[:1]:
        named, actual = named[-1:], actual[-1:]
    if named != actual:
        yield f"{folder}: holds the record {'/'.join(named)}"


def _changed(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    present = {below(folder, path): path for path in files_of(folder)}
    yield from (f"{folder / name}: missing" for name in files if name not in present)
    for name, path in present.items():
        if name not in files:
            yield f"{path}: not in the seal"
        elif not plain(path) or digest(path) != files[name]:
            yield f"{path}: changed since it was sealed"


def files_of(folder: Path) -> list[Path]:
    """Return the files whose hashes a seal holds: all files of the record except the ledger and the signature."""
    own = {folder / LEDGER, folder / SIGNATURE}
    return sorted(path for path in folder.rglob("*") if (path.is_symlink() or not path.is_dir()) and path not in own)


def below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


# --- signatures -------------------------------------------------------------------------------------------------------


def _signed(folder: Path, opened: Event, seal: Event, signers: str | None) -> tuple[str, list[str]]:
    """Return who signed the seal, in words, and what is wrong with the signature, if anything."""
    path = folder / SIGNATURE
    exists = path.exists() or path.is_symlink()
    if signers is None:
        stray = exists and opened.get("kind") != "production"
        return "", [f"{path}: not in the seal"] if stray else []
    if not exists:
        return "", [f"{path}: missing: the seal is not signed"]
    if not plain(path) or (armour := path.read_bytes()) != _armoured(armour):
        return "", [f"{path}: not a signature as ssh-keygen writes it"]
    operator = str(seal.get("operator"))
    good, words = signed_by(operator, armour, last_line(folder), signers, datetime.fromisoformat(seal["at"]))
    return (words, []) if good else ("", [f"{path}: not signed by {operator}: {words}"])


def signed_by(operator: str, armour: bytes, data: bytes, signers: str, when: datetime) -> tuple[bool, str]:
    """Verify an SSH signature. Return whether ``operator`` made ``armour`` over ``data``, and what ssh-keygen says.

    ``signers`` lists which keys each operator had; the key must be valid at the time ``when``. The signature and the
    signers are passed to ssh-keygen through pipes, and no file is written.
    """
    if max(len(armour), len(signers)) > LONGEST:
        return False, f"the signature, or the list of signers, is longer than {LONGEST} bytes"
    pipes = [_pipe(armour), _pipe(signers.encode() + b"\n")]
    signature, allowed = (f"/dev/fd/{pipe}" for pipe in pipes)
    # Times without a zone, in the options and in the list of signers, are read in that of the environment: UTC.
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", operator, "-s", signature, "-f", allowed]
    command.append(f"-Overify-time={when:%Y%m%d%H%M%S}")
    try:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            pass_fds=pipes,
            env={**os.environ, "TZ": "UTC"},
            check=False,
        )
    except FileNotFoundError:
        return False, "ssh-keygen is not installed here: signatures cannot be judged"
    except ValueError:
        return False, "no operator is called that"
    finally:
        for pipe in pipes:
            os.close(pipe)
    said = " ".join((done.stdout if done.returncode == 0 else done.stderr + done.stdout).decode().split())
    return done.returncode == 0, re.sub(r"/dev/fd/\d+", SIGNERS, said).partition("signature for ")[2] or said


def _pipe(data: bytes) -> int:
    """Return the reading end of a pipe that holds ``data``."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def _armoured(data: bytes) -> bytes:
    """Return a signature in exactly the form in which ssh-keygen writes it.

    ssh-keygen also reads looser forms, in which some bytes could be changed unnoticed.
    """
    body = data.decode(errors="replace").removeprefix(f"{BEGIN}\n").removesuffix(f"\n{END}\n")
    try:
        text = base64.b64encode(base64.b64decode(body.replace("\n", ""), validate=True)).decode()
    except ValueError:
        return b""
    lines = [text[start : start + COLUMNS] for start in range(0, len(text), COLUMNS)]
    return "\n".join([BEGIN, *lines, END, ""]).encode()


def last_line(folder: Path) -> bytes:
    """Return the bytes that a signature covers: the ledger's last line, which is the seal, with its line feed."""
    with (folder / LEDGER).open("rb") as file:
        return deque(file, maxlen=1).pop()


# --- many records -----------------------------------------------------------------------------------------------------


def every(folder: Path) -> Iterator[Path]:
    """Yield the records to verify in a folder, oldest first. The folder may also be a record itself.

    A folder counts as a record if it holds a ledger, if it has a record's name, or if it lies in a folder named after a
    date.
    """
    if (folder / LEDGER).exists() or NAME.match(folder.name) or DATE.fullmatch(folder.parent.name):
        yield folder
    elif folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_symlink() and inner.is_dir():
                yield inner  # told as what it is: to follow it might never end
            elif inner.is_dir() and not inner.name.startswith("."):
                yield from every(inner)


def chain(records: Sequence[tuple[Path, Event]], known: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Verify a profile's chain of seals. Yield a problem for each sign of a removed or inserted record.

    ``known`` is the runbook's note beside the records: the newest seal, and the record that was being sealed.
    """
    seals: dict[str, tuple[Path, str | None, str]] = {}
    followers: dict[str | None, Path] = {}
    for folder, seal in records:
        own, previous = seal["hash"], seal["previous"]
        if own in seals:
            yield f"{folder}: has the seal of {seals[own][0]}"
        elif previous in followers:
            after = f"the seal {previous}" if previous else "no other"
            yield f"{folder}: its seal follows {after}, as does that of {followers[previous]}"
        seals[own], followers[previous] = (folder, previous, seal["at"]), folder
    for folder, previous, at in seals.values():
        if previous is not None and previous not in seals:
            yield f"{folder}: the seal before it, {previous}, {GONE}"
        elif previous is not None and datetime.fromisoformat(at) < datetime.fromisoformat(seals[previous][2]) - SKEW:
            yield f"{folder}: sealed at {at}, before the seal it follows, of {seals[previous][2]}"
    kinds = dict.fromkeys(str(seal.get("kind")) for _, seal in records)
    if len(kinds) > 1:
        yield f"records of several kinds are in one profile: {', '.join(kinds)}"
    whole = {seal["hash"]: seal for _, seal in records}
    for folder, seal in records:
        yield from (f"{folder}: {words}" for words in (*_made_up(seal, seals), *_forgiven(seal, whole)))
    yield from _forgotten(records, known or {})


def _made_up(seal: Event, seals: Mapping[str, tuple[Path, str | None, str]]) -> Iterator[str]:
    """Yield a problem for each missing record to which a verified record refers in ``parent`` or ``rests_on``."""
    for name, words in RESTS.items():
        if other := seal.get(name):
            folder = seals.get(str(other.get("seal")), (Path(),))[0]
            if str(other.get("record")).rpartition("/")[2] != folder.name:
                yield f"{words} {other.get('record')} with the seal {other.get('seal')}, which {GONE}"


def _forgiven(seal: Event, seals: Mapping[str, Event]) -> Iterator[str]:
    """Yield a problem if a record drops an owed undo or an unproven claim that an earlier record handed on."""
    parent = seals.get(str((seal.get("parent") or {}).get("seal")))
    if parent and (parent.get("owed") or []) != (seal.get("owes") or []):
        owed, owes = _facts(parent.get("owed") or []), _facts(seal.get("owes") or [])
        yield f"goes on from a record that owes {owed or 'nothing'}, and begins with {owes or 'nothing'}"
    rests_on = seals.get(str((seal.get("rests_on") or {}).get("seal")))
    for before in (parent, rests_on):
        for claim in (before or {}).get("unproven") or []:
            if claim not in (seal.get("carried") or []):
                yield f"does not carry what a record before it left unproven: {claim['claim']}"


def _forgotten(records: Sequence[tuple[Path, Event]], known: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem if the newest seal differs from the one that ``head.json`` beside the records notes."""
    newest = str(known["hash"]) if known.get("hash") else None
    if newest and not any(seal["hash"] == newest for _, seal in records):
        yield f"the newest seal, {newest}, {GONE}"
    else:
        after = [folder for folder in after_it(records, newest) if not str(known.get("pending")).endswith(folder.name)]
        yield from (f"{folder}: sealed after the newest seal that is known here, {newest}" for folder in after if known)


def after_it(records: Sequence[tuple[Path, Event]], seal: str | None) -> list[Path]:
    """Return the verified records sealed after the one with this seal, oldest first."""
    following = {other["previous"]: (folder, other["hash"]) for folder, other in records}
    after: list[Path] = []
    while seal in following:
        folder, seal = following.pop(seal)
        after.append(folder)
    return after


def _moment(text: Any) -> datetime | None:
    """Parse a time as a ledger's lines write it. Return None for anything else."""
    try:
        return datetime.fromisoformat(text) if TIME.fullmatch(text) else None
    except (ValueError, TypeError):
        return None


def report(
    folders: Iterable[Path],
    signers_of: Callable[[Path], str | None],
    say: Callable[[str], object],
    *,
    heads: Iterable[str] = (),
    whole: bool = True,
    tell: bool = False,
) -> int:
    """Verify records. Pass to ``say`` a line about each record, about every problem, and about the totals. Return the
    number of problems.

    ``signers_of`` returns the allowed signers of a record, None if it need not be signed. ``whole`` says that these are
    all the records there are, so that a missing one can be noticed. ``heads`` are hashes of seals that are known to
    have existed. ``tell`` adds what each record says happened, event by event.
    """
    seals: dict[Path, list[tuple[Path, Event]]] = {}
    problems = unsigned = count = 0
    for judgement in _in_batches(folders, signers_of):
        complaints = judgement.problems or unjudged(judgement)
        for line in complaints or (praise(judgement),):
            say(line)
        for line in _story(judgement, complaints) if tell else ():
            say(line)
        count, problems, unsigned = count + 1, problems + len(complaints), unsigned + (not judgement.signer)
        if judgement.seal:
            seals.setdefault(judgement.folder.parent.parent, []).append((judgement.folder, judgement.seal))
    records = [record for profile in seals.values() for record in profile]
    gone = [f"no record has the seal {head}: {HEADLESS}" for head in heads if head not in _hashes(records)]
    for profile, own in seals.items() if whole else ():
        gone += [line if line.startswith("/") else f"{profile}: {line}" for line in chain(own, _known(profile))]
    for line in (*gone, *_closing(seals, heads, whole=whole)):
        say(line)
    problems += len(gone)
    words = [f"problems: {problems}" if problems else "all sound"]
    words += [f"not signed: {unsigned}"] if unsigned else []
    words += [] if whole else ["whether any is gone was not judged: name the folder of all records"]
    words.append(UNASKED)
    say(f"records: {count}, {', '.join(words)}")
    return problems


def _hashes(records: Iterable[tuple[Path, Event]]) -> set[str]:
    return {seal["hash"] for _, seal in records}


def _closing(seals: Mapping[Path, Sequence[tuple[Path, Event]]], heads: Iterable[str], *, whole: bool) -> Iterator[str]:
    """Yield the report's last lines: owed undos, records sealed after a given seal, and each profile's newest seal."""
    for profile, records in seals.items() if whole else ():
        for folder, seal in records:
            yield from _owing(folder, seal, records)
        for head in heads:
            if head in _hashes(records) and (after := after_it(records, head)):
                yield f"sealed after {head}: {', '.join(folder.name for folder in after)}"
        followed = {seal["previous"] for _, seal in records}
        tips = [
            (datetime.fromisoformat(seal["at"]), seal["hash"], folder)
            for folder, seal in records
            if seal["hash"] not in followed
        ]
        yield from (f"newest seal of {profile.name}: {own} ({folder.name})" for _, own, folder in sorted(tips)[-1:])


def _owing(folder: Path, seal: Event, records: Sequence[tuple[Path, Event]]) -> Iterator[str]:
    """Yield a line for each undo that a record owes: where the undo was carried out, or that it is still owed.

    An undo was carried out in the records that resume this record and no longer owe it.
    """
    for step in seal.get("owed", ()):
        after = [(f, s) for f, s in records if (s.get("parent") or {}).get("seal") == seal["hash"]]
        undone = [other.name for other, later in after if step not in later.get("owed", ())]
        if undone:
            yield f"{folder.name}: {step} was undone in {', '.join(undone)}"
        elif not after:
            yield f"{folder.name}: {step} is owed still"


def _in_batches(folders: Iterable[Path], signers_of: Callable[[Path], str | None]) -> Iterator[Found]:
    waiting = iter(folders)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(waiting, BATCH)):
            yield from pool.map(lambda folder: judged(folder, signers_of(folder)), batch)


def unjudged(judgement: Found) -> tuple[str, ...]:
    """Return a problem if a production record's signature was not verified. Otherwise return an empty tuple."""
    if judgement.signer or (judgement.seal or {}).get("kind") != "production":
        return ()
    return (
        f"{judgement.folder}: undamaged, but whose signature it has was not judged: name who may sign (--signers FILE)",
    )


def praise(judgement: Found) -> str:
    """Return the line which says that a record verifies.

    It tells the record's outcome, the outcomes taken over, the owed undos, the signer and the seal.
    """
    seal = judgement.seal or {}
    words = ["sound", str(seal.get("outcome"))]
    if taken := seal.get("recalled", 0):
        words.append(f"steps: {seal['steps'] - taken} made here, {taken} taken over")
    words += [f"owes {', '.join(map(str, seal['owed']))}"] if seal.get("owed") else []
    words += [f"edited: {', '.join(map(str, seal['edited']))}"] if seal.get("edited") else []
    words += [f"not proven: {', '.join(claim['claim'] for claim in seal['unproven'])}"] if seal.get("unproven") else []
    words.append(f"sealed {seal['at']}")
    words.append(
        f"signed by {judgement.signer}" if judgement.signer else f"not signed, says it is by {seal.get('operator')}"
    )
    return f"{judgement.folder.name}: {', '.join(words)}, seal {seal['hash']}"


def _known(profile: Path) -> Mapping[str, Any]:
    """Return the note of a profile's newest seal, a file beside the records.

    Without a note, return an empty one.
    """
    try:
        known = json.loads((profile / "head.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


# --- a record's story -------------------------------------------------------------------------------------------------


def _story(judgement: Found, complaints: Sequence[str]) -> Iterator[str]:
    if complaints:
        yield "    NOT TO BE BELIEVED: this is what is there, and it is not as it was sealed"
    try:
        yield from (f"    {line}" for line in story(judgement.folder))
    except OSError as error:
        yield f"    nothing can be told: {error.strerror}"


def story(folder: Path) -> Iterator[str]:
    """Yield lines that say what happened according to a verified record, when, and by whom.

    There is a line for each event, and below it lines with the event's facts.
    """
    mode = ""
    with (folder / LEDGER).open("rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                event = None
            if not isinstance(event, dict):
                yield "(a line that is no event)"
                continue
            mode = str(event.get("mode") or mode)
            yield "  ".join(" ".join(str(event[name]).split()) for name in HEAD if event.get(name))
            yield from (f"    {line}" for line in _below(event, mode))


def _below(event: Event, mode: str) -> Iterator[str]:
    """Yield the lines that state an event's facts. In the text of a record they stand below the event's own line.

    Short facts share one line, each text has lines of its own, and replies are shortened.
    """
    facts = {name: value for name, value in event.items() if name not in (*HEAD, *UNTOLD) and value}
    texts = [text for name in ("commands", "text") for text in _listed(facts.pop(name, []))]
    replies = _listed(facts.pop("replies", []))
    labels = {**LABELS, "parent": "undoes"} if mode == "undo" else LABELS
    if facts:
        yield "; ".join(f"{labels.get(name, name.replace('_', ' '))} {_facts(value)}" for name, value in facts.items())
    yield from (f"| {line}" for text in texts for line in str(text).splitlines())
    yield from (f"reply: {_brief(reply)}" for reply in replies)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _facts(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_facts(part)}" for name, part in value.items())
    return ", ".join(map(_facts, value)) if isinstance(value, list) else " ".join(str(value).split())


def _brief(reply: Any) -> str:
    """Shorten a reply to ``SHOWN`` characters: its status, and its first row or the end of its text."""
    if not isinstance(reply, dict):
        return str(reply)[:SHOWN]
    rows = reply.get("rows") or []
    words = [f"status {reply.get('status')}"] if reply.get("status") is not None else []
    words += [f"error {reply['error']}"] if reply.get("error") else []
    words += [f"rows: {len(rows)}, first {_facts(rows[0])[:SHOWN]}"] if rows else []
    words += [] if rows else [" ".join(str(reply.get("text") or "").split())[-SHOWN:]]
    return ", ".join(word for word in words if word) or "empty"


# --- as a program of its own ------------------------------------------------------------------------------------------


def signers_beside(folder: Path) -> str | None:
    """Return the list of who may sign the record in ``folder``, from its archive. Return None if there is no list."""
    path = folder.parent.parent / SIGNERS
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Verify the records in the named folders. Return 0 if all are sound, 1 if not, and 2 if there are no records."""
    described = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("verify", description=described)
    usual = [Path(os.environ.get("RUNBOOK_RECORDS", "records"))]
    folders_help = "a record, or a folder of records; else records"
    parser.add_argument("folders", nargs="*", default=usual, metavar="FOLDER", type=Path, help=folders_help)
    parser.add_argument("--signers", type=_list, help=f"who may sign; else the file {SIGNERS} beside the records")
    heads = "a seal that you know of, may be given again: finds the removal of the newest"
    parser.add_argument("--head", action="append", default=[], metavar="HASH", help=heads)
    parser.add_argument("--tell", action="store_true", help="tell what happened, when and by whom, event by event")
    given = parser.parse_args(arguments)
    roots = [folder.resolve() for folder in given.folders]
    folders = list(dict.fromkeys(folder for root in roots for folder in every(root)))
    if not folders:
        sys.stderr.write(f"no records in {', '.join(map(str, roots))}\n")
        return 2
    said, whole = given.signers, folders != roots
    problems = report(
        folders,
        lambda folder: signers_beside(folder) if said is None else said,
        _print,
        heads=given.head,
        whole=whole,
        tell=given.tell,
    )
    return 1 if problems else 0


def _list(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name} cannot be read: {error}") from None


def _print(line: str) -> None:
    """Print a line with control characters replaced, so that text in a record cannot control the terminal."""
    sys.stdout.write("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) + "\n")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
