"""Name the parts of the rehearsed platform, and make up its secrets."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """The public names of the rehearsed platform's parts, as the vendors' dashboards show them."""

    fly_app: str = "agentic-live-runner"
    fly_org: str = "rehearsal"
    region: str = "nrt"
    vercel_project: str = "agentic-trading"
    vercel_team: str = "team_rehearsal"
    supabase_ref: str = "abcdefghijklmnopqrst"
    domain: str = "agentic-trading.rehearsal.test"


def made_up_secrets(names: Names) -> dict[str, str]:
    """Make up the secrets of a new rehearsal, each in the form that its vendor uses.

    The public values that belong to the secrets are included. No value begins with ``-``, because the vendors' command
    lines take such a value for a flag.
    """
    return {
        "SUPABASE_DB_PASSWORD": secrets.token_hex(18),
        "SUPABASE_READER_PASSWORD": secrets.token_hex(18),  # of the role runbook_reader
        "SUPABASE_SERVICE_ROLE_KEY": f"sb_secret_{secrets.token_urlsafe(24)}",
        "SUPABASE_ACCESS_TOKEN": f"sbp_{secrets.token_hex(20)}",
        "OPENROUTER_API_KEY": f"sk-or-v1-{secrets.token_hex(32)}",
        "FLY_API_TOKEN": f"fo1_{secrets.token_urlsafe(32)}",
        "FLY_DEPLOY_TOKEN": f"fm2_{secrets.token_urlsafe(48)}",
        "VERCEL_TOKEN": secrets.token_hex(12),
        "CRON_SECRET": secrets.token_hex(32),
        "REHEARSAL_TOKEN": secrets.token_hex(24),  # of the doors that no production has
        "NEW_SECRET": secrets.token_hex(32),  # what rotate_secret puts in a secret's place
        "SUPABASE_URL": f"https://{names.supabase_ref}.supabase.co",
        "HYPERLIQUID_LIVE_ENABLED": "true",
        "NEXT_PUBLIC_THIRDWEB_CLIENT_ID": secrets.token_hex(16),
        "NEXT_PUBLIC_SUPABASE_URL": f"https://{names.supabase_ref}.supabase.co",
        "NEXT_PUBLIC_SUPABASE_ANON_KEY": f"sb_publishable_{secrets.token_urlsafe(24)}",
    }
