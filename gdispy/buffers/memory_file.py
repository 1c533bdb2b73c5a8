"""Storage of payloads that arrive at a node: memory files, and dependency files on disk.

A memory file is passed to a worker as it is, so a payload is never copied within the node.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from hashlib import blake2b
from typing import BinaryIO

from gdispy.protocol.payload import Buffer, FilePayload, MemoryPayload, Payload
from gdispy.worker import control
from gdispy.worker.trees import ARRIVED

#: Size of the digest of a file.
DIGEST_BYTES = 32
#: Prefix of the names of files that have arrived and have no final name yet.
FILE_PREFIX = ARRIVED


class _OwnedFile(Payload):
    """A payload in an open file; owns its descriptor."""

    __slots__ = ("fd",)

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    def read(self, offset: int, length: int) -> Buffer:
        return os.pread(self.fd, length, offset)

    def release(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.release()


class MemoryFile(_OwnedFile):
    """A payload in a memory file; owns its descriptor."""

    __slots__ = ()

    def lend(self) -> int:
        """The descriptor, for a worker."""
        return self.fd


class OpenFile(_OwnedFile, FilePayload):
    """A payload in an unnamed file, so large that the receiver stores it on disk too; owns its descriptor."""

    __slots__ = ("error",)

    def __init__(self, fd: int, size: int, error: str = "") -> None:
        super().__init__(fd, size)
        #: Why it is incomplete, or ''.
        self.error = error


#: Output of a job is kept in an open file from the first size on, and stored on disk at the client from the second.
OPEN_FROM = 1024 * 1024
TO_DISK_FROM = 16 * 1024 * 1024


def printed_file(fd: int, size: int) -> Payload:
    """The output of a job, in an open file."""
    if size >= TO_DISK_FROM:
        return OpenFile(fd, size)
    file = MemoryFile(fd, size)
    if size >= OPEN_FROM:
        return file
    # The number of open files of a node is limited.
    return MemoryPayload([file.read(0, size)])


class OutputSink:
    """Collects large output of a job on disk, in an unnamed file. If it does not fit, the rest is read and discarded,
    so that the connection continues."""

    def __init__(self) -> None:
        self._size = 0
        self._error = ""
        self._fd = -1
        try:
            with tempfile.TemporaryFile(prefix=FILE_PREFIX) as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        self._error = f"it cannot be written in {tempfile.gettempdir()}: {error.strerror}"

    def write(self, data: memoryview) -> None:
        if self._error:
            return
        try:
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]
        except OSError as error:
            self._note(error)

    def finish(self) -> OpenFile:
        return OpenFile(self._fd, self._size, self._error)

    def abandon(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of this at the position of a file: a full disk accepts a part, without an error. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class MemoryFileSink:
    """Collects a stream in a memory file."""

    def __init__(self) -> None:
        self._fd = control.memory_file("gdispy-payload")
        self._size = 0

    def fileno(self) -> int:
        return self._fd

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._fd, data)
        self._size += len(data)

    def finish(self) -> MemoryFile:
        return MemoryFile(self._fd, self._size)

    def abandon(self) -> None:
        os.close(self._fd)


def in_memory_file(value: bytes) -> MemoryFile:
    """These bytes, in the form in which a worker receives them."""
    sink = MemoryFileSink()
    sink.write(value)
    return sink.finish()


class ReceivedFile(FilePayload):
    """A dependency file that has arrived, under a temporary name; `error` tells why it could not be stored."""

    __slots__ = ("digest", "error", "path")

    def __init__(self, path: str, size: int, digest: bytes, error: str) -> None:
        self.path = path
        self.size = size
        self.digest = digest
        self.error = error

    def read(self, offset: int, length: int) -> Buffer:
        return _read_part(self.path, offset, length)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class FileSink:
    """Collects a dependency file on disk. Data that cannot be stored is read and discarded, so that the connection
    continues and the computation gets the reason."""

    def __init__(self, directory: str, size: int, limit: int, role: str = "node") -> None:
        self._fd, self._path = -1, ""
        self._role = role
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._size = 0
        self._error = ""
        try:
            self._fd, self._path = tempfile.mkstemp(prefix=FILE_PREFIX, dir=directory)
        except OSError as error:
            self._error = f"it cannot be written on the {role}: {error.strerror}"
        if limit and size > limit:
            self._error = f"{size:,} bytes, and this {role} accepts files up to {limit:,} (--max_file_size)"

    def write(self, data: memoryview) -> None:
        self._size += len(data)
        if self._error:
            return
        self._digest.update(data)
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._error = f"it cannot be written on the {self._role}: {error.strerror}"
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)

    def finish(self) -> Payload:
        self._close()
        return ReceivedFile(self._path, self._size, self._digest.digest(), self._error)

    def abandon(self) -> None:
        self._close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class DiskFile(FilePayload):
    """A dependency file that the client reads while it is sent."""

    __slots__ = ("path",)

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size

    def read(self, offset: int, length: int) -> Buffer:
        return _read_part(self.path, offset, length)


class FileInMemory(FilePayload):
    """A file that the client has only in memory, in one part or several, such as a module from an archive."""

    __slots__ = ("_contents",)

    def __init__(self, *parts: Buffer) -> None:
        self._contents = MemoryPayload(parts)
        self.size = self._contents.size

    def read(self, offset: int, length: int) -> Buffer:
        return self._contents.read(offset, length)


def _read_part(path: str, offset: int, length: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), length, offset)
    except OSError:
        return b""  # Deleted meanwhile: it is padded, and its digest reveals that to the node.


def digest_of_bytes(data: bytes) -> bytes:
    """BLAKE2b of the contents of a path."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def digest_of(path: str) -> bytes:
    """BLAKE2b of a file."""
    with open(path, "rb") as file:
        return digest_of_file(file)


def digest_of_file(file: BinaryIO) -> bytes:
    """BLAKE2b of an open file from its current position."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.digest()
