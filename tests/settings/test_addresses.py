"""A host as messages show it. What a profile refuses of its addresses stands in test_profiles."""

from __future__ import annotations

import pytest

from runbook_lib.settings.addresses import host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://registry.fly.io", "registry.fly.io"),
        ("postgresql://u@127.0.0.1:5432/postgres?x=1", "127.0.0.1:5432"),
        ("http://[::1]:80/a", "[::1]:80"),
    ],
)
def test_a_host_is_shown_without_user_and_path(url: str, host: str) -> None:
    assert host_of(url) == host
