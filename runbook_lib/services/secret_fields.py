"""Drop reply fields that may hold secrets unknown to this process, because it cannot redact them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


DROPPED = "dropped: may hold a secret"
# Values of these keys are always dropped, whatever service sends them and however it spells the key: api_key, apiKey.
SECRET_KEYS = {
    *("decryptedsecret", "apikey", "token", "accesstoken", "refreshtoken", "jwt", "privatekey", "secret", "secretkey"),
    *("clientsecret", "password", "dbpass", "pairingsig", "rawvalue", "connectionstring"),
}
# Variables that Next.js puts into the pages it serves. Of all others the profile names those that hold no secret.
IN_EVERY_PAGE = re.compile(r"NEXT_PUBLIC_\w+")
VARIABLE = re.compile(r"^[A-Z][A-Z0-9_]*$")
# A UUID or a SHA-256 hash: the only output of `exec` that is kept.
HARMLESS_OUTPUT = re.compile(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}(\s+-)?)\s*")
NAME = re.compile(r"\$[A-Z][A-Z0-9_]*")  # in place of a secret that this process knows


def drop(value: Any, shown: Collection[str] = ()) -> Any:
    """Replace every field in a reply's ``value`` that may hold a secret unknown to this process.

    The values of variables are replaced, except of those that ``shown`` names, and where redaction has put a secret's
    name in the whole value's place: that tells that two values are equal, and shows neither.
    """
    if isinstance(value, list | tuple):
        return [drop(v, shown) for v in value]
    if not isinstance(value, dict):
        return value
    return {key: _dropped(key, inner, value, shown) for key, inner in value.items()}


def _dropped(key: str, inner: Any, around: Mapping[str, Any], shown: Collection[str]) -> Any:
    if not inner or isinstance(inner, bool):
        return inner  # that a field is absent or empty is no secret
    if re.sub(r"[_\W]", "", key).lower() in SECRET_KEYS and isinstance(inner, str | list | tuple):
        return DROPPED
    if key == "value" and _names_a_secret(around, shown):
        return inner if NAME.fullmatch(str(inner)) else DROPPED
    if key == "env" and isinstance(inner, dict):
        return {k: v if _public(k, shown) else DROPPED for k, v in inner.items()}
    if key in ("stdout", "stderr") and "exit_code" in around and not HARMLESS_OUTPUT.fullmatch(str(inner)):
        return DROPPED
    return drop(inner, shown)


def _public(name: str, shown: Collection[str]) -> bool:
    return name in shown or IN_EVERY_PAGE.fullmatch(name) is not None


def _names_a_secret(around: Mapping[str, Any], shown: Collection[str]) -> bool:
    """Return whether an object's ``key`` or ``name`` says that its field ``value`` may hold a secret.

    Any ``key`` counts, and a ``name`` written like a variable's, unless the variable is known to be public.
    """
    name = around.get("key", around.get("name"))
    named = "key" in around or VARIABLE.fullmatch(str(name)) is not None
    return named and not _public(str(name), shown)


def drop_text(body: Any, shown: Collection[str] = ()) -> str:
    """Return a reply's body as text, after replacing every field that may hold a secret."""
    return body if isinstance(body, str) else json.dumps(drop(body, shown))
