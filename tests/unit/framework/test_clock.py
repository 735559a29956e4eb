"""Times and microseconds."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from backstory._clock import SystemClock, from_microseconds, to_microseconds


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))])))
def test_time_comes_back_exactly_from_microseconds(moment: datetime) -> None:
    # 1 AD in a zone behind UTC, and 9999 in one before it, have no time in UTC.
    if timedelta(days=2) < moment - datetime.min.replace(tzinfo=UTC) < timedelta(days=3652000):
        assert from_microseconds(to_microseconds(moment)) == moment


def test_system_clock_tells_the_time_in_utc() -> None:
    before = datetime.now(UTC)

    moment = SystemClock().now()

    assert moment.tzinfo is UTC
    assert abs(moment - before) < timedelta(days=1)
