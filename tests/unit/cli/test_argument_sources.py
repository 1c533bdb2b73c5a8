"""Where the arguments of jobs come from, and how several sources are combined."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdispy.cli.argument_sources import CommandLineSource, Source, SourceGroups, StreamSource, TextSource
from gdispy.errors import ConfigError


def groups(*words: list[str]) -> SourceGroups:
    return SourceGroups([[CommandLineSource(each)] for each in words])


def read(path: Path, data: bytes, nul: bool = False) -> list[object]:
    path.write_bytes(data)
    return [*StreamSource.of_file(str(path), nul).rows()]


def test_sources_are_combined_in_all_ways_and_the_last_changes_first() -> None:
    found = groups(["a", "b"], ["1", "2"], ["x"])
    assert [*found.rows()] == [("a", "1", "x"), ("a", "2", "x"), ("b", "1", "x"), ("b", "2", "x")]
    assert found.count() == 4 and found.width() == 3


def test_linked_sources_end_with_the_shortest() -> None:
    linked: list[Source] = [CommandLineSource(["a", "b", "c"]), CommandLineSource(["1", "2"])]
    found = SourceGroups([linked, [CommandLineSource(["x", "y"])]])
    assert [*found.rows()] == [("a", "1", "x"), ("a", "1", "y"), ("b", "2", "x"), ("b", "2", "y")]
    assert found.count() == 4


def test_source_without_arguments_makes_no_jobs() -> None:
    assert [*groups(["a"], []).rows()] == [] and groups(["a"], []).count() == 0


def test_texts_are_split_as_in_a_shell() -> None:
    source = TextSource(["1 'two words'", ""])
    assert [*source.rows()] == [("1", "two words"), ()] and source.width() == 0 and source.count() == 2


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", []), (b"a\nb c\n", ["a", "b c"]), (b"a\n\nb", ["a", "", "b"]), (b"\xff\n", ["\udcff"]), (b"\n", [""])],
)
def test_each_line_of_a_file_is_an_argument(data: bytes, lines: list[str], tmp_path: Path) -> None:
    assert read(tmp_path / "file", data) == [(line,) for line in lines]
    assert StreamSource.of_file(str(tmp_path / "file"), False).count() == len(lines)


def test_arguments_that_end_with_nul_may_contain_newlines(tmp_path: Path) -> None:
    assert read(tmp_path / "file", b"a\nb\0c\0", nul=True) == [("a\nb",), ("c",)]


def test_file_larger_than_a_step_is_read_completely(tmp_path: Path) -> None:
    lines = [str(number) * 10 for number in range(20_000)]
    assert read(tmp_path / "file", "\n".join(lines).encode()) == [(line,) for line in lines]


def test_nul_in_a_line_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2 of .* NUL character.*--null"):
        read(tmp_path / "file", b"a\nb\0c\n")


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file"), ("", "it is a directory"), ("\0", "null")])
def test_file_that_cannot_be_read_is_named_when_the_source_is_created(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        StreamSource.of_file(str(tmp_path / name), False)


@pytest.fixture
def pipe() -> Iterator[tuple[StreamSource, int]]:
    ours, theirs = os.pipe()
    yield StreamSource(ours, "standard input"), theirs


def test_pipe_yields_none_while_no_argument_has_arrived(pipe: tuple[StreamSource, int]) -> None:
    source, theirs = pipe
    rows = source.rows()
    assert source.count() is None and next(rows) is None
    os.write(theirs, b"a\nb")
    assert next(rows) == ("a",) and next(rows) is None
    os.close(theirs)
    assert [*rows] == [("b",)]


def test_none_of_any_source_is_passed_on(pipe: tuple[StreamSource, int]) -> None:
    source, theirs = pipe
    rows = SourceGroups([[CommandLineSource(["1", "2"])], [CommandLineSource(["x"]), source]]).rows()
    assert next(rows) is None
    os.write(theirs, b"a\n")
    os.close(theirs)
    assert [*rows] == [("1", "x", "a"), ("2", "x", "a")]
