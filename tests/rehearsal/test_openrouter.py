"""The key's usage is what the runners wrote down."""

from __future__ import annotations

import pytest

from .conftest import client


def test_a_platform_without_tables_has_spent_nothing(rehearsal):
    with client(rehearsal, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = openrouter.get("/api/v1/key").raise_for_status().json()["data"]
    assert (key["usage"], key["usage_monthly"], key["limit_remaining"]) == (0, 0, key["limit"])


def test_usage_agrees_with_the_snapshots(migrated, deployment, database):
    database.execute("delete from public.decision_snapshots")  # other tests of this platform spend too
    database.execute(
        "insert into public.decision_snapshots (deployment_id, tick_at, cost_usd)"
        " values (%(id)s, now(), 0.25), (%(id)s, now() - interval '70 days', 1)",
        {"id": deployment()},
    )
    with client(migrated, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = openrouter.get("/api/v1/key").json()["data"]
    assert key["usage_monthly"] == pytest.approx(0.25)
    assert key["usage"] == pytest.approx(1.25)


def test_a_bad_key_gets_401_and_a_runners_key_sees_no_credits(rehearsal):
    with client(rehearsal, "openrouter") as openrouter:
        assert openrouter.get("/api/v1/key").json()["error"]["message"] == "Missing Authentication header"
        assert openrouter.get("/api/v1/key", headers={"authorization": "Bearer sk-or-v1-no"}).status_code == 401
    with client(rehearsal, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        assert openrouter.get("/api/v1/credits").status_code == 403
