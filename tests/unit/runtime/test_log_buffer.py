"""The last records of a daemon."""

from __future__ import annotations

import logging
import time

import pytest

from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import LogRequest
from gdispy.protocol.rows import LogPosition, LogRow
from gdispy.runtime import log_buffer
from gdispy.runtime.log_buffer import OVERHEAD, TEXT, LogBuffer, log_events

RUN = Instance(b"r" * 16)


def record(text: str, level: int = logging.INFO, when: float | None = None) -> logging.LogRecord:
    made = logging.LogRecord("gdispy.x", level, "", 0, text, (), None)
    if when is not None:
        made.created = when
    return made


def filled(*texts: str, when: float | None = None) -> LogBuffer:
    buffer = LogBuffer()
    for text in texts:
        buffer.handle(record(text, when=when))
    return buffer


def texts(buffer: LogBuffer, *words: float) -> list[str]:
    return [each.text for each in buffer.read(*words)[0]]  # type: ignore[arg-type]


def test_what_is_logged_from_info_on_is_kept_while_it_is_attached() -> None:
    buffer, logger = LogBuffer(), logging.getLogger("gdispy.any")
    logging.getLogger("gdispy").setLevel(logging.DEBUG)
    with buffer.attached():
        logger.debug("detail")
        logger.warning("%s is full", "disk")
    logger.warning("later")
    [found] = buffer.read()[0]
    assert (found.number, found.level, found.text) == (0, "WARNING", "disk is full")
    assert abs(found.time - time.time()) < 60


def test_only_so_many_records_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_buffer, "RECORDS", 3)
    buffer = filled("a", "b", "c", "d", "e")
    found, left_out = buffer.read()
    assert [(each.number, each.text) for each in found] == [(2, "c"), (3, "d"), (4, "e")] and left_out == 2


def test_only_so_many_bytes_are_kept_and_long_texts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_buffer, "BYTES", 2 * TEXT)
    buffer = filled("x" * 10 * TEXT, "é" * TEXT, "last")
    assert texts(buffer) == ["last"]
    assert len(filled("x" * 10 * TEXT).read()[0][0].text) == TEXT
    assert texts(filled("a\udcffb")) == ["a\\udcffb"]


def test_reader_goes_on_where_it_was_and_is_told_what_it_has_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = filled("a", "b", "c")
    assert texts(buffer, 2) == ["c"] and texts(buffer, 3) == [] and buffer.read(3)[1] == 0
    monkeypatch.setattr(log_buffer, "RECORDS", 1)
    buffer.handle(record("d"))
    found, left_out = buffer.read(1)
    assert [each.text for each in found] == ["d"] and left_out == 2


def test_old_records_are_not_wanted() -> None:
    buffer = filled("old", when=time.time() - 1000)
    buffer.handle(record("new"))
    found, left_out = buffer.read(0, 500.0)
    assert [each.text for each in found] == ["new"] and left_out == 0


def test_last_records_that_fit_are_sent() -> None:
    buffer = filled("aa", "bb", "cc")
    found, left_out = buffer.read(0, 0.0, 2 * (2 + OVERHEAD))
    assert [each.text for each in found] == ["bb", "cc"] and left_out == 1
    assert buffer.read(0, 0.0, 0) == ([], 3)


def test_answer_has_the_position_of_the_own_run_only() -> None:
    buffer = filled("a", "b", when=5.0)
    positions = [LogPosition(Instance(b"o" * 16), 9), LogPosition(RUN, 1)]
    found = log_events(LogRequest(7, 0.0, 1000, "", positions), buffer, RUN)
    assert (found.question, found.rows) == (7, [LogRow(RUN, 1, 5.0, "INFO", "", "b")])
