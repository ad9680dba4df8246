"""What a person writes as a day or a time, and which moment it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.clock import day_received, parse_moment, parse_received
from duecare.errors import BadInput


@given(st.dates(date(1990, 1, 1), date(2999, 12, 31)), st.sampled_from(("%Y-%m-%d", "%Y%m%d")))
def test_what_was_received_on_a_day_is_in_that_day(day: date, form: str) -> None:
    """Asked from the day's beginning or to its end, in either form, it is there; of the days beside it, it is not."""
    at, text = parse_received(f"{day:{form}}"), f"{day:{form}}"
    assert at == day_received(day)
    assert parse_moment(text) <= at <= parse_moment(text, to_the_end=True)
    before, after = (f"{day + timedelta(days=days):{form}}" for days in (-1, 1))
    assert parse_moment(before, to_the_end=True) < at < parse_moment(after)


def test_days_and_times_without_a_zone_are_of_beijing() -> None:
    """A time is read as the screen shows it, unless it names another zone."""
    assert parse_moment("2025-02-28") == parse_moment("20250228") == datetime(2025, 2, 27, 16, tzinfo=UTC)
    end = parse_moment("2025-02-28", to_the_end=True)
    assert end == datetime(2025, 2, 28, 15, 59, 59, 999999, tzinfo=UTC)
    for parse in (parse_moment, parse_received):
        assert parse("2025-02-28T00:00") == datetime(2025, 2, 27, 16, tzinfo=UTC)
        assert parse("2025-02-28T00:00Z") == datetime(2025, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize("text", ["5 May", "2025-02-31", "20250231", "2025", "0001-01-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """It is said what was given, and what would be right."""
    with pytest.raises(BadInput, match=text):
        parse_moment(text)
