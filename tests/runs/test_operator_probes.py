"""What the doctor sees on the operator's own machine, and what it says is wrong there."""

import subprocess

from runbook_lib.records import plan, signing
from runbook_lib.runs import operator_probes
from runbook_lib.services import doctor

AUTHORITY = """
[none]
database = index
serial = serial
rand_serial = yes
[policy]
commonName = supplied
[authority]
basicConstraints = critical, CA:true
"""


def examined(settings, monkeypatch):
    monkeypatch.setattr(doctor, "probes", lambda _: [])
    return {verdict.name: verdict for verdict in doctor.examine(settings, operator_probes.probes())}


def changed(settings, part, **values):
    return settings.model_copy(update={part: getattr(settings, part).model_copy(update=values)})


def certificate(folder, ends):
    """A file with the certificate of an authority that signed itself and ends on a day, such as 20300101."""
    (folder / "ca.cnf").write_text(AUTHORITY)
    (folder / "index").touch()
    key, wanted, made = (str(folder / name) for name in ("key", "wanted.csr", "made.crt"))
    request = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", key, "-out", wanted]
    signing = ["ca", "-batch", "-selfsign", "-notext", "-md", "sha256", "-policy", "policy"]
    files = ["-config", str(folder / "ca.cnf"), "-name", "none", "-outdir", str(folder), "-keyfile", key]
    dates = ["-startdate", "20200101000000Z", "-enddate", f"{ends}000000Z", "-extensions", "authority"]
    for line in (request, [*signing, *files, *dates, "-in", wanted, "-out", made]):
        subprocess.run(["openssl", *line], check=True, capture_output=True, cwd=folder)
    return made


def test_a_rehearsal_needs_neither_key_nor_archive_nor_people(chosen, monkeypatch):
    assert {name: verdict.seen for name, verdict in examined(chosen, monkeypatch).items() if not verdict.good} == {}


def test_a_production_that_is_ready_is_sound(production, tmp_path, monkeypatch):
    monkeypatch.setenv("ALERT_TARGET", "json://127.0.0.1:9")
    ready = changed(production, "database", ca=certificate(tmp_path, 20990101)).model_copy(
        update={"archive": str(tmp_path)}
    )
    seen = examined(ready, monkeypatch)

    assert {name: verdict.seen for name, verdict in seen.items() if not verdict.good} == {}
    assert seen["signing key"].seen == "ada can sign" and seen["alert targets"].seen == "ALERT_TARGET"


def test_a_certificate_that_has_expired_or_is_none_is_found(production, tmp_path, monkeypatch):
    expired = changed(production, "database", ca=certificate(tmp_path, 20210101))
    assert examined(expired, monkeypatch)["certificate"].seen == "expired on 2021-01-01"

    (tmp_path / "none.crt").write_text("no certificate")
    none = changed(production, "database", ca=str(tmp_path / "none.crt"))
    assert "none.crt: " in examined(none, monkeypatch)["certificate"].seen


def test_the_test_network_is_found(production, monkeypatch):
    there = changed(production, "hyperliquid", url="https://api.hyperliquid-testnet.xyz")

    assert examined(there, monkeypatch)["venue network"].seen == "api.hyperliquid-testnet.xyz is the test network"


def test_an_operator_who_cannot_sign_an_archive_and_people_who_are_not_there_are_found(
    production, tmp_path, monkeypatch
):
    monkeypatch.setenv(signing.KEY, str(tmp_path / "nothing"))
    monkeypatch.delenv("ALERT_TARGET", raising=False)
    seen = examined(production.model_copy(update={"archive": str(tmp_path / "nowhere")}), monkeypatch)

    assert "which is no file" in seen["signing key"].seen and not seen["signing key"].good
    assert seen["archive"].seen == f"there is no folder {tmp_path / 'nowhere'}"
    assert seen["alert targets"].seen == "ALERT_TARGET not set"


def test_an_address_that_no_alert_can_take_is_found_and_not_shown(production, monkeypatch):
    monkeypatch.setenv("ALERT_TARGET", "nonsense-secret-0123456789")
    verdict = examined(production, monkeypatch)["alert targets"]

    assert not verdict.good and "apprise cannot take this address" in verdict.seen and "nonsense" not in verdict.seen


def test_a_notebook_with_other_cells_than_accepted_is_named(chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(
        plan, "accepted", lambda name: {"cells": []} if name == "console" else plan.written_down(plan.notebook(name))
    )

    assert examined(chosen, monkeypatch)["notebooks"].seen == "other cells than accepted: console"
