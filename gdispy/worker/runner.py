"""The loop of a worker: take a job, run it, return its outcome.

Runs in the only thread of a process that a template has forked. Jobs arrive as messages of a local socket pair. The
kernel delivers each message to exactly one reader, so a job that the node can read back from the socket was not started
and never will be, and all others were. That is why each job is a separate message, and why this loop never reads ahead;
short jobs arrive in groups (see `shared_page.py`).

`frames.py` defines the messages on the sockets.

PROGRESS and FILE are sent by all threads of a job and by the processes that it forks. They are small, so the kernel
writes each in one step or not at all, even if the process is killed; the node numbers them on arrival. Only the process
that was given the job reports its outcome: a child that returns from the function ends.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import stat
import sys
import threading
import traceback
from _thread import _count as thread_count
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from time import perf_counter, time
from typing import Any, BinaryIO, NamedTuple

from gdispy.worker import control, pickling
from gdispy.worker.calls import Outcome, Run
from gdispy.worker.calls import call_function as call_function
from gdispy.worker.changes import Changes
from gdispy.worker.descriptors import LeftOpen, protect
from gdispy.worker.failures import describe, raised, users_frames
from gdispy.worker.frames import (
    ANSWER,
    ANSWER_LIMIT,
    FILE,
    FREED,
    INLINE,
    LENGTH,
    LOG,
    MESSAGE_LIMIT,
    PROGRESS,
    RESULT,
    RETURNED,
    TARGET,
    TERMINATED,
    TOGETHER,
    VALUE,
    job_directory,
)
from gdispy.worker.job_directory import JobDirectory, Place
from gdispy.worker.job_modules import JobModules, MadeModules
from gdispy.worker.limits import Limits, OwnLimits
from gdispy.worker.originals import fcntl, msgpack, os
from gdispy.worker.output_capture import Capture, Output
from gdispy.worker.payload_files import BorrowedFile, digest_of, map_files, written
from gdispy.worker.process_tree import has_children, interrupt, keeps_processes, kill_descendants
from gdispy.worker.result_encoding import encode_provisional
from gdispy.worker.setup_globals import Namespaces
from gdispy.worker.shared_page import BEGUN, FILLED, LIVE, PRINTING, RUNNING, VOID, Page
from gdispy.worker.stacks import Stacks

#: Jobs cannot open more than a few hundred descriptors in this time in seconds: checks of them, and other slow checks,
#: are made at this interval. A job that takes longer is followed by one.
_LOOK_INTERVAL = 0.0002

_ANCILLARY = socket.CMSG_SPACE(control.FD_LIMIT * 4)


class _Running:
    """The state of this process. Not part of the class `Job`, since each assignment to a class invalidates Python's
    attribute caches."""

    __slots__ = ("is_in_child", "job")

    def __init__(self) -> None:
        #: None between jobs.
        self.job: Job | None = None
        #: This process was forked by a job.
        self.is_in_child = False


running = _Running()


class _Special(NamedTuple):
    """What a job with options has in its message besides its arguments."""

    #: Pickled names that only it finds.
    names: pickling.ReceivedPayload
    #: Why it cannot run, or ''.
    error: str
    #: Seconds of CPU time that it may use; 0 for no limit.
    cpu_time: float
    #: Paths of its files in the directory of all jobs, and its own directory, or ''.
    files: list[str]
    directory: str


class Job:
    """A running job."""

    # Class-level defaults, since setting them for each of the shortest jobs costs time.
    #: The process of a program job, the target of an interrupt; -1 once it has ended.
    program = 0
    cancelled = False
    #: The main thread is writing a frame, or starting a program: an interrupt now would corrupt the stream, or miss the
    #: program, and is delivered afterwards.
    is_sending = False

    def __init__(self, number: int, attempt: int, worker: Worker) -> None:
        self.number = number
        self.attempt = attempt
        self._worker = worker

    def go_home(self, now: float) -> bool:
        """Restore the process for the next job; whether that was possible."""
        return self._worker.go_home(now)

    def note_signal(self, number: int) -> str:
        """An addition if a limit has killed its program by this signal."""
        return self._worker.limits.note(None, number)

    def provide(self, value: object) -> bool:
        """Send a provisional result; from any thread, and from processes that the job has forked. Not after the end of
        the job."""
        return self.send_progress(encode_provisional(value))

    def send_progress(self, payload: pickling.Payload) -> bool:
        """Send the payload of a provisional result, in the same way."""
        with self.reporting():
            if running.job is self:
                self._worker.answer([PROGRESS, self.number, self.attempt, 0, payload])
        return running.job is self

    def send_file(self, path: str, shown: str) -> str:
        """Send a file to the client, with the path `shown` there, and wait; returns the error, or ''."""
        # Opening a path that is not a file, such as a pipe, could block.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                return f"{path}: it is not a file"
            return self._send_open(file, about, shown)

    def _send_open(self, file: BinaryIO, about: os.stat_result, shown: str) -> str:
        worker = self._worker
        with worker.sending_file():
            row = _row_of(file.fileno(), about, shown)
            token = worker.next_token()
            with self.reporting():
                if running.job is not self:
                    return "the job has ended"
                worker.write([FILE, self.number, self.attempt, token, *row], [file.fileno()])
            return worker.read_answer(token)

    # For the job of a program, whose worker has no other thread and forwards interrupts to the program

    def offer_file(self, file: int, shown: str) -> int:
        """Send an open file to the client, with the path `shown` there, and do not wait; returns the token of the
        answer. Raises OSError."""
        row = _row_of(file, os.fstat(file), shown)
        token = self._worker.next_token()
        self._worker.write([FILE, self.number, self.attempt, token, *row], [file])
        return token

    @property
    def worker(self) -> Worker:
        """The worker in which it runs."""
        return self._worker

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """One thread at a time, without interrupts."""
        is_main = threading.get_ident() == threading.main_thread().ident
        with self._worker.lock:
            before = self.is_sending
            try:
                self.is_sending = before or is_main
                yield
            finally:
                self.is_sending = before
        if is_main and self.cancelled and not running.is_in_child:
            raise KeyboardInterrupt

    def leave_if_child(self, error: BaseException | None = None) -> None:
        """A process that the job has forked does not return from here: it ends like a program."""
        if running.is_in_child:
            _end_child(error)


def _row_of(file: int, about: os.stat_result, shown: str) -> list[object]:
    return [shown, about.st_mode & 0o777, float(about.st_mtime), about.st_size, digest_of(file)]


def _end_child(error: BaseException | None) -> None:
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        elif error is not None:
            code = 1
            traceback.print_exception(type(error), error, users_frames(error))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


class Worker:
    """The worker's ends of the sockets to the node."""

    def __init__(
        self,
        fds: list[int],
        run: Run,
        directory: str,
        limits: Limits,
        changes: Changes | None = None,
        place: Place | None = None,
    ) -> None:
        jobs, results, out, err, stacks, page = fds
        self._jobs = socket.socket(fileno=jobs)
        self._results = socket.socket(fileno=results)
        self._jobs.setblocking(True)
        self._results.setblocking(True)
        self._place = place = place or Place(directory)
        # The node writes the target of an interrupt here, then sends the signal.
        self._page = Page(page)
        self._stacks = Stacks(stacks, self._page.words)
        self._capture = Capture(out, err, place.output_limit, place.files, self._page.words)
        #: The number in that field, checked before each job.
        self._target = memoryview(self._page.map)[:8].cast("Q")
        self.limits = OwnLimits(limits, self._page.map)
        #: The running job belongs to a group: its outcome need not be sent immediately.
        self._is_together = False
        self._run = run
        #: The directory of the running job, if it has a separate one.
        self._own: JobDirectory | None = None
        self._folder = os.open(place.shared, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        #: The file that came with the running job, and must be returned.
        self._loan: BorrowedFile | None = None
        self._pack = msgpack.Packer(unicode_errors="backslashreplace").pack
        self._changes = changes or Changes()
        self._made = MadeModules([place.shared, place.base], place.modules, self._changes)
        #: Its length tells whether modules were imported.
        self._loaded = sys.modules
        self._left_open = LeftOpen()
        #: Time of the next check of them.
        self._next_look = 0.0
        #: A new worker should run the next job: this process was changed irreversibly.
        self._is_spoilt = False
        #: Receives names that come with a job.
        self.namespaces: Namespaces | None = None
        #: Held while a frame of a running job is written; and while one of its threads sends a file. The same for
        #: processes that it has forked: a lock on an open file, -1 without any.
        self.lock = threading.RLock()
        self._file_lock = threading.Lock()
        self._between_processes = -1
        self._tokens = 0

    def serve(self) -> None:
        """Run jobs until the node closes its end, or this worker must be replaced."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        # Ignored by default, so programs that do not expect it are not disturbed. It must interrupt system calls, or a
        # job that waits for a program would print what it has buffered only at the end of that.
        signal.signal(signal.SIGURG, self._on_followed)
        self._stacks.begin()
        self._changes.begin()
        self._made.begin()
        self._return()
        protect(
            [self._jobs.fileno(), self._results.fileno(), self._folder, self._stacks.fd, *self._capture.files],
            self._on_closing,
        )
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)
        receive, unpack = self._jobs.recvmsg, functools.partial(msgpack.unpackb, unicode_errors="surrogateescape")
        while True:
            data, ancillary, _, _ = receive(MESSAGE_LIMIT, _ANCILLARY)
            if not data:
                return
            fields = unpack(data)
            if len(fields) == 2:
                self._work_together(*fields)
                if self._is_spoilt or self.limits.is_used_up():
                    return
                continue
            if ancillary:
                self._loan = map_files(fields, control.descriptors(ancillary))
            self._work(Job(fields[0], fields[1], self), fields[2], _Special(*fields[3:]) if len(fields) > 3 else None)
            if self._is_spoilt or self.limits.is_used_up():
                return

    def go_home(self, now: float) -> bool:
        """Restore the process and its directory for the next job; whether that was possible."""
        changes, capture = self._changes, self._capture
        has_imported = len(self._loaded) != self._made.number
        if has_imported:
            changes.find_patches()
        if changes.are_any():
            changes.undo()
            self._return()
        if sys.stdout is not capture.out or sys.stderr is not capture.err:
            capture.put_streams_back()
        if has_imported:
            self._made.forget()
        if now > self._next_look:
            self._look(now)
        return not changes.is_beyond_repair

    def _look(self, now: float) -> None:
        """Checks that are not needed after each of the shortest jobs."""
        self._next_look = now + _LOOK_INTERVAL
        self._return()  # C code may change the directory without a record.
        if self._left_open.are_many():
            self._changes.is_beyond_repair = True

    def _return(self) -> None:
        """Change to the initial directory of jobs."""
        try:
            os.fchdir(self._folder)
        except OSError:  # The job has closed descriptors of the worker, or has changed the user.
            try:
                os.chdir(self._place.shared)
            except OSError:
                self._changes.is_beyond_repair = True

    def _on_closing(self) -> None:
        """The job has closed descriptors, perhaps a standard one."""
        self._changes.made.setdefault("descriptors", _open_standard_input)

    def _before_fork(self) -> None:
        """A job forks: buffered output must not be written by both processes."""
        if running.job is not None and self._between_processes < 0:
            self._between_processes = control.memory_file("gdispy-lock")
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()

    def _after_fork(self) -> None:
        running.is_in_child = True
        self.lock, self._file_lock = threading.RLock(), threading.Lock()

    def _work_together(self, serial: int, group: list[list[Any]]) -> None:
        """Run the jobs of a group, as far as they are not recalled and this worker need not be replaced."""
        words, limits = self._page.words, self.limits
        self._is_together = True
        for number, attempt, arguments in group:
            words[BEGUN] = serial
            if words[VOID] >= serial:
                self._is_together = False
                self.write([RETURNED, serial])
                return
            self._work(Job(number, attempt, self), arguments, None)
            if self._is_spoilt or (not limits.are_none and limits.is_used_up()):
                break
            serial += 1
        self._is_together = False
        self._send_kept()

    def _work(self, job: Job, arguments: pickling.ReceivedPayload, special: _Special | None) -> None:
        self._capture.begin()
        words = self._page.words
        words[RUNNING] = 1
        if words[LIVE]:
            self._go_live(job)
        limits = self.limits
        is_timed = False
        if special is not None or not limits.are_none:
            is_timed = limits.begin(job.number, job.attempt, special.cpu_time if special is not None else 0.0)
        begun = time()
        clock = perf_counter()
        try:
            running.job = job
            if self._target[0] == job.number and self._is_target(job):
                job.cancelled = True
                raise KeyboardInterrupt
            if special is not None:
                status, result, exception = self._run_special(arguments, job, special)
            elif self._place.base:
                self._enter_own(job, "")
                status, result, exception = copy_context().run(self._run, arguments, job)
            else:
                status, result, exception = copy_context().run(self._run, arguments, job)
            if running.is_in_child:
                _end_child(None)
            running.job = None
        except BaseException as error:
            job.leave_if_child(error)
            running.job = None
            status, result = TERMINATED, raised(error, job.cancelled)
            exception = describe(error, job.cancelled) + limits.note(error)
        now = perf_counter()
        ended = begun + (now - clock)
        # No process outlives the job that started it. A library may keep a pool of such processes, which the next job
        # would find broken.
        if has_children() and kill_descendants(os.getpid()) and keeps_processes():
            self._changes.is_beyond_repair = True
        self.go_home(now)
        if self._own is not None and (complaint := self._leave_own()):
            status, exception = TERMINATED, exception + complaint
        words[RUNNING] = words[PRINTING] = 0
        if is_timed:
            limits.end()
        has_threads = thread_count() != self._changes.threads
        out, err = self._printed() if limits.has_file_limit else self._capture.end()
        if self._capture.flaw:
            status, exception = TERMINATED, exception + self._capture.flaw
        row = [RESULT, job.number, job.attempt, status, result, out.shown, err.shown, exception, begun, ended, 0, False]
        if out.files or err.files or out.left_out or err.left_out:
            row[-1] = out.left_out + err.left_out
            self._answer_with_output(row, [*out.files, *err.files])
        elif self._loan is not None:
            self._give_back(self._loan, row, [])
        elif not (self._is_together and type(result) is bytes and self._keep(result, row)):
            self.answer(row)
        if has_threads or self._changes.is_beyond_repair:
            self._is_spoilt = self._changes.is_beyond_repair or self._changes.leaves_threads()
            self._capture.drop()

    def _answer_with_output(self, row: list[Any], files: list[int]) -> None:
        """Answer with output in files, which are then closed here."""
        if self._loan is not None:
            self._give_back(self._loan, row, files)
        else:
            self.answer(row, files)
        control.close_all(files)

    def _give_back(self, loan: BorrowedFile, row: list[Any], files: list[int]) -> None:
        """The ended job had this file: answer with it, if possible."""
        self._loan = None
        size = loan.give_back(row[VALUE], self.limits)
        if size:
            row[VALUE] = -size
            self.write(row, files)
            return
        if size is not None:
            self.write([FREED, *row[1:3]])
        self.answer(row, files)

    def _printed(self) -> tuple[Output, Output]:
        """Output that Python has not written yet must be kept, however large a file of it may be."""
        with self.limits.lifted():
            return self._capture.end()

    def _run_special(self, arguments: pickling.ReceivedPayload, job: Job, special: _Special) -> Outcome:
        """Run a job that has names or files, or that cannot run at all."""
        if special.error:
            return TERMINATED, b"", special.error
        names, files, directory = special.names, special.files, special.directory
        where, owns_all = self._place.shared, False
        if directory or self._place.base:
            files = self._enter_own(job, directory)
            where, owns_all = os.getcwd(), True
        if not files:
            return self._run_named(arguments, job, names)
        with JobModules(where, files, self._changes, owns_all):
            return self._run_named(arguments, job, names)

    def _enter_own(self, job: Job, path: str) -> list[str]:
        """A job with a separate directory starts; its files are there."""
        where = path or job_directory(self._place.base, job.number, job.attempt)
        self._own = JobDirectory(self._place, where, self.namespaces or Namespaces([]))
        own = self._own.enter()
        if own:
            sys.path.insert(0, self._own.path)
        return own

    def _leave_own(self) -> str:
        """It has ended; returns its violation, or ''."""
        own, self._own = self._own, None
        self._return()
        return own.leave() if own is not None else ""

    def _run_named(self, arguments: pickling.ReceivedPayload, job: Job, names: pickling.ReceivedPayload) -> Outcome:
        if not names:
            return copy_context().run(self._run, arguments, job)
        main = vars(sys.modules["__main__"])
        before = set(main)
        given = pickling.loads(names)
        for name in given.keys() - before:  # Unpickling may register a class there.
            main.pop(name, None)
        with (self.namespaces or Namespaces([])).lending(given):
            return copy_context().run(self._run, arguments, job)

    def log(self, level: int, text: str) -> None:
        """Send a log line to the node; from any thread, and from processes that a job has forked."""
        job = running.job
        with job.reporting() if job is not None else self.lock:
            self.write([LOG, level, text])

    def answer(self, fields: list[Any], files: Sequence[int] = ()) -> None:
        """Write a frame with a value and open files; a large value is written to a memory file first."""
        value = fields[VALUE]
        if type(value) is bytes and len(value) <= INLINE:
            self.write(fields, files)
            return
        with self.limits.lifted():
            fd = written(value)
        fields[VALUE] = os.fstat(fd).st_size
        self.write(fields, [fd, *files])
        os.close(fd)

    def write(self, fields: Sequence[object], files: Sequence[int] = ()) -> None:
        """Write one frame, with these open files."""
        body = self._pack(fields)
        frame = LENGTH.pack(len(body)) + body
        with self.lock:  # Threads of the job may be writing.
            self._send_kept()
            if files:
                sent = control.send_with_files(self._results, frame, list(files))
                frame = frame[sent:]
            self._results.sendall(frame)

    def _keep(self, result: bytes, row: Sequence[object]) -> bool:
        """Keep an outcome of a group briefly, if there is room."""
        return len(result) <= INLINE and self._page.keep(self._pack(row))

    def _send_kept(self) -> None:
        """Send kept outcomes before any later frame."""
        if self._page.words[FILLED] and not running.is_in_child:
            generation, filled = self._page.mark()
            body = self._pack([TOGETHER, generation, self._page.kept(generation, filled)])
            self._results.sendall(LENGTH.pack(len(body)) + body)
            self._page.sent()

    @contextlib.contextmanager
    def sending_file(self) -> Iterator[None]:
        """One at a time, among the threads of the job and the processes that it has forked."""
        with self._file_lock:
            held = self._between_processes
            if held >= 0:
                fcntl.lockf(held, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if held >= 0:
                    fcntl.lockf(held, fcntl.LOCK_UN)

    def next_token(self) -> int:
        """A token that no other file of this worker has, in any process."""
        self._tokens += 1
        return os.getpid() << 32 | self._tokens

    @property
    def answers(self) -> int:
        """The descriptor on which answers to files arrive."""
        return self._results.fileno()

    @property
    def private_directory(self) -> str:
        """A directory of this worker, outside those of its jobs; it may not exist yet."""
        return self._place.private

    def read_answer(self, token: int) -> str:
        """The node's answer to a file; answers for dead processes are skipped."""
        while True:
            whose, text = self.next_answer()
            if whose == token:
                return text

    def next_answer(self) -> tuple[int, str]:
        """The node's next answer to any file: its token, and the error, or ''."""
        length, token = ANSWER.unpack(self._read(ANSWER.size))
        return token, self._read(min(length, ANSWER_LIMIT)).decode("utf-8", "replace")

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._results.recv(size - len(data))
            if not more:
                raise ConnectionError("the node is gone")
            data += more
        return data

    def _is_target(self, job: Job) -> bool:
        number, attempt = TARGET.unpack_from(self._page.map)
        return bool(number == job.number and attempt == job.attempt)

    def _go_live(self, job: Job) -> None:
        """A client follows jobs of this worker."""
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # The node asks again.
            self._capture.go_live()
            self._page.words[PRINTING] = job.number

    def _on_followed(self, _signum: int, _frame: object) -> None:
        job = running.job
        if job is not None and not running.is_in_child:
            self._go_live(job)
            self._stacks.write_all()

    def _on_interrupt(self, _signum: int, _frame: object) -> None:
        job = running.job
        if job is None or not self._is_target(job):
            return
        job.cancelled = True
        if running.is_in_child:
            raise KeyboardInterrupt
        if job.is_sending:
            return
        if job.program == 0:
            raise KeyboardInterrupt
        if job.program > 0:
            interrupt(job.program)


def _open_standard_input() -> None:
    """Descriptor 0, if a job has closed it: otherwise the next opened file would get this number."""
    try:
        os.fstat(0)
    except OSError:
        fd = os.open(os.devnull, os.O_RDONLY)
        if fd:
            os.dup2(fd, 0)
            os.close(fd)
