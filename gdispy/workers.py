"""The node's side of its processes: the spawner, the templates, the workers and their sockets.

Floor 2. Runs in the node's greenlets and performs the effects of `core/slots.py`; what happens to
processes goes back to its pump. Never forks, and starts the spawner by exec.

    node ── control ── spawner ── fork ── template (one for each computation) ── fork ── worker
      └───── control ─────────────────────────┘                                            │
      └───── jobs (a message each), results (a stream) ────────────────────────────────────┘

Invariants:
1. The node keeps a copy of the worker's end of the job socket. What it reads there, the worker never
   will: so it knows which jobs had not begun, also when the worker is dead.
2. All results that a worker wrote are read before its exit is reported to the rules.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import msgpack
from gevent import socket

from gdispy.blobs import DIGEST_BYTES, MemoryFile, MemoryFileSink, ReceivedFile
from gdispy.core.effects import Effects, WorkerId
from gdispy.core.holding import Job, Row
from gdispy.core.messages import ComputationId, JobId, Prepare
from gdispy.core.paths import safe_parts
from gdispy.core.payloads import Bulk, MemoryPayload
from gdispy.core.slots import Slots
from gdispy.errors import ProtocolError
from gdispy.local import importable
from gdispy.pump import Pump
from gdispy.worker import control
from gdispy.worker.capture import keep_within_limit
from gdispy.worker.processes import kill_descendants
from gdispy.worker.program import signal_name
from gdispy.worker.runner import INLINE, MESSAGE_LIMIT, PROGRESS, RESULT, target

logger = logging.getLogger(__name__)

#: Bytes read from a worker's results at once, and of one frame at most.
READ_SIZE = 64 * 1024
FRAME_LIMIT = 32 * 1024 * 1024
#: Seconds between two looks at how much the running jobs have printed.
OUTPUT_INTERVAL = 0.1
#: A worker that has this many jobs in hand is read every millisecond, not at each result: the node
#: then wakes up once for many results, and nobody waits, since the worker has enough to do.
MANY = 32
READ_INTERVAL = 0.001
#: Bytes waiting for the scheduler beyond which workers are not read: they wait in turn.
BACKLOG_LIMIT = 64 * 1024 * 1024

_LENGTH = struct.Struct(">I")
_pack = msgpack.Packer().pack
_TAIL_TYPES = (bytes, bytes, str, float, float, int, bool)
#: Of the fields of a result frame; the result itself, or the size of the file that it came in.
_RESULT_TYPES = frozenset((int, int, int, int, kind, *_TAIL_TYPES) for kind in (bytes, int))
_ANCILLARY = socket.CMSG_SPACE(64 * 4)


class _Worker:
    """The node's ends of what joins it to one worker."""

    def __init__(self, number: WorkerId, template: _Template) -> None:
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
        self.fds: deque[int] = deque()

    def ends_for_worker(self) -> list[int]:
        return [self._worker_jobs.fileno(), self.worker_results.fileno(), self.out, self.err, self.page_fd]

    def forked(self) -> None:
        """The worker has its ends; of the job socket's a copy is kept (invariant 1)."""
        self.worker_results.close()
        os.close(self.page_fd)

    def hand(self, jobs: list[Job]) -> None:
        self.outstanding += len(jobs)
        for job in jobs:
            value = job.arguments
            if type(value) is bytes and len(value) > INLINE:
                value = job.arguments = _in_memory_file(value)
            shown: Any = value if type(value) is bytes else value.size  # type: ignore[union-attr]
            self.overflow.append((_pack([job.number, job.attempt, shown]), job))
        self.flush()

    def flush(self) -> None:
        """Put into the socket what fits."""
        overflow, fd = self.overflow, self.jobs.fileno()
        while overflow:
            data, job = overflow[0]
            try:
                if type(job.arguments) is bytes:
                    os.write(fd, data)
                else:
                    control.send_with_file(self.jobs, data, _as_memory_file(job.arguments).fd)
            except BlockingIOError:
                return
            except OSError:  # The worker is dead; its exit is on the way.
                return
            overflow.popleft()

    def take_back(self) -> list[tuple[JobId, int]]:
        taken = []
        while True:
            try:
                data, ancillary, _, _ = self._worker_jobs.recvmsg(MESSAGE_LIMIT, _ANCILLARY, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            control.close_all(control.descriptors(ancillary))
            job, attempt, _ = msgpack.unpackb(data)
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


class _Template:
    """One computation's template process."""

    def __init__(self, prepare: Prepare, directory: str) -> None:
        self.id = prepare.computation
        self.prepare = prepare
        self.directory = directory
        self.workers: dict[WorkerId, _Worker] = {}
        self.end: Any = None
        self.reader: Any = None
        #: It was told to end; its end is no accident.
        self.ending = False


class Workers:
    """All processes of a node."""

    def __init__(self, slots: Slots, pump: Pump, setting: dict[str, Any], instance: bytes) -> None:
        self._slots = slots
        self._pump = pump
        self._setting = setting
        self._instance = instance
        self.directory = os.path.join(setting["dest_path_prefix"], instance.hex())
        self._templates: dict[str, _Template] = {}
        self._workers: dict[WorkerId, _Worker] = {}
        #: Computations whose files are in place; a template that is started again finds them there.
        self._placed: set[ComputationId] = set()
        self._spawner: Any = None
        self._spawner_pid = 0
        self._closing = False
        #: Set while any worker has a job.
        self._some_work = gevent.event.Event()
        #: Bytes that wait to be sent to the scheduler; asked before workers are read.
        self.backlog: Callable[[], int] = lambda: 0

    def start(self) -> None:
        """Start the spawner. Raises OSError where that is impossible."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._start_spawner()
        gevent.spawn(self._watch_output)

    def close(self) -> None:
        """End everything, and wait until it has ended."""
        self._closing = True
        if self._spawner is not None:
            self._spawner.close()
            self._await_spawner()

    def _await_spawner(self) -> None:
        """Wait until the spawner, which has been told to end or is dead, is gone."""
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(self._spawner_pid, os.WNOHANG)[0]:
                gevent.sleep(0.005)

    # The spawner

    def _start_spawner(self) -> None:
        end, theirs = control.pair()
        theirs.set_inheritable(True)
        arguments = [sys.executable, "-m", "gdispy.worker.spawner", str(theirs.fileno()), self.directory]
        self._spawner_pid = os.posix_spawn(
            sys.executable,
            arguments,
            _environment(self._instance),
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
        )
        theirs.close()
        self._spawner = end
        gevent.spawn(self._read_spawner, end)

    def _read_spawner(self, end: Any) -> None:
        for message in _messages(end):
            if message[0] == "exited":
                self._pump.put(self._template_ended, message[1], _cause(message[2], "the computation's process"))
        if not self._closing:
            self._spawner_lost()

    def _spawner_lost(self) -> None:
        """Somebody killed it. What it left is killed, and another one takes its place."""
        logger.error("the spawner has ended unexpectedly; starting another one")
        self._spawner.close()
        self._await_spawner()
        kill_descendants(os.getpid())
        self._start_spawner()
        for key in list(self._templates):
            self._pump.put(self._template_ended, key, "the node's spawner process was killed")

    def _template_ended(self, key: str, cause: str, now: float) -> Effects:
        """Report it in one turn of the pump, so that no decision falls between its end and the report."""
        template = self._templates.pop(key, None)
        if template is None:
            return []
        template.end.close()
        self._slots.template_ended(template.id, now)
        for worker in list(template.workers.values()):
            self._worker_ended(worker, cause)
        if template.ending:
            self._remove(template.prepare)
        else:
            self._pump.put(self._slots.template_lost, template.id, cause)
        return []

    def _remove(self, prepare: Prepare) -> None:
        """The computation is over: its files go, unless they are to be kept."""
        self._placed.discard(prepare.computation)
        if prepare.cleanup:
            with contextlib.suppress(OSError):
                control.send(self._spawner, ["remove", self._directory(prepare)])
        self._pump.put(self._slots.unloaded, prepare.computation)

    def _directory(self, prepare: Prepare) -> str:
        if prepare.directory:
            return os.path.join(self._setting["dest_path_prefix"], "kept", *safe_parts(prepare.directory))
        return os.path.join(self.directory, prepare.computation.hex())

    # Computations

    def load(self, prepare: Prepare) -> None:
        """Put the files of a computation in place and start its template."""
        try:
            directory = self._directory(prepare)
            template = _Template(prepare, directory)
            os.makedirs(directory, mode=0o700, exist_ok=True)
            if prepare.computation not in self._placed:
                for row, content in zip(prepare.files, prepare.contents, strict=True):
                    _place(directory, row, content)
                self._placed.add(prepare.computation)
            self._start_template(template)
        except (OSError, ProtocolError) as error:
            self._pump.put(self._slots.loaded, prepare.computation, str(error))

    def _start_template(self, template: _Template) -> None:
        setting = self._setting
        end, theirs = control.pair()
        template.end = end
        key = template.id.hex()
        self._templates[key] = template
        values = [template.directory, setting["name"], setting["address"], setting["memory_limit"]]
        control.send(self._spawner, ["template", key, *values, setting["process_limit"]], [theirs.fileno()])
        theirs.close()
        body = _body_file(template.prepare.body)
        control.send(end, ["load", template.prepare.kind, template.prepare.name], [body])
        os.close(body)
        template.reader = gevent.spawn(self._read_template, template)

    def _read_template(self, template: _Template) -> None:
        for message in _messages(template.end):
            word = message[0]
            if word == "loaded":
                self._pump.put(self._slots.loaded, template.id, message[1])
            elif word == "exited":
                worker = template.workers.get(message[1])
                if worker is not None:
                    self._worker_ended(worker, message[3] or _cause(message[2], "its process"))

    def unload(self, computation: ComputationId) -> None:
        """End a template and all below it; its files go when it has ended."""
        template = self._templates.get(computation.hex())
        if template is not None:
            template.ending = True
            for worker in list(template.workers.values()):
                self._forget(worker)
            template.end.close()
            template.reader.kill(block=False)
        else:  # It never came so far as to have processes.
            self._pump.put(self._slots.unloaded, computation)

    # Workers

    def new_worker(self, number: WorkerId, computation: ComputationId) -> None:
        template = self._templates[computation.hex()]
        worker = self._workers[number] = template.workers[number] = _Worker(number, template)
        with contextlib.suppress(OSError):  # A dead template is reported by the spawner.
            control.send(template.end, ["fork", number], worker.ends_for_worker())
        worker.forked()
        worker.reader = gevent.spawn(self._read_results, worker)

    def hand(self, number: WorkerId, jobs: list[Job]) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            worker.hand(jobs)
            self._some_work.set()

    def take_back(self, number: WorkerId) -> None:
        worker = self._workers.get(number)
        if worker is not None and not worker.is_dead:
            self._pump.put(self._slots.took_back, number, worker.take_back())

    def interrupt(self, number: WorkerId, job: JobId, attempt: int) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            goal = target(job, attempt)
            worker.page[: len(goal)] = goal
            self._order(worker, ["signal", number, int(signal.SIGINT), False])

    def terminate(self, number: WorkerId) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            self._order(worker, ["signal", number, int(signal.SIGTERM), True])

    def end(self, number: WorkerId) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            self._order(worker, ["end", number])

    def _order(self, worker: _Worker, message: list[Any]) -> None:
        with contextlib.suppress(OSError):
            control.send(worker.template.end, message)

    def _read_results(self, worker: _Worker) -> None:
        readable = gevent.get_hub().loop.io(worker.results.fileno(), 1)
        try:
            while True:
                gevent.get_hub().wait(readable)
                while self.backlog() > BACKLOG_LIMIT:
                    gevent.sleep(0.01)
                data, ancillary, _, _ = worker.results.recvmsg(READ_SIZE, _ANCILLARY)
                if not data:
                    return
                self._take_results(worker, data, ancillary)
                if worker.outstanding >= MANY:
                    gevent.sleep(READ_INTERVAL)
        except OSError:
            return
        finally:
            readable.close()

    def _take_results(self, worker: _Worker, data: bytes, ancillary: list[Any]) -> None:
        if ancillary:
            worker.fds.extend(control.descriptors(ancillary))
        try:
            rows = self._parse(worker, worker.buffer + data if worker.buffer else data)
        except Exception as error:  # A job that writes there itself can send anything.
            logger.warning("a worker's results make no sense (%s); it is ended", error)
            worker.buffer = b""
            self.end(worker.number)
            return
        if rows:
            worker.outstanding -= len(rows)
            worker.flush()
            self._pump.put(self._slots.answered, worker.number, rows)

    def _parse(self, worker: _Worker, data: bytes) -> list[Any]:
        rows: list[Any] = []
        offset, end = 0, len(data)
        view = memoryview(data)
        while end - offset >= 4:
            (length,) = _LENGTH.unpack_from(data, offset)
            if length > FRAME_LIMIT:
                raise ProtocolError("a frame is too long")
            if end - offset - 4 < length:
                break
            offset += 4
            fields = msgpack.unpackb(view[offset : offset + length])
            offset += length
            if fields[0] == RESULT:
                rows.append(_row(worker, fields))
            elif fields[0] == PROGRESS:
                if rows:
                    self._pump.put(self._slots.answered, worker.number, rows)
                    rows = []
                _, job, attempt, index, value = fields
                self._pump.put(self._progressed, worker.number, job, attempt, index, _value(worker, value))
        worker.buffer = data[offset:]
        return rows

    def _progressed(self, number: WorkerId, job: JobId, attempt: int, index: int, value: Bulk, now: float) -> Any:
        return self._slots.progressed(number, job, attempt, index, value)

    def _worker_ended(self, worker: _Worker, cause: str) -> None:
        if worker.is_dead or self._workers.get(worker.number) is not worker:
            return
        worker.is_dead = True
        worker.reader.kill(block=False)
        while True:  # Invariant 2.
            try:
                data, ancillary, _, _ = worker.results.recvmsg(READ_SIZE, _ANCILLARY, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            self._take_results(worker, data, ancillary)
        self._pump.put(self._exited, worker, cause)

    def _exited(self, worker: _Worker, cause: str, now: float) -> Effects:
        """Take back what had not begun in the turn that reports the end, so that no job is handed over in
        between and lost with the socket."""
        if self._workers.get(worker.number) is not worker:
            return []
        taken = worker.take_back()
        self._forget(worker)
        return self._slots.exited(worker.number, taken, cause, now)

    def _forget(self, worker: _Worker) -> None:
        self._workers.pop(worker.number, None)
        worker.template.workers.pop(worker.number, None)
        worker.reader.kill(block=False)
        worker.close()

    def _watch_output(self) -> None:
        while True:
            self._some_work.wait()
            gevent.sleep(OUTPUT_INTERVAL)
            busy = [worker for worker in self._workers.values() if worker.outstanding]
            if not busy:
                self._some_work.clear()
            for worker in busy:
                keep_within_limit(worker.out)
                keep_within_limit(worker.err)


def _messages(end: Any) -> Any:
    """What comes from a control socket, until its other end is gone."""
    end.setblocking(False)
    while True:
        try:
            socket.wait_read(end.fileno())
            received = control.receive(end)
        except BlockingIOError:
            continue
        except (OSError, ValueError):
            return
        if received is None:
            return
        yield received[0]


def _row(worker: _Worker, fields: list[Any]) -> Row:
    """The outcome in a frame, as a row of `Ended`."""
    _, job, attempt, status, result, out, err, *rest = fields
    if tuple(map(type, fields)) not in _RESULT_TYPES:
        raise ProtocolError("a field that is none")
    if type(result) is not bytes or len(out) > INLINE or len(err) > INLINE:
        result, out, err = _value(worker, result), _printed(out), _printed(err)
    return (job, attempt, status, result, out, err, *rest)


def _value(worker: _Worker, value: Any) -> Bulk:
    """A payload out of a frame: as it is, or the next memory file that came along."""
    if type(value) is int:
        return MemoryFile(worker.fds.popleft(), value)
    if type(value) is not bytes or len(value) > INLINE:
        raise ProtocolError("a value that is none")
    return value


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


def _body_file(body: Bulk) -> int:
    """The computation's body as an open file, to be closed by the caller."""
    if isinstance(body, MemoryFile):
        return os.dup(body.fd)
    fd = control.memory_file("gdispy-body")
    # A mapping of nothing is impossible; a program has no body.
    os.write(fd, body if type(body) is bytes and body else b"\0")
    return fd


def _place(directory: str, row: list[Any], content: Bulk) -> None:
    """Put one dependency file where it belongs, and check that it is what was announced."""
    path, mode, modified, size, digest = row
    parts = safe_parts(path)
    folder = directory
    for part in parts[:-1]:
        folder = os.path.join(folder, part)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if os.path.islink(folder) or not os.path.isdir(folder):
            raise ProtocolError(f"{path!r}: something is in the way")
    goal = os.path.join(folder, parts[-1])
    if not isinstance(content, ReceivedFile):
        raise ProtocolError(f"{path!r}: it did not arrive as a file")
    if content.error:
        raise ProtocolError(f"the file {path!r} is refused: {content.error}")
    if content.size != size or content.digest != digest or len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"the file {path!r} changed while it was sent")
    os.chmod(content.path, mode & 0o777 & ~0o077)
    os.utime(content.path, (modified, modified))
    os.replace(content.path, goal)


def _environment(instance: bytes) -> dict[str, str]:
    """The environment of the spawner, and so of all jobs: without secrets, marked as this node's."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GDISPY_SECRET")}
    environment["GDISPY_NODE"] = instance.hex()
    return importable(environment)


def _cause(status: int, what: str) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return f"{what} was ended by {signal_name(9)}: by another process, or by the kernel for lack of memory"
    if code < 0:
        return f"{what} was ended by {signal_name(-code)}"
    return f"{what} ended by itself with exit code {code} before the job was done"
