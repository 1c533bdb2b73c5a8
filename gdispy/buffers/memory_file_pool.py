"""Memory files that are used again: large payloads of a node lie in them, in from a client and back.

Made by connections of the node (`node._make_sink`), handed to workers by `execution/worker_channel.py`, which makes
blank ones for large results of small arguments; all in the node's loop.

New memory costs half as much as sealing what goes into it: 4 MiB of a memory file were measured at 1.5 ms to write and
0.5 ms to give back, at both ends of each job. So a file goes round: arguments arrive in it, the worker that has used
them writes the result into it, and when that has left, the next arguments come. From its second use on it is mapped
here, so that what arrives is written, and what leaves is read, without a system call.

Invariants:
1. A file that a worker has been handed is used for nothing else, until that worker has said that it has unmapped and
   closed it. If it cannot say that (arrays of the job are views of it, or it is dead), the file is closed here instead.
2. Nobody can make a file shorter: it is sealed, or to look into it here could end the node.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from typing import Any

from gdispy.buffers.memory_file import MemoryFile, MemoryFileSink

#: Payloads of so many bytes go into such files; below, they are not worth it, and above, rare.
FROM, UP_TO = 128 * 1024, 32 * 1024 * 1024
#: Sizes of files are multiples of this.
STEP = 256 * 1024
#: Bytes of files, and their number, that are kept for what comes next.
KEPT_BYTES, KEPT_FILES = 64 * 1024 * 1024, 16


class PooledFile:
    """A memory file of fixed size."""

    __slots__ = ("_map", "fd", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._map: mmap.mmap | None = None
        self.fd = os.memfd_create("gdispy-slab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except OSError:
            os.close(self.fd)
            raise

    def map(self) -> None:
        """It has been used before, and its pages are there."""
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

    def read(self, offset: int, length: int) -> Any:
        if self._map is None:
            return os.pread(self.fd, length, offset)
        return memoryview(self._map)[offset : offset + length]

    def close(self) -> None:
        os.close(self.fd)
        self._map = None


class MemoryFilePool:
    """The slabs of a node that are free."""

    def __init__(self) -> None:
        self._free: list[PooledFile] = []

    def take(self, size: int) -> PooledFile:
        """One with room for so many bytes. Raises OSError."""
        fitting = [slab for slab in self._free if size <= slab.size <= 2 * size + STEP]
        if not fitting:
            size = -(-size // STEP) * STEP
            while self._free and not self._has_room(size):  # Those that are of no use any more.
                self._free.pop(0).close()
            return PooledFile(size)
        slab = min(fitting, key=lambda each: each.size)
        self._free.remove(slab)
        with contextlib.suppress(OSError):  # Then it is written like a new one.
            slab.map()
        return slab

    def give(self, slab: PooledFile) -> None:
        """It is no longer in use."""
        # Perhaps the garbage collector says so, in another thread: nothing is taken out here that `take` has seen.
        if self._has_room(slab.size):
            self._free.append(slab)
        else:
            slab.close()

    def _has_room(self, size: int) -> bool:
        """Whether one more of this size may be kept."""
        return len(self._free) < KEPT_FILES and size + sum(each.size for each in self._free) <= KEPT_BYTES

    def clear(self) -> None:
        """Nothing is under way: give all memory back."""
        while self._free:
            self._free.pop().close()

    def blank(self, size: int) -> PooledMemoryFile | None:
        """An empty one with room for so many bytes, if they are neither few nor very many."""
        if FROM <= size <= UP_TO:
            with contextlib.suppress(OSError):
                return PooledMemoryFile(self.take(size), 0, self)
        return None

    def sink(self, size: int) -> PooledFileSink | MemoryFileSink:
        """Where a stream of so many bytes goes."""
        if FROM <= size <= UP_TO:
            with contextlib.suppress(OSError):
                return PooledFileSink(self.take(size), self)
        return MemoryFileSink()


class PooledMemoryFile(MemoryFile):
    """A payload in a slab."""

    __slots__ = ("_home", "_is_lent", "slab")

    def __init__(self, slab: PooledFile, size: int, home: MemoryFilePool) -> None:
        super().__init__(slab.fd, size)
        self.slab: PooledFile | None = slab
        self._home = home
        self._is_lent = False

    def read(self, offset: int, length: int) -> Any:
        if self.slab is None:
            raise OSError(errno.EBADF, "it has been released")
        return self.slab.read(offset, max(0, min(length, self.size - offset)))

    def lend(self) -> int:
        """The descriptor, for a worker."""
        self._is_lent = True
        return self.fd

    def returned(self) -> None:
        """All who were lent it have given it back (invariant 1)."""
        self._is_lent = False

    def successor(self, size: int) -> PooledMemoryFile:
        """The payload that has been put in the place of this one."""
        if self.slab is None or size > self.slab.size:
            raise ValueError("it is not there, or not so large")
        heir = PooledMemoryFile(self.slab, size, self._home)
        self.slab, self.fd = None, -1
        return heir

    def release(self) -> None:
        slab, self.slab, self.fd = self.slab, None, -1
        if slab is None:
            return
        if self._is_lent:
            slab.close()
        else:
            self._home.give(slab)


class PooledFileSink:
    """Collects a stream in a slab."""

    def __init__(self, slab: PooledFile, home: MemoryFilePool) -> None:
        self._slab = slab
        self._home = home
        self._size = 0

    def fileno(self) -> int:
        return self._slab.fd

    def write(self, data: memoryview) -> None:
        self._slab.write(self._size, data)
        self._size += len(data)

    def finish(self) -> PooledMemoryFile:
        return PooledMemoryFile(self._slab, self._size, self._home)

    def abandon(self) -> None:
        self._home.give(self._slab)
