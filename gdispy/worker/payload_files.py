"""Large payloads of a worker: the memory files of arguments and results.

Used in the worker's only thread.

The node reuses some files of arguments (its `buffers/memory_file_pool.py`): such a `BorrowedFile` is returned when the
job has ended, with the result in it if that is large and fits. This saves allocations. If arguments are small and the
last result was large, a blank one is sent along.

Invariant: no object in this process refers to a returned file, and its descriptor is closed.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from typing import Any

from gdispy.worker import control, pickling
from gdispy.worker.frames import INLINE
from gdispy.worker.limits import OwnLimits
from gdispy.worker.originals import os

#: Size of the digest of a sent file, and of the reads for it.
_DIGEST_BYTES = 32
_STEP = 1 << 20


def digest_of(fd: int) -> bytes:
    """BLAKE2b of an open file."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    offset = 0
    while piece := os.pread(fd, _STEP, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()


class BorrowedFile:
    """A file with arguments, or a blank one, which the node reuses."""

    def __init__(self, fd: int, size: int = 0) -> None:
        self._fd = fd
        self._identity = _identity(fd)
        self.map = _map(fd, size) if size else None

    def give_back(self, result: pickling.Payload, limits: OwnLimits) -> int | None:
        """Stop using it, except for a large result that fits. Returns the size of the result then, else 0; None if the
        file cannot be returned."""
        # The job may have closed all descriptors, and the number may now be that of one of its files.
        if _identity(self._fd) != self._identity:
            return None
        try:
            if not self._is_free():
                return None
            size = _size(result)
            if not INLINE < size <= os.fstat(self._fd).st_size:
                return 0
            with limits.lifted():
                _write(self._fd, result)
            return size
        except OSError:  # Without memory, the usual way may fail as well, and reports it.
            return 0
        finally:
            os.close(self._fd)

    def _is_free(self) -> bool:
        """Whether no object of the job is a view of it."""
        try:
            if self.map is not None:
                self.map.close()
        except BufferError:
            return False
        return True


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def map_files(fields: list[Any], files: list[int]) -> BorrowedFile | None:
    """Replace sizes in a message by the contents of files; returns the file to be returned, if any."""
    loan = None
    size = fields[2]
    if type(size) is int:
        if size < 0:
            loan = BorrowedFile(files.pop(0), -size)
            fields[2] = loan.map
        else:
            fields[2] = _mapped(files.pop(0), size)
    if len(fields) > 3 and type(fields[3]) is int:
        fields[3] = _mapped(files.pop(0), fields[3])
    return BorrowedFile(files.pop(0)) if files else loan


def _map(fd: int, size: int) -> mmap.mmap:
    # Private and writable: the job may change arrays that are views of it.
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE)


def _mapped(fd: int, size: int) -> mmap.mmap:
    try:
        return _map(fd, size)
    finally:
        os.close(fd)


def written(value: pickling.Payload) -> int:
    fd = control.memory_file("gdispy-result")
    _write(fd, value)
    return fd


def _write(fd: int, value: pickling.Payload) -> None:
    """Write a payload to a file, from its start."""
    place = 0
    for part in [value] if isinstance(value, bytes) else value:
        view = memoryview(part).cast("B")
        while view:
            written = os.pwrite(fd, view, place)
            place += written
            view = view[written:]


def _size(value: pickling.Payload) -> int:
    return len(value) if isinstance(value, bytes) else sum(memoryview(part).nbytes for part in value)
