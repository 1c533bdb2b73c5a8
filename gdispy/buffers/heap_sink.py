"""Receives a large payload into memory in one piece, where it stays.

Filled in the loop of a connection of a shared scheduler or a client.

Allocating memory costs more than decrypting data into it. So received data is not collected in pieces and joined, but
written to its final location, whose pages are prepared in large steps instead of one by one."""

from __future__ import annotations

from gdispy.buffers.native import populate, unwritten, view
from gdispy.protocol.payload import Buffer, MemoryPayload
from gdispy.protocol.wire import MemorySink, Sink

#: Bytes of new memory that are prepared at once.
STEP = 1024 * 1024
#: Minimum size of a payload for which that pays off.
LARGE = 128 * 1024


class HeapSink:
    """Collects a stream in one piece, if memory is available."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pieces: list[Buffer] = []
        #: The unfilled rest of the last piece; None if there is no memory for all.
        self._room: memoryview | None = None
        #: Its address, and the number of bytes from there that have been prepared.
        self._place = self._ready = 0

    def write(self, data: memoryview) -> None:
        if self._room is not None:
            self._fill(data)
        elif self._pieces or not self._begin(data):
            self._pieces.append(bytes(data))

    def _begin(self, data: memoryview) -> bool:
        """Allocate memory for a payload with this beginning; whether that succeeded."""
        if not self._make_room(bytearray, self.size):
            return False
        self._fill(data)
        return True

    def _make_room(self, kind: type[bytes] | type[bytearray], size: int) -> bool:
        """Whether memory for `size` bytes is available, as far as is known at once."""
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
            # In steps: no memory is used for data that the other side has only announced.
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
