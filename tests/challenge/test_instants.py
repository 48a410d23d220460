from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge.instants import in_words, read_instant, until

NINE = datetime(2026, 1, 5, 9, tzinfo=UTC)
instants = st.datetimes(datetime(2001, 1, 1), datetime(2998, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-05T09:00:00Z",
        "2026-01-05T09:00Z",
        "2026-01-05 09:00:00.000Z",
        "2026-01-05T10:30:00+01:30",
        NINE,
        NINE.astimezone(timezone(timedelta(hours=-7))),
    ],
    ids=str,
)
def test_the_same_instant_in_several_forms(value: object) -> None:
    instant = read_instant(value)
    assert instant == NINE
    assert instant.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2026-01-05", "2026-01-05 has no hours"),
        (date(2026, 1, 5), "2026-01-05 has no hours"),
        ("2026-01-05T09:00:00", "has no zone; write it in UTC, as 2026-01-05T09:00:00Z"),
        (datetime(2026, 1, 5, 9), "has no zone"),
        ("2026-01-05T24:30:00Z", "is no date"),
        ("2026-13-05T09:00:00Z", "is no date"),
        ("0001-01-01T00:00:00+14:00", "is no year of a challenge"),
        ("9999-12-31T23:59:59-14:00", "is no year of a challenge"),
        ("5 January 2026, 9:00 UTC", "must be a date with hours and zone"),
        ("２０２６-01-05T09:00:00Z", "must be a date with hours and zone"),
        ("20260105T090000Z", "must be a date with hours and zone"),
        ("", "must be a date with hours and zone"),
        (1767603600, "must be a date with hours and zone"),
        (None, "must be a date with hours and zone"),
        (True, "must be a date with hours and zone"),
    ],
    ids=str,
)
def test_what_is_no_instant(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_instant(value)


@given(instants)
def test_what_is_written_is_read(instant: datetime) -> None:
    assert read_instant(instant.isoformat()) == instant


def test_in_words_it_is_told_by_the_minute_that_follows() -> None:
    assert in_words(NINE) == "Mon 5 Jan 2026, 09:00 UTC"
    assert in_words(NINE + timedelta(microseconds=1)) == "Mon 5 Jan 2026, 09:01 UTC"
    assert in_words(datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)) == "Fri 1 Jan 2027, 00:00 UTC"
    assert in_words(NINE.astimezone(timezone(timedelta(hours=5)))) == "Mon 5 Jan 2026, 09:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (119, "now"),
        (120, "in 2 minutes"),
        (-150, "2 minutes ago"),
        (7199, "in 119 minutes"),
        (7200, "in 2 hours"),
        (86_400, "in 24 hours"),
        (172_800, "in 2 days"),
        (-864_000, "10 days ago"),
    ],
)
def test_how_far_away_it_is(seconds: int, words: str) -> None:
    assert until(NINE + timedelta(seconds=seconds), NINE) == words
