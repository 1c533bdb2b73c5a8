"""Directories that outlive their computations (`dest_path`), and their current users.

Several computations may use one directory, or one inside another's, at the same time, also on several nodes of a user
on one machine, such as the private nodes of two programs. So the usage is recorded on disk, in the directory of each
node, and protected by a lock.

Invariants:
1. While a computation exists, each of its files has its contents: another computation with the same path and different
   contents is refused.
2. The end of a computation removes the whole directory only if no other computation uses it or has left files there
   meanwhile; else it removes the files that it has put there and that no other computation uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gdispy.errors import ProtocolError
from gdispy.execution.dependency_files import remove_file, under_another_name
from gdispy.execution.state_directory import is_alive
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Prepare
from gdispy.protocol.rows import FileFields, FileRow
from gdispy.protocol.safe_path import RESERVED, safe_parts

#: In the directory of each node: the usage by its computations.
_RECORD = "kept"


class _Use:
    """The usage of a directory by one computation."""

    def __init__(self, directory: str, keeps: bool, clears: bool = True) -> None:
        self.directory = directory
        #: Whether its files stay at its end.
        self.keeps = keeps
        #: Whether the whole directory may be removed with it: no other computation has left anything there since it
        #: came.
        self.clears = clears
        #: What its files hold, by their paths; and which of them were not there before.
        self.contents: dict[str, str] = {}
        self.placed: set[str] = set()

    def overlaps(self, other: _Use) -> bool:
        """Whether one directory is the other, or in it."""
        one, two = f"{self.directory}/", f"{other.directory}/"
        return one.startswith(two) or two.startswith(one)

    def as_row(self) -> list[object]:
        return [self.directory, self.keeps, self.clears, self.contents, sorted(self.placed)]

    @classmethod
    def of_row(cls, row: list[Any]) -> _Use:
        use = cls(*row[:3])
        use.contents, use.placed = dict(row[3]), set(row[4])
        return use


class KeptDirectories:
    """Who uses which of them."""

    def __init__(self, prefix: str, node: str) -> None:
        """`prefix` is that of all nodes of the user, `node` the name of this one's directory there."""
        self._prefix = prefix
        self._node = node
        self._root = os.path.join(prefix, "kept")

    def path(self, directory: str) -> str:
        """Where a directory is. Raises ProtocolError for what is none."""
        return os.path.join(self._root, *safe_parts(directory))

    def enter(self, prepare: Prepare) -> None:
        """A computation is going to use its directory. Raises ProtocolError, in words for the user, where its files and
        those of another cannot both be there, and OSError."""
        directory = self.path(prepare.directory)
        with self._all_uses() as uses:
            own = uses[self._node]
            key = prepare.computation.hex()
            use = own.get(key) or _Use(directory, not prepare.cleanup)
            self._add(uses, key, use, prepare.files)
            own[key] = use

    def add(self, computation: ComputationId, rows: Sequence[FileFields]) -> None:
        """More files are to come. Raises ProtocolError likewise, and OSError."""
        with self._all_uses() as uses:
            use = uses[self._node].get(computation.hex())
            if use is not None:
                self._add(uses, computation.hex(), use, rows)

    def _add(self, uses: _Uses, key: str, use: _Use, rows: Sequence[FileFields]) -> None:
        contents = {
            os.path.join(use.directory, *safe_parts(row.path)): row.digest.hex() for row in map(FileRow._make, rows)
        }
        for other in self._others(uses, key, use):
            for goal, digest in contents.items():
                if other.contents.get(goal, digest) != digest:
                    raise ProtocolError(
                        f"the file {os.path.relpath(goal, use.directory)!r} cannot be stored in the directory of "
                        "dest_path: another computation uses it there with different contents. Close that computation "
                        "first, or choose another dest_path"
                    )
        use.contents.update(contents)

    def _others(self, uses: _Uses, key: str, use: _Use) -> Iterator[_Use]:
        for node, each in uses.items():
            for number, other in each.items():
                if (node, number) != (self._node, key) and use.overlaps(other):
                    yield other

    def note_placed(self, computation: ComputationId, goals: Iterable[str]) -> None:
        """Files were put in place that were not there, or held something else. Raises OSError."""
        with self._all_uses() as uses:
            use = uses[self._node].get(computation.hex())
            if use is not None:
                use.placed.update(goals)

    def uses(self, goal: str) -> bool:
        """Whether a file is one of a computation that lives."""
        with self._all_uses() as uses:
            return any(goal in use.contents for each in uses.values() for use in each.values())

    def leave(self, computation: ComputationId) -> str:
        """A computation has ended: remove its files that no other uses. Returns the new name of a directory to be
        removed as a whole, or ''. Raises OSError."""
        with self._all_uses() as uses:
            key = computation.hex()
            use = uses[self._node].pop(key, None)
            if use is None:
                return ""
            others = list(self._others(uses, key, use))
            if use.keeps:
                for other in others:
                    other.clears = False
                return ""
            if use.clears and not others:
                with contextlib.suppress(OSError):  # It was never created, or a job has removed it.
                    return under_another_name(use.directory)
            self._remove_own(use, others)
            return ""

    def _remove_own(self, use: _Use, others: list[_Use]) -> None:
        for goal in use.placed:
            users = [other for other in others if goal in other.contents]
            for other in users:  # The last of them removes it.
                other.placed.add(goal)
            if not users:
                remove_file(use.directory, goal)
        if not others:
            with contextlib.suppress(OSError):
                os.rmdir(use.directory)

    # On disk

    @contextlib.contextmanager
    def _all_uses(self) -> Iterator[_Uses]:
        """The usage by the computations of all living nodes; changes to it are written. Raises OSError."""
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(self._root, f"{RESERVED}-lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            before = self._read_all()
            uses = {node: {key: _Use.of_row(row) for key, row in rows.items()} for node, rows in before.items()}
            yield uses
            for node, each in uses.items():
                rows = {key: use.as_row() for key, use in each.items()}
                if rows != before[node]:
                    self._write(node, rows)
        finally:
            os.close(fd)

    def _read_all(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {self._node: {}}
        for node in os.listdir(self._prefix):
            try:
                with open(self._record(node), encoding="ascii") as file:
                    rows = json.load(file)
            except (OSError, ValueError):
                continue
            if rows and (node == self._node or is_alive(self._prefix, node)):
                found[node] = rows
        return found

    def _write(self, node: str, rows: dict[str, list[object]]) -> None:
        path = self._record(node)
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump(rows, file)
        os.replace(f"{path}.new", path)

    def _record(self, node: str) -> str:
        return os.path.join(self._prefix, node, f"{RESERVED}-{_RECORD}")


#: By node and computation.
_Uses = dict[str, dict[str, _Use]]
