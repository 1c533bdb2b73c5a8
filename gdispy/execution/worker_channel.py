"""The node's ends of the sockets to one worker: jobs are sent, results are received.

Used in the node's loop.

Invariant: the node keeps a copy of the worker's end of the job socket. A message that it reads there will never be read
by the worker: so it knows which jobs had not started, even if the worker is dead. For groups of jobs that the worker
has read, the page that they share (`worker/shared_page.py`) tells which jobs have started.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import gevent
import msgpack
from gevent import socket

from gdispy.buffers.memory_file import MemoryFile, in_memory_file
from gdispy.buffers.memory_file_pool import MemoryFilePool, PooledMemoryFile
from gdispy.errors import ProtocolError
from gdispy.execution.job_groups import JobGroups
from gdispy.execution.result_files import ResultFiles
from gdispy.execution.worker_output import WorkerOutput
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import OUTPUT_LIMIT
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.rules.node.job import Job
from gdispy.rules.node.outcome import Row
from gdispy.worker import control, shared_page
from gdispy.worker.frames import ANSWER, ANSWER_LIMIT, INLINE, MESSAGE_LIMIT

if TYPE_CHECKING:
    from gdispy.execution.template_process import TemplateProcess

#: Maximum size of one frame of a worker's results.
FRAME_LIMIT = 32 * 1024 * 1024

#: Maximum number of jobs in a group, and size of the arguments of each. Jobs are grouped only if they take at most 40
#: ms together (`rules/node/computation.py`).
GROUP = 16
GROUP_ARGUMENTS = 1024

LENGTH = struct.Struct(">I")
_pack = msgpack.Packer(unicode_errors="surrogateescape").pack
_TAIL_TYPES = (str, float, float, int)
#: Indices of the fields of a result frame; result and output themselves, or the sizes of their files.
_RESULT_TYPES = frozenset(
    (int, int, int, int, *kinds, *_TAIL_TYPES, left_out)
    for kinds in itertools.product((bytes, int), repeat=3)
    for left_out in (bool, int)
)
ANCILLARY = socket.CMSG_SPACE(64 * 4)


class WorkerChannel:
    """The node's ends of the sockets to one worker."""

    def __init__(self, number: WorkerId, template: TemplateProcess, pool: MemoryFilePool) -> None:
        self.number = number
        self.template = template
        jobs, self._worker_jobs = control.pair()
        self.jobs = jobs
        results, worker_results = socket.socketpair()
        self.results = results
        # The worker makes its ends blocking again; the node's ends never block.
        for end in (self.jobs, self._worker_jobs, self.results):
            end.setblocking(False)
        self.worker_results = worker_results
        limit = template.prepare.output_limit if template is not None else OUTPUT_LIMIT
        self.output = WorkerOutput(limit, os.path.dirname(template.jobs) if template is not None else "")
        self.page_fd = control.memory_file("gdispy-page")
        os.ftruncate(self.page_fd, shared_page.SIZE)
        self.page = shared_page.Page(self.page_fd)
        #: Short jobs that it may have read together.
        self.groups = JobGroups(self.page)
        #: Its exit is known, and will be reported.
        self.is_dead = False
        #: Jobs sent and not answered.
        self.outstanding = 0
        #: Messages that did not fit into the socket, with their jobs, and the number of the first job of a group.
        self.overflow: deque[tuple[bytes, list[Job], int]] = deque()
        self.reader: gevent.Greenlet | None = None
        self.buffer = b""
        #: Its pid; 0 until it is known.
        self.pid = 0
        #: The memory limit of its job, if it has one.
        self.memory_limit = 0
        #: Directories of its jobs, by number and attempt, into which the node has put files.
        self.directories: dict[tuple[int, int], str] = {}
        #: Jobs in its hand that have additional files, by number and attempt.
        self.file_jobs: set[tuple[int, int]] = set()
        #: Provisional results and files of running jobs, numbered on arrival: a job sends them from several threads and
        #: processes.
        self._reported: dict[tuple[JobId, int], list[int]] = {}
        #: Tokens of the running job's files that have not been answered, by job, attempt and number.
        self._tokens: dict[tuple[JobId, int, int], int] = {}
        self.fds: deque[int] = deque()
        self._files = ResultFiles(pool)

    @property
    def directory(self) -> str:
        """The parent of the directories of its jobs, if they have separate ones."""
        return os.path.join(self.template.jobs, str(self.number))

    def ends_for_worker(self) -> list[int]:
        return [self._worker_jobs.fileno(), self.worker_results.fileno(), *self.output.files(), self.page_fd]

    def forked(self) -> None:
        """The worker has its ends; a copy of the job socket's end is kept (invariant 1)."""
        self.worker_results.close()
        os.close(self.page_fd)

    def hand(self, jobs: list[Job], errors: dict[JobId, str]) -> None:
        """Send jobs; those in `errors` only report why they cannot run."""
        self.outstanding += len(jobs)
        if len(jobs) == 1:
            self._hand_one(jobs[0], errors)
        else:
            self._hand_together(jobs, errors)
        self.flush()

    def _hand_together(self, jobs: list[Job], errors: dict[JobId, str]) -> None:
        group: list[Job] = []
        for job in jobs:
            if job.options is None and type(job.arguments) is bytes and len(job.arguments) <= GROUP_ARGUMENTS:
                group.append(job)
                if len(group) == GROUP:
                    self._hand_group(group)
                    group = []
                continue
            self._hand_group(group)
            group = []
            self._hand_one(job, errors)
        self._hand_group(group)

    def _hand_group(self, group: list[Job]) -> None:
        if group:
            first = self.groups.number(len(group))
            data = _pack([first, [[job.number, job.attempt, job.arguments] for job in group]])
            self.overflow.append((data, group, first))

    def _hand_one(self, job: Job, errors: dict[JobId, str]) -> None:
        value = job.arguments
        if type(value) is bytes and len(value) > INLINE:
            value = job.arguments = in_memory_file(value)
        shown: bytes | int = value if type(value) is bytes else bulk_size(value)
        if isinstance(value, PooledMemoryFile):
            shown = -value.size
        fields: list[object] = [job.number, job.attempt, shown]
        if job.options is not None:
            directory = self.directories.pop((job.number, job.attempt), "")
            paths = [] if directory else [path for path, *_ in job.options.files]
            fields += [_shown_names(job), errors.get(job.number, ""), job.options.cpu_time, paths, directory]
        self.overflow.append((_pack(fields), [job], 0))

    def flush(self) -> None:
        """Write what fits into the socket."""
        overflow, fd = self.overflow, self.jobs.fileno()
        while overflow:
            data, jobs, first = overflow[0]
            try:
                files = [] if first else self._files_of(jobs[0])
                if files:
                    control.send_with_files(self.jobs, data, files)
                else:
                    os.write(fd, data)
            except BlockingIOError:
                return
            except OSError:  # The worker is dead; its exit will be reported.
                return
            overflow.popleft()
            if first:
                self.groups.add(first, [(job.number, job.attempt) for job in jobs])

    def _files_of(self, job: Job) -> list[int]:
        """The open files of a job's message: its arguments, its names, and a blank one if its result is expected to be
        large and has no file yet."""
        files: list[int] = []
        arguments, key = job.arguments, (job.number, job.attempt)
        if type(arguments) is not bytes:
            files.append(_as_memory_file(arguments).lend())
            if isinstance(arguments, PooledMemoryFile):
                self._files.lend(key, arguments)
        if job.options is not None and type(_shown_names(job)) is int:
            names = job.options.names
            if type(names) is bytes:
                names = in_memory_file(names)
                job.options = job.options._replace(names=names)
            files.append(_as_memory_file(names).lend())
        blank = self._files.lend_blank(key) if type(arguments) is bytes else None
        if blank is not None:
            files.append(blank.lend())
        return files

    def take_back(self) -> list[tuple[JobId, int]]:
        """The jobs that the worker has not read and never will. It may read some of them meanwhile."""
        taken: list[tuple[JobId, int]] = []
        groups: set[int] = set()
        while True:
            try:
                data, ancillary, _, _ = self._worker_jobs.recvmsg(MESSAGE_LIMIT, ANCILLARY, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            control.close_all(control.descriptors(ancillary))
            fields = msgpack.unpackb(data)
            if len(fields) > 2:
                taken.append((fields[0], fields[1]))
                continue
            taken += [(job, attempt) for job, attempt, _ in fields[1]]
            groups.add(fields[0])
        self.groups.forget(groups)
        taken += [(job.number, job.attempt) for _, jobs, _ in self.overflow for job in jobs]
        self.overflow.clear()
        self._files.give_back(list(taken))
        self.outstanding -= len(taken)
        return taken

    def take_rest(self, last: int | None = None) -> list[tuple[JobId, int]]:
        """As `JobGroups.take_rest`."""
        return self._count_out(self.groups.take_rest(last))

    def take_from(self, serial: int) -> list[tuple[JobId, int]]:
        """As `JobGroups.take_from`."""
        return self._count_out(self.groups.take_from(serial))

    def _count_out(self, taken: list[tuple[JobId, int]]) -> list[tuple[JobId, int]]:
        self.outstanding -= len(taken)
        return taken

    def answered(self, rows: list[Row]) -> None:
        """These jobs have ended, in the order in which they were sent."""
        self.outstanding -= len(rows)
        self.groups.answered(rows)

    def close(self) -> None:
        for end in (self.jobs, self._worker_jobs, self.results, self.worker_results):
            end.close()
        self.output.close()
        control.close_all(list(self.fds))
        self.page.close()
        self._files.close()

    def answer_file(self, key: tuple[JobId, int, int], error: str) -> None:
        """Tell the waiting job that its file has arrived, or the error. Nothing, if the job has ended."""
        token = self._tokens.pop(key, None)
        if token is None:
            return
        text = error.encode("utf-8", "replace")[:ANSWER_LIMIT]
        self.results.sendall(ANSWER.pack(len(text), token) + text)

    def parse(self, data: bytes) -> list[list[Any]]:
        """The complete frames in received data, as lists of their fields. Raises any exception for invalid data."""
        data = self.buffer + data if self.buffer else data
        frames, offset = _frames(data)
        self.buffer = data[offset:]
        return frames

    def row(self, fields: list[Any]) -> Row:
        """The outcome in a frame, as a row of `Ended`."""
        _, job, attempt, status, result, out, err, *rest = fields
        if tuple(map(type, fields)) not in _RESULT_TYPES:
            raise ProtocolError("a field that is none")
        lent = self._files.take((job, attempt))
        if type(result) is int:
            self._files.expect(abs(result))
        if type(result) is not bytes or type(out) is not bytes or type(err) is not bytes:
            result = self.value(result, lent)
            out, err = self.output.take(out, err, self.fds)
        if self._reported and (counts := self._reported.pop((job, attempt), None)):
            rest[3] = counts[0]
            self._tokens.clear()  # The job has ended: nothing waits for answers.
        return (job, attempt, status, result, out, err, *rest)

    def _count(self, job: JobId, attempt: int, kind: int) -> int:
        """The number of frames of this kind that the job has sent before this one."""
        counts = self._reported.setdefault((job, attempt), [0, 0])
        counts[kind] += 1
        return counts[kind] - 1

    def progress(self, fields: list[Any]) -> tuple[JobId, int, int, Bulk]:
        """The provisional result in a frame: job, attempt, its number, its value."""
        _, job, attempt, _, value = fields
        return job, attempt, self._count(job, attempt, 0), self.value(value)

    def freed(self, job: JobId, attempt: int) -> None:
        """The worker no longer uses the file with the arguments of a job, or for its result."""
        self._files.expect(0)
        self._files.give_back([(job, attempt)])

    def value(self, value: object, lent: PooledMemoryFile | None = None) -> Bulk:
        """A payload of a frame: inline, or in the file of the job, or in the next file of the message."""
        if type(value) is int and value < 0:
            if lent is None:
                raise ProtocolError("a result in a file that the worker does not have")
            return lent.successor(-value)
        if type(value) is int:
            return MemoryFile(self.fds.popleft(), value)
        if type(value) is not bytes or len(value) > INLINE:
            raise ProtocolError("a value that is none")
        return value

    def sent_file(self, fields: list[Any]) -> tuple[JobId, int, int, list[object], Bulk]:
        """The file in a frame: job, attempt, its number, its row as in `Prepare`, its contents."""
        _, job, attempt, token, path, mode, modified, size, digest = fields
        row: list[object] = [path, mode, modified, size, digest]
        if tuple(map(type, fields)) != (int, int, int, int, str, int, float, int, bytes):
            raise ProtocolError("a field that is none")
        number = self._count(job, attempt, 1)
        self._tokens[job, attempt, number] = token
        return job, attempt, number, row, MemoryFile(self.fds.popleft(), size)


def _frames(data: bytes) -> tuple[list[list[Any]], int]:
    """The complete frames in these bytes, as lists of their fields, and the end of the last one."""
    frames: list[list[Any]] = []
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
    return frames, offset


def _shown_names(job: Job) -> bytes | int:
    names = job.options.names if job.options is not None else b""
    return names if type(names) is bytes and len(names) <= INLINE // 2 else bulk_size(names)


def _as_memory_file(value: Bulk) -> MemoryFile:
    if not isinstance(value, MemoryFile):
        raise ProtocolError("arguments arrived in another way than files in memory")
    return value
