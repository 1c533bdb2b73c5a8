"""Directories that outlive their computations, and are used by several at the same time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.execution.dependency_files import JobFiles
from gdispy.execution.kept_directories import KeptDirectories
from gdispy.execution.state_directory import claim, find_prefix
from gdispy.protocol.ids import ComputationId
from tests.unit.builders import C, D, prepare

E = ComputationId(b"athird12")


class Disk:
    """The directories of a user's nodes on one machine, and computations that come and go."""

    def __init__(self, prefix: Path) -> None:
        self.path = prefix / "kept"
        self._prefix = prefix
        self._locks: dict[str, int] = {}
        self._nodes: dict[ComputationId, KeptDirectories] = {}
        self.kept = self.node("one")

    def node(self, name: str) -> KeptDirectories:
        """One more node."""
        self._locks[name] = claim(find_prefix(str(self._prefix)), name)
        (self._prefix / name).mkdir()
        return KeptDirectories(str(self._prefix), name)

    def kill(self, name: str) -> None:
        os.close(self._locks.pop(name))

    def close(self) -> None:
        for fd in self._locks.values():
            os.close(fd)

    def enter(
        self, computation: ComputationId, directory: str, cleanup: bool = True, node: Any = None, **files: str
    ) -> None:
        """A computation brings files, each with a text."""
        kept = self._nodes[computation] = node or self.kept
        rows = [[name.replace("_", "/"), 0o600, 0.0, len(text), text.encode()] for name, text in files.items()]
        kept.enter(replace(prepare(computation), directory=directory, files=rows, cleanup=cleanup))
        placed = []
        for row in rows:
            goal = self.path / directory / row[0]
            goal.parent.mkdir(parents=True, exist_ok=True)
            if not goal.exists() or goal.read_bytes() != row[4]:
                goal.write_bytes(row[4])
                placed.append(str(goal))
        kept.note_placed(computation, placed)

    def leave(self, computation: ComputationId) -> str:
        """The directory that goes as a whole, relative to all, or ''."""
        found = self._nodes[computation].leave(computation)
        if not found:
            return ""
        shutil.rmtree(found)
        return os.path.relpath(found, self.path).partition(".gone-")[0]

    def files(self) -> dict[str, str]:
        found = [each for each in self.path.rglob("*") if each.is_file() and not each.name.startswith(".gdispy")]
        return {str(each.relative_to(self.path)): each.read_text() for each in found}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.close()


def test_directory_of_one_computation_goes_as_a_whole(disk: Disk) -> None:
    disk.enter(C, "a", x="1")
    assert disk.leave(C) == "a" and disk.leave(C) == ""


def test_directory_that_is_gone_is_used_by_nobody(disk: Disk) -> None:
    disk.enter(C, "a", x="1")
    shutil.rmtree(disk.path / "a")
    assert disk.leave(C) == ""
    disk.enter(D, "a", x="2")
    assert disk.files() == {"a/x": "2"}


def test_file_with_other_contents_is_refused_while_the_first_is_used(disk: Disk) -> None:
    disk.enter(C, "a", x="1", y="1")
    with pytest.raises(ProtocolError, match="the file 'x' cannot be stored in the directory of dest_path"):
        disk.enter(D, "a", x="2")
    # Nothing of it is left, nor does it keep anybody else from using the directory.
    assert disk.leave(D) == "" and disk.files() == {"a/x": "1", "a/y": "1"}
    disk.enter(E, "a", x="1", z="3")
    assert disk.leave(C) == ""
    # What the other one uses stays, and so does what it has.
    assert disk.files() == {"a/x": "1", "a/z": "3"}
    # The directory is the last one's, with all that is in it.
    assert disk.leave(E) == "a"
    disk.enter(D, "a", x="2")
    assert disk.files()["a/x"] == "2"


def test_file_in_a_directory_that_is_in_the_other_is_refused_too(disk: Disk) -> None:
    disk.enter(C, "a", b_x="1")
    with pytest.raises(ProtocolError, match="'x'"):
        disk.enter(D, "a/b", x="2")
    disk.enter(D, "a/b", y="2")
    disk.enter(E, "ab", b_x="3")
    assert disk.leave(C) == ""
    assert disk.files() == {"a/b/y": "2", "ab/b/x": "3"}
    assert disk.leave(E) == "ab" and disk.leave(D) == "a/b"


def test_what_another_leaves_to_be_kept_meanwhile_stays(disk: Disk) -> None:
    disk.enter(C, "a", x="1", z_z="1")
    disk.enter(D, "a", False, x="1", y="1")
    assert disk.leave(D) == "" and disk.leave(C) == ""
    assert disk.files() == {"a/y": "1"} and os.listdir(disk.path / "a") == ["y"]
    # What was there before goes with the next one that keeps nothing, as in dispy.
    disk.enter(C, "a", x="1")
    assert disk.leave(C) == "a"


def test_file_that_is_sent_later_is_refused_likewise(disk: Disk) -> None:
    disk.enter(C, "a", x="1")
    disk.enter(D, "a", y="1")
    with pytest.raises(ProtocolError, match="'x'"):
        disk.kept.add(D, [["x", 0o600, 0.0, 1, b"2"]])
    disk.kept.add(D, [["x", 0o600, 0.0, 1, b"1"]])
    assert disk.kept.uses(str(disk.path / "a" / "x")) and not disk.kept.uses(str(disk.path / "a" / "z"))


def test_other_nodes_of_the_user_count_as_long_as_they_live(disk: Disk) -> None:
    other = disk.node("two")
    disk.enter(C, "a", x="1")
    with pytest.raises(ProtocolError, match="'x'"):
        disk.enter(D, "a", node=other, x="2")
    disk.enter(D, "a", node=other, x="1", y="1")
    assert disk.leave(C) == "" and disk.files() == {"a/x": "1", "a/y": "1"}
    with pytest.raises(ProtocolError, match="'x'"):
        disk.enter(C, "a", x="2")
    disk.kill("two")
    disk.enter(C, "a", x="2")
    assert disk.files() == {"a/x": "2", "a/y": "1"}


def test_file_of_a_running_job_is_not_replaced_by_another_computation(disk: Disk) -> None:
    files = JobFiles(str(disk.path), [], disk.kept.uses)
    row = ["x", 0o600, 0.0, 1, b"1"]
    files.check(str(disk.path), [row])
    files._contents[str(disk.path / "x")] = b"2"
    with pytest.raises(ProtocolError, match="the file 'x' already exists with different contents, for a job"):
        files.check(str(disk.path), [row])
    files.check(str(disk.path / "y"), [row])
