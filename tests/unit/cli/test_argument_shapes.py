"""Rows that are made from other rows: columns, headers, several arguments for a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdispy.cli import argument_shapes as module
from gdispy.cli.argument_shapes import ColumnSource, GroupedSource, HeadedSource, PackedSource, separator
from gdispy.cli.argument_sources import NOT_YET, CommandLineSource, Row, StreamSource
from gdispy.errors import ConfigError


class Slow:
    """Arguments of which each arrives late."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def rows(self) -> Iterator[Row | None]:
        for argument in self._arguments:
            yield NOT_YET
            yield (argument,)

    def width(self) -> int:
        return 1

    def count(self) -> int | None:
        return None


def arguments(count: int) -> CommandLineSource:
    return CommandLineSource([str(number) for number in range(count)])


def test_columns_are_separated_and_stripped() -> None:
    source = ColumnSource(CommandLineSource(["a, b ,c", "", "x,"]), separator(","))
    assert [*source.rows()] == [("a", "b", "c"), ("",), ("x", "")]
    assert source.count() == 3 and source.width() > 1000


@pytest.mark.parametrize(
    ("text", "told"), [("(", "is not a regular expression"), ("(a|b)", "write"), ("", "empty"), (" *", "empty")]
)
def test_separator_that_separates_nothing_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        separator(text)


def test_first_row_is_the_header(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("x;y\n1;2\n3;4\n")
    source = HeadedSource(ColumnSource(StreamSource.of_file(str(tmp_path / "table"), False), separator(";")))
    assert source.names == ("x", "y") and (source.width(), source.count()) == (2, 2)
    assert [*source.rows()] == [("1", "2"), ("3", "4")]


def test_header_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[None] = []
    monkeypatch.setattr(module, "wait_for_input", lambda: waits.append(None))
    source = HeadedSource(Slow("name", "a"))
    assert source.names == ("name",) and waits == [None] and source.count() is None
    assert [*source.rows()] == [NOT_YET, ("a",)]


def test_source_without_a_header_is_refused() -> None:
    with pytest.raises(ConfigError, match="one is empty"):
        HeadedSource(CommandLineSource([]))


@pytest.mark.parametrize(
    ("count", "size", "rows"),
    [
        (5, 2, [("0", "1"), ("2", "3"), ("4",)]),
        (4, 2, [("0", "1"), ("2", "3")]),
        (0, 2, []),
        (2, 0, [(), ()]),
    ],
)
def test_arguments_are_grouped(count: int, size: int, rows: list[Row]) -> None:
    source = GroupedSource(arguments(count), size)
    assert [*source.rows()] == rows and source.count() == len(rows) and source.width() == size


def test_group_waits_for_its_arguments() -> None:
    assert [*GroupedSource(Slow("a", "b"), 2).rows()] == [NOT_YET, NOT_YET, ("a", "b")]
    assert [*PackedSource(Slow("a", "b"), None, 2).rows()] == [NOT_YET, NOT_YET, ("a", "b")]


@pytest.mark.parametrize(
    ("most", "jobs", "sizes"), [(None, None, [7]), (3, None, [3, 3, 1]), (None, 2, [4, 3]), (2, 2, [2, 2, 2, 1])]
)
def test_arguments_are_packed_and_distributed(most: int | None, jobs: int | None, sizes: list[int]) -> None:
    found = [*PackedSource(arguments(7), most, jobs).rows()]
    assert [len(row or ()) for row in found] == sizes
    assert [argument for row in found for argument in row or ()] == [str(number) for number in range(7)]


def test_command_lines_do_not_become_too_long() -> None:
    words = ["x" * 50_000, "y" * 50_000, "z" * 200_000, "a", "b"]
    source = PackedSource(CommandLineSource(words), None, None)
    assert [len(row or ()) for row in source.rows()] == [2, 1, 2]
    source = PackedSource(CommandLineSource(words), None, None)
    source.base = 100_000
    assert [len(row or ()) for row in source.rows()] == [1, 1, 1, 2]


def test_bytes_count_and_not_characters() -> None:
    source = PackedSource(CommandLineSource(["ä" * 40_000] * 2), None, None)
    assert [len(row or ()) for row in source.rows()] == [1, 1]
    assert source.cost(os.fsdecode(b"\xff")) == 2
