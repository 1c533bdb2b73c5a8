"""Results as they arrive: pickles, plain data, or the exception of a job.

Used in any thread; nothing here is changed after it was made.
"""

from __future__ import annotations

from typing import Any, TypeGuard, final

from gdispy.protocol.payload import Bulk, MemoryPayload
from gdispy.worker import pickling, plain


@final
class Plain:
    """A payload of a cluster that accepts plain data only: it is never unpickled."""

    __slots__ = ("payload",)

    def __init__(self, payload: Bulk) -> None:
        self.payload = payload

    def value(self) -> Any:
        """A new value for each call. Raises NotPlain."""
        return plain.loads(copied(self.payload))


def unreadable(error: BaseException) -> str:
    """The text for a job whose result cannot be unpickled."""
    if isinstance(error, plain.NotPlain):
        return f"The result arrived, but the cluster accepts only plain data: {error}\n"
    return f"The result arrived, but cannot be unpickled here: {type(error).__name__}: {error}\n"


def is_failure(payload: Bulk | Plain) -> TypeGuard[Bulk]:
    """Whether it is the exception of a job and not a result."""
    data = b"" if isinstance(payload, Plain) else as_bytes(payload)
    first = data[0] if data and isinstance(data, list) else data
    return len(first) > 0 and first[0] == pickling.FAILURE


def as_bytes(payload: Bulk) -> Any:
    return payload.parts() if isinstance(payload, MemoryPayload) else payload


def copied(payload: Bulk) -> Any:
    """A copy for a payload that is unpickled at each access: arrays are views of it and may be modified."""
    data = as_bytes(payload)
    return bytearray(data[0]) if isinstance(data, list) and len(data) == 1 else data
