"""Receives large results of a client directly into their final memory.

It is filled in the hub by connections with `Handlers.make_sink`; `pickling.loads` reads it in the thread that accesses
the result. Daemons do not use it, since they do not look into payloads.

A result that is one large `bytes` object is received into that object. Any other result is received into the buffer
from which it is unpickled: its arrays are views of that memory. Large output of a job goes to disk.
"""

from __future__ import annotations

from gdispy.buffers.heap_sink import HeapSink
from gdispy.buffers.memory_file import OutputSink
from gdispy.protocol.wire import FILE, Sink
from gdispy.worker.pickling import begin_of_bytes


class ResultSink(HeapSink):
    """Collects a stream in one piece; a `bytes` object at the end of the payload is a separate piece."""

    def _begin(self, data: memoryview) -> bool:
        begin = begin_of_bytes(data, self.size)
        if not begin:
            return super()._begin(data)
        if not self._make_room(bytes, self.size - begin):
            return False
        self._pieces.insert(0, bytes(data[:begin]))
        self._fill(data[begin:])
        return True


def result_sink(size: int, purpose: int) -> Sink:
    """As `net.Handlers.make_sink`."""
    return OutputSink() if purpose == FILE else ResultSink(size)
