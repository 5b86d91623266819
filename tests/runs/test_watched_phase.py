"""What a round says of each watched cell: quiet, alarm or unknown, and never one for the other."""

from __future__ import annotations

import json
from itertools import count

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.records import alarms, run_record
from runbook_lib.runs.watched_phase import Lookout, _things
from tests.core_fixtures import at

NAMES = "from runbook_lib import http, no_rows, rows, sql"
LOOK = 'phase.check("{number}", "title", {command}, expect=no_rows("bad"), fix="mend")'
MOMENT = "select * from (values ('2026-11-22T12:00:00Z'::timestamptz)) t (at) where at <= %(until)s"
DATED = f'sql("{MOMENT}", until=phase.until)'
GONE = "sql('select * from not_there')"
VENDOR = 'http("openrouter", "GET /{path}")'


@pytest.fixture
def watching(chosen, vendor, tmp_path):
    """A lookout over cells, by step number; the others are not watched."""

    def make(*, untagged=(), **cells):
        record = run_record.begin(chosen, "phase_9_trial", root=tmp_path, mode=alarms.MODE)
        made = [
            new_code_cell(
                LOOK.format(number=f"9.1{letter}", command=command) if "phase" not in command[:6] else command,
                metadata={"tags": [] if letter in untagged else ["watch"]},
            )
            for letter, command in cells.items()
        ]
        nbformat.write(new_notebook(cells=made), record.notebook)
        found = Lookout("phase_9_trial", at(chosen, vendor, answer=2.0), record)
        names = {"phase": found}
        exec(NAMES, names)  # noqa: S102 - as the kernel does
        lookouts.append(found)
        return lambda until="now": json.loads(found.round(names, until))

    lookouts = []
    yield make
    for one in lookouts:
        one.services.close()


def words(found):
    return {number: verdict["verdict"] for number, verdict in found.items()}


def test_a_complaint_is_an_alarm_with_the_time_of_its_event(watching):
    found = watching(a=DATED, b="sql('select 1 where false')")()

    assert words(found) == {"9.1a": "alarm", "9.1b": "quiet"}
    assert found["9.1a"]["at"] == "2026-11-22T12:00:00Z"
    assert (found["9.1a"]["lasts"], found["9.1a"]["fix"], found["9.1a"]["title"]) == (False, "mend", "title")


@pytest.mark.parametrize(
    ("rows", "at", "lasts"),
    [
        ("('2026-11-22T12:00:00Z'), ('2026-11-22T13:00:00Z')", "2026-11-22T13:00:00Z", False),
        ("('2026-11-22T12:00:00Z'), (null)", None, True),  # one that nothing dates may last
    ],
)
def test_of_several_rows_the_newest_counts(watching, rows, at, lasts):
    found = watching(a=f'sql("select * from (values {rows}) t (at)")')()["9.1a"]

    assert (found["at"], found["lasts"]) == (at, lasts)


def test_only_tagged_cells_are_judged(watching):
    assert words(watching(untagged="b", a=DATED, b=DATED)()) == {"9.1a": "alarm"}


def test_a_check_that_may_wait_is_an_alarm_when_the_next_round_sees_the_same(watching):
    patient = 'phase.check("9.1a", "t", {}, expect=no_rows("bad"), within=1.0, fix="f")'
    look = watching(a=patient.format(DATED))
    assert [look()["9.1a"]["verdict"] for _ in range(3)] == ["waiting", "alarm", "alarm"]

    once = patient.format('sql("select 1 where %(n)s in (1, 3, 4)", n=next(rounds))')
    look = watching(a=once)
    look.__closure__[1].cell_contents["rounds"] = count(1)
    assert [look()["9.1a"]["verdict"] for _ in range(4)] == ["waiting", "quiet", "waiting", "alarm"]


UUID = "6f1d3f0e-5b0c-4a55-9f2a-7f3c2d1e9b4{}"


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (f"bad: 1\n  id={UUID.format(1)}  at=2026-11-22 12:01:00.5+00:00  seconds=61.5", "alarm"),
        (
            f"bad: 2\n  id={UUID.format(2)}  seconds=1\n  id={UUID.format(1)}  at=2026-11-22 9:00+00:00  seconds=0",
            "alarm",
        ),
        (f"bad: 1\n  id={UUID.format(2)}  at=2026-11-22 12:00:00+00:00  seconds=60", "waiting"),
    ],
)
def test_different_complaints_in_two_rounds_are_no_alarm_and_the_same_one_with_other_numbers_is(second, verdict):
    first = f"bad: 1\n  id={UUID.format(1)}  at=2026-11-22 12:00:00+00:00  seconds=60"
    assert bool(_things(first) & _things(second)) == (verdict == "alarm")


def test_of_complaints_in_one_line_each_part_is_compared():
    first = "0x12 BTC: 0.1 at the venue, 0.2 in agent_state; 0x34 equity: $250.00 at the venue"
    assert _things(first) & _things("0x34 equity: $251.10 at the venue; 0x12 ETH: 1 at the venue, 0 in agent_state")
    assert not _things(first) & _things("0x12 equity: $251.10 at the venue")
    assert not _things(None)


def test_what_could_not_be_looked_at_is_unknown_whatever_the_reason(watching):
    broken = "phase.nothing_of_this_name()"
    cells = {"a": GONE, "b": VENDOR.format(path="status/503"), "c": VENDOR.format(path="lost/one"), "d": DATED}
    found = watching(**cells, e='phase.check("9.1e", "t", sql("select 1"), expect=phase.reply("9.1z"), fix="f")')()
    assert words(found) == {"9.1a": "unknown", "9.1b": "unknown", "9.1c": "unknown", "9.1d": "alarm", "9.1e": "unknown"}
    assert "9.1z has not been seen yet" in found["9.1e"]["complaint"]
    assert words(watching(a=f'phase.check("9.1a", "t", {broken}, expect=1, fix="f")')()) == {"9.1a": "unknown"}


def test_a_cell_reads_what_an_earlier_one_saw(watching):
    again = 'phase.check("9.1b", "t", sql("select %(x)s as x", x=phase.value("9.1a", "x")), expect=rows(1), fix="f")'
    look = watching(a='sql("select 1 as x")', b=again)

    assert words(look())["9.1b"] == "quiet"


def test_a_service_that_does_not_answer_is_asked_once_in_a_round(watching, chosen):
    nobody = chosen.database.model_copy(update={"url": "postgresql://postgres@127.0.0.1:9/postgres"})
    look = watching(a=DATED, b=DATED.replace("12:00", "11:00"))
    lookout = look.__closure__[0].cell_contents
    lookout.services.settings = chosen.model_copy(update={"database": nobody})
    lookout.services.database.settings = lookout.services.settings

    found = look()

    assert words(found) == {"9.1a": "unknown", "9.1b": "unknown"}
    assert found["9.1a"]["complaint"] == found["9.1b"]["complaint"]
    assert "127.0.0.1:9" in found["9.1a"]["complaint"]


def test_a_past_moment_is_judged_as_of_then_and_of_the_rest_nothing_is_said(watching):
    look = watching(a=DATED, b="sql('select 1')", c=VENDOR.format(path="lost/one"))

    assert words(look("2026-11-22T11:59:59Z")) == {"9.1a": "quiet"}
    assert words(look("2026-11-22T12:00:01Z")) == {"9.1a": "alarm"}
