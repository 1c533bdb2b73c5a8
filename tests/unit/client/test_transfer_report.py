"""What is logged about the size of a computation. With a real one: `test_packaging.py`."""

from __future__ import annotations

import logging

import pytest

from gdispy.client import transfer_report as module
from gdispy.client.transfer_report import LARGE, Entry, report, shown_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_000, "999.0 kB"),
        (1_000_000, "1.0 MB"),
        (12_345_678_901, "12345.7 MB"),
    ],
)
def test_size_is_readable(size: int, text: str) -> None:
    assert shown_size(size) == text


def logged(caplog: pytest.LogCaptureFixture, level: int, *entries: Entry) -> list[str]:
    with caplog.at_level(level, "gdispy.client.transfer_report"):
        report("f", entries)
    return caplog.messages


def test_size_up_to_the_limit_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, logging.WARNING, Entry("a", LARGE - 1, ""), Entry("b", 1, "")) == []


def test_larger_computation_is_a_warning_with_its_largest_parts(caplog: pytest.LogCaptureFixture) -> None:
    entries = [Entry(name, size * 1_000_000, "") for name, size in (("a", 1), ("b", 9), ("c", 3), ("d", 5))]
    (line,) = logged(caplog, logging.WARNING, *entries)
    assert line.startswith("f sends 18.0 MB to each node; the largest parts: b (9.0 MB), d (5.0 MB), c (3.0 MB). ")


def test_small_parts_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = logged(caplog, logging.WARNING, Entry("large", 19_900_000, ""), Entry("small", 100_000, ""))
    assert "large (19.9 MB). " in line and "small" not in line


def test_very_many_small_files_are_named_by_their_number(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = logged(caplog, logging.WARNING, *[Entry(str(number), 10_000, "") for number in range(1234)])
    assert "the largest parts: 1,234 files. " in line


def test_parts_that_most_nodes_do_not_get_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, logging.WARNING, Entry("source", 2 * LARGE, "", True), Entry("a", 5, "")) == []
    caplog.clear()
    (line,) = logged(caplog, logging.WARNING, Entry("source", 9 * LARGE, "", True), Entry("a", 2 * LARGE, ""))
    assert "source" not in line


def test_all_parts_are_listed_in_detail_up_to_a_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LISTED", 2)
    entries = [Entry(name, 5, "it is in depends") for name in "abcd"]
    assert logged(caplog, logging.DEBUG, *entries) == [
        "f sends 20 bytes to each node",
        "f sends a: 5 bytes, it is in depends",
        "f sends b: 5 bytes, it is in depends",
        "f sends 2 more files",
    ]
