"""Verify records: that each is as it was sealed, who signed it and when, and that none is gone.

Needs Python 3.11 and, for signatures, ssh-keygen; nothing else of this project, so that a stranger can run the file:

    python3 -I verify.py FOLDER... [--signers FILE] [--head HASH]

A record is a folder <profile>/<date>/<time>_<phase>. Its ledger.jsonl holds one JSON object a line; each ends in
"hash", the SHA-256 of the hash of the line before it, a line feed, and its own bytes up to ',"hash"'. The last line is
the seal: the SHA-256 of every other file, and the hash of the profile's seal before it. seal.sig is the SSH signature
of that line by the operator it names.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["LEDGER", "NAMESPACE", "SIGNATURE", "SIGNERS", "chain", "every", "report", "signed_by", "verify"]

LEDGER = "ledger.jsonl"
SIGNATURE = "seal.sig"
SIGNERS = "allowed_signers"  # beside an archive's records: who may sign, in the format of ssh-keygen
NAMESPACE = "launch-runbook"  # a signature made for another purpose is none of a seal
HASH = ',"hash":"'
TAIL = len(HASH) + 64 + len('"}')  # characters of the hash at the end of a line
SKEW = timedelta(minutes=1)  # that a clock may have been set back between two seals
BATCH = 256  # records in hand at a time, however many there are
NAME = re.compile(r"\d{6}Z_")  # how the name of a record's folder begins
DATE = re.compile(r"\d{4}-\d\d-\d\d")
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
COLUMNS = 70  # of a signature as ssh-keygen writes it
LONGEST = 16 * 1024  # bytes of a signature, or of a list of signers: what any pipe takes at once

# What a story tells of an event besides its time, name, step, verdict and title.
TOLD = ("phase", "project", "override", "parent", "seen", "complaint", "commands", "statement", "text", "why", "ended")

Event = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What verifying one record found; ``seal`` is its last line if the ledger is whole, ``signer`` who signed."""

    folder: Path
    problems: tuple[str, ...]
    seal: Event | None = None
    signer: str = ""


# --- one record -------------------------------------------------------------------------------------------------------


def verify(folder: Path, signers: str | None = None) -> list[str]:
    """Everything wrong with a record, each naming the file and, in the ledger, the line. Needs only the folder.

    ``signers`` is text in ssh-keygen's format of allowed signers: then the seal must be signed by the operator it
    names, with a key that was valid when it was sealed. Without, only damage is found.
    """
    return list(_judged(folder, signers).problems)


def _judged(folder: Path, signers: str | None) -> Found:
    path = folder / LEDGER
    try:
        problem, opened, seal = _walked(path)
    except OSError as error:
        return Found(folder, (f"{path}: cannot be read: {error.strerror}",))
    if problem:
        return Found(folder, (problem,))  # nothing after the first bad line, the seal included, is to be believed
    if seal is None or seal.get("event") != "sealed":
        return Found(folder, (f"{path}: not sealed: the run was cut off, or the end of the ledger was removed",))
    problems = [*_misplaced(folder, opened), *_changed(folder, seal.get("files", {}))]
    signer, complaint = _signed(folder, opened, seal, signers)
    # A record's list of files may be long: what the chain and a report tell of a seal is kept.
    kept = {name: seal.get(name) for name in ("hash", "previous", "at", "operator", "outcome")}
    return Found(folder, (*problems, *complaint), {**kept, "kind": opened.get("kind")}, signer)


def _walked(path: Path) -> tuple[str | None, Event, Event | None]:
    """What is wrong with the first bad line, on which every later one rests; the first line; the last."""
    first: Event = {}
    last, previous = None, ""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            complaint, event = _verify_line(line, previous, number)
            if last is not None and last.get("event") == "sealed":
                complaint = "something stands after the seal"
            if complaint:
                return f"{path}: line {number}: {complaint}", first, last
            first, last, previous = first or event, event, event["hash"]
    return None, first, last


def _verify_line(line: bytes, previous: str, number: int) -> tuple[str | None, Event]:
    try:
        event = json.loads(line)
        text = line.decode()
    except ValueError:
        return "not a JSON object", {}
    if not line.endswith(b"\n") or not isinstance(event, dict) or event.get("n") != number:
        return f"expected event number {number} and a line end", {}
    body = text[: -TAIL - 1]
    if text[:-1] != f'{body}{HASH}{digest_of(previous, body)}"}}':
        return "the line, or one before it, was changed", event
    return None, event


def digest_of(previous: str, text: str) -> str:
    """The hash of a line: of the line before it, and its own text up to the hash."""
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misplaced(folder: Path, opened: Event) -> Iterator[str]:
    """A record in a place of another record's name: swapped, or an old one in a newer one's place."""
    told = str(opened.get("record", "")).split("/")[-2:]
    here = list(folder.parts[-2:])
    if not DATE.fullmatch(folder.parent.name):
        told, here = told[-1:], here[-1:]
    if told != here:
        yield f"{folder}: holds the record {'/'.join(told)}"


def _changed(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    found = {below(folder, path): path for path in files_of(folder)}
    yield from (f"{folder / name}: missing" for name in files if name not in found)
    for name, path in found.items():
        if name not in files:
            yield f"{path}: not in the seal"
        elif not plain(path) or digest(path) != files[name]:
            yield f"{path}: changed since it was sealed"


def files_of(folder: Path) -> list[Path]:
    """What a seal covers: every file of the record but the ledger and the seal's own signature."""
    own = {folder / LEDGER, folder / SIGNATURE}
    return sorted(path for path in folder.rglob("*") if (path.is_symlink() or not path.is_dir()) and path not in own)


def below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


# --- signatures -------------------------------------------------------------------------------------------------------


def _signed(folder: Path, opened: Event, seal: Event, signers: str | None) -> tuple[str, list[str]]:
    """Who signed, in words, and what is wrong with the signature."""
    path = folder / SIGNATURE
    there = path.exists() or path.is_symlink()
    if signers is None:
        stray = there and opened.get("kind") != "production"
        return "", [f"{path}: not in the seal"] if stray else []
    if not there:
        return "", [f"{path}: missing: the seal is not signed"]
    if not plain(path) or (armour := path.read_bytes()) != _armoured(armour):
        return "", [f"{path}: not a signature as ssh-keygen writes it"]
    when, operator = datetime.fromisoformat(seal["at"]), str(seal.get("operator"))
    good, words = signed_by(operator, armour, last_line(folder), signers, when)
    return (words, []) if good else ("", [f"{path}: not signed by {operator}: {words}"])


def signed_by(operator: str, armour: bytes, data: bytes, signers: str, when: datetime) -> tuple[bool, str]:
    """Whether ``armour`` is a signature of ``data`` by a key that ``signers`` gave ``operator`` at that time; words.

    The signature and the signers are passed through pipes: no file is written.
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
    finally:
        for pipe in pipes:
            os.close(pipe)
    said = " ".join((done.stdout if done.returncode == 0 else done.stderr + done.stdout).decode().split())
    return done.returncode == 0, re.sub(r"/dev/fd/\d+", SIGNERS, said).partition("signature for ")[2] or said


def _pipe(data: bytes) -> int:
    """The reading end of a pipe that holds ``data``."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def _armoured(data: bytes) -> bytes:
    """A signature as ssh-keygen writes it: it reads others too, and then not every byte would count."""
    body = data.decode(errors="replace").removeprefix(f"{BEGIN}\n").removesuffix(f"\n{END}\n")
    try:
        text = base64.b64encode(base64.b64decode(body.replace("\n", ""), validate=True)).decode()
    except ValueError:
        return b""
    lines = [text[start : start + COLUMNS] for start in range(0, len(text), COLUMNS)]
    return "\n".join([BEGIN, *lines, END, ""]).encode()


def last_line(folder: Path) -> bytes:
    """The seal, as it is signed: the ledger's last line, with its line feed."""
    with (folder / LEDGER).open("rb") as file:
        return deque(file, maxlen=1).pop()


# --- many records -----------------------------------------------------------------------------------------------------


def every(folder: Path) -> Iterator[Path]:
    """The records in a folder, oldest first: itself, or whatever lies below it and looks like one."""
    if (folder / LEDGER).exists() or NAME.match(folder.name):
        yield folder
    elif folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from every(inner)


def chain(found: Iterable[tuple[Path, Event]], heads: Iterable[str] = ()) -> Iterator[str]:
    """What the seals of a profile tell of records that are gone, or were put in: each names the one before it.

    ``heads`` are hashes of seals that are known to have been.
    """
    seals: dict[str, tuple[Path, str | None, str]] = {}
    followers: dict[str | None, Path] = {}
    for folder, seal in found:
        own, previous = seal["hash"], seal["previous"]
        if own in seals:
            yield f"{folder}: has the seal of {seals[own][0]}"
        elif previous in followers:
            after = f"the seal {previous}" if previous else "no other"
            yield f"{folder}: its seal follows {after}, as does that of {followers[previous]}"
        seals[own], followers[previous] = (folder, previous, seal["at"]), folder
    for folder, previous, at in seals.values():
        if previous is not None and previous not in seals:
            yield f"{folder}: the seal before it, {previous}, is gone"
        elif previous is not None and _moment(at) < _moment(seals[previous][2]) - SKEW:
            yield f"{folder}: sealed at {at}, before the seal it follows, of {seals[previous][2]}"
    yield from (f"the newest seal, {head}, is gone" for head in heads if head not in seals)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def report(
    folders: Iterable[Path],
    signers_of: Callable[[Path], str | None],
    say: Callable[[str], object],
    *,
    head: str | None = None,
    whole: bool = True,
) -> int:
    """Verify records, saying a line of each and every problem; return how many problems there are.

    ``signers_of`` gives the allowed signers for a record, None where it need not be signed. ``whole``: these are all
    the records there are, so that one that is gone can be told. ``head`` is the newest seal that is known.
    """
    seals: dict[Path, list[tuple[Path, Event]]] = {}
    problems = count = 0
    for one in _in_batches(folders, signers_of):
        complaints = one.problems or _unjudged(one)
        for line in complaints or (_praise(one),):
            say(line)
        problems, count = problems + len(complaints), count + 1
        if one.seal:
            seals.setdefault(one.folder.parent.parent, []).append((one.folder, one.seal))
    gone = []
    if head and not any(seal["hash"] == head for profile in seals.values() for _, seal in profile):
        gone.append(f"none of the {count} records has the seal {head}: newer ones were removed, or it is not theirs")
    for profile, found in seals.items() if whole else ():
        gone += [line if line.startswith("/") else f"{profile}: {line}" for line in chain(found, _heads(profile))]
    for line in gone:
        say(line)
    return problems + len(gone)


def _in_batches(folders: Iterable[Path], signers_of: Callable[[Path], str | None]) -> Iterator[Found]:
    waiting = iter(folders)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(waiting, BATCH)):
            yield from pool.map(lambda folder: _judged(folder, signers_of(folder)), batch)


def _unjudged(one: Found) -> tuple[str, ...]:
    """That nobody looked at a signature is no success."""
    if one.signer or (one.seal or {}).get("kind") != "production":
        return ()
    return (f"{one.folder}: undamaged, but whose signature it has was not judged: name who may sign (--signers FILE)",)


def _praise(one: Found) -> str:
    seal = one.seal or {}
    by = f"signed by {one.signer}" if one.signer else f"not signed, by {seal.get('operator')}"
    return f"{one.folder.name}: sound, {seal.get('outcome')}, sealed {seal['at']}, {by}, seal {seal['hash']}"


def _heads(profile: Path) -> list[str]:
    """The newest seal that the runbook itself remembers, where records are made."""
    try:
        known = json.loads((profile / "head.json").read_text(encoding="utf-8"))["hash"]
    except (OSError, ValueError, KeyError):
        return []
    return [known] if known else []


def story(folder: Path) -> Iterator[str]:
    """What a record says happened, when and by whom: a line for each event of its ledger."""
    with (folder / LEDGER).open("rb") as file:
        for line in file:
            event = json.loads(line)
            who = event.get("by") or (event.get("operator") if event["event"] in ("opened", "sealed") else None)
            words = [event["at"], event["event"], event.get("step"), event.get("outcome"), event.get("title")]
            words += [event[name] for name in TOLD if event.get(name)]
            words += [f"by {who}"] if who else []
            yield "  ".join(" ".join(str(word).split()) for word in words if word)


# --- as a program of its own ------------------------------------------------------------------------------------------


def signers_beside(folder: Path) -> str | None:
    """The allowed signers an archive keeps in the folder of a record's profile."""
    path = folder.parent.parent / SIGNERS
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Verify the records in the folders named; 0 if all are sound, 1 if not, 2 if there is nothing to verify."""
    described = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("verify", description=described)
    usual = [Path(os.environ.get("RUNBOOK_RECORDS", "records"))]
    what = "a record, or a folder of records; else records"
    parser.add_argument("folders", nargs="*", default=usual, metavar="FOLDER", type=Path, help=what)
    parser.add_argument("--signers", type=Path, help=f"who may sign; else the file {SIGNERS} beside the records")
    parser.add_argument("--head", help="the newest seal that you know of: finds the removal of the newest")
    parser.add_argument("--tell", action="store_true", help="tell what happened, when and by whom, event by event")
    given = parser.parse_args(arguments)
    said = given.signers.read_text(encoding="utf-8") if given.signers else None
    roots = [folder.resolve() for folder in given.folders]
    found = [folder for root in roots for folder in every(root)]
    if not found:
        sys.stderr.write(f"no records in {', '.join(map(str, roots))}\n")
        return 2
    whole = found != roots
    for folder in found if given.tell else ():
        for line in (f"--- {folder.name}", *story(folder)):
            _print(line)
    problems = report(found, lambda folder: said or signers_beside(folder), _print, head=given.head, whole=whole)
    _print(f"records: {len(found)}, {f'problems: {problems}' if problems else 'all sound'}")
    return 1 if problems else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
