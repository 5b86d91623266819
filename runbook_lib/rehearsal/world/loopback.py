"""Give each part of the platform its own loopback source address, because the venue's limits are per address."""

from __future__ import annotations

import hashlib
import sys

WEB_APP = "web app"


def source_of(part: str) -> str | None:
    """Return the loopback source address of a part of the platform.

    ``part`` is a name or a deployment's id. On Linux all of 127.0.0.0/8 is loopback; elsewhere only 127.0.0.1 is, and
    None is returned.
    """
    if sys.platform != "linux":
        return None
    second, third, fourth = hashlib.sha256(part.encode()).digest()[:3]
    return f"127.{1 + second % 254}.{third}.{1 + fourth % 254}"  # never 127.0.0.1, which is the operator's
