"""The memory files that a worker has for arguments and results, by job.

Runs in the node's loop. A file in which large arguments were sent may come back with the result in it; a blank file is
sent along if arguments are small and the last result was large.

Invariant: a file is reused only when the worker has returned it (`buffers/memory_file_pool.py`).
"""

from __future__ import annotations

from gdispy.buffers.memory_file_pool import MemoryFilePool, PooledMemoryFile

#: Maximum number of blank files of a worker.
BLANKS = 4


class ResultFiles:
    """The files of one worker."""

    def __init__(self, pool: MemoryFilePool) -> None:
        self._pool = pool
        #: Files with the arguments of jobs in its hand, or for their results, by number and attempt.
        self._lent: dict[tuple[int, int], PooledMemoryFile] = {}
        #: Size of its last result if it was large: the next is expected to be similar.
        self._expected = 0

    def lend(self, key: tuple[int, int], file: PooledMemoryFile) -> None:
        """The arguments of a job are in this file, which is sent to the worker."""
        self._lent[key] = file

    def lend_blank(self, key: tuple[int, int]) -> PooledMemoryFile | None:
        """A blank file for the result of a job, if that is expected to be large and one is free."""
        if not self._expected or (key not in self._lent and len(self._lent) >= BLANKS):
            return None
        blank = self._lent.get(key) or self._pool.blank(self._expected)
        if blank is not None:
            self._lent[key] = blank
        return blank

    def take(self, key: tuple[int, int]) -> PooledMemoryFile | None:
        """The file that went with a job which has ended."""
        return self._lent.pop(key, None) if self._lent else None

    def expect(self, size: int) -> None:
        """The last result has this size."""
        self._expected = size

    def give_back(self, keys: list[tuple[int, int]]) -> None:
        """The worker does not have the files of these jobs, or no longer."""
        for key in keys if self._lent else ():
            file = self._lent.pop(key, None)
            if file is not None:
                file.returned()

    def close(self) -> None:
        self._lent.clear()
