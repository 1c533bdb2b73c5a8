"""What a cluster has run: when, where and how each job has ended, for reports.

`note` is called in the hub for each message of ends, `rows` in the user's thread. Records are kept packed, about thirty
bytes a job, in memory at first and then in an unnamed file.

Invariants:
1. A record is written once, in the order of the ends, and never changes.
2. Memory is bounded by `MEMORY_LIMIT`; what is above `DISK_LIMIT`, or does not fit on the disk, is counted and left
   out.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from gdispy.protocol.error_lines import error_line

#: Bytes of records in memory, and on disk.
MEMORY_LIMIT = 256 * 1024
DISK_LIMIT = 512 * 1024 * 1024
#: Messages, and jobs in one message, at which records are packed.
PENDING_LIMIT = 256


class JobRecord(NamedTuple):
    """One job that has ended. Times are seconds since the epoch; `started` and `ended` by the clock of the node."""

    job: int
    #: As in `DispyJob.status`.
    status: int
    submitted: float
    #: 0 if it has never started.
    started: float
    ended: float
    #: The label of its node (`NodeLabels`), or ''.
    node: str
    #: The failure in one line, or ''.
    error: str
    #: When this process has learned of the end; 0 if that is not known.
    received: float = 0.0


class NodeLabels:
    """Names that tell the nodes of a run apart: several of one name are `lab`, `lab (2)` and so on, in the order in
    which they appear."""

    def __init__(self) -> None:
        self._labels: dict[object, str] = {}
        self._used: set[str] = set()

    def of(self, name: str, address: str, port: int, instance: bytes) -> str:
        """The label of a node. `port` is 0 if it is not known: then nodes are told apart by their instances, and one
        that was restarted counts as another."""
        key = (name, address, port) if port else (name, instance)
        label = self._labels.get(key)
        if label is None:
            found = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
            label = self._labels[key] = next(each for each in found if each not in self._used)
            self._used.add(label)
        return label


class RunRecord:
    """The records of one cluster."""

    def __init__(self) -> None:
        #: The records in memory, until they are moved to the file; the file's descriptor, -1 for none; their size.
        self._data = bytearray()
        self._fd = -1
        self._size = 0
        self._lock = threading.Lock()
        #: What was noted and is not packed yet.
        self._pending: deque[tuple[str, float, Sequence[Sequence[Any]]]] = deque()
        #: The number of records, and of jobs without one.
        self.count = self.left_out = 0
        self._is_broken = False

    def note(self, node: str, *columns: Sequence[Any]) -> None:
        """Jobs have ended on a node: their numbers, statuses, times of submission, start and end, and exceptions as
        text; an entry for each job in each column. The columns must not change afterwards."""
        self._pending.append((node, time.time(), columns))
        if len(self._pending) >= PENDING_LIMIT or len(columns[0]) >= PENDING_LIMIT:
            self._flush()

    def _flush(self) -> None:
        """Pack what was noted: together, since packing each message would slow single jobs."""
        with self._lock:
            while self._pending:
                self._keep(*self._pending.popleft())

    def _keep(self, node: str, received: float, columns: Sequence[Sequence[Any]]) -> None:
        *rows, exceptions = columns
        if not self._is_broken:
            failed = any(exceptions)
            errors = {place: error_line(text) for place, text in enumerate(exceptions) if text} if failed else {}
            data = msgpack.packb([node, received, *rows, errors])
            try:
                self._append(data)
                self._size += len(data)
                self.count += len(exceptions)
                return
            except OSError:  # No room on the disk.
                self._is_broken = True
        self.left_out += len(exceptions)

    def _append(self, data: bytes) -> None:
        if self._fd < 0 and self._size + len(data) <= MEMORY_LIMIT:
            self._data += data
            return
        if self._size + len(data) > DISK_LIMIT:
            raise OSError("the record is full")
        if self._fd < 0:
            self._fd = _unnamed_file()
            weakref.finalize(self, os.close, self._fd)
            _write(self._fd, bytes(self._data), 0)
            self._data.clear()
        _write(self._fd, data, self._size)

    def rows(self) -> Iterator[JobRecord]:
        """The records so far."""
        self._flush()
        unpacker = msgpack.Unpacker(strict_map_key=False)
        place, end = 0, self._size
        while place < end:
            data = self._read(place, min(MEMORY_LIMIT, end - place))
            place += len(data)
            unpacker.feed(data)
            for node, received, *columns, errors in unpacker:
                for index, (job, status, submitted, started, ended) in enumerate(zip(*columns, strict=True)):
                    error = errors.get(index, "")
                    yield JobRecord(job, status, submitted, started, ended, node, error, received)

    def _read(self, place: int, size: int) -> bytes:
        with self._lock:
            return bytes(self._data[place : place + size]) if self._fd < 0 else os.pread(self._fd, size, place)


def _unnamed_file() -> int:
    fd, path = tempfile.mkstemp(prefix="gdispy-record-")
    os.unlink(path)
    return fd


def _write(fd: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(fd, data, place)
        data, place = data[written:], place + written
