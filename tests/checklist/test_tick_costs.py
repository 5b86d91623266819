"""What a tick usually costs is known by its model; of one that was not measured nothing is said."""

from __future__ import annotations

import pytest

from runbook_lib.checklist.tick_costs import band, unusual_costs
from runbook_lib.errors import ConfigError


def test_what_a_tick_costs_is_known_by_model() -> None:
    assert band("anthropic/claude-Haiku-4.5") == (0.01, 0.10)
    with pytest.raises(ConfigError, match="no usual cost is known for model 'gpt'"):
        band("gpt")


def test_what_is_unusual_is_asked_by_the_same_bands() -> None:
    asked = unusual_costs("2026-11-22T10:00:00Z", "now")
    assert dict(asked.values)["bands"] == {"haiku": [0.01, 0.1], "sonnet": [0.05, 0.3]}
