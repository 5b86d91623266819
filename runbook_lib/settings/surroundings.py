"""Take away what a shell or a site has set and what would change what we do; called once, when a process begins."""

from __future__ import annotations

import os
import resource
import signal

LOOPBACK = "127.0.0.1,localhost,::1"
KEPT = ("PGTZ",)  # of the server alone: each of our sessions sets its own time zone
FILES = 4096  # open files, if the limit of the machine allows
# Where a site names its authority, the first that is set.
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def settle() -> None:
    """Make this process, and what it starts, independent of its surroundings."""
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
    """Drop the variables that libpq and Python read: the profile says where to connect, the environment what to run."""
    for name in list(os.environ):
        libpq = name.startswith("PG") and name[2:].isupper() and name not in KEPT
        if libpq or (name.startswith("PYTHON") and name != "PYTHONDONTWRITEBYTECODE"):
            del os.environ[name]


def _reach_loopback_directly() -> None:
    """Have no proxy asked for what runs on this machine, by us or by a command line tool."""
    for name in ("NO_PROXY", "no_proxy"):
        named = os.environ.get(name, "")
        if LOOPBACK not in named:
            os.environ[name] = f"{named},{LOOPBACK}".lstrip(",")


def _trust_the_sites_authority() -> None:
    named = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), None)
    if named:
        os.environ.setdefault("SSL_CERT_FILE", named)
