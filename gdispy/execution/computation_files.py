"""The files of the computations of one node: their locations, their state, and their removal.

Runs in the node's loop, except `lacking`, which may be called in any thread.

Invariants:
1. Files of a computation are stored once; a restarted process finds them there.
2. Files that existed before, or belong to another computation, are kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence

from gdispy.errors import ProtocolError
from gdispy.execution.dependency_files import JobFiles, lacking, place, under_another_name
from gdispy.execution.kept_directories import KeptDirectories
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Prepare
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import FileFields
from gdispy.rules.node.job import release


class ComputationFiles:
    """All files of computations in the directory of one node, and in directories that outlive them."""

    def __init__(self, prefix: str, instance: bytes) -> None:
        self._root = os.path.join(prefix, instance.hex())
        #: Computations whose files are complete.
        self._placed: set[ComputationId] = set()
        #: Directories that outlive their computations.
        self._kept = KeptDirectories(prefix, instance.hex())

    def directory(self, prepare: Prepare) -> str:
        """The directory of the files of a computation."""
        if prepare.directory:
            return self._kept.path(prepare.directory)
        return os.path.join(self._root, prepare.computation.hex())

    def jobs_directory(self, prepare: Prepare) -> str:
        """The parent of the directories of a computation's workers, which contain those of their jobs."""
        return os.path.join(self._root, f"{prepare.computation.hex()}.jobs")

    def enter(self, prepare: Prepare, others: Iterable[JobFiles]) -> None:
        """A computation starts to use its directory; `others` are files of jobs of other computations. Raises OSError,
        and ProtocolError if its files conflict with theirs."""
        if not prepare.directory:
            return
        for each in others:
            each.check(self.directory(prepare), prepare.files)
        self._kept.enter(prepare)

    def lacking(self, prepare: Prepare) -> list[int]:
        """The indices of the files that do not exist with the announced contents."""
        directory = self.directory(prepare)
        if not os.path.isdir(directory):  # A new directory is empty.
            return list(range(len(prepare.files)))
        return lacking(directory, prepare.files)

    def put_in_place(self, prepare: Prepare, arrived: dict[int, Bulk]) -> None:
        """Store the files that have arrived, by their indices. Raises OSError and ProtocolError."""
        os.makedirs(self.directory(prepare), mode=0o700, exist_ok=True)
        if prepare.computation not in self._placed:
            self._place(prepare, [prepare.files[index] for index in arrived], arrived.values())
            self._placed.add(prepare.computation)

    def add(self, prepare: Prepare, rows: Sequence[FileFields], contents: list[Bulk]) -> None:
        """Store more files of a running computation. Raises OSError and ProtocolError."""
        if prepare.directory:
            self._kept.add(prepare.computation, rows)
        self._place(prepare, rows, contents)

    def _place(self, prepare: Prepare, rows: Sequence[FileFields], contents: Iterable[Bulk]) -> None:
        goals = [place(self.directory(prepare), *each) for each in zip(rows, contents, strict=True)]
        if prepare.directory:
            self._kept.note_placed(prepare.computation, goals)

    def discard(self, prepare: Prepare, arrived: Iterable[Bulk]) -> None:
        """Remove the arrived files of a refused computation; otherwise a full disk would stay full."""
        for content in arrived:
            release(content)
        if not prepare.directory and prepare.computation not in self._placed:
            shutil.rmtree(self.directory(prepare), ignore_errors=True)

    def check_of_jobs(self, prepare: Prepare) -> Callable[[str], bool]:
        """A function that tells for a path in the computation's directory whether another computation uses it."""
        return self._kept.uses if prepare.directory else lambda goal: False

    def leave(self, prepare: Prepare) -> list[str]:
        """A computation has ended: the trees to be removed, unless its files are kept."""
        self._placed.discard(prepare.computation)
        paths = [self.jobs_directory(prepare)] if prepare.cleanup or prepare.directory else []
        if prepare.directory:
            paths += self.leave_directory(prepare.computation)
        elif prepare.cleanup:
            with contextlib.suppress(OSError, ProtocolError):
                paths.append(under_another_name(self.directory(prepare)))
        return paths

    def leave_directory(self, computation: ComputationId) -> list[str]:
        """The same for a computation that never had processes."""
        with contextlib.suppress(OSError):
            return [self._kept.leave(computation)]
        return []
