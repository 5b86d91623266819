"""Replace ``$NAME`` in a command by the variable's value, at the moment when the command is sent.

Records and screens show the name.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import VARIABLE, Replied

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


# Variables that programs read from the environment although their line does not name them.
NEEDS = {
    "fly": ("FLY_API_TOKEN",),
    "supabase": ("SUPABASE_ACCESS_TOKEN", "SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD"),
    "vercel": ("VERCEL_TOKEN",),
}
OURSELVES = "./runbook"  # a runbook started by a line needs every variable that this process needs


def of_a_child(line: str, settings: Settings) -> dict[str, str]:
    """Return the environment variables that a shell line gets: all except secrets that it does not need.

    Of the profile's secrets, only those that the line needs are in it. The line needs the secrets that it names, and
    those that its programs read. A line that starts the runbook needs all.
    """
    words = set(re.findall(r"[\w./-]+", line))
    if OURSELVES in words:
        return dict(os.environ)
    needed = words | {name for program in NEEDS.keys() & words for name in NEEDS[program]}
    kept_back = settings.secrets().keys() - needed
    return {name: value for name, value in os.environ.items() if name not in kept_back}


def expanded(value: Any, settings: Settings) -> Any:
    """Return ``value`` with the value of the variable in place of each ``$NAME`` that the profile declares.

    Text that a service sent is left alone: the service may name a variable in order to have the secret sent back.
    """
    if isinstance(value, Replied):
        return value
    if isinstance(value, str):
        known = settings.variables
        return VARIABLE.sub(lambda m: settings.variable(m[1]) if m[1] in known else m[0], value)
    if isinstance(value, dict):
        return {k: expanded(v, settings) for k, v in value.items()}
    return [expanded(v, settings) for v in value] if isinstance(value, list) else value
