"""Notifications are heard; a lost connection is noticed, told and made anew, and hears again."""

from __future__ import annotations

import pytest

from runbook_lib.services.notifications import Listener
from tests.core_fixtures import connect, eventually

NOBODY = "postgresql://postgres@127.0.0.1:9/postgres"
CHANNEL = "agent_commands_7f3c2222-0000"  # with hyphens, as the platform's own


@pytest.fixture
def database(running):
    with connect(running) as connection:
        yield connection


@pytest.fixture
def heard():
    return []


@pytest.fixture
def listener(chosen, heard):
    made = Listener(chosen, heard.append)
    made.follow([CHANNEL])
    yield made
    made.close()


def notify(database, heard):
    """Until it was heard: the listener follows a new channel at its next turn."""
    before = len(heard)

    def told():
        database.execute("select pg_notify(%s, 'x')", (CHANNEL,))
        return CHANNEL in heard[before:]

    eventually(told, "heard")


def end(database):
    """End every session that listens, as a restart of the database would."""
    found = database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%%agent_commands_7f3c%%'"
        " or (application_name = 'launch-runbook' and pid <> pg_backend_pid())"
    )
    assert found.fetchall()


def test_what_is_notified_is_heard(listener, database, heard):
    notify(database, heard)
    assert listener.state.startswith("listens since") and listener.made == 1


def test_a_lost_connection_is_told_and_made_anew(listener, database, heard):
    notify(database, heard)
    before = len(heard)
    end(database)
    eventually(lambda: listener.made == 2 and listener.state.startswith("listens since"), "made anew")
    assert heard[before:].count("") >= 2  # told when it was lost and when it was back: both are reasons to look
    notify(database, heard)


def test_a_database_that_is_not_there_is_told_with_its_address(chosen, heard):
    dead = chosen.model_copy(update={"database": chosen.database.model_copy(update={"url": NOBODY})})
    listener = Listener(dead, heard.append)
    eventually(lambda: listener.state.startswith("lost since") and "127.0.0.1:9" in listener.state, "told")
    listener.close()


def test_closing_ends_the_thread_and_the_session(chosen, database):
    listener = Listener(chosen, lambda _: None)
    eventually(lambda: listener.made, "connected")
    listener.close()
    assert not listener._thread.is_alive()
