"""Times as users write them and as they are shown."""

from __future__ import annotations

import pytest

from gdispy.cli.durations import seconds_of, shown
from gdispy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("10m", 600.0), ("2h", 7200.0), ("1d", 86400.0), (".5", 0.5)]
)
def test_numbers_may_have_units(text: str, seconds: float) -> None:
    assert seconds_of("--since", text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "1w", "1 m", "0", "1e9", "999999d"])
def test_other_times_are_refused_with_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--since '{text}'"):
        seconds_of("--since", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1.0, "0.0 s"), (9.54, "9.5 s"), (125.9, "2:05"), (3725.0, "1:02:05"), (262925.0, "3d 01:02:05")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_any_number_is_shown() -> None:
    assert shown(1e299).startswith("11574074d")
