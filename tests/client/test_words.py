from datetime import UTC, datetime, timedelta

import pytest

from palladion.client.words import (
    clock,
    duration,
    filename_to_tell,
    name_in_words,
    past,
    quantity,
    size_in_words,
    text_in_words,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (34 << 20, "34 MiB"),
        (13 << 30, "13 GiB"),
        (5 << 40, "5,120 GiB"),
    ],
)
def test_sizes(size: int, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "2 min"),
        (3600, "1 h"),
        (11_520, "3 h 12 min"),
        (86_399, "1 d"),
        (86_400, "1 d"),
        (86_401, "1 d 1 h"),
        (190_800, "2 d 5 h"),
    ],
)
def test_durations_are_never_told_too_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_time_of_day_has_a_date_where_it_is_another() -> None:
    assert clock(NOW + timedelta(hours=5, minutes=5), NOW) == "14:05 UTC"
    assert clock(NOW + timedelta(days=1), NOW) == "6 Jan 2026, 09:00 UTC"
    # Five seconds after four minutes past, the slot of four minutes past is not there yet.
    assert clock(NOW + timedelta(minutes=4, seconds=5), NOW) == "09:05 UTC"
    # What has been was not later than it was.
    assert clock(NOW - timedelta(seconds=5), NOW) == "08:59 UTC"
    assert clock(NOW - timedelta(days=1), NOW) == "4 Jan 2026, 09:00 UTC"
    assert past(NOW + timedelta(seconds=59)) == "Mon 5 Jan 2026, 09:00 UTC"


def test_what_a_terminal_obeys_is_shown_and_not_done() -> None:
    assert name_in_words("team\x1b[2J\n\u202e") == "team\\x1b[2J\\n\\u202e"
    assert name_in_words("x" * 100, 10) == "x" * 9 + "…"
    assert text_in_words("one\ntwo\x07\r\nthree") == "one\ntwo\\x07\nthree"
    assert text_in_words("x" * 5000, None) == "x" * 5000
    assert filename_to_tell("a\x1b\udc80.zip") == "a\\x1b\\udc80.zip"
    assert filename_to_tell("x" * 300 + ".zip") == "x" * 196 + ".zip"


def test_quantities() -> None:
    assert (quantity(1, "file"), quantity(1200, "file")) == ("1 file", "1,200 files")
