"""Every tracked file against what no file may say; and the rules on texts that say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure import texts

ROOT = Path(__file__).resolve().parents[2]
KEY = "a1B2" * 8


def complaints(rule, paths):
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            yield from (f"{path.relative_to(ROOT)}:{number}: {found}" for found in rule(line))


@pytest.mark.parametrize("rule", texts.RULES, ids=lambda rule: rule.__name__)
def test_no_tracked_file_says_it(rule):
    paths = texts.tracked(ROOT)
    assert ROOT / "requirements.lock" in paths

    found = list(complaints(rule, paths))

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (texts.secrets, "-----BEGIN OPENSSH " + "PRIVATE KEY-----"),
        (texts.secrets, "eyJhbGciOiJIUzI1NiJ9." + "eyJyb2xlIjoiYW5vbiJ9." + KEY),
        (texts.secrets, "OPENROUTER_API_KEY=sk-or-v1-" + KEY),
        (texts.secrets, "token: FlyV1 fm2_" + KEY),
        (texts.secrets, "url: postgresql://postgres:" + "hunter22@db.supabase.co/postgres"),
        (texts.secrets, "PRIVATE_KEY = '0x" + "ab" * 32 + "'"),
        (texts.registries, "https://" + ".".join(["files", *texts.REGISTRIES[1].split(".")]) + "/packages"),
        (texts.registries, "--index-url https://" + texts.REGISTRIES[0] + "/simple"),
        (texts.machine, "see /" + "root/checkout"),
        (texts.machine, "repository: /" + "home/me/platform"),
    ],
)
def test_it_is_seen(rule, text):
    assert len(list(rule(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://postgres@127.0.0.1:5432/postgres",
        "postgresql://postgres:<password>@db.example.supabase.co/postgres",
        "postgresql://postgres:{password}@{host}/postgres",
        "postgresql://guest:guest@127.0.0.1:5432/postgres",
        "FLY_API_TOKEN: secret",
        "token sk-or-v1-made-up-for-this-test-only",
        "GET /v1/apps/home/machines, ~/work/notes, registry.fly.io/agentic-live-runner",
        "npm and PyPI by name",
    ],
)
def test_what_merely_looks_alike_is_left_alone(text):
    assert [found for rule in texts.RULES for found in rule(text)] == []
