"""The door: what may carry a secret that this process does not know stays outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.services.secret_fields import DROPPED, drop, drop_text

SHOWN = ("DEPLOYMENT_ID", "FLY_LIVE_RUNNER_IMAGE", "HYPERLIQUID_LIVE_ENABLED", "live_runner_image", "SUPABASE_URL")
HARMLESS_KEYS = st.sampled_from(["id", "state", "name", "digest", "coin", "created", "tokens", "public_key_id"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HARMLESS_KEYS, inner, max_size=3),
)


@pytest.mark.parametrize(
    "key",
    [
        *("decrypted_secret", "api_key", "apiKey", "api-key", "API_KEY", "token", "Token", "access_token", "jwt"),
        *("private_key", "privateKey", "secret", "secret_key", "client_secret", "password", "db_pass", "pairing_sig"),
        *("raw_value", "connection_string", "refreshToken"),
    ],
)
@pytest.mark.parametrize("value", ["x", ["x"], ("x", "y")])
def test_a_field_that_is_called_secret_is_dropped_however_it_is_written(key: str, value: Any) -> None:
    assert drop([{"a": {key: value, "id": 1}}], SHOWN) == [{"a": {key: DROPPED, "id": 1}}]


@pytest.mark.parametrize("value", [None, "", 0, 7, True, False, []])
def test_what_cannot_be_a_secret_stays_even_under_such_a_name(value: Any) -> None:
    assert drop({"token": value}, SHOWN) == {"token": value}  # Hyperliquid numbers its tokens


@given(PLAIN)
def test_nothing_else_is_touched(facts: Any) -> None:
    assert drop(facts, SHOWN) == facts


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"key": "CRON_SECRET", "value": "x"}, False),
        ({"key": "anything", "value": {"a": 1}}, False),
        ({"name": "SUPABASE_DB_PASSWORD", "value": "x"}, False),
        ({"key": "CRON_SECRET", "value": None}, True),
        ({"key": "FLY_LIVE_RUNNER_IMAGE", "value": "a@sha256:b"}, True),
        ({"key": "NEXT_PUBLIC_SUPABASE_URL", "value": "https://x"}, True),
        ({"key": "HYPERLIQUID_LIVE_ENABLED", "value": "true"}, True),
        ({"key": "live_runner_image", "value": "a@sha256:b"}, True),
        ({"name": "TimeZone", "value": "UTC"}, True),
        ({"value": "x"}, True),
        ({"key": "NEXT_PUBLIC_A\nSECRET", "value": "x"}, False),
        ({"key": "SUPABASE_URL\n", "value": "x"}, False),
    ],
)
def test_the_value_of_a_variable_stays_only_where_it_is_public(row: dict[str, Any], kept: bool) -> None:
    assert drop(row, SHOWN)["value"] == (row["value"] if kept else DROPPED)
    assert drop({"key": "HYPERLIQUID_LIVE_ENABLED", "value": "true"})["value"] == DROPPED  # which no profile names


def test_a_variables_value_that_redaction_has_named_keeps_the_name() -> None:
    rows = [{"key": "ANY", "value": value} for value in ("$CRON_SECRET", "$$CRON_SECRET", "$CRON_SECRET and more")]
    assert [row["value"] for row in drop(rows, SHOWN)] == ["$CRON_SECRET", DROPPED, DROPPED]


def test_a_machines_environment_keeps_what_identifies_it() -> None:
    machine = {"id": "148e", "config": {"env": {"DEPLOYMENT_ID": "d1", "SUPABASE_DB_PASSWORD": "x", "ODD": ""}}}
    env = {"DEPLOYMENT_ID": "d1", "SUPABASE_DB_PASSWORD": DROPPED, "ODD": DROPPED}
    assert drop(machine, SHOWN) == {"id": "148e", "config": {"env": env}}


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ("5e3f9d1e-1111-4222-8333-123456789abc\n", True),
        (64 * "a" + "  -\n", True),
        (64 * "a", True),
        ("", True),
        (32 * "a", False),  # an API key may look so
        (64 * "A", False),
        ("0x" + 64 * "a", False),
        ("5e3f9d1e-1111-4222-8333-123456789abc\nSECRET=x", False),
        ("DEPLOYMENT_ID=5e3f9d1e-1111-4222-8333-123456789abc", False),
    ],
)
def test_what_a_machine_prints_stays_only_if_it_is_an_id_or_a_hash(output: str, kept: bool) -> None:
    answer = {"exit_code": 0, "stdout": output, "stderr": output}
    assert drop(answer, SHOWN) == {
        **answer,
        "stdout": answer["stdout"] if kept else DROPPED,
        "stderr": output if kept else DROPPED,
    }


def test_output_of_anything_but_a_machine_stays() -> None:
    assert drop({"stdout": "hello"}, SHOWN) == {"stdout": "hello"}


def test_the_body_of_an_answer_is_shown_without_secrets() -> None:
    assert json.loads(drop_text({"token": "x", "message": "no"})) == {"token": DROPPED, "message": "no"}
    assert drop_text("<html>not found</html>") == "<html>not found</html>"
