"""The only place that asks for the time.

The rule of this module: times are aware and in UTC. A register's date is a ``date``, never a time. A day that a person
names is a day in Beijing, whoever asks and for what.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from duecare.errors import BadInput

BEIJING = ZoneInfo("Asia/Shanghai")


class Clock(Protocol):
    """Anything that knows what time it is."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SetClock:
    """A clock that stands where it was put, for replays and tests."""

    def __init__(self, at: datetime) -> None:
        self._at = utc(at)

    def now(self) -> datetime:
        return self._at

    def set(self, at: datetime) -> None:
        """Move to ``at`` (aware)."""
        self._at = utc(at)

    def advance(self, by: timedelta) -> None:
        """Move on by ``by``."""
        self._at += by


def utc(at: datetime) -> datetime:
    """``at`` in UTC. A naive time is refused: nobody can say when it was."""
    if at.tzinfo is None:
        raise BadInput(f"The time {at} has no zone.", hint="Give one, such as 2019-05-05T08:00:00+08:00.")
    return at.astimezone(UTC)


def parse_moment(text: str, *, to_the_end: bool = False) -> datetime:
    """A moment, in UTC, from an ISO 8601 time or a day in Beijing: its beginning, or with ``to_the_end`` its last
    microsecond. A time without a zone is Beijing time too, as the screen shows times. Raises ``BadInput``."""
    at = _day_or_time(text)
    if not isinstance(at, datetime):
        at = datetime.combine(at, time.max if to_the_end else time.min)
    return _in_utc(at, text)


def parse_received(text: str) -> datetime:
    """When a file was received: as ``parse_moment``, but a day is the source's own and kept as ``day_received``."""
    at = _day_or_time(text)
    return _in_utc(at, text) if isinstance(at, datetime) else day_received(at)


def day_received(day: date) -> datetime:
    """A day that came without a time: midnight in UTC, which lies on the same day in Beijing and is shown without a
    time, so that who asks for that day, from its beginning or to its end, gets what was received on it."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def parse_day(text: str) -> date:
    """A calendar day from ``2019-05-05``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is not a date.", hint="Write 2019-05-05.") from None


def end_of_day(day: date, zone: ZoneInfo = BEIJING) -> datetime:
    """The last microsecond of ``day`` in ``zone``, in UTC."""
    return datetime.combine(day, time.max, tzinfo=zone).astimezone(UTC)


def _day_or_time(text: str) -> date | datetime:
    for parse in (date.fromisoformat, datetime.fromisoformat):
        with suppress(ValueError):
            return parse(text)
    raise BadInput(f"{text!r} is not a date or time.", hint="Write 2019-05-05 or 2019-05-05T08:00:00+08:00.")


def _in_utc(at: datetime, text: str) -> datetime:
    """``at``, which ``text`` says; in Beijing where it names no zone."""
    try:
        return (at if at.tzinfo else at.replace(tzinfo=BEIJING)).astimezone(UTC)
    except OverflowError:
        raise BadInput(f"{text!r} is beyond the calendar.", hint="Its years in UTC are 1 to 9999.") from None
