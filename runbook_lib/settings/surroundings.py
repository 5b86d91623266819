"""Remove shell and site settings that would change how this process behaves. Each process calls `settle` first."""

from __future__ import annotations

import os
import resource
import signal

LOOPBACK = "127.0.0.1,localhost,::1"
KEPT = ("PGTZ",)  # only the servers we start go by it: each of our sessions sets its own time zone
FILES = 4096  # open files, if the limit of the machine allows
# Variables in which a site names its certificate authority; the first that is set counts.
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def settle() -> None:
    """Make this process, and every process that it starts, independent of the shell and the machine."""
    forget()
    _reach_loopback_directly()
    _trust_the_sites_authority()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job that a script started in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def forget() -> None:
    """Remove the environment variables that change how libpq and Python behave.

    The profile decides where to connect, and the virtual environment decides what to run.
    """
    for name in list(os.environ):
        libpq = name.startswith("PG") and name[2:].isupper() and name not in KEPT
        if libpq or (name.startswith("PYTHON") and name != "PYTHONDONTWRITEBYTECODE"):
            del os.environ[name]


def _reach_loopback_directly() -> None:
    """Make this process, and the tools that it starts, reach loopback addresses without a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        named = os.environ.get(name, "")
        if LOOPBACK not in named:
            os.environ[name] = f"{named},{LOOPBACK}".lstrip(",")


def _trust_the_sites_authority() -> None:
    named = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), None)
    if named:
        os.environ.setdefault("SSL_CERT_FILE", named)
