"""The node's ends of what joins it to one worker: jobs go out, results come in.

Floor 2. Made and driven by `workers.py`.

Invariant: the node keeps a copy of the worker's end of the job socket. What it reads there, the worker never will:
so it knows which jobs had not begun, also when the worker is dead.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections import deque
from typing import Any

import msgpack
from gevent import socket

from gdispy.blobs import MemoryFile, MemoryFileSink
from gdispy.core.effects import WorkerId
from gdispy.core.holding import Job, Row
from gdispy.core.messages import JobId
from gdispy.core.payloads import Bulk, MemoryPayload, bulk_size
from gdispy.errors import ProtocolError
from gdispy.worker import control
from gdispy.worker.runner import ANSWER_LIMIT, INLINE, MESSAGE_LIMIT

#: Bytes of one frame of a worker's results at most.
FRAME_LIMIT = 32 * 1024 * 1024

LENGTH = struct.Struct(">I")
_pack = msgpack.Packer().pack
_TAIL_TYPES = (bytes, bytes, str, float, float, int, bool)
#: Of the fields of a result frame; the result itself, or the size of the file that it came in.
_RESULT_TYPES = frozenset((int, int, int, int, kind, *_TAIL_TYPES) for kind in (bytes, int))
ANCILLARY = socket.CMSG_SPACE(64 * 4)


class WorkerEnds:
    """The node's ends of what joins it to one worker."""

    def __init__(self, number: WorkerId, template: Any) -> None:
        self.number = number
        self.template = template
        jobs, self._worker_jobs = control.pair()
        self.jobs = jobs
        # The worker makes its end wait again, once it has it; here nothing ever waits on either.
        self.jobs.setblocking(False)
        self._worker_jobs.setblocking(False)
        results, worker_results = socket.socketpair()
        self.results = results
        self.worker_results = worker_results
        self.out = control.memory_file("gdispy-stdout")
        self.err = control.memory_file("gdispy-stderr")
        self.page_fd = control.memory_file("gdispy-page")
        os.ftruncate(self.page_fd, mmap.PAGESIZE)
        self.page = mmap.mmap(self.page_fd, mmap.PAGESIZE)
        #: Its exit is known, and will be reported.
        self.is_dead = False
        #: Jobs handed over and not answered.
        self.outstanding = 0
        #: Jobs that did not fit into the socket.
        self.overflow: deque[tuple[bytes, Job]] = deque()
        self.reader: Any = None
        self.buffer = b""
        #: Its process; 0 until it is known.
        self.pid = 0
        #: Bytes that its job may use, where it has said so.
        self.memory_limit = 0
        #: Jobs in its hand that have files of their own, by number and attempt.
        self.file_jobs: set[tuple[int, int]] = set()
        self.fds: deque[int] = deque()

    def ends_for_worker(self) -> list[int]:
        return [self._worker_jobs.fileno(), self.worker_results.fileno(), self.out, self.err, self.page_fd]

    def forked(self) -> None:
        """The worker has its ends; of the job socket's a copy is kept (invariant 1)."""
        self.worker_results.close()
        os.close(self.page_fd)

    def hand(self, jobs: list[Job], errors: dict[JobId, str]) -> None:
        """Hand over jobs; those of `errors` are only to report why they cannot run."""
        self.outstanding += len(jobs)
        for job in jobs:
            value = job.arguments
            if type(value) is bytes and len(value) > INLINE:
                value = job.arguments = _in_memory_file(value)
            shown: Any = value if type(value) is bytes else value.size  # type: ignore[union-attr]
            fields = [job.number, job.attempt, shown]
            if job.options is not None:
                fields += [_shown_names(job), errors.get(job.number, ""), job.options[8]]
            self.overflow.append((_pack(fields), job))
        self.flush()

    def flush(self) -> None:
        """Put into the socket what fits."""
        overflow, fd = self.overflow, self.jobs.fileno()
        while overflow:
            data, job = overflow[0]
            try:
                files = _files_of(job)
                if files:
                    control.send_with_files(self.jobs, data, files)
                else:
                    os.write(fd, data)
            except BlockingIOError:
                return
            except OSError:  # The worker is dead; its exit is on the way.
                return
            overflow.popleft()

    def take_back(self) -> list[tuple[JobId, int]]:
        taken = []
        while True:
            try:
                data, ancillary, _, _ = self._worker_jobs.recvmsg(MESSAGE_LIMIT, ANCILLARY, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            control.close_all(control.descriptors(ancillary))
            job, attempt, *_ = msgpack.unpackb(data)
            taken.append((job, attempt))
        taken += [(job.number, job.attempt) for _, job in self.overflow]
        self.overflow.clear()
        self.outstanding -= len(taken)
        return taken

    def close(self) -> None:
        for end in (self.jobs, self._worker_jobs, self.results, self.worker_results):
            end.close()
        control.close_all([self.out, self.err, *self.fds])
        self.page.close()

    def answer_file(self, error: str) -> None:
        """Tell the job that waits that its file has arrived, or could not."""
        text = error.encode("utf-8", "replace")[:ANSWER_LIMIT]
        self.results.sendall(LENGTH.pack(len(text)) + text)

    def parse(self, data: bytes) -> list[list[Any]]:
        """The whole frames in what has arrived, as lists of their fields. Raises for what makes no sense."""
        data = self.buffer + data if self.buffer else data
        frames = []
        offset, end = 0, len(data)
        view = memoryview(data)
        while end - offset >= 4:
            (length,) = LENGTH.unpack_from(data, offset)
            if length > FRAME_LIMIT:
                raise ProtocolError("a frame is too long")
            if end - offset - 4 < length:
                break
            offset += 4
            frames.append(msgpack.unpackb(view[offset : offset + length]))
            offset += length
        self.buffer = data[offset:]
        return frames

    def row(self, fields: list[Any]) -> Row:
        """The outcome in a frame, as a row of `Ended`."""
        _, job, attempt, status, result, out, err, *rest = fields
        if tuple(map(type, fields)) not in _RESULT_TYPES:
            raise ProtocolError("a field that is none")
        if type(result) is not bytes or len(out) > INLINE or len(err) > INLINE:
            result, out, err = self.value(result), _printed(out), _printed(err)
        return (job, attempt, status, result, out, err, *rest)

    def value(self, value: Any) -> Bulk:
        """A payload out of a frame: as it is, or the next memory file that came along."""
        if type(value) is int:
            return MemoryFile(self.fds.popleft(), value)
        if type(value) is not bytes or len(value) > INLINE:
            raise ProtocolError("a value that is none")
        return value

    def sent_file(self, fields: list[Any]) -> tuple[JobId, int, int, list[Any], Bulk]:
        """The file in a frame: job, attempt, its number, its row as in `Prepare`, its contents."""
        _, job, attempt, number, path, mode, modified, size = fields
        row = [path, mode, modified, size, b""]
        if tuple(map(type, fields)) != (int, int, int, int, str, int, float, int):
            raise ProtocolError("a field that is none")
        return job, attempt, number, row, MemoryFile(self.fds.popleft(), size)


def _shown_names(job: Job) -> Any:
    names = job.options[5] if job.options is not None else b""
    return names if type(names) is bytes and len(names) <= INLINE // 2 else bulk_size(names)


def _files_of(job: Job) -> list[int]:
    """The open files that go with a job's message: of its arguments, and of its names."""
    files = [] if type(job.arguments) is bytes else [_as_memory_file(job.arguments).fd]
    if job.options is not None and type(_shown_names(job)) is int:
        names = job.options[5]
        if type(names) is bytes:
            names = job.options[5] = _in_memory_file(names)
        files.append(_as_memory_file(names).fd)
    return files


def _printed(output: Any) -> Bulk:
    """Output in the form in which it travels: much of it as a payload."""
    return output if len(output) <= INLINE else MemoryPayload([output])


def _in_memory_file(value: bytes) -> MemoryFile:
    sink = MemoryFileSink()
    sink.write(value)
    return sink.finish()


def _as_memory_file(value: Bulk) -> MemoryFile:
    if not isinstance(value, MemoryFile):
        raise ProtocolError("arguments arrived in another way than files in memory")
    return value
