"""The node's ends of what joins it to one worker: jobs go out, results come in.

Made and driven by `process_manager.py`.

Invariant: the node keeps a copy of the worker's end of the job socket. What it reads there, the worker never will:
so it knows which jobs had not begun, also when the worker is dead. What the worker has read of a group of jobs, and not
begun, it knows from the memory that they share (`worker/shared_page.py`).
"""

from __future__ import annotations

import itertools
import os
import struct
from collections import deque
from typing import Any

import msgpack
from gevent import socket

from gdispy.buffers.memory_file import MemoryFile, in_memory_file, printed_file
from gdispy.buffers.memory_file_pool import MemoryFilePool, PooledMemoryFile
from gdispy.errors import ProtocolError
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import OUTPUT_LIMIT
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.rules.node.job import Job
from gdispy.rules.node.outcome import Row
from gdispy.worker import control, shared_page
from gdispy.worker.frames import ANSWER, ANSWER_LIMIT, INLINE, MESSAGE_LIMIT
from gdispy.worker.output_capture import capture_file

#: Bytes of one frame of a worker's results at most.
FRAME_LIMIT = 32 * 1024 * 1024

#: Jobs of a group, and bytes of the arguments of each at most. Several are handed over at once only where they take
#: 40 ms together, at most (`holding.Computation.portion`).
GROUP = 16
GROUP_ARGUMENTS = 1024

LENGTH = struct.Struct(">I")
_pack = msgpack.Packer(unicode_errors="surrogateescape").pack
_TAIL_TYPES = (str, float, float, int)
#: Of the fields of a result frame; result and output themselves, or the sizes of the files that they came in.
_RESULT_TYPES = frozenset(
    (int, int, int, int, *kinds, *_TAIL_TYPES, left_out)
    for kinds in itertools.product((bytes, int), repeat=3)
    for left_out in (bool, int)
)
#: Blank files that a worker has at most.
BLANKS = 4
ANCILLARY = socket.CMSG_SPACE(64 * 4)


class _Group:
    """Jobs that were handed over in one message; `first` is the serial number of the first of them."""

    __slots__ = ("answered", "first", "jobs")

    def __init__(self, first: int, jobs: list[tuple[JobId, int]]) -> None:
        self.first = first
        #: But for those that were taken back.
        self.jobs = jobs
        #: How many of them have ended, as far as is known here.
        self.answered = 0


class WorkerChannels:
    """The node's ends of what joins it to one worker."""

    def __init__(self, number: WorkerId, template: Any, slabs: MemoryFilePool) -> None:
        self.number = number
        self.template = template
        self._slabs = slabs
        jobs, self._worker_jobs = control.pair()
        self.jobs = jobs
        results, worker_results = socket.socketpair()
        self.results = results
        # The worker makes its ends wait again, once it has them; here nothing ever waits on any.
        for end in (self.jobs, self._worker_jobs, self.results):
            end.setblocking(False)
        self.worker_results = worker_results
        self.output_limit = template.prepare.output_limit if template is not None else OUTPUT_LIMIT
        where = os.path.dirname(template.jobs) if template is not None else ""
        self.out, self.err = (capture_file(self.output_limit, where) for _ in range(2))
        self.page_fd = control.memory_file("gdispy-page")
        os.ftruncate(self.page_fd, shared_page.SIZE)
        self.page = shared_page.Page(self.page_fd)
        #: The last serial number given to a job of a group; and the groups that the worker may have read and not worked
        #: off, oldest first.
        self._serial = 0
        self._groups: deque[_Group] = deque()
        #: The last generation of outcomes that was sent; and how many of which one were taken from the page.
        self._sent_generation = -1
        self._seen: tuple[int, int] = (-1, 0)
        #: Its exit is known, and will be reported.
        self.is_dead = False
        #: Jobs handed over and not answered.
        self.outstanding = 0
        #: Messages that did not fit into the socket, with their jobs, and the number of the first where it is a group.
        self.overflow: deque[tuple[bytes, list[Job], int]] = deque()
        self.reader: Any = None
        self.buffer = b""
        #: Its process; 0 until it is known.
        self.pid = 0
        #: Bytes that its job may use, where it has said so.
        self.memory_limit = 0
        #: Directories of its jobs, by number and attempt, into which the node has put files.
        self.directories: dict[tuple[int, int], str] = {}
        #: Jobs in its hand that have files of their own, by number and attempt.
        self.file_jobs: set[tuple[int, int]] = set()
        #: Provisional results and files of jobs that run, counted as they come: a job sends them from several threads
        #: and processes.
        self._reported: dict[tuple[JobId, int], list[int]] = {}
        #: What names the files that have not been answered, oldest first.
        self._tokens: deque[int] = deque()
        self.fds: deque[int] = deque()
        #: Where the arguments of jobs in its hand lie, or their results may, by number and attempt.
        self._lent: dict[tuple[int, int], PooledMemoryFile] = {}
        #: Bytes of its last result, where that was large: so will be the next one.
        self._expected = 0

    @property
    def directory(self) -> str:
        """Below it are directories of its jobs, where they have some of their own."""
        return os.path.join(self.template.jobs, str(self.number))

    def ends_for_worker(self) -> list[int]:
        return [self._worker_jobs.fileno(), self.worker_results.fileno(), self.out, self.err, self.page_fd]

    def forked(self) -> None:
        """The worker has its ends; of the job socket's a copy is kept (invariant 1)."""
        self.worker_results.close()
        os.close(self.page_fd)

    def hand(self, jobs: list[Job], errors: dict[JobId, str]) -> None:
        """Hand over jobs; those of `errors` are only to report why they cannot run."""
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
            first = self._serial + 1
            self._serial += len(group)
            data = _pack([first, [[job.number, job.attempt, job.arguments] for job in group]])
            self.overflow.append((data, group, first))

    def _hand_one(self, job: Job, errors: dict[JobId, str]) -> None:
        value = job.arguments
        if type(value) is bytes and len(value) > INLINE:
            value = job.arguments = in_memory_file(value)
        shown: Any = value if type(value) is bytes else bulk_size(value)
        if isinstance(value, PooledMemoryFile):
            shown = -value.size
        fields = [job.number, job.attempt, shown]
        if job.options is not None:
            directory = self.directories.pop((job.number, job.attempt), "")
            paths = [] if directory else [row[0] for row in job.options[6]]
            fields += [_shown_names(job), errors.get(job.number, ""), job.options[8], paths, directory]
        self.overflow.append((_pack(fields), [job], 0))

    def flush(self) -> None:
        """Put into the socket what fits."""
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
            except OSError:  # The worker is dead; its exit is on the way.
                return
            overflow.popleft()
            if first:
                self._groups.append(_Group(first, [(job.number, job.attempt) for job in jobs]))

    def _files_of(self, job: Job) -> list[int]:
        """The open files that go with a job's message: of its arguments, of its names, and a blank one for its result
        where that will be large and has no place yet."""
        files: list[int] = []
        arguments, key = job.arguments, (job.number, job.attempt)
        if type(arguments) is not bytes:
            files.append(_as_memory_file(arguments).lend())
            if isinstance(arguments, PooledMemoryFile):
                self._lent[key] = arguments
        if job.options is not None and type(_shown_names(job)) is int:
            names = job.options[5]
            if type(names) is bytes:
                names = job.options[5] = in_memory_file(names)
            files.append(_as_memory_file(names).lend())
        if type(arguments) is bytes and self._expected and (key in self._lent or len(self._lent) < BLANKS):
            blank = self._lent.get(key) or self._slabs.blank(self._expected)
            if blank is not None:
                self._lent[key] = blank
                files.append(blank.lend())
        return files

    def take_back(self) -> list[tuple[JobId, int]]:
        """What the worker has not read; it never will. It may read some of it in between."""
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
        if groups:
            self._groups = deque(group for group in self._groups if group.first not in groups)
        taken += [(job.number, job.attempt) for _, jobs, _ in self.overflow for job in jobs]
        self.overflow.clear()
        for key in taken if self._lent else ():
            self._returned(key)
        self.outstanding -= len(taken)
        return taken

    def _returned(self, key: tuple[int, int]) -> None:
        """The file that went with a job is not in the worker's hand, or not any more."""
        lent = self._lent.pop(key, None)
        if lent is not None:
            lent.returned()

    @property
    def has_groups(self) -> bool:
        """Whether the worker may have read jobs that it has not begun."""
        return bool(self._groups)

    def void(self) -> int:
        """Tell a living worker to begin nothing more of the groups that it has read; `rest` takes what that gives up
        to this number. See `worker/shared_page.py` for how long to wait before."""
        self.page.words[shared_page.VOID] = self._serial
        return self._serial

    def rest(self, last: int) -> list[tuple[JobId, int]]:
        """What the worker has read and, being dead or told so, will never begin, of the jobs up to this number."""
        begun = self.page.words[shared_page.BEGUN]
        taken: list[tuple[JobId, int]] = []
        for group in list(self._groups):
            # One that lies behind has begun altogether, or the worker says by itself what has not: see `returned`.
            if group.first <= last and begun < last:
                taken += self._take_from(group, max(0, begun + 1 - group.first))
        return taken

    def rest_of_dead(self) -> list[tuple[JobId, int]]:
        return self.rest(self._serial)

    def returned(self, serial: int) -> list[tuple[JobId, int]]:
        """The jobs of a group from this number on, which the worker will not begin; those that were taken before
        are none of them."""
        for group in self._groups:
            if group.first <= serial < group.first + len(group.jobs):
                return self._take_from(group, serial - group.first)
        return []

    def _take_from(self, group: _Group, place: int) -> list[tuple[JobId, int]]:
        taken = group.jobs[place:]
        del group.jobs[place:]
        if group.answered == len(group.jobs):
            self._groups.remove(group)
        self.outstanding -= len(taken)
        return taken

    def answered(self, rows: list[Row]) -> None:
        """These jobs have ended, in the order in which they were handed over."""
        self.outstanding -= len(rows)
        groups = self._groups
        for row in rows if groups else ():
            group = groups[0]
            if group.jobs[group.answered] == row[:2]:
                group.answered += 1
                if group.answered == len(group.jobs):
                    groups.popleft()
                    if not groups:
                        return

    def close(self) -> None:
        for end in (self.jobs, self._worker_jobs, self.results, self.worker_results):
            end.close()
        control.close_all([self.out, self.err, *self.fds])
        self.page.close()
        self._lent.clear()

    def answer_file(self, error: str) -> None:
        """Tell the job that waits that its file has arrived, or could not."""
        text = error.encode("utf-8", "replace")[:ANSWER_LIMIT]
        token = self._tokens.popleft() if self._tokens else 0
        self.results.sendall(ANSWER.pack(len(text), token) + text)

    def parse(self, data: bytes) -> list[list[Any]]:
        """The whole frames in what has arrived, as lists of their fields. Raises for what makes no sense."""
        data = self.buffer + data if self.buffer else data
        frames, offset = _frames(data)
        self.buffer = data[offset:]
        return frames

    def sent_together(self, generation: int, data: bytes) -> list[list[Any]]:
        """The frames that were sent together, but for those that were taken from the page before."""
        self._sent_generation = generation
        frames = _outcomes(data)
        return frames[self._seen[1] :] if self._seen[0] == generation else frames

    def kept(self, generation: int, data: bytes) -> list[list[Any]]:
        """The same of frames that are not sent, as far as is known by now."""
        if generation <= self._sent_generation:
            return []
        frames = _outcomes(data)
        before = self._seen[1] if self._seen[0] == generation else 0
        if len(frames) <= before:  # Somebody has looked later, and been here before.
            return []
        self._seen = generation, len(frames)
        return frames[before:]

    def row(self, fields: list[Any]) -> Row:
        """The outcome in a frame, as a row of `Ended`."""
        _, job, attempt, status, result, out, err, *rest = fields
        if tuple(map(type, fields)) not in _RESULT_TYPES:
            raise ProtocolError("a field that is none")
        lent = self._lent.pop((job, attempt), None) if self._lent else None
        if type(result) is int:
            self._expected = abs(result)
        if type(result) is not bytes or type(out) is not bytes or type(err) is not bytes:
            result = self.value(result, lent)
            out, self.out = self._output(out, self.out)
            err, self.err = self._output(err, self.err)
        if self._reported and (counts := self._reported.pop((job, attempt), None)):
            rest[3] = counts[0]
        return (job, attempt, status, result, out, err, *rest)

    def _output(self, shown: bytes | int, capture: int) -> tuple[Bulk, int]:
        """A stream of a job in the form in which it travels, and the file for those of jobs to come."""
        if isinstance(shown, bytes):
            return shown, capture
        output = printed_file(self.fds.popleft(), abs(shown))
        if shown > 0:
            os.close(capture)
            capture = self.fds.popleft()
        return output, capture

    def _count(self, job: JobId, attempt: int, kind: int) -> int:
        """How many of this kind the job has sent before this one."""
        counts = self._reported.setdefault((job, attempt), [0, 0])
        counts[kind] += 1
        return counts[kind] - 1

    def progress(self, fields: list[Any]) -> tuple[JobId, int, int, Bulk]:
        """The provisional result in a frame: job, attempt, its number, its value."""
        _, job, attempt, _, value = fields
        return job, attempt, self._count(job, attempt, 0), self.value(value)

    def freed(self, job: JobId, attempt: int) -> None:
        """The worker no longer uses the file in which the arguments of a job came, or that was for its result."""
        self._expected = 0
        self._returned((job, attempt))

    def value(self, value: Any, lent: PooledMemoryFile | None = None) -> Bulk:
        """A payload out of a frame: as it is, or in the file that went with the job, or in the next that came along."""
        if type(value) is int and value < 0:
            if lent is None:
                raise ProtocolError("a result in a file that the worker does not have")
            return lent.successor(-value)
        if type(value) is int:
            return MemoryFile(self.fds.popleft(), value)
        if type(value) is not bytes or len(value) > INLINE:
            raise ProtocolError("a value that is none")
        return value

    def sent_file(self, fields: list[Any]) -> tuple[JobId, int, int, list[Any], Bulk]:
        """The file in a frame: job, attempt, its number, its row as in `Prepare`, its contents."""
        _, job, attempt, token, path, mode, modified, size, digest = fields
        row = [path, mode, modified, size, digest]
        if tuple(map(type, fields)) != (int, int, int, int, str, int, float, int, bytes):
            raise ProtocolError("a field that is none")
        self._tokens.append(token)
        return job, attempt, self._count(job, attempt, 1), row, MemoryFile(self.fds.popleft(), size)


def _frames(data: bytes) -> tuple[list[list[Any]], int]:
    """The whole frames in these bytes, as lists of their fields, and where the last one ends."""
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


def _outcomes(data: bytes) -> list[list[Any]]:
    """What a worker has written into its page, one after the other."""
    unpacker = msgpack.Unpacker(max_buffer_size=shared_page.SIZE)
    unpacker.feed(data)
    return list(unpacker)


def _shown_names(job: Job) -> Any:
    names = job.options[5] if job.options is not None else b""
    return names if type(names) is bytes and len(names) <= INLINE // 2 else bulk_size(names)


def _as_memory_file(value: Bulk) -> MemoryFile:
    if not isinstance(value, MemoryFile):
        raise ProtocolError("arguments arrived in another way than files in memory")
    return value
