"""Variables in commands: named in what is shown and written, filled in only where something is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import VARIABLE

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


def expanded(value: Any, settings: Settings) -> Any:
    """``value`` with every ``$NAME`` of the profile's variables filled in from the environment."""
    if isinstance(value, str):
        known = settings.variables
        return VARIABLE.sub(lambda m: settings.variable(m[1]) if m[1] in known else m[0], value)
    if isinstance(value, dict):
        return {k: expanded(v, settings) for k, v in value.items()}
    return [expanded(v, settings) for v in value] if isinstance(value, list) else value
