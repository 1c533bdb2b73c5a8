"""User data in messages: small payloads as bytes, large ones as a `Payload`.

Pure. Daemons do not parse them.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

#: Bytes of any kind, as they are read and written.
Buffer = bytes | bytearray | memoryview


class Payload:
    """User data that is too large for a message.

    `read` may be called any number of times, by several connections; `release` must be called by the owner, who
    received or created it, at the end.
    """

    __slots__ = ("size",)

    size: int

    def read(self, offset: int, length: int) -> Buffer:
        """Up to `length` bytes from `offset`, as any buffer; empty only at the end. It must be used immediately: after
        `release`, the memory may be reused."""
        raise NotImplementedError

    def release(self) -> None:
        """Release the memory or file."""


class FilePayload(Payload):
    """Marks payloads that are files, which the receiver stores on disk."""

    __slots__ = ()


class MemoryPayload(Payload):
    """A payload in this process's memory, in one part or several."""

    __slots__ = ("_begins", "_parts")

    def __init__(self, parts: Iterable[Buffer]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self._begins = [0, *itertools.accumulate(part.nbytes for part in self._parts)]
        self.size = self._begins[-1]

    def read(self, offset: int, length: int) -> Buffer:
        if offset >= self.size:
            return b""
        place = bisect.bisect_right(self._begins, offset) - 1
        begin = offset - self._begins[place]
        return self._parts[place][begin : begin + length]

    def parts(self) -> list[memoryview]:
        """All of it, in order."""
        return self._parts


class Absent(Payload):
    """Stands for a payload that another process keeps. It must not be sent."""

    __slots__ = ()

    def __init__(self) -> None:
        self.size = 0


#: The only instance.
ABSENT = Absent()

#: A payload as a field: bytes if it is small, else a Payload.
Bulk = bytes | Payload


def release_all(value: object) -> None:
    """Release all payloads in a field of a message, or in several."""
    if isinstance(value, Payload):
        value.release()
    elif isinstance(value, list | tuple):
        for each in value:
            release_all(each)


def bulk_size(value: Bulk) -> int:
    """The size of a payload of either kind."""
    return len(value) if type(value) is bytes else value.size  # type: ignore[union-attr]


def total_size(values: list[Bulk]) -> int:
    """The total size of these payloads."""
    try:
        return sum(map(len, values))  # type: ignore[arg-type]
    except TypeError:  # At least one is a Payload.
        return sum(map(bulk_size, values))


def joined(value: Bulk) -> bytes:
    """The whole payload as one bytes object."""
    if isinstance(value, bytes):
        return value
    pieces: list[Buffer] = []
    offset = 0
    while offset < value.size:
        pieces.append(value.read(offset, value.size - offset))
        offset += len(pieces[-1])
    return b"".join(pieces)
