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
    """Make the request that sets all public variables of the web app, and the secret variables that are missing.

    ``variables`` lists the present variables; one that is set for preview only counts as missing. A secret that is set
    is left alone, because its value cannot be read back and compared (C8).
    """
    present = in_production(variables)
    body = [
        {"key": name, "value": value, "type": _kind_of(present.get(name), value), "target": ["production"]}
        for name, value in wanted.items()
        if _kind(value) == "plain" or name not in present
    ]
    return http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)


def production_variables(*names: str, **readable: str) -> Expectation:
    """Expect that all of the web app's variables are set for production.

    Each ``readable`` variable must have its value.

    ``A|B`` means that one of the two names must be set.
    """

    def test(reply: Reply) -> Finding:
        live = in_production(reply)
        missing = [n for n in names if not any(name in live for name in n.split("|"))]
        bad = [f"{n} is missing for production" for n in [*missing, *(n for n in readable if n not in live)]]
        for name, value in readable.items():
            got = live[name].get("value") if name in live else value
            if name in live and live[name].get("type") == "sensitive":
                bad.append(f"{name} is sensitive, so nobody can read it: remove it in Vercel, and set it again (0.4d)")
            elif got != value:
                bad.append(f"{name}: expected {value!r}, found {got!r}")
        public = sorted(name for name in live if name.startswith("NEXT_PUBLIC_SUPABASE_"))
        return Finding(
            f"{len(live)} for production; {', '.join(public) or 'no NEXT_PUBLIC_SUPABASE_*'}", "; ".join(bad) or None
        )

    return over_each("every variable is set for production", test)


def _kind(value: str) -> str:
    """Return a new variable's type at Vercel: sensitive (unreadable) if its value names a secret, otherwise plain."""
    names = VARIABLE.findall(value)
    return "sensitive" if any(not name.startswith("NEXT_PUBLIC_") for name in names) else "plain"


def _kind_of(present: Mapping[str, Any] | None, value: str) -> str:
    """Return a variable's type at Vercel: it stays sensitive if it is sensitive now, otherwise its value decides."""
    return "sensitive" if present is not None and present.get("type") == "sensitive" else _kind(value)
