"""Each part of the platform has a loopback address of its own to ask from."""

from __future__ import annotations

import ipaddress
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.rehearsal.world.loopback import source_of


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers for all of 127.0.0.0/8")
@given(st.text())
def test_an_address_is_loopback_the_same_again_and_never_the_operators(part):
    address = source_of(part)
    assert ipaddress.ip_address(address).is_loopback
    assert address != "127.0.0.1"
    assert source_of(part) == address


def test_elsewhere_there_is_only_one_address(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert source_of("web app") is None
