"""Seals are signed with ssh-keygen: by a file's key, by an agent's; what cannot be signed is known before a run."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.records import run_record, seal_chain, signing
from runbook_lib.records.verify import SIGNATURE, verify
from runbook_lib.settings import profiles
from tests import keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("keys")
    for name in ("ada", "grace"):
        keys.key(made, name)
    return made


@pytest.fixture
def production(folder, monkeypatch):
    """The production profile of ada, who runs it."""
    monkeypatch.setenv("RUNBOOK_OPERATOR", "ada")
    monkeypatch.setenv(signing.KEY, str(folder / "ada"))
    changes = {"kind": "production", "name": "production", "allowed_signers": [keys.line(folder / "ada")]}
    return profiles.load("rehearsal").model_copy(update=changes)


def sealed(root):
    record = run_record.create(root, "production", "phase_try", keys.PROFILE, kind="production", operator="ada")
    seal_chain.seal(record)
    return record


def test_a_seal_is_signed_by_the_key_that_the_variable_names(production, tmp_path):
    record = sealed(tmp_path)
    signing.sign(record)
    assert verify(record.folder, signing.signers(production)) == []


def test_an_agents_key_signs_named_by_its_public_half(production, folder, tmp_path, monkeypatch):
    said = subprocess.check_output(["ssh-agent", "-s", "-a", tmp_path / "agent"], text=True)
    agent = dict(part.split("=") for part in said.replace("\n", ";").split(";") if "=" in part)
    monkeypatch.setenv("SSH_AUTH_SOCK", agent["SSH_AUTH_SOCK"])
    try:
        subprocess.run(["ssh-add", "-q", folder / "ada"], check=True)
        (tmp_path / "ada.pub").write_text((folder / "ada.pub").read_text())
        monkeypatch.setenv(signing.KEY, str(tmp_path / "ada.pub"))
        record = sealed(tmp_path / "records")
        signing.sign(record)
        assert verify(record.folder, signing.signers(production)) == []
        assert signing.unable(production) == []
    finally:
        os.kill(int(agent["SSH_AGENT_PID"]), signal.SIGTERM)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "RUNBOOK_SIGNING_KEY names no key"),
        ("nowhere", "names nowhere, which is no file"),
        (__file__, "not signed"),
    ],
)
def test_a_key_that_cannot_sign_is_said_and_nothing_is_left(production, tmp_path, monkeypatch, value, words):
    if value is None:
        monkeypatch.delenv(signing.KEY)
    else:
        monkeypatch.setenv(signing.KEY, value)
    record = sealed(tmp_path)
    with pytest.raises(RecordError, match=words):
        signing.sign(record)
    assert not (record.folder / SIGNATURE).exists()
    assert words in signing.unable(production)[0]


def test_a_key_with_a_passphrase_and_nobody_to_type_it_fails_and_does_not_wait(production, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", locked], check=True)
    monkeypatch.setenv(signing.KEY, str(locked))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "never")
    assert "not signed" in signing.unable(production)[0]


def test_who_could_sign_is_known_before_a_run(production, folder, monkeypatch):
    assert signing.unable(production) == []
    monkeypatch.setenv(signing.KEY, str(folder / "grace"))
    assert "is not one of ada" in signing.unable(production)[0]
    monkeypatch.setenv("RUNBOOK_OPERATOR", "adah")
    assert (
        "operator 'adah' is none of the profile's allowed_signers: did you mean 'ada'?" in signing.unable(production)[0]
    )
    nobody = production.model_copy(update={"allowed_signers": []})
    assert "there is none to choose from" in signing.unable(nobody)[0]


def test_a_rehearsal_needs_no_signature():
    assert signing.unable(profiles.load("rehearsal")) == []
    assert signing.signers(profiles.load("rehearsal")) is None
