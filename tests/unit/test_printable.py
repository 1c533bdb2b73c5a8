"""Texts of peers in logs and tables: one line, nothing that a terminal obeys, and short; and not too often."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.core.limits import PRINTED_LIMIT, printable, printable_lines
from gdispy.core.log_limit import LogLimit
from gdispy.limited_log import LimitedLog


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("node-1.lab", "node-1.lab"),
        ("Größe 中文", "Größe 中文"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m\x9b2J", r"\x1b[31mred\x1b[0m\x9b2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\u202egnp.exe\u2066b\u2069\u200f\u061c", r"a\u202egnp.exe\u2066b\u2069\u200f\u061c"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\udcff\U000e0001\x7f\0", r"\udcff\U000e0001\x7f\x00"),
    ],
)
def test_what_no_line_may_hold_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_of_several_lines_keeps_those_and_nothing_else() -> None:
    assert printable_lines("a\n  b\x1b[2J\r\n") == "a\n  b\\x1b[2J\\r\n"


@given(st.text(max_size=200), st.integers(0, 100))
def test_text_is_printable_and_not_longer_than_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown.encode()) <= limit and shown.isprintable()
    if text.isprintable() and len(text.encode()) <= limit:
        assert shown == text


def test_long_text_is_cut_with_a_mark() -> None:
    assert printable("é" * 600) == "é" * ((PRINTED_LIMIT - 5) // 2) + "[...]"
    assert printable("x" * 10_000_000).endswith("x[...]")
    assert len(printable("\n" * 1024)) == PRINTED_LIMIT


# How often


def test_one_line_a_second_for_each_key_and_how_many_were_left_out() -> None:
    limit = LogLimit()
    assert [limit.admit("a", now) for now in (0.0, 0.5, 0.9, 1.0, 1.5, 3.0)] == [0, None, None, 2, None, 1]
    assert limit.admit("b", 3.0) == 0


def test_keys_that_are_remembered_are_bounded() -> None:
    limit = LogLimit(memory=3)
    for key in range(100_000):
        limit.admit(key, 0.0)
    assert len(limit._known) == 3


def test_lines_are_printable_and_say_how_many_were_left_out(caplog: Any) -> None:
    now = [0.0]
    log = LimitedLog(logging.getLogger("gdispy.test"), clock=lambda: now[0])
    with caplog.at_level(logging.INFO, "gdispy.test"):
        for _ in range(1000):
            log.log(logging.INFO, "peer", "%s says %d", "a\x1b\nb", 5)
        now[0] = 1.0
        log.log(logging.INFO, "peer", "%s says %d", "c", 6)
        log.log(logging.DEBUG, "other", "not said at all")
    assert [each.message for each in caplog.records] == [
        r"a\x1b\nb says 5",
        "c says 6 (999 such lines were left out before)",
    ]
