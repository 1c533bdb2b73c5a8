"""Patterns of data -> files, and where they are on a node."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy.client.data_files import data_files
from gdispy.errors import ConfigError

Write = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("modules_below")


def test_patterns_are_relative_to_the_directory_and_to_each_package(write: Write, tmp_path: Path) -> None:
    write("src/pack/__init__.py")
    write("src/pack/sub/__init__.py")
    for path in ("templates/a.txt", "src/pack/templates/b.txt", "src/pack/sub/templates/c.txt", "src/pack/other.txt"):
        write(path)
    sys.path.insert(0, str(tmp_path / "src"))
    importlib.import_module("pack.sub")
    assert data_files(["templates/*.txt"], str(tmp_path)) == {
        "templates/a.txt": str(tmp_path / "templates/a.txt"),
        "pack/templates/b.txt": str(tmp_path / "src/pack/templates/b.txt"),
        "pack/sub/templates/c.txt": str(tmp_path / "src/pack/sub/templates/c.txt"),
    }
    assert [*data_files(["pack/other.*"], str(tmp_path))] == ["pack/other.txt"]


def test_file_that_is_found_in_two_ways_goes_once(write: Write, tmp_path: Path) -> None:
    write("pack/__init__.py")
    write("pack/data/a.txt")
    importlib.import_module("pack")
    found = data_files(["pack/data/*", "data/a.txt", "./pack/data/a.txt"], str(tmp_path))
    assert found == {"pack/data/a.txt": str(tmp_path / "pack/data/a.txt")}


def test_directory_stands_for_all_files_below_it_and_two_stars_for_any_depth(write: Write, tmp_path: Path) -> None:
    for path in ("data/a", "data/deep/b", "data/deep/er/c.csv"):
        write(path)
    assert [*data_files(["data"], str(tmp_path))] == ["data/a", "data/deep/b", "data/deep/er/c.csv"]
    assert [*data_files(["data/*"], str(tmp_path))] == ["data/a"]
    assert [*data_files(["**/*.csv"], str(tmp_path))] == ["data/deep/er/c.csv"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.txt", ["d/a.txt", "d/e/b.txt", "top.txt"]),
        ("d/**/*.csv", ["d/e/f/c.csv"]),
        ("d/**", ["d/a.txt", "d/e/b.txt", "d/e/f/c.csv"]),
        ("**/e/**/*.*", ["d/e/b.txt", "d/e/f/c.csv"]),
        ("**/e/*", ["d/e/b.txt"]),
        ("?/**/[ab].*", ["d/a.txt", "d/e/b.txt"]),
        ("**/.hidden", [".hidden"]),
    ],
)
def test_two_stars_are_directories_of_any_depth_also_where_links_lead_back(
    write: Write, tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    for path in ("top.txt", "d/a.txt", "d/e/b.txt", "d/e/f/c.csv", ".hidden"):
        write(path)
    for name in ("one", "two"):  # By which 2**40 paths lead to each file.
        (tmp_path / "d" / name).symlink_to(tmp_path / "d")
    assert sorted(data_files([pattern], str(tmp_path))) == expected


def test_file_from_elsewhere_has_its_name_only(write: Write, tmp_path: Path) -> None:
    file = write("elsewhere/a.txt")
    write("base/b.txt")
    base = str(tmp_path / "base")
    assert data_files([f"{tmp_path}/else*/*.txt"], base) == {"a.txt": str(file)}
    assert [*data_files(["../elsewhere/a.txt", f"{base}/b.txt"], base)] == ["a.txt", "b.txt"]
    write("more/a.txt")
    with pytest.raises(ConfigError, match=r"two files of data would be one file on the nodes: .*/elsewhere/a.txt and"):
        data_files(["../elsewhere/a.txt", "../more/a.txt"], base)


def test_pattern_that_matches_nothing_is_refused(write: Write, tmp_path: Path) -> None:
    write("a.txt")
    with pytest.raises(ConfigError, match=r"data: no file matches 'b\*\.txt', in /.* or in a package"):
        data_files(["a.txt", "b*.txt"], str(tmp_path))


def test_what_is_no_file_is_left_out_and_said(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(write("data/a.txt").parent)
    os.mkfifo("pipe")
    os.symlink("nothing", "dangling")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for pattern in ("data", "data/*"):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert [*data_files([pattern], str(tmp_path))] == ["data/a.txt"]
            assert sorted(message.rpartition("/")[2] for message in caplog.messages) == [
                "dangling is left out: it is a broken link",
                "pipe is left out: it is a named pipe",
                "socket is left out: it is a socket",
            ]
