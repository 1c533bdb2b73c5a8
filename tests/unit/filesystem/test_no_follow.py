"""Folders and files below a root, reached without following a symbolic link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gdispy.filesystem.no_follow import open_file, opened_folder


def test_folder_is_found_and_closed_again(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"data")
    with opened_folder(str(tmp_path), ["a", "b"]) as folder:
        fd = open_file(folder, "file")
        assert os.read(fd, 10) == b"data"
        os.close(fd)
    with pytest.raises(OSError):
        os.fstat(folder)


def test_folder_that_is_not_there_is_made_only_where_a_mode_is_given(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened_folder(str(tmp_path), ["a"]):
        pass
    with opened_folder(str(tmp_path), ["a", "b"], 0o700):
        pass
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [-1, 0o700])
@pytest.mark.parametrize("place", [["link"], ["a", "link"], ["link", "inner"], ["file"]])
def test_link_or_file_on_the_way_is_refused(tmp_path: Path, mode: int, place: list[str]) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "a" / "link").symlink_to(outside)
    (root / "file").touch()
    with pytest.raises(NotADirectoryError), opened_folder(str(root), place, mode):
        pass
    assert sorted(path.name for path in outside.iterdir()) == ["inner"]


def test_folder_replaced_by_a_link_meanwhile_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "other").mkdir()
    with opened_folder(str(tmp_path), ["a"]) as folder:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").symlink_to(tmp_path / "other")
        os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    assert (tmp_path / "b" / "made").exists() and not (tmp_path / "other" / "made").exists()


def test_link_is_not_read_and_pipe_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    with opened_folder(str(tmp_path), []) as folder:
        with pytest.raises(OSError):
            open_file(folder, "link")
        fd = open_file(folder, "pipe")
        assert stat.S_ISFIFO(os.fstat(fd).st_mode)
        os.close(fd)
