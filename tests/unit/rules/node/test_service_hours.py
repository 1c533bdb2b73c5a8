"""The hours of a day in which a node takes jobs."""

from __future__ import annotations

import pytest

from gdispy.errors import ConfigError
from gdispy.rules.node.service_hours import (
    CLOSED,
    DRAINING,
    OPEN,
    Hours,
    as_text,
    clock,
    hours_of,
    minutes,
    parse_hours,
)

HOUR = 3600.0


def hours(start: str, stop: str, end: str, now: str = "12:00") -> Hours:
    found = parse_hours(start, stop, end, now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("time", "state", "changes_in"),
    [
        (9.0, OPEN, 8.0),
        (16.5, OPEN, 0.5),
        (17.0, DRAINING, 1.0),
        (18.0, CLOSED, 15.0),
        (23.0, CLOSED, 10.0),
        (0.0, CLOSED, 9.0),
        (8.75, CLOSED, 0.25),
    ],
)
def test_day_goes_from_start_by_stop_to_end(time: float, state: str, changes_in: float) -> None:
    assert hours("09:00", "17:00", "18:00").at(time * HOUR) == (state, changes_in * HOUR)


@pytest.mark.parametrize(
    ("time", "state", "changes_in"),
    [(22.0, OPEN, 8.0), (0.0, OPEN, 6.0), (6.0, DRAINING, 1.0), (7.0, CLOSED, 15.0), (21.5, CLOSED, 0.5)],
)
def test_hours_may_pass_midnight(time: float, state: str, changes_in: float) -> None:
    assert hours("22:00", "6:00", "7:00").at(time * HOUR) == (state, changes_in * HOUR)


def test_without_a_stop_the_end_is_both() -> None:
    assert [hours("09:00", "", "17:00").at(time * HOUR)[0] for time in (16.9, 17.0)] == [OPEN, CLOSED]
    assert hours("09:00", "", "17:00").last == 17 * 60


def test_without_an_end_nothing_is_ever_ended() -> None:
    found = hours("09:00", "17:00", "")
    assert found.at(17 * HOUR) == (DRAINING, 16 * HOUR)
    assert found.at(8.5 * HOUR) == (DRAINING, 0.5 * HOUR)
    assert found.last == 17 * 60


def test_without_a_start_they_begin_now() -> None:
    assert hours("", "13:00", "", now="12:30").start == 12 * 60 + 30


def test_change_is_seen_at_its_second() -> None:
    found = hours("09:00", "17:00", "18:00")
    state, seconds = found.at(16 * HOUR + 0.5)
    assert state == OPEN
    assert found.at(16 * HOUR + 0.5 + seconds)[0] == DRAINING


def test_no_times_are_no_hours() -> None:
    assert parse_hours("", "", "", "12:00") is None


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (("09:00", "", ""), "needs --service_stop"),
        (("09:00", "09:00", ""), "different times"),
        (("09:00", "", "09:00"), "different times"),
        (("09:00", "18:00", "17:00"), "--service_end. must not come before"),
        (("22:00", "07:00", "06:00"), "--service_end. must not come before"),
    ],
)
def test_hours_that_make_no_sense_are_refused(times: tuple[str, str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_hours(*times, "12:00")


@pytest.mark.parametrize("text", ["24:00", "12:60", "12", "1200", "12:5", "-1:00", "noon", "12:00:00", "١٢:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="time of day"):
        minutes(text)


def test_times_are_shown_as_they_are_written() -> None:
    assert [clock(minutes(text)) for text in ("00:00", "7:05", "23:59")] == ["00:00", "07:05", "23:59"]


@pytest.mark.parametrize("text", ["", "18:00 07:00", "18:00 07:00 08:00"])
def test_hours_as_text_and_back(text: str) -> None:
    assert as_text(hours_of(f"  {text} ")) == text


@pytest.mark.parametrize("text", ["18:00", "1 2 3 4", "18:00-07:00", "18:00 18:00", "18:00 07:00 06:00", "18:00 7"])
def test_text_that_is_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        hours_of(text)
