"""Two records are compared in an operator's words; what is another value in every run is no difference."""

from __future__ import annotations

import uuid

import pytest
import yaml

from runbook_lib.records import diff, run_record
from tests import sealing


def made(root, *steps, parameters=None, versions=None, ends="passed", **facts):
    """A record whose steps passed; each step is a dict of what differs from the usual."""
    given = {"phase": "phase_try", "parameters": parameters or {}, "profile": {"fly": {"app": "runner"}}}
    told = {"id": "x", "operator": "ada", "mode": "watch", "parent": None, "versions": versions or {}, **facts}
    record = run_record.create(root, "rehearsal", "phase_try", yaml.safe_dump(given), **told)
    for one in steps:
        number = one.get("step", "1a")
        usual = {"verb": "check", "title": "t"}
        record.ledger.append("sending", step=number, **usual, commands=one.get("commands", ["select 1;"]))
        reply = {"rows": one.get("rows", []), "status": None, "error": None, "text": "", "at": 0, "seconds": 0}
        ended = {"outcome": "passed", "seen": "", "complaint": None, "symptom": None, "replies": [reply], **one}
        record.ledger.append("outcome", **{"step": number, **usual, **ended})
    sealing.seal(record, ends)
    return record


def told(first, second):
    return [(one.where, one.what, one.first, one.second) for one in diff.differences(first, second)]


def test_the_same_run_twice_differs_in_nothing(tmp_path):
    one, other = (
        made(
            tmp_path,
            {
                "seen": f"id={uuid.uuid4()}",
                "rows": [{"id": str(uuid.uuid4()), "at": at}],
                "commands": [f"where id = '{uuid.uuid4()}'"],
            },
        )
        for at in ("2026-11-22T20:00:00.1Z", "2026-11-22T21:00:00Z")
    )
    assert told(one, other) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            {"outcome": "passed"},
            {"outcome": "failed", "complaint": "2 rows"},
            [("outcome", "passed", "failed"), ("complaint", "none", "2 rows")],
        ),
        ({"rows": [{"n": 1}]}, {"rows": [{"n": 2}]}, [("reply n", "1", "2")]),
        ({"rows": [{"n": 1}, {"n": 2}]}, {"rows": [{"n": 1}, {"n": 3}]}, [("reply row 2 n", "2", "3")]),
        ({"rows": [{"n": 1}]}, {"rows": []}, [("reply", "rows: 1", "rows: 0")]),
        ({"rows": [{"a": {"b": 1}}]}, {"rows": [{"a": {"b": None}}]}, [("reply a.b", "1", "none")]),
        ({"commands": ["select 1;"]}, {"commands": ["select 2;"]}, [("sent", "select 1;", "select 2;")]),
    ],
)
def test_a_step_differs_in_verdict_values_and_what_was_sent(tmp_path, first, second, expected):
    found = told(made(tmp_path, first), made(tmp_path, second))
    assert found == [("1a", *one) for one in expected]


def test_a_step_that_only_one_of_them_reached_is_named(tmp_path):
    found = told(made(tmp_path, {}, {"step": "1b"}), made(tmp_path, {}))
    assert found == [("1b", "step", "passed: t", "not reached")]


def test_runs_differ_in_who_outcome_parameters_profile_and_versions(tmp_path):
    first = made(tmp_path, parameters={"limit": 1}, versions={"httpx": "0.27"})
    second = made(tmp_path, parameters={"limit": 2}, versions={"httpx": "0.28"}, operator="grace", ends="failed")
    text = second.folder / "parameters.yaml"
    text.write_text(text.read_text().replace("app: runner", "app: other"))
    assert told(first, second) == [
        ("run", "outcome", "passed", "failed"),
        ("run", "operator", "ada", "grace"),
        ("run", "parameter limit", "1", "2"),
        ("run", "profile fly.app", "runner", "other"),
        ("run", "version httpx", "0.27", "0.28"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "differs"), [(1.0, 1.4, False), (1.0, 1.6, True), (0.01, 0.2, False), (9, 3, True)]
)
def test_a_step_that_took_much_longer_is_told(one, other, differs):
    assert bool(list(diff._timing("1a", one, other))) is differs
