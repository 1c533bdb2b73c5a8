"""The memory files that a worker has for arguments and results, each by the job that it went with.

Runs in the node's loop. A file in which large arguments came may come back with the result in it, and a blank one goes
along where arguments are small and the last result was large.

Invariant: a file is used again only when the worker has given it back (`buffers/memory_file_pool.py`).
"""

from __future__ import annotations

from gdispy.buffers.memory_file_pool import MemoryFilePool, PooledMemoryFile

#: Blank files that a worker has at most.
BLANKS = 4


class ResultFiles:
    """The files of one worker."""

    def __init__(self, pool: MemoryFilePool) -> None:
        self._pool = pool
        #: Where the arguments of jobs in its hand lie, or their results may, by number and attempt.
        self._lent: dict[tuple[int, int], PooledMemoryFile] = {}
        #: Bytes of its last result, where that was large: so will be the next one.
        self._expected = 0

    def lend(self, key: tuple[int, int], file: PooledMemoryFile) -> None:
        """The arguments of a job lie in this file, which goes to the worker."""
        self._lent[key] = file

    def lend_blank(self, key: tuple[int, int]) -> PooledMemoryFile | None:
        """A blank file for the result of a job, where that will be large and there is one."""
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
        """The last result has so many bytes."""
        self._expected = size

    def give_back(self, keys: list[tuple[int, int]]) -> None:
        """The files that went with these jobs are not with the worker, or not any more."""
        for key in keys if self._lent else ():
            file = self._lent.pop(key, None)
            if file is not None:
                file.returned()

    def close(self) -> None:
        self._lent.clear()
