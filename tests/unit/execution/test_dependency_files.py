"""Where a client may put files on a node: into the directory of its computation, and through no link out of it."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from gdispy.buffers.memory_file import ReceivedFile
from gdispy.errors import ProtocolError
from gdispy.execution.dependency_files import lacking, place, place_all

DATA = b"data"
DIGEST = blake2b(DATA, digest_size=32).digest()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("directory", "outside", "arrived"):
        (tmp_path / name).mkdir()
    return tmp_path / "directory"


def row(path: str, mode: int = 0o4777) -> list[Any]:
    return [path, mode, 1e9, len(DATA), DIGEST]


def arrived(directory: Path) -> ReceivedFile:
    path = directory.parent / "arrived" / ".gdispy-1"
    path.write_bytes(DATA)
    return ReceivedFile(str(path), len(DATA), DIGEST, "")


@pytest.mark.parametrize("again", [False, True])
def test_file_is_put_in_place_for_its_owner_alone(directory: Path, again: bool) -> None:
    content = arrived(directory)
    assert place(str(directory), row("a/b"), content, again) == str(directory / "a" / "b")
    about = (directory / "a" / "b").stat()
    assert about.st_mode & 0o7777 == 0o700 and about.st_mtime == 1e9
    assert os.listdir(directory.parent / "arrived") == ([".gdispy-1"] if again else [])


def test_same_contents_can_be_put_in_place_twice(directory: Path) -> None:
    content = arrived(directory)
    for _ in range(2):
        place(str(directory), row("file"), content, again=True)
    assert os.listdir(directory) == ["file"] and os.listdir(directory.parent / "arrived") == [".gdispy-1"]


@pytest.mark.parametrize("path", ["link/file", "deep/link/file", "file/below"])
def test_link_or_file_on_the_way_is_refused(directory: Path, path: str) -> None:
    outside = directory.parent / "outside"
    (directory / "deep").mkdir()
    (directory / "file").touch()
    for each in ("link", "deep/link"):
        (directory / each).symlink_to(outside)
    with pytest.raises(ProtocolError, match="is in the way"):
        place(str(directory), row(path), arrived(directory))
    assert "is in the way" in place_all(str(directory), [row(path)], [arrived(directory)])
    assert os.listdir(outside) == []


def test_folder_that_becomes_a_link_between_check_and_use_lets_nothing_out(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that replaces a folder by a link when it has been looked at, and before the file comes there.
    outside, utime = directory.parent / "outside", os.utime

    def swap(*args: Any, **kwargs: Any) -> None:
        utime(*args, **kwargs)
        (directory / "folder").rename(directory / "aside")
        (directory / "folder").symlink_to(outside)

    monkeypatch.setattr(os, "utime", swap)
    place(str(directory), row("folder/file"), arrived(directory))
    assert os.listdir(outside) == [] and os.listdir(directory / "aside") == ["file"]


def test_link_in_the_place_of_the_file_is_replaced_and_not_followed(directory: Path) -> None:
    goal = directory.parent / "outside" / "goal"
    goal.write_bytes(DATA)
    goal.chmod(0o640)
    (directory / "file").symlink_to(goal)
    # It does not count as the file, though it leads to the same contents.
    assert lacking(str(directory), [row("file")]) == [0]
    place(str(directory), row("file"), arrived(directory))
    assert not (directory / "file").is_symlink() and lacking(str(directory), [row("file")]) == []
    assert goal.read_bytes() == DATA and goal.stat().st_mode & 0o777 == 0o640


def test_file_below_a_link_does_not_count_as_there(directory: Path) -> None:
    (directory.parent / "outside" / "file").write_bytes(DATA)
    (directory / "link").symlink_to(directory.parent / "outside")
    os.mkfifo(directory / "pipe")
    assert lacking(str(directory), [row("link/file"), row("pipe"), row("none")]) == [0, 1, 2]


def test_arrived_file_that_is_a_link_is_refused(directory: Path) -> None:
    goal = directory.parent / "outside" / "goal"
    goal.write_bytes(DATA)
    goal.chmod(0o640)
    content = arrived(directory)
    os.unlink(content.path)
    os.symlink(goal, content.path)
    assert "cannot be stored" in place_all(str(directory), [row("file")], [content])
    assert goal.stat().st_mode & 0o777 == 0o640
