"""Times that users write, such as `90s` or `2h`, and times that they are shown."""

from __future__ import annotations

import re

from gdispy.errors import ConfigError

_FORM = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>[smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(option: str, text: str) -> float:
    """The seconds that the value of an option stands for. Raises ConfigError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{option} {text!r} is not a time: write seconds, or a number with s, m, h or d, as 90s or 2h"
        )
    seconds = float(match["number"]) * _UNITS[match["unit"]]
    if not 0.001 <= seconds <= 1e9:
        raise ConfigError(f"{option} {text!r} must be from 0.001 to 1e9 seconds")
    return seconds


def shown(seconds: float) -> str:
    """A time as `9.5 s`, `2:05`, `1:02:05` or `3d 01:02:05`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(min(seconds, 1e12)), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02}"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}:{minutes:02}:{rest:02}" if days else f"{hours}:{minutes:02}:{rest:02}"
