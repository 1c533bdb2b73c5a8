"""A pool of reusable memory files for large payloads of a node, in both directions.

Used in the node's loop, which also creates blank files for large results of small arguments.

Allocating memory costs about half as much as encrypting data into it, at both ends of each job. So a file is reused:
arguments arrive in it, the worker that has used them writes the result into it, and when that has been sent, it holds
the next arguments. From its second use on it is mapped here, so that data is received and sent without a system call.

Invariants:
1. A file that a worker has received is used for nothing else, until that worker has reported that it has unmapped and
   closed it. If it cannot (arrays of the job are views of it, or it is dead), the file is closed here instead.
2. The files are sealed against truncation, which could otherwise crash the node when it reads its mapping.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os

from gdispy.buffers.memory_file import MemoryFile, MemoryFileSink
from gdispy.protocol.payload import Buffer

#: Size range of payloads in such files; smaller ones are not worth it, larger ones are rare.
FROM, UP_TO = 128 * 1024, 32 * 1024 * 1024
#: Sizes of files are multiples of this.
STEP = 256 * 1024
#: Maximum size, and number, of files kept for reuse.
KEPT_BYTES, KEPT_FILES = 64 * 1024 * 1024, 16


class PooledFile:
    """A memory file of fixed size."""

    __slots__ = ("_map", "fd", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._map: mmap.mmap | None = None
        self.fd = os.memfd_create("gdispy-pooled", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except OSError:
            os.close(self.fd)
            raise

    def map(self) -> None:
        """It has been used before, so its pages exist."""
        if self._map is None:
            self._map = mmap.mmap(self.fd, self.size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)

    def write(self, offset: int, data: memoryview) -> None:
        if self._map is not None:
            self._map[offset : offset + len(data)] = data
            return
        while data:
            written = os.pwrite(self.fd, data, offset)
            offset += written
            data = data[written:]

    def read(self, offset: int, length: int) -> Buffer:
        if self._map is None:
            return os.pread(self.fd, length, offset)
        return memoryview(self._map)[offset : offset + length]

    def close(self) -> None:
        os.close(self.fd)
        self._map = None


class MemoryFilePool:
    """The free memory files of a node."""

    def __init__(self) -> None:
        self._free: list[PooledFile] = []

    def take(self, size: int) -> PooledFile:
        """A file with at least this size. Raises OSError."""
        fitting = [file for file in self._free if size <= file.size <= 2 * size + STEP]
        if not fitting:
            size = -(-size // STEP) * STEP
            while self._free and not self._has_room(size):  # Files that cannot be reused.
                self._free.pop(0).close()
            return PooledFile(size)
        file = min(fitting, key=lambda each: each.size)
        self._free.remove(file)
        with contextlib.suppress(OSError):  # Then it is written like a new one.
            file.map()
        return file

    def give(self, file: PooledFile) -> None:
        """The file is no longer in use."""
        # Possibly called by the garbage collector in another thread: remove nothing that `take` has seen.
        if self._has_room(file.size):
            self._free.append(file)
        else:
            file.close()

    def _has_room(self, size: int) -> bool:
        """Whether one more file of this size may be kept."""
        return len(self._free) < KEPT_FILES and size + sum(each.size for each in self._free) <= KEPT_BYTES

    def clear(self) -> None:
        """The node is idle: release all memory."""
        while self._free:
            self._free.pop().close()

    def blank(self, size: int) -> PooledMemoryFile | None:
        """An empty file for this size, if it is in the range of the pool."""
        if FROM <= size <= UP_TO:
            with contextlib.suppress(OSError):
                return PooledMemoryFile(self.take(size), 0, self)
        return None

    def sink(self, size: int) -> PooledFileSink | MemoryFileSink:
        """The destination of a stream of this size."""
        if FROM <= size <= UP_TO:
            with contextlib.suppress(OSError):
                return PooledFileSink(self.take(size), self)
        return MemoryFileSink()


class PooledMemoryFile(MemoryFile):
    """A payload in a file of the pool."""

    __slots__ = ("_home", "_is_lent", "file")

    def __init__(self, file: PooledFile, size: int, home: MemoryFilePool) -> None:
        super().__init__(file.fd, size)
        self.file: PooledFile | None = file
        self._home = home
        self._is_lent = False

    def read(self, offset: int, length: int) -> Buffer:
        if self.file is None:
            raise OSError(errno.EBADF, "it has been released")
        return self.file.read(offset, max(0, min(length, self.size - offset)))

    def lend(self) -> int:
        """The descriptor, for a worker."""
        self._is_lent = True
        return self.fd

    def returned(self) -> None:
        """All borrowers have returned it (invariant 1)."""
        self._is_lent = False

    def successor(self, size: int) -> PooledMemoryFile:
        """The payload that has replaced this one."""
        if self.file is None or size > self.file.size:
            raise ValueError("it is not there, or not so large")
        heir = PooledMemoryFile(self.file, size, self._home)
        self.file, self.fd = None, -1
        return heir

    def release(self) -> None:
        file, self.file, self.fd = self.file, None, -1
        if file is None:
            return
        if self._is_lent:
            file.close()
        else:
            self._home.give(file)


class PooledFileSink:
    """Collects a stream in a file of the pool."""

    def __init__(self, file: PooledFile, home: MemoryFilePool) -> None:
        self._file = file
        self._home = home
        self._size = 0

    def fileno(self) -> int:
        return self._file.fd

    def write(self, data: memoryview) -> None:
        self._file.write(self._size, data)
        self._size += len(data)

    def finish(self) -> PooledMemoryFile:
        return PooledMemoryFile(self._file, self._size, self._home)

    def abandon(self) -> None:
        self._home.give(self._file)
