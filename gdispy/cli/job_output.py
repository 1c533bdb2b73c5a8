"""The output of jobs in pieces, and its storage until it is printed.

Small output is held in memory, large output arrives in an open file, and output that waits for its turn is moved to a
temporary file when it takes too much memory or too many open files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from gdispy.buffers.memory_file import OpenFile, write_all
from gdispy.errors import GdispyError
from gdispy.protocol.payload import Buffer

#: Bytes of large output that are copied at once.
OUTPUT_STEP = 1024 * 1024
#: Bytes of waiting output that stay in memory.
MEMORY_LIMIT = 16 * 1024 * 1024


class SpooledOutput:
    """The output of a job in a part of an output spool."""

    __slots__ = ("_fd", "_start", "size")

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd, self._start, self.size = fd, start, size

    def read(self, offset: int, length: int) -> Buffer:
        return os.pread(self._fd, min(length, self.size - offset), self._start + offset)


#: The output of a job on one stream.
Output = bytes | OpenFile | SpooledOutput


class OutputIncomplete(GdispyError):
    """Output of a job could not be stored."""


def parts(output: Output, begin: int = 0) -> Iterator[Buffer]:
    """The output from byte `begin` on, in pieces. Raises OutputIncomplete, after the last piece, if there was more."""
    if isinstance(output, bytes):
        if len(output) > begin:
            yield output[begin:]
        return
    for offset in range(begin, output.size, OUTPUT_STEP):
        yield output.read(offset, OUTPUT_STEP)
    if isinstance(output, OpenFile) and output.error:
        raise OutputIncomplete(f"its output is incomplete: {output.error}")


def size_of(output: Output) -> int:
    return len(output) if isinstance(output, bytes) else output.size


def release(output: Output) -> None:
    """The output is not needed any more."""
    if isinstance(output, OpenFile):
        output.release()


class OutputSpool:
    """Stores waiting output: in memory up to a limit, then in an unnamed temporary file."""

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self._left = self._limit = memory_limit
        self._fd = -1
        self._size = 0

    def keep(self, output: Output) -> Output:
        """The output in the form in which it waits. Raises GdispyError if it cannot be stored."""
        if isinstance(output, bytes) and len(output) <= self._left:
            self._left -= len(output)
            return output
        if isinstance(output, OpenFile) and output.error:
            return output
        try:
            return self._store(output)
        except OSError as error:
            place = tempfile.gettempdir()
            raise GdispyError(f"output that waits for its turn cannot be stored in {place}: {error.strerror}") from None

    def _store(self, output: Output) -> SpooledOutput:
        if self._fd < 0:
            with tempfile.TemporaryFile(prefix="gdispy-output-") as file:
                self._fd = os.dup(file.fileno())
        start = self._size
        for part in parts(output):
            write_all(self._fd, memoryview(part))
            self._size += len(part)
        release(output)
        return SpooledOutput(self._fd, start, self._size - start)

    def clear(self) -> None:
        """No output waits any more."""
        self._left = self._limit
        if self._size:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)
            self._size = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
