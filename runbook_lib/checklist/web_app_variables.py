"""Set the web app's environment variables at Vercel, and judge that production has all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import VARIABLE, Http, Reply, http
from runbook_lib.commands.expectations import Expectation, Finding, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping


def in_production(variables: Reply) -> dict[str, Mapping[str, Any]]:
    """Return the web app's variables that are set for production, by name.

    ``target`` in a row is one environment or a list of them. A variable of the same name may have another value in
    previews, or in a custom environment.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for row in variables.rows:
        target = row.get("target")
        if "production" in (target if isinstance(target, list | tuple) else [target]):
            rows[str(row.get("key"))] = row
    return rows


def set_variables(variables: Reply, wanted: Mapping[str, str]) -> Http:
    """Make the request that sets the web app's variables, except those that an integration owns.

    ``variables`` lists the present variables. One that is set already is set again: the value of a secret cannot always
    be read back (C8), and an old one may be another project's.
    """
    present = in_production(variables)
    body = [
        {"key": name, "value": value, "type": _kind_of(present.get(name), value), "target": ["production"]}
        for name, value in wanted.items()
        if not present.get(name, {}).get("configurationId")
    ]
    return http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)


def production_variables(*names: str, **values: str) -> Expectation:
    """Expect that all of the web app's variables are set for production, and that those in ``values`` have the given
    values.

    ``A|B`` in ``names`` means that one of the two must be set. Each holds a secret that the environment calls by the
    first name. A value of the form ``$NAME`` is a secret of the environment, too. Secrets are compared where Vercel
    shows them; one that is sensitive, or not asked for, must only be set.
    """
    wanted = {name: f"${group.split('|')[0]}" for group in names for name in group.split("|")} | values

    def test(reply: Reply) -> Finding:
        live = in_production(reply)
        missing = [n for n in (*names, *values) if not any(name in live for name in n.split("|"))]
        bad = [f"{n} is missing for production" for n in missing]
        bad += filter(None, (_wrong(live[name], value) for name, value in wanted.items() if name in live))
        return Finding(f"{len(live)} for production", "; ".join(bad) or None)

    return over_each("every variable is set for production", test)


def _wrong(variable: Mapping[str, Any], value: str) -> str | None:
    """Return what is wrong with a variable of the web app at Vercel. Return None if it has the right ``value``."""
    name, got = variable["key"], variable.get("value")
    if value.startswith("$"):
        compared = variable.get("decrypted") is True and not str(name).startswith("NEXT_PUBLIC_")
        return f"{name} is not what {value} holds here" if compared and got != value else None
    if variable.get("type") == "sensitive":
        return f"{name} is sensitive, so nobody can read it: remove it in Vercel, and set it again (0.4d)"
    return None if got == value else f"{name}: expected {value!r}, found {got!r}"


def _kind(value: str) -> str:
    """Return a new variable's type at Vercel: sensitive (unreadable) if its value names a secret, otherwise plain."""
    names = VARIABLE.findall(value)
    return "sensitive" if any(not name.startswith("NEXT_PUBLIC_") for name in names) else "plain"


def _kind_of(present: Mapping[str, Any] | None, value: str) -> str:
    """Return a variable's type at Vercel: it stays sensitive if it is sensitive now, otherwise its value decides."""
    return "sensitive" if present is not None and present.get("type") == "sensitive" else _kind(value)
