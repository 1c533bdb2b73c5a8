"""What a cluster has run: when, where and how each job has ended, for reports.

`sent` and `note` are called in the hub for each message of jobs and of ends, `rows` in the user's thread. Records are
kept packed, about thirty bytes a job: the latest in memory, earlier ones in an unnamed file, to which they are moved
together, since the hub may have to wait for the user's thread after each write (for the GIL).

Invariants:
1. A record is written once, in the order of the ends, and never changes.
2. Memory is bounded by `MEMORY_LIMIT` and one message. Once the file has reached `DISK_LIMIT`, or the disk is full,
   later jobs are counted and left out.
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

from gdispy.protocol import job_status
from gdispy.protocol.error_lines import error_line
from gdispy.protocol.ids import JobId

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
    #: When this process has learned of the end, and when it has sent the job to that node; 0 if that is not known.
    received: float = 0.0
    sent: float = 0.0

    @property
    def has_run(self) -> bool:
        """Whether it has begun, as far as that is known. A node reports a job that it has ended before its begin, such
        as one that was cancelled, with the same time for both."""
        is_ended_early = self.started == self.ended and self.status != job_status.FINISHED
        return bool(self.started and self.ended) and not is_ended_early


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
        #: The latest records; the file with those before them, -1 for none; its size.
        self._data = bytearray()
        self._fd = -1
        self._moved = 0
        self._lock = threading.Lock()
        #: What was noted and is not packed yet: ends of jobs by columns, on a node; and jobs that were sent.
        self._pending: deque[tuple[str, float, Sequence[Sequence[Any]]] | tuple[float, Sequence[JobId]]] = deque()
        #: The number of records, and of jobs without one.
        self.count = self.left_out = 0
        self._is_broken = False

    def sent(self, jobs: Sequence[JobId]) -> None:
        """Jobs were sent to a node. The sequence must not change afterwards."""
        self._pending.append((time.time(), jobs))
        if len(self._pending) >= PENDING_LIMIT:
            self._flush()

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
                noted = self._pending.popleft()
                if len(noted) == 2:
                    self._keep(noted)
                else:
                    self._keep_ends(*noted)

    def _keep_ends(self, node: str, received: float, columns: Sequence[Sequence[Any]]) -> None:
        *rows, exceptions = columns
        failed = any(exceptions)
        errors = {place: error_line(text) for place, text in enumerate(exceptions) if text} if failed else {}
        if self._keep((node, received, *rows, errors)):
            self.count += len(exceptions)
        else:
            self.left_out += len(exceptions)

    def _keep(self, record: Sequence[object]) -> bool:
        """Whether there is room for one more."""
        if self._is_broken:
            return False
        self._data += msgpack.packb(record)
        if len(self._data) >= MEMORY_LIMIT:
            self._move()
        return True

    def _move(self) -> None:
        if self._moved + len(self._data) > DISK_LIMIT:
            self._is_broken = True
            return
        try:
            if self._fd < 0:
                self._fd = _unnamed_file()
                weakref.finalize(self, os.close, self._fd)
            _write(self._fd, bytes(self._data), self._moved)
        except OSError:  # No room on the disk. What is in memory stays there.
            self._is_broken = True
        else:
            self._moved += len(self._data)
            self._data.clear()

    def rows(self) -> Iterator[JobRecord]:
        """The records so far."""
        self._flush()
        unpacker = msgpack.Unpacker(strict_map_key=False)
        sent: dict[int, float] = {}
        with self._lock:
            place, end = 0, self._moved + len(self._data)
        while place < end:
            data = self._read(place, min(MEMORY_LIMIT, end - place))
            place += len(data)
            unpacker.feed(data)
            for record in unpacker:
                if len(record) == 2:
                    sent.update(dict.fromkeys(record[1], record[0]))
                    continue
                node, received, *columns, errors = record
                for index, (job, status, submitted, started, ended) in enumerate(zip(*columns, strict=True)):
                    error, left = errors.get(index, ""), sent.pop(job, 0.0)
                    yield JobRecord(job, status, submitted, started, ended, node, error, received, left)

    def _read(self, place: int, size: int) -> bytes:
        with self._lock:
            if place >= self._moved:
                return bytes(self._data[place - self._moved : place - self._moved + size])
            return os.pread(self._fd, min(size, self._moved - place), place)


def _unnamed_file() -> int:
    fd, path = tempfile.mkstemp(prefix="gdispy-record-")
    os.unlink(path)
    return fd


def _write(fd: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(fd, data, place)
        data, place = data[written:], place + written
