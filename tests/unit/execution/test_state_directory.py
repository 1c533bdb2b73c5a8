"""Directories of nodes, below one prefix: who has one keeps it, and what dead nodes left goes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from gdispy.execution import state_directory
from gdispy.execution.state_directory import claim, clean, find_prefix, unclaim
from gdispy.filesystem.own_directory import MARKER

NAME, OTHER = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> None:
    assert find_prefix(str(tmp_path)) == str(tmp_path)


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes whose processes were ended."""
    found: list[str] = []
    monkeypatch.setattr(state_directory, "end_marked", lambda variable, name: found.append(name))
    return found


def test_what_a_dead_node_left_goes_when_another_starts(tmp_path: Path, ended: list[str]) -> None:
    os.close(claim(str(tmp_path), NAME))
    (tmp_path / NAME).mkdir()
    fd = claim(str(tmp_path), OTHER)
    assert ended == [NAME] and sorted(os.listdir(tmp_path)) == [MARKER, f"{OTHER}.lock"]
    unclaim(str(tmp_path), OTHER, fd)
    assert os.listdir(tmp_path) == [MARKER]


def test_what_a_living_node_has_stays(tmp_path: Path, ended: list[str]) -> None:
    fd = claim(str(tmp_path), NAME)
    (tmp_path / NAME).mkdir()
    clean(str(tmp_path))
    os.close(claim(str(tmp_path), OTHER))
    assert ended == [] and (tmp_path / NAME).is_dir() and (tmp_path / f"{NAME}.lock").is_file()
    os.close(fd)


@pytest.mark.parametrize("times", [1, 3])
def test_node_that_starts_is_not_taken_for_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    # Given others that clear up between the making of its file and the locking.
    left = times

    def lock(fd: int, how: int) -> None:
        nonlocal left
        if how == fcntl.LOCK_EX and left:
            left -= 1
            clean(str(tmp_path))
        real(fd, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock)
    # When it has started, then its file is there and locked, and stays.
    fd = claim(str(tmp_path), NAME)
    clean(str(tmp_path))
    assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / f"{NAME}.lock"))
    os.close(fd)


def test_who_was_slower_removes_nothing_of_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a dead node's file that somebody has opened, and removed before another could lock it.
    os.close(claim(str(tmp_path), NAME))
    path, opened = tmp_path / f"{NAME}.lock", os.open

    def open_and_lose(*args: Any, **kwargs: Any) -> int:
        fd = opened(*args, **kwargs)
        monkeypatch.setattr(os, "open", opened)
        path.unlink()
        path.write_text("of the next one")
        return fd

    monkeypatch.setattr(os, "open", open_and_lose)
    clean(str(tmp_path))
    assert path.read_text() == "of the next one"
