"""The last records that a daemon has logged, for `gdispy logs`.

Records may be logged in any thread; `read` is called in the daemon's loop. Invariant: the buffer holds at most
`RECORDS` records and `BYTES` bytes of their texts; their numbers grow by one with each record.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import encodable, shortened
from gdispy.protocol.messages import LogEvents, LogRequest
from gdispy.protocol.rows import LogRow

#: Records and bytes that are kept, and characters of one record.
RECORDS = 2000
BYTES = 200_000
TEXT = 4000
#: Bytes that a record counts in addition to its text.
OVERHEAD = 64

_FORM = logging.Formatter("%(message)s")


class LogRecord(NamedTuple):
    """A record, as it is kept."""

    number: int
    #: Seconds since the epoch.
    time: float
    level: str
    text: str
    #: Bytes that it counts.
    size: int


class LogBuffer(logging.Handler):
    """Keeps the last records of a logger, from INFO on."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._records: deque[LogRecord] = deque()
        self._size = 0
        #: The number of the next record.
        self._next = 0

    @contextlib.contextmanager
    def attached(self, name: str = "gdispy") -> Iterator[None]:
        """Keep what is logged by this logger and those below it meanwhile."""
        logger = logging.getLogger(name)
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record. The lock of the handler is held."""
        text = shortened(encodable(_FORM.format(record)), TEXT)
        size = len(text.encode()) + OVERHEAD
        self._records.append(LogRecord(self._next, record.created, record.levelname, text, size))
        self._next += 1
        self._size += size
        while len(self._records) > RECORDS or self._size > BYTES:
            self._size -= self._records.popleft().size

    def read(self, position: int = 0, seconds: float = 0.0, limit: int = BYTES) -> tuple[list[LogRecord], int]:
        """The records from the number `position` on, not older than `seconds` (0 for any age), the last of them that
        have `limit` bytes together; and how many others there were."""
        with self.lock or contextlib.nullcontext():
            records = list(self._records)
        oldest = time.time() - seconds if seconds > 0 else 0.0
        wanted = [each for each in records if each.number >= position and each.time >= oldest]
        # Those that were dropped may have been older than `seconds`.
        lost = max(0, records[0].number - position) if records and (position > 0 or seconds <= 0) else 0
        first = len(wanted)
        while first and wanted[first - 1].size <= limit:
            first -= 1
            limit -= wanted[first].size
        return wanted[first:], lost + first


def log_events(request: LogRequest, log: LogBuffer, run: Instance) -> LogEvents:
    """The answer of a daemon about its own log; `run` identifies the run of the daemon."""
    position = next((each.number for each in request.positions if each.log == run), 0)
    records, left_out = log.read(position, request.seconds, request.limit)
    rows = [LogRow(run, each.number, each.time, each.level, "", each.text) for each in records]
    return LogEvents(request.question, "", rows, left_out)
