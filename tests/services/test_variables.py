"""Variables are filled into what we wrote, and into nothing that came back; children get those they need."""

from __future__ import annotations

import os

import pytest

from runbook_lib.commands.command import Reply, http, shell, sql
from runbook_lib.services.services import Services
from runbook_lib.services.variables import expanded, of_a_child


def test_what_a_notebook_wrote_is_filled(chosen):
    assert expanded({"a": ["$VERCEL_TOKEN"]}, chosen) == {"a": [os.environ["VERCEL_TOKEN"]]}


def test_what_a_service_sent_is_never_a_template(chosen):
    """A Skill whose model is called like a variable had the variable's value sent."""
    reply = Reply(({"model": "$VERCEL_TOKEN", "inner": [{"x": "{fly.app} $CRON_SECRET"}]},))
    for value in (reply.value("model"), reply.rows[0]["inner"], reply.column("model")):
        assert expanded(value, chosen) == value
    recorded = Reply.from_facts(reply.facts())
    command = sql("select %(model)s", model=recorded.value("model")).filled(chosen.lookup)
    assert expanded(command.values["model"], chosen) == "$VERCEL_TOKEN"
    body = http("fly", "POST /v1/apps", json={"a": recorded.rows[0]["inner"]}).filled(chosen.lookup).json
    assert expanded(body, chosen) == {"a": [{"x": "{fly.app} $CRON_SECRET"}]}


def test_a_value_that_was_sent_back_reaches_the_database_as_it_was(chosen):
    services = Services(chosen)
    model = services.look(sql("select '$VERCEL_TOKEN' as model")).value("model")
    assert services.look(sql("select %(model)s || '' as model", model=model)).value("model") == "$VERCEL_TOKEN"
    services.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("printenv", set()),
        ('printf %s "$CRON_SECRET"', {"CRON_SECRET"}),
        ("printenv CRON_SECRET", {"CRON_SECRET"}),
        ("vercel deploy", {"VERCEL_TOKEN"}),
        ("./runbook halt --all", {"VERCEL_TOKEN", "CRON_SECRET"}),
    ],
)
def test_a_child_gets_the_secrets_it_needs_by_name(chosen, line, expected):
    environment = of_a_child(line, chosen)
    assert {"VERCEL_TOKEN", "CRON_SECRET"} & environment.keys() == expected
    assert "PATH" in environment


def test_a_shell_step_finds_no_secret_it_does_not_name(chosen):
    services = Services(chosen)
    line = "env | grep -c -e CRON_SECRET -e VERCEL_TOKEN || true"
    assert services.look(shell("env | cut -d= -f1 | sort", reads=True, folder="/")).text.count("VERCEL_TOKEN") == 0
    assert services.look(shell(line, reads=True, folder="/")).text.strip() == "2"
    services.close()
