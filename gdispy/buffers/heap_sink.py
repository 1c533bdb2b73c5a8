"""Where a large payload lies in memory while it arrives, and stays: in one piece.

Made by the connections of a shared scheduler, and of a client (`client/result_sink.py`), in their loops.

New memory costs more than to decrypt what goes into it. So what arrives is not collected in pieces and put together,
but written in its place, which the system makes ready in steps instead of page by page."""

from __future__ import annotations

from typing import Any

from gdispy.buffers.native import populate, unwritten, view
from gdispy.protocol.payload import MemoryPayload
from gdispy.protocol.wire import MemorySink, Sink

#: Bytes of new memory that are made ready at once.
STEP = 1024 * 1024
#: Bytes of a payload from which on that is worth it.
LARGE = 128 * 1024


class HeapSink:
    """Collects a stream in one piece, where there is room for it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pieces: list[Any] = []
        #: What is left to be filled of the last piece; None where there is no room for all.
        self._room: memoryview | None = None
        #: Where in memory that is, and how many bytes from there have been made ready.
        self._place = self._ready = 0

    def write(self, data: memoryview) -> None:
        if self._room is not None:
            self._fill(data)
        elif self._pieces or not self._begin(data):
            self._pieces.append(bytes(data))

    def _begin(self, data: memoryview) -> bool:
        """Find room for what begins with this, and take it; whether there is any."""
        if not self._make_room(bytearray, self.size):
            return False
        self._fill(data)
        return True

    def _make_room(self, kind: type[bytes] | type[bytearray], size: int) -> bool:
        """Whether there is memory for so many bytes, as far as is known at once."""
        made = unwritten(kind, size)
        if made is None:
            return False
        value, self._place = made
        self._pieces.append(value)
        self._room = view(self._place, size)
        return True

    def _fill(self, data: memoryview) -> None:
        assert self._room is not None
        if len(data) > self._ready:
            # By and by: nothing is taken for what the other side has only announced.
            ahead = min(STEP, len(self._room) - self._ready)
            populate(self._place + self._ready, ahead)
            self._ready += ahead
        self._room[: len(data)] = data
        self._room = self._room[len(data) :]
        self._place += len(data)
        self._ready -= len(data)

    def finish(self) -> MemoryPayload:
        return MemoryPayload(self._pieces)

    def abandon(self) -> None:
        self._room = None
        self._pieces.clear()


def heap_sink(size: int, purpose: int) -> Sink:
    """As `net.Handlers.make_sink`."""
    return HeapSink(size) if size >= LARGE else MemorySink()
