"""Drop reply fields that may hold secrets which this process does not know, and so cannot redact."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


DROPPED = "dropped: may hold a secret"
# Values of these keys are always dropped, whatever service sends them and however it spells the key: api_key, apiKey.
SECRET_KEYS = {
    *("decryptedsecret", "apikey", "token", "accesstoken", "refreshtoken", "jwt", "privatekey", "secret", "secretkey"),
    *("clientsecret", "password", "dbpass", "pairingsig", "rawvalue", "connectionstring"),
}
# Environment variables of the platform that hold no secret; all others are dropped from machines and env lists.
PUBLIC_VARIABLES = re.compile(
    r"^(DEPLOYMENT_ID|FLY_LIVE_RUNNER_(APP|IMAGE|REGION)|HYPERLIQUID_LIVE_ENABLED|DEPLOYMENTS_DISABLED"
    r"|SUPABASE_URL|NEXT_PUBLIC_\w+|live_runner_image)$"  # the last is a key of the platform's configuration table
)
VARIABLE = re.compile(r"^[A-Z][A-Z0-9_]*$")
# A UUID or a SHA-256 hash: the only output of `exec` that is kept.
HARMLESS_OUTPUT = re.compile(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}(\s+-)?)\s*")


def drop(value: Any) -> Any:
    """Replace every field inside ``value`` that may hold a secret unknown to this process."""
    if isinstance(value, list | tuple):
        return [drop(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {key: _dropped(key, inner, value) for key, inner in value.items()}


def _dropped(key: str, inner: Any, around: Mapping[str, Any]) -> Any:
    if not inner or isinstance(inner, bool):
        return inner  # that a field is absent or empty is no secret
    if re.sub(r"[_\W]", "", key).lower() in SECRET_KEYS and isinstance(inner, str | list | tuple):
        return DROPPED
    if key == "value" and _names_a_secret(around):
        return DROPPED
    if key == "env" and isinstance(inner, dict):
        return {k: v if PUBLIC_VARIABLES.fullmatch(k) else DROPPED for k, v in inner.items()}
    if key in ("stdout", "stderr") and "exit_code" in around and not HARMLESS_OUTPUT.fullmatch(str(inner)):
        return DROPPED
    return drop(inner)


def _names_a_secret(around: Mapping[str, Any]) -> bool:
    """Return whether the field ``value`` of an object may hold a secret, by the object's ``key`` or ``name``.

    Any ``key`` counts, and a ``name`` written like a variable's, unless the variable is known to be public.
    """
    name = around.get("key", around.get("name"))
    named = "key" in around or VARIABLE.fullmatch(str(name)) is not None
    return named and not PUBLIC_VARIABLES.fullmatch(str(name))


def drop_text(body: Any) -> str:
    """Return the body of an answer as text, with the fields replaced that may hold a secret."""
    return body if isinstance(body, str) else json.dumps(drop(body))
