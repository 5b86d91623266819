"""Variables in commands: named in what is shown and written, filled in only where something is sent."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import VARIABLE, Replied

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


# What programs read from the environment without being told in their line.
NEEDS = {
    "fly": ("FLY_API_TOKEN",),
    "supabase": ("SUPABASE_ACCESS_TOKEN", "SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD"),
    "vercel": ("VERCEL_TOKEN",),
}
OURSELVES = "./runbook"  # which needs what this process needs


def of_a_child(line: str, settings: Settings) -> dict[str, str]:
    """The environment of a shell line: of the profile's secrets those that it names, or that its program needs."""
    words = set(re.findall(r"[\w./-]+", line))
    if OURSELVES in words:
        return dict(os.environ)
    needed = words | {name for program in NEEDS.keys() & words for name in NEEDS[program]}
    kept_back = settings.secrets().keys() - needed
    return {name: value for name, value in os.environ.items() if name not in kept_back}


def expanded(value: Any, settings: Settings) -> Any:
    """``value`` with every ``$NAME`` of the profile's variables filled in from the environment.

    Only in what a notebook or the library wrote: what a service sent may name a variable to have it sent back.
    """
    if isinstance(value, Replied):
        return value
    if isinstance(value, str):
        known = settings.variables
        return VARIABLE.sub(lambda m: settings.variable(m[1]) if m[1] in known else m[0], value)
    if isinstance(value, dict):
        return {k: expanded(v, settings) for k, v in value.items()}
    return [expanded(v, settings) for v in value] if isinstance(value, list) else value
