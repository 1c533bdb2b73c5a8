"""The loop of a worker: take a job, run it, hand back what came of it.

Floor 1. Runs in the only thread of a process that a template has forked. Jobs come as messages of
a local socket pair. The kernel hands each message to exactly one reader, so a job that the node can
take back out of the socket has not begun and never will, and one that it cannot, has. That is why
each job is a message of its own, and why this loop never reads ahead; short jobs come in groups (see `page.py`).

A job message is `[job, attempt, arguments]`; for a job with options of its own `[job, attempt, arguments, names,
error, seconds of processor time]`; for a group `[serial number of the first, [[job, attempt, arguments], ...]]`.
A result frame is u32 length and one of
  `[RESULT, job, attempt, status, result, stdout, stderr, exception, start, end, progress, truncated]`
  `[PROGRESS, job, attempt, index, value]`
  `[FILE, job, attempt, number, path, mode, mtime, size]` with the open file
  `[TOGETHER, generation, outcomes]`: arrays that begin with RESULT, one after the other
  `[RETURNED, serial]`: this and what follows in its group was not begun.
  `[FREED, job, attempt]`: the file that came with it is not used here any more.
Arguments, names and values above `INLINE` bytes come in a memory file that travels with the message; their place in it
holds the size in bytes. With a minus, the arguments are in a file that may be used again (`files.py`), and the result
in the one that came with the job, which does not travel once more. A file that nothing in the message speaks of is
blank, for the result. The answer to FILE, u32 length and a text, '' for good, comes back through the socket of the
results.
"""

from __future__ import annotations

import builtins
import math
import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgpack

from gdispy.core.limits import shortened
from gdispy.worker import chunks, control, pickling
from gdispy.worker.capture import Capture
from gdispy.worker.files import INLINE, Loan, map_files, written
from gdispy.worker.limits import Limits, OwnLimits
from gdispy.worker.page import BEGUN, FILLED, RUNNING, VOID, Page
from gdispy.worker.processes import has_children, kill_descendants

RESULT = 0
PROGRESS = 1
FILE = 2
TOGETHER = 3
RETURNED = 4
FREED = 5
#: The place of the value in a result frame.
VALUE = 4

#: Statuses a worker can report; the numbers are those of `DispyJob`.
TERMINATED = 9
FINISHED = 11

#: The exit code of a worker that could not go on: what it needs is broken, such as its open files.
BROKEN = 70

#: Bytes of one message at most.
MESSAGE_LIMIT = 64 * 1024

_HERE = os.path.dirname(os.path.abspath(__file__))
_LENGTH = struct.Struct(">I")
_TARGET = struct.Struct("<QI")
_ANCILLARY = socket.CMSG_SPACE(control.FD_LIMIT * 4)


#: Bytes of the answer to FILE at most.
ANSWER_LIMIT = 64 * 1024

#: What came of one job: status, result, and what went wrong.
Outcome = tuple[int, pickling.Payload, str]
#: Runs one job: the arguments' payload and the environment of the job in, the outcome out.
Run = Callable[[Any, "Job"], Outcome]


class Job:
    """The job that runs now; `current` is None between jobs."""

    current: Job | None = None

    # As of every job at first; the shortest take hardly longer than to set them once more.
    #: Provisional results, and files, that it has sent.
    progress = 0
    files = 0
    #: The process of a program job, which an interrupt is for; -1 once it has ended.
    program = 0
    cancelled = False
    #: In the middle of a frame: an interrupt now would spoil the stream, and comes afterwards.
    is_sending = False

    def __init__(self, number: int, attempt: int, worker: Worker) -> None:
        self.number = number
        self.attempt = attempt
        self._worker = worker

    def go_home(self) -> None:
        """Back to the directory where jobs begin."""
        self._worker.go_home()

    def note_signal(self, number: int) -> str:
        """What to add where a limit has ended its program by this signal."""
        return self._worker.limits.note(None, number)

    def provide(self, value: object) -> None:
        """Send a provisional result."""
        payload = pickling.dumps(value)
        self.is_sending = True
        self._worker.answer([PROGRESS, self.number, self.attempt, self.progress, payload])
        self.is_sending = False
        self.progress += 1
        if self.cancelled:
            raise KeyboardInterrupt

    def send_file(self, path: str, shown: str) -> str:
        """Send a file to the client, where it is to be called `shown`, and wait; what went wrong, or ''."""
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            row = [shown, about.st_mode & 0o777, float(about.st_mtime), about.st_size]
            self.is_sending = True
            self._worker.write([FILE, self.number, self.attempt, self.files, *row], file.fileno())
            self.is_sending = False
        self.files += 1
        if self.cancelled:
            raise KeyboardInterrupt
        return self._worker.read_answer()


class Worker:
    """The worker's ends of what joins it to the node."""

    def __init__(self, fds: list[int], run: Run, directory: str, limits: Limits) -> None:
        jobs, results, out, err, page = fds
        self._jobs = socket.socket(fileno=jobs)
        self._results = socket.socket(fileno=results)
        self._jobs.setblocking(True)
        self._results.setblocking(True)
        self._capture = Capture(out, err)
        # The node writes here which job is to be interrupted, then sends the signal.
        self._page = Page(page)
        #: The number in what it writes, to be looked at before each job.
        self._target = memoryview(self._page.map)[:8].cast("Q")
        self.limits = OwnLimits(limits, self._page.map)
        #: The job that runs is one of a group: its outcome need not leave at once.
        self._is_together = False
        self._run = run
        self._directory = directory
        self._folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        #: The file that came with the job that runs, and is to be given back.
        self._loan: Loan | None = None
        self._pack = msgpack.Packer(unicode_errors="backslashreplace").pack

    def serve(self) -> None:
        """Run jobs until the node closes its end, or this worker is used up."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        receive, unpack = self._jobs.recvmsg, msgpack.unpackb
        while True:
            data, ancillary, _, _ = receive(MESSAGE_LIMIT, _ANCILLARY)
            if not data:
                return
            fields = unpack(data)
            if len(fields) == 2:
                self._work_together(*fields)
                if self.limits.is_used_up():
                    return
                continue
            if ancillary:
                self._loan = map_files(fields, control.descriptors(ancillary))
            self._work(Job(fields[0], fields[1], self), fields[2], fields[3:])
            if self.limits.is_used_up():
                return
            self.go_home()

    def go_home(self) -> None:
        """Back to the directory where jobs begin."""
        try:
            os.fchdir(self._folder)
        except OSError:  # The job has closed descriptors that are not its own.
            os.chdir(self._directory)

    def _work_together(self, serial: int, group: list[list[Any]]) -> None:
        """Run the jobs of a group, as far as they are wanted and this worker is not used up."""
        words, limits = self._page.words, self.limits
        self._is_together = True
        for number, attempt, arguments in group:
            words[BEGUN] = serial
            if words[VOID] >= serial:
                self._is_together = False
                self.write([RETURNED, serial])
                return
            self._work(Job(number, attempt, self), arguments, [])
            self.go_home()
            if not limits.are_none and limits.is_used_up():
                break
            serial += 1
        self._is_together = False
        self._send_kept()

    def _work(self, job: Job, arguments: Any, special: list[Any]) -> None:
        self._capture.begin()
        words = self._page.words
        words[RUNNING] = 1
        limits = self.limits
        is_timed = False
        if special or not limits.are_none:
            is_timed = limits.begin(job.number, job.attempt, special[2] if special else 0.0)
        begun = time.time()
        clock = time.perf_counter()
        try:
            Job.current = job
            if self._target[0] == job.number and self._is_target(job):
                job.cancelled = True
                raise KeyboardInterrupt
            if special:
                status, result, exception = self._run_special(arguments, job, *special[:2])
            else:
                status, result, exception = self._run(arguments, job)
            Job.current = None
        except BaseException as error:
            Job.current = None
            status, result, exception = TERMINATED, b"", _describe(error, job) + limits.note(error)
        ended = begun + (time.perf_counter() - clock)
        if has_children():  # No process outlives the job that made it.
            kill_descendants(os.getpid())
        words[RUNNING] = 0
        if is_timed:
            limits.end()
        out, err, cut = self._printed() if limits.has_file_limit else self._capture.end()
        row = [RESULT, job.number, job.attempt, status, result, out, err, exception, begun, ended, job.progress, cut]
        if self._loan is not None:
            self._give_back(self._loan, row)
        elif not (self._is_together and type(result) is bytes and self._keep(result, row)):
            self.answer(row)

    def _give_back(self, loan: Loan, row: list[Any]) -> None:
        """The job that has ended had this file: answer with it, if that is possible."""
        self._loan = None
        size = loan.give_back(row[VALUE], self.limits)
        if size:
            row[VALUE] = -size
            self.write(row)
            return
        if size is not None:
            self.write([FREED, *row[1:3]])
        self.answer(row)

    def _printed(self) -> tuple[bytes, bytes, bool]:
        """What Python has not yet written of the job's output is to be kept, however large a file of it may be."""
        with self.limits.lifted():
            return self._capture.end()

    def _run_special(self, arguments: Any, job: Job, names: Any, error: str) -> Outcome:
        """Run a job that has names of its own, or that cannot run at all."""
        if error:
            return TERMINATED, b"", error
        if not names:
            return self._run(arguments, job)
        given = pickling.loads(names)
        before = {name: getattr(builtins, name) for name in given if hasattr(builtins, name)}
        try:
            vars(builtins).update(given)
            return self._run(arguments, job)
        finally:
            for name in given:
                delattr(builtins, name)
            vars(builtins).update(before)

    def answer(self, fields: list[Any]) -> None:
        """Write a frame with a value; a large one goes into a memory file that is passed along."""
        value = fields[VALUE]
        if type(value) is bytes and len(value) <= INLINE:
            self.write(fields)
            return
        with self.limits.lifted():
            fd = written(value)
        fields[VALUE] = os.fstat(fd).st_size
        self.write(fields, fd)
        os.close(fd)

    def write(self, fields: list[Any], fd: int = -1) -> None:
        """Write one frame, with this open file."""
        body = self._pack(fields)
        self._send_kept()
        frame = _LENGTH.pack(len(body)) + body
        if fd >= 0:
            sent = socket.send_fds(self._results, [frame], [fd])
            frame = frame[sent:]
        self._results.sendall(frame)

    def _keep(self, result: bytes, row: list[Any]) -> bool:
        """Keep an outcome of a group for a little while, if there is room."""
        return len(result) <= INLINE and self._page.keep(self._pack(row))

    def _send_kept(self) -> None:
        """Send what is kept, before anything that comes after it."""
        if self._page.words[FILLED]:
            generation, filled = self._page.mark()
            body = self._pack([TOGETHER, generation, self._page.kept(generation, filled)])
            self._results.sendall(_LENGTH.pack(len(body)) + body)
            self._page.sent()

    def read_answer(self) -> str:
        """What the node answers to a file."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(min(length, ANSWER_LIMIT)).decode("utf-8", "replace")

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._results.recv(size - len(data))
            if not more:
                raise ConnectionError("the node is gone")
            data += more
        return data

    def _is_target(self, job: Job) -> bool:
        number, attempt = _TARGET.unpack_from(self._page.map)
        return bool(number == job.number and attempt == job.attempt)

    def _on_interrupt(self, _signum: int, _frame: object) -> None:
        job = Job.current
        if job is None or not self._is_target(job):
            return
        job.cancelled = True
        if job.program == 0 and not job.is_sending:
            raise KeyboardInterrupt
        if job.program > 0:
            os.kill(job.program, signal.SIGINT)


class _Unpicklable(Exception):
    """The job returned something that cannot travel."""


def target(number: int, attempt: int) -> bytes:
    """What the node writes into a worker's page before it has the worker interrupted."""
    return _TARGET.pack(number, attempt)


def call_function(function: Callable[..., Any]) -> Run:
    """How the jobs of a function computation run."""

    def call(arguments: Any) -> pickling.Payload:
        args, kwargs = pickling.loads(arguments)
        value = function(*args, **kwargs)
        return b"" if value is None else _result(value)

    def run(arguments: Any, job: Job) -> Outcome:
        if arguments[0] == chunks.MARK:
            return FINISHED, _work_off(call, arguments, job), ""
        return FINISHED, call(arguments), ""

    return run


def _work_off(call: Callable[[Any], pickling.Payload], arguments: Any, job: Job) -> bytes:
    """Run the calls of a chunk, one after the other."""
    seconds, calls = chunks.unpack_calls(arguments)
    until = time.perf_counter() + (seconds or math.inf)
    results: list[pickling.Payload] = []
    failures: list[tuple[int, str]] = []
    for place, each in enumerate(calls):
        result: pickling.Payload = b""
        try:
            result = call(each)
        except BaseException as error:
            if job.cancelled:
                raise
            failures.append((place, _describe(error, job)))
        results.append(result)
        if job.cancelled:  # The call has caught the interrupt, which was for all of them.
            raise KeyboardInterrupt
        job.go_home()
        if time.perf_counter() > until:
            break
    return chunks.pack_results(results, failures)


def _result(value: object) -> pickling.Payload:
    try:
        return pickling.dumps_result(value)
    except Exception as error:
        kind = type(value).__name__
        reason = f"{type(error).__name__}: {error}"
        raise _Unpicklable(f"The result, a {kind}, cannot be pickled: {reason}") from error


def users_frames(error: BaseException) -> TracebackType | None:
    """Where an error came about, without the frames of this package that lead there."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames


def _describe(error: BaseException, job: Job) -> str:
    """The traceback as the user would see it."""
    if isinstance(error, _Unpicklable):
        return f"{error}\n"
    told = traceback.TracebackException(type(error), error, users_frames(error))
    if told.stack and told.stack[-1].filename.startswith(_HERE) and job.cancelled:
        told.stack.pop()  # The handler of the interrupt.
    text = shortened("".join(told.format())) + missing_module(error)
    return text + ("The job was cancelled.\n" if job.cancelled else "")


def missing_module(error: BaseException) -> str:
    """Where a module would have to be installed that is missing, in a line for users; '' for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.partition(".")[0]
    if name != error.name and name in sys.modules:
        return ""  # What is there has no such part.
    return (
        f"The Python of this node has no module {name}: install it there ({sys.executable} -m pip install ...), or, if "
        "it is your own, list it in depends.\n"
    )
