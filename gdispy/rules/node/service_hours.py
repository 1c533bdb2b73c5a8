"""The hours of a day in which a node takes jobs: a pure function of the time of day.

    start ── open ── stop ── draining ── end ── closed ── start of the next day

Draining takes no new jobs, and running jobs continue; closed ends these too. Without an end the node drains
until the next start; without a stop, the end is both. All times may pass midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gdispy.errors import ConfigError

OPEN, DRAINING, CLOSED = "open", "draining", "closed"

_DAY = 24 * 60


@dataclass(frozen=True)
class Hours:
    """The times in minutes after midnight."""

    start: int
    stop: int
    end: int | None

    @property
    def last(self) -> int:
        """The time from which nothing runs any more."""
        return self.stop if self.end is None else self.end

    def at(self, seconds: float) -> tuple[str, float]:
        """The state at `seconds` after midnight, and in how many seconds it changes."""
        since = (seconds - 60 * self.start) % (60 * _DAY)
        for state, minutes in ((OPEN, self._after(self.stop)), (DRAINING, self._after(self.end))):
            if minutes is not None and since < 60 * minutes:
                return state, 60 * minutes - since
        return (DRAINING if self.end is None else CLOSED), 60 * _DAY - since

    def _after(self, time: int | None) -> int | None:
        """Minutes from the start to a time."""
        return None if time is None else (time - self.start) % _DAY


def parse_hours(start: str, stop: str, end: str, now: str) -> Hours | None:
    """The hours from the user's values, HH:MM or '' each; without a start they begin `now`. Raises ConfigError."""
    if not start and not stop and not end:
        return None
    if not stop and not end:
        raise ConfigError("--service_start needs --service_stop or --service_end")
    first = minutes(start or now)
    last = minutes(end) if end else None
    middle = minutes(stop) if stop else last
    assert middle is not None
    hours = Hours(first, middle, last)
    if middle == first or last == first:
        raise ConfigError("the service hours start and end at the same time: give different times")
    if last is not None and (last - first) % _DAY < (middle - first) % _DAY:
        raise ConfigError(
            "the end of the service hours (--service_end) must not come before their stop (--service_stop)"
        )
    return hours


def hours_of(text: str) -> Hours | None:
    """The hours in 'START STOP' or 'START STOP END', HH:MM each; None for '', which is always. Raises ConfigError."""
    words = text.split()
    if not words:
        return None
    if len(words) not in (2, 3):
        raise ConfigError(
            f"write service hours as START STOP or START STOP END, HH:MM each, or leave them empty: not {text!r}"
        )
    start, stop, *end = words
    return parse_hours(start, stop, end[0] if end else "", now="")


def as_text(hours: Hours | None) -> str:
    """The hours as `hours_of` takes them."""
    if hours is None:
        return ""
    return " ".join(clock(each) for each in (hours.start, hours.stop, hours.end) if each is not None)


def minutes(text: str) -> int:
    """Minutes after midnight in 'HH:MM'. Raises ConfigError."""
    found = re.fullmatch(r"(\d\d?):(\d\d)", text.strip(), re.ASCII)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        raise ConfigError(f"write a time of day from 00:00 to 23:59 as HH:MM, not {text!r}")
    return 60 * int(found[1]) + int(found[2])


def clock(minutes: int) -> str:
    """HH:MM."""
    return f"{minutes // 60:02}:{minutes % 60:02}"
