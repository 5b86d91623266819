"""Read a runner's settings from environment variables. If one is missing, raise the error that the platform raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

NO_PASSWORD = (
    "live-runner: set SUPABASE_DB_URL, or SUPABASE_URL + (SUPABASE_DB_PASSWORD | POSTGRES_PASSWORD) "
    "so that the runner can open its LISTEN/NOTIFY connection"
)


class Fatal(Exception):
    """An error that ends the runner, such as a missing setting.

    The runner logs ``runner_fatal``, sets the deployment's row to error, and exits with code 1.
    """


@dataclass(frozen=True)
class Settings:
    """The runner's settings, read once from environment variables."""

    deployment: str
    folder: Path
    addresses: Mapping[str, str]
    rest: str
    tick: float  # seconds
    live: bool
    service_key: str
    variables: Mapping[str, str]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Settings:
        """Read the runner's settings from environment variables. Raise `Fatal` if the variables name no deployment."""
        if not variables.get("DEPLOYMENT_ID"):
            raise Fatal("live-runner: DEPLOYMENT_ID env not injected")
        folder = Path(variables["RUNBOOK_REHEARSAL"])
        return cls(
            deployment=variables["DEPLOYMENT_ID"],
            folder=folder,
            addresses=json.loads((folder / "addresses.json").read_text()),
            rest=variables["RUNBOOK_REST"],
            tick=float(variables.get("RUNBOOK_TICK", "1")),
            live=variables.get("HYPERLIQUID_LIVE_ENABLED") == "true",
            service_key=variables.get("SUPABASE_SERVICE_ROLE_KEY", ""),
            variables=variables,
        )

    def database(self) -> str:
        """Return the URL of the database on which the runner listens.

        Raise `Fatal` if the settings give no such URL.
        """
        if self.variables.get("SUPABASE_DB_URL"):
            return self.variables["SUPABASE_DB_URL"]
        password = self.variables.get("SUPABASE_DB_PASSWORD") or self.variables.get("POSTGRES_PASSWORD")
        if not self.variables.get("SUPABASE_URL") or not password:
            raise Fatal(NO_PASSWORD)
        self._check_project()  # a host of another project does not resolve; here every host is loopback
        parts = urlsplit(self.addresses["database"])
        place = f"{parts.username or 'postgres'}:{quote(password, safe='')}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=place))

    def check_service_key(self) -> None:
        """Raise `Fatal` if the service key in the runner's settings is not the project's.

        The error has the words of the API gateway.
        """
        if self.service_key != self._own().get("SUPABASE_SERVICE_ROLE_KEY", self.service_key):
            raise Fatal("live-runner: loadDeploymentAndSkill failed: Invalid API key")

    def _check_project(self) -> None:
        url = self.variables["SUPABASE_URL"]
        if url != self._own().get("SUPABASE_URL", url):
            host = urlsplit(url).hostname or url
            raise Fatal(f"getaddrinfo ENOTFOUND db.{host}")

    def _own(self) -> dict[str, str]:
        """Return the rehearsal's current secrets, to compare the runner's settings with them."""
        path = self.folder / "environment.json"
        secrets: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return secrets
