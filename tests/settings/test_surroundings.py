"""What a shell or a site has set does not reach what we do."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from runbook_lib.settings import surroundings


@pytest.fixture(autouse=True)
def limits():
    """The limits and the handler as they were."""
    files, handler = resource.getrlimit(resource.RLIMIT_NOFILE), signal.getsignal(signal.SIGINT)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("name", ["PGDATESTYLE", "PGHOST", "PGSSLROOTCERT", "PYTHONPATH", "PYTHONOPTIMIZE"])
def test_what_libpq_and_python_read_is_gone(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    surroundings.settle()
    assert name not in os.environ


@pytest.mark.parametrize("name", ["PGTZ", "PAGER", "PATH", "FLY_API_TOKEN", "PYTHONDONTWRITEBYTECODE"])
def test_the_rest_is_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    surroundings.settle()
    assert os.environ[name] == "x"


def test_no_proxy_is_asked_for_what_runs_here_and_those_named_stay(monkeypatch):
    monkeypatch.setenv("no_proxy", "corp.example")
    surroundings.settle()
    surroundings.settle()
    assert os.environ["no_proxy"] == "corp.example,127.0.0.1,localhost,::1"


def test_the_sites_authority_is_trusted_by_whichever_name_it_goes(monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/site.pem")
    surroundings.settle()
    assert os.environ["SSL_CERT_FILE"] == "/etc/site.pem"


def test_an_interrupt_that_a_parent_ignores_reaches_us(monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    surroundings.settle()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_low_limit_of_files_is_raised_as_far_as_it_goes():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    surroundings.settle()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(4096, hard)
