"""What is not let in: fields of replies that may carry secrets this process does not know, and so cannot redact."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DROPPED", "drop", "drop_text"]

DROPPED = "dropped: may hold a secret"
# Values of these keys are never let in, whatever service sends them.
SECRET_KEYS = {"decrypted_secret", "api_key", "token", "private_key", "secret", "secret_key", "password", "pairing_sig"}
# Environment variables of the platform that hold no secret; all others are dropped from machines and env lists.
PUBLIC_VARIABLES = re.compile(
    r"^(DEPLOYMENT_ID|FLY_LIVE_RUNNER_(APP|IMAGE|REGION)|HYPERLIQUID_LIVE_ENABLED|DEPLOYMENTS_DISABLED"
    r"|SUPABASE_URL|NEXT_PUBLIC_\w+)$"
)
HARMLESS_OUTPUT = re.compile(r"^[0-9a-f-]{32,64}(\s+-)?\s*$")  # a UUID or a SHA-256: all that `exec` may print here


def drop(value: Any) -> Any:
    """Replace what may carry a secret that this process does not know, anywhere inside ``value``."""
    if isinstance(value, list):
        return [drop(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {key: _dropped(key, inner, value) for key, inner in value.items()}


def _dropped(key: str, inner: Any, around: Mapping[str, Any]) -> Any:
    if key in SECRET_KEYS and isinstance(inner, str):
        return DROPPED
    if key == "value" and "key" in around and not PUBLIC_VARIABLES.match(str(around["key"])):
        return DROPPED if inner else inner
    if key == "env" and isinstance(inner, dict):
        return {k: v if PUBLIC_VARIABLES.match(k) else DROPPED for k, v in inner.items()}
    if key in ("stdout", "stderr") and "exit_code" in around and not HARMLESS_OUTPUT.match(str(inner)):
        return DROPPED if inner else inner
    return drop(inner)


def drop_text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(drop(body))
