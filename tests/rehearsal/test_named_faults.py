"""Every fault is put in force by its name, works, and is taken back whole."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.rehearsal.named_faults import known
from runbook_lib.rehearsal.world.http_faults import named_fault
from tests.rehearsal.conftest import client


@pytest.fixture(scope="module")
def first_day():
    """Every fault finds something to spoil where the first day is over."""
    with rehearse(state="first_day", tick=0.5) as running:
        yield running


def test_a_fault_there_is_not_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'web-down'"), rehearse(faults=["web-dwon"]):
        pass


def test_a_rehearsal_may_start_with_faults_in_force():
    with rehearse(faults=["no-backup"]) as running, client(running, "person") as person:
        assert [fault["name"] for fault in person.get("/faults").json() if fault["active"]] == ["no-backup"]
        assert person.post("/gestures/backup").status_code == 409


def test_every_fault_can_be_entered_and_left(first_day):
    with client(first_day, "person") as person:
        for name in known():
            assert person.post(f"/faults/{name}").status_code == 201, name
            active = [fault["name"] for fault in person.get("/faults").json() if fault["active"]]
            assert active == [name]
            assert person.delete(f"/faults/{name}").status_code == 200, name
        assert person.get("/http-faults").json() == []
        assert person.delete("/faults/web-down").status_code == 404
        assert "did you mean" in person.post("/faults/web-dwon").json()["error"]
    assert not any(map(str.isalpha, (first_day.folder / "runner-faults.json").read_text()))


def test_a_fault_works_while_it_is_in_force(first_day):
    with client(first_day, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        usage = lambda: openrouter.get("/api/v1/key").json()["data"]["usage"]  # noqa: E731
        before = usage()
        with named_fault(first_day.addresses["person"], "spending-disagrees"):
            assert usage() >= 2 * before
        assert usage() < 2 * before
    with pytest.raises(ServiceError, match="did you mean"), named_fault(first_day.addresses["person"], "web-dwon"):
        pass
