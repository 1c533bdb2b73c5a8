"""Bytes of a user, as messages hold them: few as they are, many as a `Payload`.

Floor 1: pure. No daemon looks into them.
"""

from __future__ import annotations

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
        """Up to `length` bytes from `offset`, as any buffer; empty only at the end."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the memory or file back."""


class MemoryPayload(Payload):
    """A payload in this process's memory, in one part or several."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self.size = sum(part.nbytes for part in self._parts)

    def read(self, offset: int, length: int) -> Any:
        for part in self._parts:
            if offset < part.nbytes:
                return part[offset : offset + length]
            offset -= part.nbytes
        return b""

    def parts(self) -> list[memoryview]:
        """All of it, in order."""
        return self._parts


#: A payload as a field: few bytes as they are, many as a Payload.
Bulk = bytes | Payload


def bulk_size(value: Bulk) -> int:
    """Bytes of a payload of either kind."""
    return len(value) if type(value) is bytes else value.size  # type: ignore[union-attr]


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
