"""Where a client keeps a large result while it arrives: where it will stay.

Made by the connections of a client (`net.Handlers.make_sink`), in the hub; `pickling.loads` takes it up in the
thread that asks for the result. Never used by daemons, which do not look into payloads.

The one large `bytes` that many large results are is written where it will be, as the user gets it. Any other result is
written where it will be unpickled: its arrays are views of that memory. Much output of a job goes to disk.
"""

from __future__ import annotations

from gdispy.buffers.heap_sink import HeapSink
from gdispy.buffers.memory_file import OutputSink
from gdispy.protocol.wire import FILE, Sink
from gdispy.worker.pickling import begin_of_bytes


class ResultSink(HeapSink):
    """Collects a stream in one piece; of a payload that ends with one `bytes`, that is a piece of its own."""

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
