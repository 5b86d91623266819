"""A Postgres server that is not ours, in place of the embedded one: a local Supabase stack, say."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit


@dataclass(frozen=True)
class ServerElsewhere:
    """The database of a given address; it was running before us and stays up."""

    dsn: str

    @property
    def url(self) -> str:
        """Address without the password."""
        parts = urlsplit(self.dsn)
        login, _, place = parts.netloc.rpartition("@")
        user = login.partition(":")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@{place}" if user else place))

    @property
    def admin_dsn(self) -> str:
        """The only login there is."""
        return self.dsn

    @property
    def password(self) -> str:
        """The password in the address, or nothing."""
        return unquote(urlsplit(self.dsn).password or "")

    @property
    def pid(self) -> None:
        """Not ours to end."""
        return None

    def stop(self) -> None:
        """Leave it as it is."""
