"""Profiles: whatever is wrong is refused before anything is sent, naming the key and the way out."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import (
    COMMON_VALUES,
    PROFILES,
    SHORTEST_SECRET,
    Settings,
    load,
    parse,
    profiles,
)

STRONG = "0123456789abcdef0123456789abcdef"
REHEARSAL: dict[str, Any] = yaml.safe_load((PROFILES / "rehearsal.yaml").read_text(encoding="utf-8"))
PRODUCTION: dict[str, Any] = yaml.safe_load(
    (PROFILES / "production.yaml").read_text(encoding="utf-8").replace("<supabase-project-ref>", 20 * "a")
)
PRODUCTION |= {"repository": "/srv/platform", "fly": {**PRODUCTION["fly"], "org": "mine"}}
KEY = "ssh-ed25519 " + "AAAA" * 17
PRODUCTION |= {"allowed_signers": [f"ada {KEY}"], "archive": "/srv/archive"}
PRODUCTION["vercel"] |= {"project": "trading", "team": "team_mine"}
PRODUCTION["database"]["ca"] = "/etc/ssl/project.crt"
PRODUCTION["web"]["url"] = "https://trading.example"


def changed(profile: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of a profile with one value changed; an Ellipsis takes the key away."""
    copied = part = copy.deepcopy(profile)
    *way, last = dotted.split(".")
    for key in way:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return copied


def loaded(folder: Path, profile: dict[str, Any], **options: Any) -> Settings:
    name = profile.get("kind", "x")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    return load(str(name), folder=folder, **options)


def refusal(folder: Path, profile: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, profile)
    return str(caught.value)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every variable of the profile set, each to a value of its own."""
    for name in REHEARSAL["variables"]:
        monkeypatch.setenv(name, f"{name.lower()}-{STRONG}")
    return monkeypatch


# --- the two profiles there are


def test_both_profiles_load_once_they_are_filled_in(tmp_path: Path) -> None:
    assert loaded(tmp_path, REHEARSAL).kind == "rehearsal"
    assert loaded(tmp_path, PRODUCTION).kind == "production"


def test_both_profiles_know_the_same_keys() -> None:
    # A stand-in, and what an operator may do without: a dead man's service.
    assert set(REHEARSAL) - set(PRODUCTION) == {"person", "deadman"}
    assert set(PRODUCTION) - set(REHEARSAL) == {"gates"}
    assert set(REHEARSAL["variables"]) - set(PRODUCTION["variables"]) == {"REHEARSAL_TOKEN"}
    assert set(PRODUCTION["variables"]) <= set(REHEARSAL["variables"])


def test_production_as_shipped_is_refused_naming_every_key_to_be_filled_in() -> None:
    with pytest.raises(ConfigError, match="still to be filled in") as caught:
        load("production")
    named = ("project", "repository", "database.url", "fly.org", "vercel.project", "vercel.team", "web.url")
    for key in (*named, "allowed_signers", "archive"):
        assert f"{key} (" in str(caught.value)


@pytest.mark.parametrize("key", ["project", "repository", "fly.org", "vercel.project", "web.url"])
def test_one_value_left_unfilled_is_enough(tmp_path: Path, key: str) -> None:
    assert f"still to be filled in: {key} (" in refusal(tmp_path, changed(PRODUCTION, key, "https://<yours>"))


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no profile 'prodution': did you mean 'production'\?"):
        load("prodution")


@pytest.mark.parametrize("name", ["", "../parameters/rehearsal", "rehearsal.yaml"])
def test_a_profile_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="no profile"):
        load(name)


def test_profiles_are_listed_in_order() -> None:
    assert profiles() == ["production", "rehearsal"]


@pytest.mark.parametrize(("content", "words"), [("a: [", "is not YAML"), ("", "found NoneType"), ("- a", "found list")])
def test_a_file_that_holds_no_profile_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "odd.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"odd\.yaml.*{words}"):
        load("odd", folder=tmp_path)


# --- who may sign, and where records are kept


@pytest.mark.parametrize(
    "line",
    [f"ada {KEY}", f"ada@example.org {KEY} laptop", f'ada valid-after="20261101",namespaces="launch-runbook" {KEY}'],
)
def test_an_operator_and_a_public_key_may_sign(tmp_path: Path, line: str) -> None:
    assert loaded(tmp_path, changed(PRODUCTION, "allowed_signers", [line])).allowed_signers == [line]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (KEY, "expected 'NAME ssh-ed25519 AAAA…', found 'ssh-ed25519 AAAA"),
        (f"* {KEY}", "expected 'NAME"),
        (f"ada,eve {KEY}", "expected 'NAME"),
        (f"ada {KEY}\neve {KEY}", "expected 'NAME"),
        (f"ada {KEY.replace('ssh-ed25519', 'ssh-ed22519')}", "no key 'ssh-ed22519': did you mean 'ssh-ed25519'?"),
        ("ada valid-after" * 30, "expected 'NAME"),
    ],
)
def test_what_is_no_operators_key_is_refused(tmp_path: Path, line: str, words: str) -> None:
    assert f"production.yaml: allowed_signers: {words}" in refusal(
        tmp_path, changed(PRODUCTION, "allowed_signers", [line])
    )


def test_an_archive_is_an_absolute_path(tmp_path: Path) -> None:
    assert "production.yaml: archive: string should match" in refusal(tmp_path, changed(PRODUCTION, "archive", "here"))


# --- keys and types


def keys(part: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in part.items():
        found.append(before + key)
        if isinstance(value, dict):
            found += keys(value, f"{before}{key}.")
    return found


OPTIONAL = re.compile(
    r"allowed_signers|archive|allow|person.*|deadman|alerts.*|variables\..*|budgets.*|.*\.(token|scheme|sweep|team)"
)


@pytest.mark.parametrize("key", [k for k in keys(REHEARSAL) if not OPTIONAL.fullmatch(k)])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"rehearsal.yaml: key '{key}' is missing" in refusal(tmp_path, changed(REHEARSAL, key, ...)) or key == "kind"


def test_a_profile_without_its_kind_is_refused(tmp_path: Path) -> None:
    assert "x.yaml: key 'kind' is missing" in refusal(tmp_path, changed(REHEARSAL, "kind", ...))


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("databse", "database"),
        ("fly.regoin", "region"),
        ("database.pasword", "password"),
        ("budgets.redeplay", "redeploy"),
        ("person.urll", "url"),
        ("web.sweeep", "sweep"),
    ],
)
def test_an_unknown_key_names_the_nearest_of_its_own_part(tmp_path: Path, key: str, nearest: str) -> None:
    said = refusal(tmp_path, changed(REHEARSAL, key, "x"))
    assert f"rehearsal.yaml: unknown key '{key}': did you mean '{nearest}'?" in said


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("kind", "staging", "kind: input should be 'rehearsal' or 'production', found 'staging'"),
        ("project", "ABC", "project: string should match pattern"),
        ("project", 12345678901234567890, "project: input should be a valid string, found 12345678901234567890"),
        ("database", "postgresql://x", "database: input should be a valid dictionary"),
        ("fly.region", None, "fly.region: input should be a valid string, found None"),
        ("registry.scheme", "basic", "registry.scheme: input should be 'Bearer', 'Basic' or 'FlyV1', found 'basic'"),
        (
            "variables.CRON_SECRET",
            "Secret",
            "variables.CRON_SECRET: input should be 'secret', 'public' or 'optional secret'",
        ),
        ("budgets.answer", "20", "budgets.answer: input should be a valid number, found '20'"),
        ("budgets.answer", True, "budgets.answer: input should be a valid number, found True"),
        ("budgets.answer", 0, "budgets.answer: input should be greater than 0, found 0"),
        ("budgets.build", float("inf"), "budgets.build: input should be a finite number, found inf"),
        ("web.sweep", "cron", "web.sweep: string should match pattern"),
        ("web.sweep", "fly:", "web.sweep: string should match pattern"),
        ("hyperliquid.wallet", 0xABCDEF, "hyperliquid.wallet: input should be a valid string"),
        ("hyperliquid.wallet", "0xabc", "hyperliquid.wallet: string should match pattern"),
        ("allow", "none", "allow: expected 'all' or a list of step numbers in quotes, found 'none'"),
        ("allow", [0.3], "allow: expected 'all' or a list of step numbers in quotes, found [0.3]"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_was_found(tmp_path: Path, key: str, value: Any, words: str) -> None:
    profile = changed(REHEARSAL, key, value)
    (tmp_path / "rehearsal.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load("rehearsal", folder=tmp_path)
    assert f"rehearsal.yaml: {words}" in str(caught.value)
    assert str(caught.value).count("allow:") <= 1


@given(
    st.sampled_from(keys(REHEARSAL)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_any_value_anywhere_is_taken_or_refused_in_our_own_words(key: str, value: Any) -> None:
    try:
        assert parse({**changed(REHEARSAL, key, value), "name": "rehearsal"}, "x.yaml").kind
    except ConfigError as error:
        assert "x.yaml: " in str(error)


# --- addresses

SCRAM = "sslmode=require&require_auth=scram-sha-256"
BOUND = "require_auth=scram-sha-256&channel_binding=require"
OTHER = "z" * 20
POOL = "aws-0-eu.pooler.supabase.com:5432/postgres?sslmode=verify-full"
SERVICES = ("supabase", "fly", "fly_logs", "registry", "vercel", "vercel_logs", "web", "hyperliquid", "openrouter")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", ["fly.io", "10.0.0.1", "localhost.evil.example", "0.0.0.0", "[2001:db8::1]"])  # noqa: S104
def test_a_rehearsal_reaches_nothing_outside(tmp_path: Path, service: str, host: str) -> None:
    said = refusal(tmp_path, changed(REHEARSAL, f"{service}.url", f"https://{host}"))
    assert f"rehearsal.yaml: {service}.url: a rehearsal profile needs a loopback address" in said


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8:80"])
def test_a_production_reaches_no_stand_in(tmp_path: Path, service: str, host: str) -> None:
    said = refusal(tmp_path, changed(PRODUCTION, f"{service}.url", f"https://{host}"))
    assert f"production.yaml: {service}.url: a production profile needs an outside address" in said


@pytest.mark.parametrize(
    ("kind", "url", "words"),
    [
        (REHEARSAL, "postgresql://postgres@db.example:5432/postgres", "a rehearsal profile needs a loopback address"),
        (PRODUCTION, "postgresql://postgres@127.0.0.1:5432/postgres?sslmode=verify-full", "needs an outside address"),
        (PRODUCTION, "postgresql://u@aws-0.pooler.supabase.com:6543/postgres?sslmode=verify-full", "use port 5432"),
        (REHEARSAL, "postgresql://postgres@127.0.0.1:6543/postgres", "port 6543 is a transaction pooler"),
        (PRODUCTION, "postgresql://u@db.example:5432/postgres", "add ?sslmode=verify-full"),
        (PRODUCTION, "postgresql://u@db.example:5432/postgres?sslmode=prefer", "add ?sslmode=verify-full"),
        (PRODUCTION, "postgresql://u@db.example:5432/postgres?sslmode=require", "nothing proves that the server is"),
        (PRODUCTION, f"postgresql://u@db.example:5432/postgres?{SCRAM}", "nothing proves that the server is"),
        (PRODUCTION, f"postgresql://u@db.example/postgres?sslmode=prefer&{BOUND}", "nothing proves that the server"),
        (PRODUCTION, f"postgresql://u@db.example/postgres?{BOUND}&sslmode=require&sslmode=require", "given twice"),
        (PRODUCTION, f"postgresql://u@db.{OTHER}.supabase.co/postgres?sslmode=verify-full", f"is of project '{OTHER}'"),
        (PRODUCTION, f"postgresql://postgres.{OTHER}@{POOL}", f"is of project '{OTHER}'"),
        (PRODUCTION, f"postgresql://postgres@{POOL}", "is of project 'postgres', the profile's project is 'aaaa"),
        (REHEARSAL, "postgresql://u@127.0.0.1:0/postgres?options=-csearch_path=x", "options after the ?"),
        (REHEARSAL, "postgresql://u:hunter22@127.0.0.1:0/postgres", "holds a password"),
        (REHEARSAL, "postgresql://u@127.0.0.1:0/postgres?password=hunter22", "password after the ?"),
        (REHEARSAL, "postgresql://u@127.0.0.1:0/postgres?host=db.example", "host after the ?"),
        (REHEARSAL, "postgresql://u@127.0.0.1:0/postgres?hostaddr=10.0.0.1&port=1", "hostaddr, port after the ?"),
        (REHEARSAL, "postgresql://u:hunter#22@127.0.0.1:0/postgres", "this one cannot be read"),
        (REHEARSAL, "postgresql://u@127.0.0.1:99999/postgres", "this one cannot be read"),
        (REHEARSAL, "postgresql://u@127.0.0.1:1,127.0.0.1:2/postgres", "this one cannot be read"),
        (REHEARSAL, "http://127.0.0.1:0", "expected an address such as postgres://host"),
        (REHEARSAL, "127.0.0.1:5432", "expected an address such as postgres://host"),
        (REHEARSAL, "postgresql:///postgres", "expected an address such as postgres://host"),
        (REHEARSAL, "", "expected an address such as postgres://host"),
    ],
)
def test_an_unsafe_database_address_is_refused(tmp_path: Path, kind: dict[str, Any], url: str, words: str) -> None:
    said = refusal(tmp_path, changed(kind, "database.url", url))
    assert "database.url: " in said
    assert words in said
    assert "hunter" not in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://postgres@db.{'a' * 20}.supabase.co:5432/postgres?sslmode=verify-full",
        f"postgresql://postgres.{'a' * 20}@{POOL}",
        f"postgresql://u@db.example:5432/postgres?sslmode=require&{BOUND}",
    ],
)
def test_a_database_that_proves_who_it_is_is_taken(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, changed(PRODUCTION, "database.url", url)).database.url == url


def test_a_certificate_that_is_not_named_is_told_with_where_it_is(tmp_path: Path) -> None:
    assert "SSL Configuration, Download certificate" in refusal(tmp_path, changed(PRODUCTION, "database.ca", None))


def test_a_variable_of_another_project_is_refused_with_both_names(tmp_path: Path, monkeypatch: Any) -> None:
    chosen = loaded(tmp_path, PRODUCTION)
    for name in chosen.variables:
        monkeypatch.setenv(name, STRONG)
    monkeypatch.setenv("SUPABASE_URL", f"https://{OTHER}.supabase.co")
    with pytest.raises(ConfigError, match=f"SUPABASE_URL is of project '{OTHER}', not '{'a' * 20}'"):
        chosen.require_variables()
    monkeypatch.setenv("SUPABASE_URL", f"https://{'a' * 20}.supabase.co")
    chosen.require_variables()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.machines.dev", "tokens would travel in clear; use https"),
        ("https://x:" + "hunter22@api.machines.dev", "holds a password"),  # in two parts: no file holds one whole
        ("api.machines.dev", "expected an address such as https://host"),
        ("ftp://api.machines.dev", "expected an address such as https://host"),
        ("https://api.machines.dev:http", "this one cannot be read"),
    ],
)
def test_an_unsafe_service_address_is_refused(tmp_path: Path, url: str, words: str) -> None:
    said = refusal(tmp_path, changed(PRODUCTION, "fly.url", url))
    assert words in said
    assert "hunter" not in said


def test_what_only_a_rehearsal_may_do_is_refused_in_production(tmp_path: Path) -> None:
    assert "allow: 'all' is legal only in rehearsal" in refusal(tmp_path, changed(PRODUCTION, "allow", "all"))
    person = {"url": "https://person.example"}
    assert "person: a stand-in" in refusal(tmp_path, {**PRODUCTION, "person": person})


# --- names of secrets


@pytest.mark.parametrize("key", ["fly.token", "web.token", "database.password"])
def test_a_secret_must_be_declared_and_declared_secret(tmp_path: Path, key: str) -> None:
    said = refusal(tmp_path, changed(PRODUCTION, key, "CRON_SECRTE"))
    assert f"production.yaml: {key}: 'CRON_SECRTE' is not among variables: did you mean 'CRON_SECRET'?" in said
    assert "declared public" in refusal(tmp_path, changed(PRODUCTION, key, "SUPABASE_URL"))


def test_a_secret_pasted_in_place_of_its_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = refusal(tmp_path, changed(PRODUCTION, "openrouter.token", "sk-or-v1-7f3a"))
    assert said == "production.yaml: openrouter.token: expected the name of an environment variable, in capitals"


@pytest.mark.parametrize("key", ["read_only_user", "read_only_password"])
def test_the_read_only_role_needs_both_its_name_and_its_password(tmp_path: Path, key: str) -> None:
    assert "come together" in refusal(tmp_path, changed(PRODUCTION, f"database.{key}", "CRON_SECRET"))


# --- the environment


def test_every_variable_is_required_by_name(secrets: pytest.MonkeyPatch) -> None:
    chosen = load("rehearsal")
    chosen.require_variables()
    for name in (name for name, kind in chosen.variables.items() if not kind.startswith("optional")):
        with secrets.context() as without:
            without.delenv(name)
            with pytest.raises(ConfigError, match=f"environment variable {name} is not set"):
                chosen.require_variables()


def test_an_optional_secret_is_missed_by_nobody_but_redacted_when_it_is_there(secrets: pytest.MonkeyPatch) -> None:
    chosen = load("rehearsal")
    assert chosen.secrets()["NEW_SECRET"] == os.environ["NEW_SECRET"]
    secrets.delenv("NEW_SECRET")
    chosen.require_variables()
    assert not chosen.has("NEW_SECRET") and "NEW_SECRET" not in chosen.secrets()
    secrets.setenv("NEW_SECRET", "short")
    with pytest.raises(ConfigError, match="NEW_SECRET is declared secret but holds a short"):
        chosen.require_variables()


def test_the_marketplaces_name_of_the_password_serves_too(secrets: pytest.MonkeyPatch) -> None:
    chosen = load("rehearsal")
    secrets.delenv("SUPABASE_DB_PASSWORD")
    secrets.setenv("POSTGRES_PASSWORD", STRONG)
    chosen.require_variables()
    assert chosen.variable("SUPABASE_DB_PASSWORD") == STRONG
    assert chosen.redactor().text(STRONG) == "$POSTGRES_PASSWORD"
    secrets.setenv("SUPABASE_DB_PASSWORD", "first-" + STRONG)
    assert chosen.variable("SUPABASE_DB_PASSWORD") == "first-" + STRONG


@pytest.mark.parametrize("weak", ["short", "7charac", *sorted(COMMON_VALUES), "PASSWORD"])
def test_a_secret_that_ordinary_text_contains_is_refused(secrets: pytest.MonkeyPatch, weak: str) -> None:
    chosen = load("rehearsal")
    secrets.setenv("CRON_SECRET", weak)
    with pytest.raises(ConfigError, match="CRON_SECRET is declared secret but holds a short or common value"):
        chosen.require_variables()
    secrets.delenv("SUPABASE_DB_PASSWORD")
    secrets.setenv("CRON_SECRET", STRONG)
    secrets.setenv("POSTGRES_PASSWORD", weak)
    with pytest.raises(ConfigError, match="SUPABASE_DB_PASSWORD is declared secret but holds a short or common value"):
        chosen.require_variables()


def test_a_public_value_may_be_short(secrets: pytest.MonkeyPatch) -> None:
    secrets.setenv("HYPERLIQUID_LIVE_ENABLED", "true")
    load("rehearsal").require_variables()


def test_an_unrelated_common_password_in_the_shell_is_not_redacted_out_of_ordinary_text(
    secrets: pytest.MonkeyPatch,
) -> None:
    secrets.setenv("POSTGRES_PASSWORD", "postgres")
    chosen = load("rehearsal")
    chosen.require_variables()
    assert chosen.redactor().text("postgresql://postgres@db") == "postgresql://postgres@db"


@pytest.mark.parametrize("odd", [STRONG + "\n", " " + STRONG])
def test_white_space_pasted_with_a_value_is_refused(secrets: pytest.MonkeyPatch, odd: str) -> None:
    secrets.setenv("FLY_API_TOKEN", odd)
    with pytest.raises(ConfigError, match="FLY_API_TOKEN has white space around its value") as caught:
        load("rehearsal").require_variables()
    assert STRONG not in str(caught.value)


def test_secrets_are_those_declared_secret_and_set(secrets: pytest.MonkeyPatch) -> None:
    secrets.delenv("VERCEL_TOKEN")
    found = load("rehearsal").secrets()
    declared = {name for name, kind in REHEARSAL["variables"].items() if kind != "public"}
    assert set(found) == declared - {"VERCEL_TOKEN"}
    assert all(len(value) >= SHORTEST_SECRET for value in found.values())


def test_an_undeclared_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'CRON_SECRTE' is not declared: did you mean 'CRON_SECRET'"):
        load("rehearsal").variable("CRON_SECRTE")


# --- names in commands


def test_a_command_may_name_any_text_of_the_profile() -> None:
    chosen = load("rehearsal")
    assert [chosen.lookup(n) for n in ("fly.app", "project", "name")] == [
        "agentic-live-runner",
        "abcdefghijklmnopqrst",
        "rehearsal",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fly.regoin", r"\{fly\.regoin\}: did you mean 'region'"),
        ("flyy.app", "did you mean 'fly'"),
        ("fly.app.x", "there is none to choose from"),
        ("hyperliquid.wallet", "has no value in profile 'rehearsal'"),
        ("fly", "is no text in profile"),
        ("budgets.answer", "is no text in profile"),
    ],
)
def test_a_name_that_stands_for_no_text_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load("rehearsal").lookup(name)


def test_a_service_is_found_by_name_and_a_wrong_one_names_the_nearest() -> None:
    chosen = load("rehearsal")
    assert chosen.service("vercel") is chosen.vercel
    with pytest.raises(ConfigError, match="no service 'vercell' in profile 'rehearsal': did you mean 'vercel'"):
        chosen.service("vercell")
    with pytest.raises(ConfigError, match="no service 'database'"):
        chosen.service("database")


@pytest.mark.parametrize(("allow", "allowed"), [("all", True), (["0.4d"], True), (["0.4"], False), ([], False)])
def test_an_act_runs_headless_only_where_the_profile_names_it(allow: Any, allowed: bool) -> None:
    assert parse({**REHEARSAL, "allow": allow}, "x").allows("0.4d") is allowed


# --- the running rehearsal

PORTS = {name: f"http://127.0.0.1:{4000 + n}" for n, name in enumerate((*SERVICES, "person"))}
RUNNING = {**PORTS, "database": "postgresql://postgres@127.0.0.1:5999/postgres", "repository": "/tmp/repository"}  # noqa: S108


def running(folder: Path, addresses: dict[str, str]) -> Path:
    (folder / "addresses.json").write_text(json.dumps(addresses), encoding="utf-8")
    return folder


def test_ports_of_the_running_rehearsal_replace_every_port_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_REHEARSAL", str(running(tmp_path, RUNNING)))
    chosen = load("rehearsal")
    assert {name: chosen.service(name).url for name in PORTS} == PORTS
    assert (chosen.database.url, chosen.repository) == (RUNNING["database"], RUNNING["repository"])
    assert (chosen.fly.token, chosen.registry.scheme) == ("FLY_API_TOKEN", "Basic")


def test_an_address_with_a_port_of_its_own_is_kept(tmp_path: Path) -> None:
    own = "postgresql://postgres@127.0.0.1:54322/postgres"
    profile = changed(REHEARSAL, "database.url", own)
    assert loaded(tmp_path, profile, rehearsal=running(tmp_path, RUNNING)).database.url == own


def test_an_address_that_leads_outside_is_refused_in_the_running_rehearsal_too(tmp_path: Path) -> None:
    folder = running(tmp_path, {**RUNNING, "fly": "https://api.machines.dev"})
    with pytest.raises(ConfigError, match=r"addresses\.json: fly\.url: a rehearsal profile needs a loopback"):
        load("rehearsal", rehearsal=folder)


@pytest.mark.parametrize("content", [None, "", "not json"])
def test_a_rehearsal_that_is_gone_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "addresses.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no rehearsal runs in .*rehearse --keep"):
        load("rehearsal", rehearsal=tmp_path)


def test_a_production_is_left_alone_by_a_running_rehearsal(tmp_path: Path) -> None:
    chosen = loaded(tmp_path, PRODUCTION, rehearsal=running(tmp_path, RUNNING))
    assert (chosen.fly.url, chosen.repository) == ("https://api.machines.dev", "/srv/platform")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["\u0430da"], r"\\u0430da may only look like another name"),  # the first letter is Cyrillic
        (["a\u200bda"], r"a\\u200bda may only look like another name"),
        (["ada", "Ada"], "Ada and ada look alike"),
    ],
)
def test_a_signer_whose_name_only_looks_like_anothers_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    lines = [f"{name} {KEY}" for name in names]
    assert re.search(words, refusal(tmp_path, changed(PRODUCTION, "allowed_signers", lines)))


def test_one_signer_may_have_several_keys(tmp_path: Path) -> None:
    assert loaded(tmp_path, changed(PRODUCTION, "allowed_signers", [f"ada {KEY}", f"ada {KEY}"]))
