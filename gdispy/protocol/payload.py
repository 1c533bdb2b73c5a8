"""Bytes of a user, as messages hold them: few as they are, many as a `Payload`.

Pure. No daemon looks into them.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from typing import Any


class Payload:
    """Bytes of a user that no daemon looks into, too many to lie inside a message.

    `read` may be called any number of times, by several connections; `release` says that the
    holder, who received or made it, needs it no longer.
    """

    __slots__ = ("size",)

    size: int

    def read(self, offset: int, length: int) -> Any:
        """Up to `length` bytes from `offset`, as any buffer; empty only at the end. It is to be used at once: where the
        payload is released, the memory may soon hold something else."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the memory or file back."""


class FilePayload(Payload):
    """Marks payloads that are files, which the receiver puts on disk."""

    __slots__ = ()


class MemoryPayload(Payload):
    """A payload in this process's memory, in one part or several."""

    __slots__ = ("_begins", "_parts")

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self._begins = [0, *itertools.accumulate(part.nbytes for part in self._parts)]
        self.size = self._begins[-1]

    def read(self, offset: int, length: int) -> Any:
        if offset >= self.size:
            return b""
        place = bisect.bisect_right(self._begins, offset) - 1
        begin = offset - self._begins[place]
        return self._parts[place][begin : begin + length]

    def parts(self) -> list[memoryview]:
        """All of it, in order."""
        return self._parts


class Absent(Payload):
    """In the place of a payload that somebody else has. It must not be sent."""

    __slots__ = ()

    def __init__(self) -> None:
        self.size = 0


#: The one there is.
ABSENT = Absent()

#: A payload as a field: few bytes as they are, many as a Payload.
Bulk = bytes | Payload


def release_all(value: object) -> None:
    """Give back all payloads in a field of a message, or in several."""
    if isinstance(value, Payload):
        value.release()
    elif isinstance(value, list | tuple):
        for each in value:
            release_all(each)


def bulk_size(value: Bulk) -> int:
    """Bytes of a payload of either kind."""
    return len(value) if type(value) is bytes else value.size  # type: ignore[union-attr]


def total_size(values: list[Bulk]) -> int:
    """Bytes of all these together."""
    try:
        return sum(map(len, values))  # type: ignore[arg-type]
    except TypeError:  # There is a payload among them.
        return sum(map(bulk_size, values))


def joined(value: Bulk) -> bytes:
    """All of a payload as one piece."""
    if isinstance(value, bytes):
        return value
    pieces: list[Any] = []
    offset = 0
    while offset < value.size:
        pieces.append(value.read(offset, value.size - offset))
        offset += len(pieces[-1])
    return b"".join(pieces)
