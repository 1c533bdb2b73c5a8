"""A file that belongs to one process at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gdispy.errors import JournalError
from gdispy.journal import locked_file
from gdispy.journal.locked_file import open_locked


def nobody(path: str) -> str:
    return "nobody"


def test_new_file_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    os.close(open_locked(str(path), nobody))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_others_could_read_is_theirs_no_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o666)
    fd = open_locked(str(path), nobody)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.read(fd, 10) == b"before"
    os.close(fd)


def test_who_has_the_file_is_said_to_the_next_one_and_it_is_free_after_it(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    fd = open_locked(path, nobody)
    with pytest.raises(JournalError, match="file is in use by process 7"):
        open_locked(path, lambda path: "process 7")
    os.close(fd)
    os.close(open_locked(path, nobody))


def test_link_directory_and_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "target").touch(0o644)
    before = (tmp_path / "target").stat().st_mode
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "directory", "pipe"):
        with pytest.raises(JournalError, match=f"{name} cannot be used"):
            open_locked(str(tmp_path / name), nobody)
    assert (tmp_path / "target").stat().st_mode == before


def test_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(JournalError, match="not a file of this user"):
        open_locked(str(tmp_path / "file"), nobody)


def test_file_that_is_replaced_between_opening_and_locking_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    lock, calls = locked_file.fcntl.flock, []

    def replace_then_lock(fd: int, how: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            (tmp_path / "new").write_bytes(b"new")
            os.replace(tmp_path / "new", path)
        elif len(calls) == 2:
            path.unlink()
        lock(fd, how)

    monkeypatch.setattr(locked_file.fcntl, "flock", replace_then_lock)
    fd = open_locked(str(path), nobody)
    assert len(calls) == 3 and os.path.samestat(os.fstat(fd), path.stat())
    os.close(fd)


def test_file_that_keeps_being_replaced_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_file, "_is_at", lambda path, about: False)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(JournalError, match="keeps being replaced"):
        open_locked(str(tmp_path / "file"), nobody)
    assert len(os.listdir("/proc/self/fd")) == before
