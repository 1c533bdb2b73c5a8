"""Lines that peers cause: few, printable, and with the number of those left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gdispy.runtime.limited_log import LimitedLog, traceback_text


class Made:
    def __init__(self, interval: float = 10.0) -> None:
        self.now = 0.0
        self.log = LimitedLog(logging.getLogger("gdispy.test"), interval, lambda: self.now)


@pytest.fixture
def made(caplog: pytest.LogCaptureFixture) -> Made:
    caplog.set_level(logging.INFO, "gdispy.test")
    return Made()


def test_line_of_a_key_is_written_once_in_an_interval(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    for made.now in (0.0, 1.0, 2.0, 10.0, 20.0):
        made.log.log(logging.INFO, "key", "%s at %d", "peer", made.now)
    suppressed = " (2 such lines were suppressed)"
    assert caplog.messages == ["peer at 0", f"peer at 10{suppressed}", "peer at 20"]


def test_line_that_is_not_logged_anyway_does_not_count(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.log.log(logging.DEBUG, "key", "hidden")
    made.log.log(logging.INFO, "key", "shown")
    assert caplog.messages == ["shown"]


def test_texts_of_peers_are_printable_and_numbers_stay_numbers(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.log.log(logging.INFO, 1, "%s %.1f %d", "a\x1b\nb", 0.25, 7)
    assert caplog.messages == [r"a\x1b\nb 0.2 7"]


def failure(text: str = "wrong") -> BaseException:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_failure_has_its_traceback_made_printable(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.log.log_failure(logging.ERROR, "key", failure("a\x1b"), "a defect in %s", "x\n")
    (text,) = caplog.messages
    assert text.startswith("a defect in x\\n\n  Traceback (most recent call last):") and text.endswith(
        r"ValueError: a\x1b"
    )
    assert all(record.exc_info is None for record in caplog.records)


def test_text_with_percent_signs_is_written_as_it_is(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.log.log_lines(logging.INFO, "key", "100 %s %d\nsecond")
    assert "100 %s %d" in caplog.text and "second" in caplog.text


def test_very_long_traceback_is_shortened() -> None:
    text: Any = traceback_text(failure("x" * 1_000_000))
    assert len(text) < 100_000 and text.startswith("  Traceback")
