"""A time that was made plain comes back as the moment it was."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.services.plain_rows import moment, plain


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_from_its_plain_text(at):
    assert moment(plain(at)) == at


def test_a_time_without_a_zone_is_utc_and_a_missing_one_is_long_ago():
    assert moment("2026-11-22T10:00:01") == datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC)
    assert moment(None) == moment("soon") == datetime(1970, 1, 2, tzinfo=UTC)
