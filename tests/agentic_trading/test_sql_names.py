"""The platform's words are found in a statement, each at its place."""

import pytest

from runbook_lib.agentic_trading.sql_names import uses

TABLES = {
    "deployments": {"id", "status", "created_at"},
    "agent_logs": {"deployment_id", "ts", "event", "data"},
    "agent_commands": {"id", "deployment_id", "kind", "acked_at"},
    "skill_versions": {"payload", "version"},
    "vault.secrets": {"id", "name"},
}


def addresses(statement):
    return {use.address for use in uses(statement, TABLES)}


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("select status from public.deployments", {"deployments", "deployments.status"}),
        ("select d.id from public.deployments d where d.status in ('paused', 'halted')",
         {"deployments", "deployments.id", "deployments.status", "deployments.status:paused",
          "deployments.status:halted"}),
        ("select name from vault.secrets", {"vault.secrets", "vault.secrets.name"}),
        ("select oid from pg_class where oid = 'public.agent_logs'::regclass", {"agent_logs"}),
        ("select 1 from pg_tables where tablename in ('agent_logs', 'others')", {"agent_logs"}),
        ("select data ->> 'cloid' as cloid from agent_logs",
         {"agent_logs", "agent_logs.data", "agent_logs.data.cloid"}),
        ("select payload #>> '{risk,most}' from skill_versions",
         {"skill_versions", "skill_versions.payload", "skill_versions.payload.risk",
          "skill_versions.payload.risk.most"}),
        ("select payload - 'risk' from skill_versions",
         {"skill_versions", "skill_versions.payload", "skill_versions.payload.risk"}),
        ("select payload #> '{risk}' ? 'most' from skill_versions",
         {"skill_versions", "skill_versions.payload", "skill_versions.payload.risk",
          "skill_versions.payload.risk.most"}),
        ("select cap from skill_versions, unnest(array['a', 'b']) as cap where payload #> array['risk', cap] is null",
         {"skill_versions", "skill_versions.payload", "skill_versions.payload.risk", "skill_versions.payload.risk.a",
          "skill_versions.payload.risk.b"}),
        ("update skill_versions set payload = jsonb_set(payload, '{risk}', '1') where version = 1",
         {"skill_versions", "skill_versions.payload", "skill_versions.payload.risk", "skill_versions.version"}),
        ("insert into agent_commands (id, kind) select id, 'stop' from deployments on conflict (id) do nothing",
         {"agent_commands", "agent_commands.id", "agent_commands.kind", "agent_commands.kind:stop", "deployments",
          "deployments.id"}),
        ("insert into agent_commands (kind) values ('stop') returning acked_at",
         {"agent_commands", "agent_commands.kind", "agent_commands.kind:stop", "agent_commands.acked_at"}),
        ("select 1 from agent_logs where event like 'cost:%%'",
         {"agent_logs", "agent_logs.event", "agent_logs.event:cost:%"}),
        ("explain (analyze, format json) select ts from agent_logs", {"agent_logs", "agent_logs.ts"}),
    ],
)  # fmt: skip
def test_every_word_of_a_statement_is_found(statement, found):
    assert addresses(statement) == found


def test_a_column_without_its_table_is_found_where_it_is_looked_up():
    inner = "exists (select from agent_logs where deployment_id = id and ts > created_at)"
    found = addresses(f"select id from deployments where {inner}")

    assert {"agent_logs.deployment_id", "agent_logs.ts", "deployments.id", "deployments.created_at"} <= found


@pytest.mark.parametrize(
    "statement",
    [
        "with status as (select 1 as id) select id from status",
        "select found.id from deployments d left join lateral (select 2 as id) found on true",
        "select id from (values (1)) as d (id)",
        "select status.value from jsonb_each('{}') status",
    ],
)
def test_what_is_no_column_of_the_platform_is_left_alone(statement):
    assert "deployments.id" not in addresses(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select d.created_at from (select * from deployments) d",
        "select created_at from (values (1)) as one left join lateral (select d.* from deployments d) d on true",
        "with found as (select * from deployments) select found.created_at from found",
        "select created_at from (select *, 1 as nth from (select * from deployments) inside) outside",
    ],
)
def test_a_column_that_a_star_passes_on_is_the_tables(statement):
    assert "deployments.created_at" in addresses(statement)
    assert "deployments.created_at" not in addresses(statement.replace("from deployments", "from elsewhere"))


def test_a_key_in_a_text_of_json_that_is_inserted_is_found_where_it_stands():
    statement = """insert into agent_commands (kind, payload) values ('stop', '{"reason": "by hand"}')"""
    [key] = [use for use in uses(statement, TABLES) if use.address == "agent_commands.payload.reason"]

    assert statement[key.start : key.end] == "reason"


def test_each_use_names_the_characters_that_are_the_word():
    statement = "select d.status, l.data ->> 'cloid' as c from deployments d, agent_logs l where l.event <> 'tick'"
    written = {use.address: statement[use.start : use.end] for use in uses(statement, TABLES)}

    assert written == {
        "deployments": "deployments", "deployments.status": "status", "agent_logs": "agent_logs",
        "agent_logs.data": "data", "agent_logs.data.cloid": "cloid", "agent_logs.event": "event",
        "agent_logs.event:tick": "tick",
    }  # fmt: skip


def test_only_a_column_that_is_given_out_as_it_is_has_a_name_to_keep():
    statement = "select status, max(created_at) as at, id as one from deployments group by status, id"
    names = [(use.address, use.name) for use in uses(statement, TABLES) if use.name]

    assert names == [("deployments.status", "status")]
