"""No record that verify calls sound says something that its run did not: every field, type, order, time and link, bent.

A forger is assumed who can compute hashes: what he writes is chained anew. Without a key he may tell another story from
beginning to end; but then every word of the seal still follows from the lines, as they are read here a second time.
"""

from __future__ import annotations

import copy
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.records import plan, run_record, seal_chain, verify
from tests import keys
from tests.core_fixtures import write_notebook

CELLS = 'phase.check("1a", "looks")', 'phase.act("1b", "acts")', 'phase.check("1c", "looks again")'
CLAIM = {"step": "1a", "claim": "it wakes", "why": "no runner", "due": "2.1a"}
BACK = {"kind": "Sql", "statement": "select 1", "values": {}}
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["passed", "passed "]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
TIMES = ["2026-11-22T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z", "2026-11-22T00:00:00-23:00", "soon"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A signed record with something of everything, and the same before its signature."""
    folder = tmp_path_factory.mktemp("fuzz")
    key = keys.key(folder, "ada")
    source = write_notebook(folder / "phase_try.ipynb", *CELLS)
    facts = {"kind": "production", "operator": "ada", "project": "p" * 20, "versions": {"python": "3.11"}}
    facts |= {"plan": plan.written_down(source)}
    record = run_record.create(folder / "records", "production", "phase_try", "a: 1\n", **facts)
    record.notebook.write_bytes(source.read_bytes())
    tell = record.ledger.append
    tell("sending", step="1a", verb="check", title="looks", commands=["select 1;"])
    tell("unproven", **CLAIM)
    tell("outcome", step="1a", verb="check", title="looks", outcome="passed", seen="1 row", replies=[])
    tell("owed", step="1b", command=BACK, text="select 1;")
    tell("sending", step="1b", verb="act", title="acts", commands=["select 2;"], fence=7)
    tell("outcome", step="1b", verb="act", title="acts", outcome="passed", seen="", replies=[])
    tell("undoing", step="1b", command="select 1;")
    tell("undone", step="1b", replies=[])
    tell("outcome", step="1c", verb="check", title="looks again", outcome="passed", recalled=TIMES[0], replies=[])
    tell("closed", steps=3)
    seal_chain.seal(record)
    keys.sign(record, key)
    assert verify.verify(record.folder, keys.line(key)) == []
    return record, keys.line(key)


@st.composite
def bent(draw, events):
    """The events with one thing about them bent, or two."""
    events = copy.deepcopy(events)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(events) - 1))
        event = events[at]
        kind = draw(st.sampled_from(["value", "word", "time", "drop", "swap", "twice", "gone", "field", "seal"]))
        names = [name for name in event if name not in ("n", "hash")]
        if kind == "value":
            event[draw(st.sampled_from(names))] = draw(JUNK)
        elif kind == "word":
            word = draw(st.sampled_from([*verify.EVENTS, *verify.ENDS, *verify.MODES, *verify.KINDS]))
            event[draw(st.sampled_from(["event", "outcome", "mode", "kind", "verb", "step"]))] = word
        elif kind == "time":
            event["at"] = draw(st.sampled_from(TIMES))
        elif kind == "drop":
            del event[draw(st.sampled_from(names))]
        elif kind == "swap":
            other = draw(st.integers(0, len(events) - 1))
            events[at], events[other] = events[other], events[at]
        elif kind == "twice":
            events.insert(at, copy.deepcopy(event))
        elif kind == "gone" and len(events) > 1:
            del events[at]
        elif kind == "field":
            event[draw(st.text(min_size=1, max_size=5))] = draw(JUNK)
        else:
            claims = [
                "steps",
                "missing",
                "owed",
                "edited",
                "recalled",
                "unproven",
                "outcome",
                "previous",
                "parent",
                "kind",
            ]
            events[-1][draw(st.sampled_from(claims))] = draw(JUNK)
    return events


def written(events, path):
    last, lines = "", []
    for number, event in enumerate(events, 1):
        told = {"n": number, **{key: value for key, value in event.items() if key not in ("n", "hash")}}
        try:
            line, last = verify.written(told, last)
        except (ValueError, KeyError, TypeError):
            line = json.dumps(told).encode() + b"\n"
        lines.append(line)
    path.write_bytes(b"".join(lines))


def follows(events, seal):
    """Whether a seal says what a second reading of its lines says, made without verify's own."""
    opened, ends, owed, edited = events[0], {}, [], []
    for event in events:
        step = event.get("step")
        if event["event"] == "outcome":
            ends[step] = event["outcome"]
        elif event["event"] == "sending" and event["verb"] == "act":
            ends[step] = "unknown"
        elif event["event"] == "owed" and step not in owed:
            owed.append(step)
        elif event["event"] == "undone" and step in owed:
            owed.remove(step)
        elif event["event"] == "edited":
            edited += event["steps"] or [event["cell"]]
    planned = [step[0] for step in (opened.get("plan") or {"steps": []})["steps"]]
    whole = {"passed"} >= set(ends.values()) and not owed and set(planned) <= ends.keys()
    good = seal["owed"] == owed and seal["missing"] == [step for step in planned if step not in ends]
    good = (
        good
        and sum(seal["steps"].values()) == len(ends)
        and seal["steps"]["passed"] == [*ends.values()].count("passed")
    )
    good = good and [event["at"] for event in events] == sorted(event["at"] for event in events)
    run = opened["mode"] in ("headless", "attended")
    return good and (seal["outcome"] != "passed" or not run or whole) and set(edited) <= set(seal["edited"])


@given(data=st.data())
@settings(max_examples=400)
def test_what_is_called_sound_says_what_its_lines_say(made, tmp_path_factory, data):
    record, signers = made
    events = record.ledger.events()
    after = data.draw(bent(events))
    folder = tmp_path_factory.mktemp("bent") / "production" / record.folder.parent.name / record.folder.name
    shutil.copytree(record.folder, folder)
    written(after, folder / verify.LEDGER)
    same = (folder / verify.LEDGER).read_bytes() == record.ledger.path.read_bytes()
    try:
        # Signed by who may, nothing can be told that the run did not tell.
        assert same or verify.verify(folder, signers)
        if not verify.verify(folder):
            lines = [json.loads(line) for line in (folder / verify.LEDGER).read_bytes().splitlines()]
            assert follows(lines, lines[-1])
    finally:
        shutil.rmtree(folder.parents[2])


RAW = [
    (b'"seen":"1 row"', b'"seen":"1 row","seen":"2 rows"'),
    (b'"fence":7', b'"fence":7.0e0'),
    (b'"fence":7', b'"fence":NaN'),
    (b'"fence":7', b'"fence": 7'),
    (b'"fence":7', b'"fence":-0'),
    (b"1 row", b"1 \\u0072ow"),
    (b'Z","event":"closed"', b'+00:00","event":"closed"'),
    (b'Z","event":"closed"', b'-23:00","event":"closed"'),
]


@pytest.mark.parametrize(("old", "new"), RAW)
def test_a_line_has_one_form_only(made, tmp_path, old, new):
    """Whatever else JSON allows: keys twice, other numbers, blanks, escapes, zones. The chain is sound each time."""
    record = made[0]
    folder = tmp_path / record.name
    shutil.copytree(record.folder, folder)
    bodies = [line.rpartition(b',"hash":')[0] for line in record.ledger.path.read_bytes().splitlines()]
    assert any(old in body for body in bodies)
    last, lines = "", []
    for body in bodies:
        text = body.replace(old, new).decode()
        last = verify.digest_of(last, text)
        lines.append(f'{text},"hash":"{last}"}}\n')
    (folder / verify.LEDGER).write_text("".join(lines))
    assert verify.verify(folder)


def test_links_are_told_and_not_followed(made, tmp_path):
    record = made[0]
    root = tmp_path / "records"
    shutil.copytree(record.root, root)
    (root / "production" / "loop").symlink_to(root, target_is_directory=True)
    (root / "production" / "again").symlink_to(root / "production", target_is_directory=True)
    found = list(verify.every(root))
    assert len(found) == 3
    assert sum("links are not followed" in line for folder in found for line in verify.verify(folder)) == 2


def test_a_record_of_another_profile_or_kind_is_found(made, tmp_path):
    record, _ = made
    for change in ({"kind": "rehearsal"}, {"profile": "rehearsal"}):
        events = [{**event, **{key: change[key] for key in change if key in event}} for event in record.ledger.events()]
        folder = tmp_path / "production" / record.folder.parent.name / record.folder.name
        shutil.copytree(record.folder, folder)
        (folder / verify.SIGNATURE).unlink()
        written(events, folder / verify.LEDGER)
        assert verify.verify(folder)
        shutil.rmtree(folder)
