"""Where a client keeps a large result while it arrives: where it will stay.

Floor 2. Made by the connections of a client (`net.Handlers.make_sink`), in the hub; `pickling.loads` takes it up in the
thread that asks for the result. Never used by daemons, which do not look into payloads.

New memory costs more than to decrypt what goes into it (4 MiB of it were measured at 4 ms on a virtual machine). So the
one large `bytes` that most large results are is not collected in pieces and put together, but written in its place,
which the system makes ready in one call instead of page by page.
"""

from __future__ import annotations

import ctypes
from typing import Any

from gdispy.core.payloads import MemoryPayload
from gdispy.core.wire import FILE, MemorySink, Sink
from gdispy.memory import populate
from gdispy.worker.pickling import begin_of_bytes

#: Bytes of new memory that are made ready at once.
STEP = 1024 * 1024

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes, _new_bytes.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.argtypes, _address_of.restype = (ctypes.py_object,), ctypes.c_void_p


class ResultSink:
    """Collects a stream; if it is a payload that ends with one `bytes`, then that in one piece."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: list[Any] = []
        #: What is left to be filled of the large `bytes`; None where there is none.
        self._room: memoryview | None = None
        #: Where in memory that is, and how many bytes from there have been made ready.
        self._place = self._ready = 0

    def write(self, data: memoryview) -> None:
        if self._room is not None:
            self._fill(data)
            return
        begin = begin_of_bytes(data, self._size) if not self._pieces else None
        value = _room_for(self._size - begin) if begin is not None else None
        if begin is None or value is None:
            self._pieces.append(bytes(data))
            return
        # Python's C interface lets who has just made a `bytes` write into it.
        self._place = _address_of(value)
        memory = (ctypes.c_ubyte * len(value)).from_address(self._place)
        self._pieces += [bytes(data[:begin]), value]
        self._room = memoryview(memory).cast("B")
        self._fill(data[begin:])

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


def _room_for(size: int) -> Any:
    """A `bytes` of this size, not written yet; None where the memory for it is not to be had at once."""
    try:
        return _new_bytes(None, size)
    except (MemoryError, OverflowError, SystemError):
        return None


def result_sink(size: int, purpose: int) -> Sink:
    """As `net.Handlers.make_sink`."""
    return MemorySink() if purpose == FILE else ResultSink(size)
