"""The key's usage is what the runners wrote down."""

from __future__ import annotations

from tests.rehearsal.conftest import client, named_fault


def test_a_platform_without_tables_has_spent_nothing(rehearsal):
    with client(rehearsal, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = openrouter.get("/api/v1/key").raise_for_status().json()["data"]
    assert (key["usage"], key["usage_monthly"], key["limit_remaining"]) == (0, 0, key["limit"])


SPENT = """
    select sum(cost_usd) filter (where tick_at >= date_trunc('month', now(), 'UTC'))::float8, sum(cost_usd)::float8
    from public.decision_snapshots
"""


def test_usage_agrees_with_the_snapshots(migrated, deployment, database):
    database.execute(
        "insert into public.decision_snapshots (deployment_id, tick_at, cost_usd)"
        " values (%(id)s, now(), 0.25), (%(id)s, now() - interval '70 days', 1)",
        {"id": deployment()},
    )
    # Other tests' runners may spend on this platform meanwhile: the key's usage lies between two looks.
    before = database.execute(SPENT).fetchone()
    with client(migrated, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = openrouter.get("/api/v1/key").json()["data"]
    after = database.execute(SPENT).fetchone()

    assert before[0] - 1e-6 <= key["usage_monthly"] <= after[0] + 1e-6
    assert before[1] - 1e-6 <= key["usage"] <= after[1] + 1e-6
    assert key["usage"] - key["usage_monthly"] >= 1  # what is older than the month


def test_a_bad_key_gets_401_and_a_runners_key_sees_no_credits(rehearsal):
    with client(rehearsal, "openrouter") as openrouter:
        assert openrouter.get("/api/v1/key").json()["error"]["message"] == "Missing Authentication header"
        assert openrouter.get("/api/v1/key", headers={"authorization": "Bearer sk-or-v1-no"}).status_code == 401
    with client(rehearsal, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        assert openrouter.get("/api/v1/credits").status_code == 403


def test_a_key_has_every_field_that_the_vendor_promises(rehearsal):
    periods = ("", "_daily", "_weekly", "_monthly")
    with client(rehearsal, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = openrouter.get("/api/v1/key").json()["data"]
    assert key.keys() == {
        *("creator_user_id", "expires_at", "include_byok_in_limit", "is_free_tier", "is_management_key"),
        *("is_provisioning_key", "label", "limit", "limit_remaining", "limit_reset", "rate_limit"),
        *(f"{kind}{period}" for kind in ("usage", "byok_usage") for period in periods),
    }


def test_a_key_without_limit_of_others_and_with_own_provider_keys_is_told_as_the_vendor_tells_it(migrated):
    with client(migrated, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        with named_fault(migrated, "key-of-others"), named_fault(migrated, "own-provider-keys"):
            key = openrouter.get("/api/v1/key").json()["data"]
        assert (key["usage_monthly"], key["byok_usage_monthly"] >= 7) == (0, True)
        with named_fault(migrated, "key-without-limit"):
            key = openrouter.get("/api/v1/key").json()["data"]
        assert (key["limit"], key["limit_remaining"], key["byok_usage_monthly"]) == (None, None, 0)
