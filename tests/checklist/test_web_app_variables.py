"""Variables of the web app: secrets stay secret, public values are set again, and production has them all."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.checklist.web_app_variables import production_variables, set_variables
from runbook_lib.commands.command import Http
from runbook_lib.commands.expectations import judge
from runbook_lib.services.secret_fields import DROPPED
from tests.judging import can_fail, complaint, of

WANTED = {
    "FLY_API_TOKEN": "$FLY_DEPLOY_TOKEN",
    "FLY_LIVE_RUNNER_APP": "agentic-live-runner",
    "NEXT_PUBLIC_THIRDWEB_CLIENT_ID": "$NEXT_PUBLIC_THIRDWEB_CLIENT_ID",
    "DATABASE_URL": "postgresql://postgres:$SUPABASE_DB_PASSWORD@db",
}


def variable(key: Any, target: Any = ("production",), value: Any = None) -> dict[str, Any]:
    return {"key": key, "target": list(target) if isinstance(target, tuple) else target, "value": value}


def body(command: Http) -> dict[str, str]:
    assert all(one["target"] == ["production"] for one in command.json)
    return {one["key"]: one["type"] for one in command.json}


def test_secrets_are_set_so_that_they_cannot_be_read_and_public_values_so_that_they_can() -> None:
    assert body(set_variables(of(), WANTED)) == {
        "FLY_API_TOKEN": "sensitive",
        "FLY_LIVE_RUNNER_APP": "plain",
        "NEXT_PUBLIC_THIRDWEB_CLIENT_ID": "plain",
        "DATABASE_URL": "sensitive",
    }


def test_what_an_integration_owns_is_left_to_it_and_everything_else_is_set_again() -> None:
    owned = {**variable("DATABASE_URL"), "configurationId": "icfg_supabase"}
    there = of(variable("FLY_API_TOKEN"), variable("FLY_LIVE_RUNNER_APP"), owned)
    assert set(body(set_variables(there, WANTED))) == WANTED.keys() - {"DATABASE_URL"}


@pytest.mark.parametrize("target", [("preview",), ("preview", "development"), "preview", None, (), "preproduction", 5])
def test_a_secret_that_is_there_for_preview_only_is_set(target: Any) -> None:
    assert "FLY_API_TOKEN" in body(set_variables(of(variable("FLY_API_TOKEN", target)), WANTED))


def test_what_is_sensitive_stays_sensitive_whatever_its_value() -> None:
    there = of({**variable("FLY_LIVE_RUNNER_APP"), "type": "sensitive"})
    assert body(set_variables(there, WANTED))["FLY_LIVE_RUNNER_APP"] == "sensitive"


SAME = production_variables("CRON_SECRET", "SUPABASE_DB_PASSWORD|POSTGRES_PASSWORD", FLY_API_TOKEN="$FLY_DEPLOY_TOKEN")


@pytest.mark.parametrize(
    ("name", "value", "decrypted", "words"),
    [
        ("FLY_API_TOKEN", "$FLY_DEPLOY_TOKEN", True, ""),
        ("FLY_API_TOKEN", "$FLY_API_TOKEN", True, "FLY_API_TOKEN is not what $FLY_DEPLOY_TOKEN holds here"),
        ("POSTGRES_PASSWORD", DROPPED, True, "POSTGRES_PASSWORD is not what $SUPABASE_DB_PASSWORD holds here"),
        ("POSTGRES_PASSWORD", "", True, "POSTGRES_PASSWORD is not what"),
        ("CRON_SECRET", None, True, "CRON_SECRET is not what"),
        ("CRON_SECRET", DROPPED, False, ""),
    ],
)
def test_a_secret_that_vercel_shows_must_be_the_one_that_is_used_here(
    name: str, value: str | None, decrypted: bool, words: str
) -> None:
    right = {"CRON_SECRET": "$CRON_SECRET", "POSTGRES_PASSWORD": "$SUPABASE_DB_PASSWORD"}
    right |= {"SUPABASE_DB_PASSWORD": "$SUPABASE_DB_PASSWORD", "FLY_API_TOKEN": "$FLY_DEPLOY_TOKEN"}
    rows = [variable(key, value=shown) | {"decrypted": True} for key, shown in right.items() if key != name]
    said = complaint(SAME, of(*rows, variable(name, value=value) | {"decrypted": decrypted}))
    assert said.startswith(words) and bool(said) == bool(words)


def test_a_readable_value_that_nobody_can_read_is_told_apart_from_a_wrong_one() -> None:
    hidden = {**variable("FLY_LIVE_RUNNER_REGION", value=""), "type": "sensitive"}
    said = complaint(LIVE, of(variable("CRON_SECRET"), variable("POSTGRES_PASSWORD"), hidden))
    assert said.startswith("FLY_LIVE_RUNNER_REGION is sensitive, so nobody can read it")


def test_setting_variables_overwrites_and_is_sent_once() -> None:
    command = set_variables(of(), WANTED)
    assert (command.method, command.target) == ("POST", "/v10/projects/{vercel.project}/env?upsert=true")
    assert not command.read_only


LIVE = production_variables("CRON_SECRET", "SUPABASE_DB_PASSWORD|POSTGRES_PASSWORD", FLY_LIVE_RUNNER_REGION="nrt")


REGION = variable("FLY_LIVE_RUNNER_REGION", value="nrt")


@pytest.mark.parametrize("password", ["SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD"])
def test_variables_that_are_all_there_pass_under_either_name(password: str) -> None:
    found = of(variable("CRON_SECRET"), variable(password), REGION, variable("NEXT_PUBLIC_SUPABASE_URL"))
    assert complaint(LIVE, found) == ""
    assert judge(LIVE, [found]).seen == "4 for production"
    assert can_fail(LIVE, found)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([variable("POSTGRES_PASSWORD"), REGION], "CRON_SECRET is missing for production"),
        ([variable("CRON_SECRET", ("preview",)), variable("POSTGRES_PASSWORD"), REGION], "CRON_SECRET is missing"),
        ([variable("CRON_SECRET"), REGION], "SUPABASE_DB_PASSWORD|POSTGRES_PASSWORD is missing for production"),
        ([variable("CRON_SECRET"), variable("POSTGRES_PASSWORD")], "FLY_LIVE_RUNNER_REGION is missing for production"),
        (
            [variable("CRON_SECRET"), variable("POSTGRES_PASSWORD"), {**REGION, "value": "fra"}],
            "FLY_LIVE_RUNNER_REGION: expected 'nrt', found 'fra'",
        ),
        ([variable(["CRON_SECRET"], 5), variable(None, None), {}], "CRON_SECRET is missing for production"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(rows: list[dict[str, Any]], words: str) -> None:
    assert words in complaint(LIVE, of(*rows))
