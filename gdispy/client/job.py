"""A job as the user holds it.

Made by `submit` in the user's thread; its fields are set by the hub, and read anywhere. It
is kept small: a program may hold a million of them.

Invariants:
1. A job is numbered once, by a counter of the process, so jobs of several clusters have different numbers.
2. Whether a result can be unpickled here is decided before anybody can see that the job has ended: `status`,
   `exception` and `result` agree at every moment.
3. A copy is equal to its job, has the same hash, and ends with it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import reprlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from gdispy.errors import JobFailed, RemoteError
from gdispy.protocol import job_status
from gdispy.protocol.limits import printable
from gdispy.protocol.payload import Bulk, MemoryPayload, joined
from gdispy.runtime.gate import Gate
from gdispy.worker import batch, pickling, plain

if TYPE_CHECKING:
    import asyncio

    from gdispy.protocol.messages import Ended

logger = logging.getLogger("gdispy")

_gates = threading.Lock()
#: The numbers of all jobs of this process.
_numbers = itertools.count(1)
#: Gives the number of a new job.
next_number = _numbers.__next__
#: Characters of `error` at most.
ERROR_LIMIT = 500
#: Bytes of pickled arguments that a job keeps when it has ended.
ARGUMENTS_LIMIT = 64 * 1024
#: What begins a payload that is no result, but what the job has raised.
_FAILURE = pickling.FAILURE
_loads = pickling.loads
#: The opcode without which a pickle calls nothing and loads nothing by name, so that it can always be unpickled.
_STACK_GLOBAL = b"\x93"


def skip_numbers(last: int) -> None:
    """The numbers up to this one belong to jobs of a former life of the program."""
    while next_number() <= last:
        pass


class DispyJob:
    """One call of the computation, from `submit` to its result.

    `id` is the user's to set, and `result` may be set to None to free its memory; the rest is read only.
    `status` is one of the constants below. `result` is what the function returned, or the exit code of
    a program; while the status is `ProvisionalResult`, the latest provisional result. `stdout` and
    `stderr` are text for functions and bytes for programs; `truncated` says whether too much was
    printed to be kept. `exception` is None, or text that tells what went wrong. `submit_time`,
    `start_time` and `end_time` are seconds since the epoch, the latter two by the node's clock;
    `ip_addr` is the address of that node.

    Wait with `job()`, `job.wait(seconds)`, `job.result_or_raise()`, or, in a coroutine, `await job`.
    """

    Created = job_status.CREATED
    Running = job_status.RUNNING
    ProvisionalResult = job_status.PROVISIONAL_RESULT
    Cancelled = job_status.CANCELLED
    Terminated = job_status.TERMINATED
    Abandoned = job_status.ABANDONED
    Finished = job_status.FINISHED

    #: What records the names of jobs, if anything does.
    _logbook: Any = None

    __slots__ = (
        "_arguments",
        "_done",
        "_exception",
        "_finish",
        "_gate",
        "_id",
        "_late",
        "_number",
        "_payload",
        "_result",
        "_status",
        "end_time",
        "ip_addr",
        "start_time",
        "stderr",
        "stdout",
        "submit_time",
        "truncated",
    )

    #: As in dispy, for programs that number things of their own.
    id_iter = _numbers

    def __init__(self, job_id: Any = None, args: Any = (), kwargs: Any = None) -> None:
        """A job that belongs to no cluster, as programs for dispy make them; clusters make their own in `submit`.
        Without `job_id` it gets a number."""
        self._make(next_number(), 0.0, (tuple(args), dict(kwargs or ())), job_id or None)

    @classmethod
    def _new(cls, number: int, submit_time: float, arguments: Any = None) -> DispyJob:
        """A job of a cluster, with its pickled arguments."""
        job = cls.__new__(cls)
        job._make(number, submit_time, arguments)
        return job

    def _make(self, number: int, submit_time: float, arguments: Any, job_id: Any = None) -> None:
        self._id: Any = number if job_id is None else job_id
        self._number = number
        #: As pickled for the node, or the pair `(args, kwargs)`; None where they are not known, or not any more.
        self._arguments: Any = arguments
        self._status = job_status.CREATED
        self.submit_time = submit_time
        self.start_time: float | None = None
        self.end_time: float | None = None
        self.ip_addr: str | None = None
        self.stdout: Any = None
        self.stderr: Any = None
        self._exception: str | None = None
        self.truncated = False
        self._result: Any = None
        #: The result as it arrived, until it is unpickled.
        self._payload: Any = b""
        self._done = False
        self._gate: Gate | None = None
        self._finish: Finish | None = None
        #: The result that came when the job had been given up.
        self._late: Any = b""

    @property
    def id(self) -> Any:
        """What the user calls it; at first its number, which no other job of this process has."""
        return self._id

    @id.setter
    def id(self, value: Any) -> None:
        self._id = value
        if self._logbook is not None:
            self._logbook.named(self._number, value)

    @property
    def late_result(self) -> Any:
        """What an abandoned job returned after all, where its node came back with that; else None. Its end stays."""
        if not self._late:
            return None
        return self._late.value() if type(self._late) is Plain else pickling.loads(_copied(self._late))

    @property
    def status(self) -> int:
        """One of the constants of this class."""
        payload = self._payload
        # What `_decide` looks at first, without a call: many look at each job.
        if payload and self._done and (type(payload) is not bytes or _STACK_GLOBAL in payload):
            self._decide()
        return self._status

    @status.setter
    def status(self, value: int) -> None:
        self._status = value

    @property
    def status_name(self) -> str:
        """`status` in a word, such as 'Finished'."""
        return STATUS_NAMES[self.status]

    @property
    def exception(self) -> str | None:
        """None, or text with what went wrong."""
        if self._payload and self._done:
            self._decide()
        return self._exception

    @exception.setter
    def exception(self, value: str | None) -> None:
        self._exception = value

    @property
    def error(self) -> str | None:
        """What went wrong in one line, such as 'ValueError: no such thing'; None where nothing did."""
        text = self.exception
        return error_line(text) if text else None

    @property
    def args(self) -> Any:
        """What the job is called with, for a program its words; a copy, unpickled at each call. None for a job that has
        ended with arguments of more than 64 KiB, and where they are not known."""
        call = self._call()
        return call[0] if type(call) is tuple else call

    @property
    def kwargs(self) -> Any:
        """The keyword arguments, likewise; None for a program."""
        call = self._call()
        return call[1] if type(call) is tuple else None

    # dispy's names for them, and for what its pages know a job by.
    _args = args
    _kwargs = kwargs

    @property
    def _uid(self) -> int:
        return self._number

    @property
    def _dispy_job_(self) -> DispyJob | None:
        return None if self._done else self

    def _call(self) -> Any:
        known = self._arguments
        if known is None or type(known) is tuple:
            return known
        data = _bytes(known)
        return None if data[0] == batch.MARK else pickling.loads(data)

    @property
    def result(self) -> Any:
        """What the job returned. It is unpickled here, in the thread that asks first."""
        done, payload = self._done, self._payload
        if not payload:
            return self._result
        if not done:
            return self._provisional(payload)
        self._unpickle(payload)
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        with _gates:
            self._result, self._payload = value, b""

    def _provisional(self, payload: Any) -> Any:
        """A provisional result. The hub may replace it at any moment, so nothing of it is kept."""
        try:
            return payload.value() if type(payload) is Plain else pickling.loads(_copied(payload))
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("a provisional result of job %r cannot be read here: %s", self._id, printable(reason))
            return None

    def _decide(self) -> None:
        """It has ended, and nobody has seen the result yet: unpickle it, unless that cannot fail."""
        payload = self._payload
        if type(payload) is not bytes or _STACK_GLOBAL in payload:
            self._unpickle(payload)

    def _unpickle(self, payload: Any) -> None:
        """Take the result, or what went wrong with it, from what has arrived."""
        value, problem = None, ""
        try:
            if type(payload) is Plain:
                value = plain.loads(_bytes(payload.payload))
            elif type(payload) is not bytes:
                value = pickling.loads(_bytes(payload))
            elif payload[0] == _FAILURE:
                return
            else:
                value = _loads(payload)
        except (
            Exception,
            SystemExit,
        ) as error:  # The latter where a class of the result calls exit: it must not end us.
            problem = unreadable(error)
        with _gates:
            # Of several threads that unpickle it at the same time, the first one's is everybody's.
            if self._payload is payload:
                if problem:
                    self._status, self._exception = job_status.TERMINATED, problem
                self._result, self._payload = value, b""

    def __call__(self, clear: bool = False) -> Any:
        """Wait for the end, and return `result`: None where the job failed (see `exception`).

        With `clear`, `finish` is not set afterwards, as in dispy; the job itself has ended and stays so.
        """
        self.wait()
        if clear:
            self.finish.clear()
        return self.result

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if `timeout` seconds pass before."""
        if self._done:
            return True
        # First the gate, then a look at `_done`: the hub sets that first, and then looks for a gate.
        gate = self._own_gate()
        return self._done or gate.wait(timeout) or self._done

    def result_or_raise(self, timeout: float | None = None) -> Any:
        """Wait for the end, and return `result`. Raises JobFailed where there is none, since the job was
        cancelled, terminated or abandoned, and TimeoutError if `timeout` seconds pass before."""
        if not self.wait(timeout):
            raise TimeoutError(f"job {self.id!r} has not ended within {timeout} s")
        result = self.result
        if self.status != job_status.FINISHED:
            raise self._failed()
        return result

    def __await__(self) -> Generator[Any, None, Any]:
        """`await job` waits for the end, and gives `result` as `job()` does. In any number of loops."""
        if not self._done:
            import asyncio  # It is large, and who awaits has it already.

            loop = asyncio.get_running_loop()
            future = loop.create_future()

            def wake() -> None:
                with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                    loop.call_soon_threadsafe(_settle, future)

            self._tell(wake)
            try:
                yield from future.__await__()
            finally:
                self._forget(wake)
        return self.result

    @property
    def finish(self) -> Finish:
        """What programs for dispy wait on, as `job.finish.wait(seconds)`."""
        if self._finish is None:
            self._finish = Finish(self)
        return self._finish

    def _tell(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the job ends, at once if it has: at least once, from any thread."""
        gate = self._own_gate()
        if self._done:
            wake()
        else:
            gate.tell(wake)

    def _forget(self, wake: Callable[[], None]) -> None:
        if self._gate is not None:
            self._gate.forget(wake)

    def _own_gate(self) -> Gate:
        with _gates:
            if self._gate is None:
                self._gate = Gate()
            return self._gate

    def _failed(self, note: str = "") -> JobFailed:
        """The error to raise for a job without a result. `__cause__` is what the job raised, or stands for it."""
        text = self._failure()
        error = JobFailed(f"{text}\n{note}" if note else text, self)
        error.__cause__ = self._cause()
        return error

    def _failure(self) -> str:
        """Why there is no result: a line with the arguments, and, where there is one, the traceback of the node."""
        called = self._shown_call()
        line = f"job {self.id!r}{f', called with {called}' if called else ''}: {self.status_name}"
        cause = (self.exception or "").strip()
        return f"{line}\n{cause}" if cause else line

    def _shown_call(self) -> str:
        """The arguments, shortened; '' where they are not known or cannot be shown."""
        try:
            args, kwargs = self.args, self.kwargs
            if args is None:
                return ""
            parts = [_short.repr(arg) for arg in args]
            parts += [f"{name}={_short.repr(value)}" for name, value in (kwargs or {}).items()]
        except Exception:  # Of a class whose `__repr__`, or unpickling, fails.
            return ""
        return f"({', '.join(parts)})"

    def _cause(self) -> BaseException | None:
        """What the job raised, as far as it can be made again here; else an exception with the same name."""
        text = self.exception
        if not text:
            return None
        payload = self._payload
        if _is_failure(payload):
            with contextlib.suppress(Exception):
                error = pickling.loads(joined(payload)[1:])
                if isinstance(error, BaseException):
                    return error
        return _stand_in(error_line(text)) if "Traceback" in text else None

    def _end(self, ended: Ended, place: int, is_program: bool, is_plain: bool = False) -> None:
        """Take what came of it from a message."""
        result = ended.results[place]
        self._payload = Plain(result) if is_plain and result else result
        self._status, self.ip_addr = ended.statuses[place], ended.address or None
        self.start_time, self.end_time = ended.starts[place] or None, ended.ends[place] or None
        output, error = joined(ended.outputs[place]), joined(ended.errors[place])
        self.stdout = output if is_program else output.decode("utf-8", "replace")
        self.stderr = error if is_program else error.decode("utf-8", "replace")
        self.truncated, self._exception = bool(ended.truncated[place]), ended.exceptions[place] or None
        self._done = True

    def _origin(self) -> DispyJob:
        """The job that this one is a copy of; itself where it is none."""
        return self

    def _copy(self) -> DispyJob:
        """What a callback gets before the end: the job as it is at this moment."""
        return _JobCopy(self._origin(), self)

    __copy__ = _copy

    def __deepcopy__(self, memo: Any) -> DispyJob:
        return self._copy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"job {self.id!r} cannot be pickled, so it cannot be an argument of another job: "
            "wait for it with job(), and give its result"
        )

    def _part(self, exception: str, arguments: Any = None, cause: Bulk = b"") -> DispyJob:
        """One of several calls that this job made, which has failed."""
        part = DispyJob._new(self._number, self.submit_time, arguments)
        for name in ("_id", "start_time", "end_time", "ip_addr", "stdout", "stderr", "truncated"):
            setattr(part, name, getattr(self, name))
        part._status, part._exception, part._payload, part._done = job_status.TERMINATED, exception, cause, True
        return part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispyJob) and self._origin() is other._origin()

    def __hash__(self) -> int:
        return hash(self._number)

    def __lt__(self, other: DispyJob) -> bool:
        return self._number < other._number

    def __repr__(self) -> str:
        return f"<DispyJob {self.id!r}: {STATUS_NAMES[self._status]}>"


class _JobCopy(DispyJob):
    """A job as it was at some moment, until somebody waits for it: then it is as its job at the end."""

    __slots__ = ("_job",)

    def __init__(self, job: DispyJob, state: DispyJob) -> None:
        self._job = job
        self._take(state)

    def _take(self, state: DispyJob) -> None:
        for name in DispyJob.__slots__:
            setattr(self, name, getattr(state, name))
        self._gate = self._finish = None

    def _origin(self) -> DispyJob:
        return self._job

    def wait(self, timeout: float | None = None) -> bool:
        if not self._done:
            if not self._job.wait(timeout):
                return False
            self._take(self._job)
        return True

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._job.__await__()
        self.wait()
        return self.result

    def _tell(self, wake: Callable[[], None]) -> None:
        self._job._tell(wake)

    def _forget(self, wake: Callable[[], None]) -> None:
        self._job._forget(wake)


class KeptJob(DispyJob):
    """A job that a recovery file remembers."""

    __slots__ = ("_logbook",)

    @classmethod
    def _kept(cls, number: int, submit_time: float, logbook: Any, arguments: Any = None) -> KeptJob:
        """Such a job; `logbook` is where its names are recorded."""
        job = cls.__new__(cls)
        job._make(number, submit_time, arguments)
        job._logbook = logbook
        return job


class Finish(threading.Event):
    """The end of a job as an event. Made when it is asked for."""

    def __init__(self, job: DispyJob) -> None:
        # Nothing of the base class is used: its lock would be lost where Ctrl-C comes just when it was taken.
        self._job = job
        self._is_cleared = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set: when the job has ended. False if `timeout` seconds pass before."""
        if not self._is_cleared:
            return self._job.wait(timeout)
        return Gate().wait(timeout)

    def is_set(self) -> bool:
        """Whether the job has ended, and `clear` was not called since."""
        return self._job._done and not self._is_cleared

    isSet = is_set

    def set(self) -> None:
        """Undo `clear`. It ends no job: only its node does that."""
        self._is_cleared = False

    def clear(self) -> None:
        """It is not set any more, where the job has ended; no effect before."""
        self._is_cleared = self._job._done

    def __repr__(self) -> str:
        return f"<Finish of {self._job!r}: {'set' if self.is_set() else 'unset'}>"


#: The last line of the text of a job that was cancelled while it ran.
CANCELLED = "The job was cancelled."

STATUS_NAMES = {
    job_status.CREATED: "Created",
    job_status.RUNNING: "Running",
    job_status.PROVISIONAL_RESULT: "ProvisionalResult",
    job_status.CANCELLED: "Cancelled",
    job_status.TERMINATED: "Terminated",
    job_status.ABANDONED: "Abandoned",
    job_status.FINISHED: "Finished",
}


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():  # Else it was cancelled, or told twice.
        future.set_result(None)


#: Arguments in messages of errors.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlevel = 3


def error_line(text: str) -> str:
    """The line of a text that says what went wrong: of a traceback the one with the exception."""
    line = _telling_line([line for line in text.splitlines() if line.strip()])
    return line if len(line) <= ERROR_LIMIT else line[: ERROR_LIMIT - 3] + "..."


def _telling_line(lines: list[str]) -> str:
    if not lines:
        return ""
    if lines[-1] == CANCELLED:
        return CANCELLED
    if lines[0].lstrip().startswith("+ Exception Group"):  # Its traceback stands behind bars.
        lines = [line[4:] for line in lines if line.startswith("  | ")]
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    if not frames:
        return lines[0].strip() if not lines[0].startswith("Traceback") else lines[-1].strip()
    after = (line for line in lines[frames[-1] + 1 :] if not line.startswith(" "))
    return next(after, lines[-1]).strip()


def _stand_in(line: str) -> BaseException:
    """An exception that cannot be made again here: one with the same name, and its text."""
    name, _, message = line.partition(": ")
    name = name.rpartition(".")[2]
    if not name.isidentifier():
        name, message = "RemoteError", line
    kind: type[RemoteError] = type(name, (RemoteError,), {"__module__": "gdispy"})
    return kind(message)


class Plain:
    """A payload of a cluster that takes plain data only: whatever it is, it is never unpickled."""

    __slots__ = ("payload",)

    def __init__(self, payload: Bulk) -> None:
        self.payload = payload

    def value(self) -> Any:
        """A value of its own for each call. Raises NotPlain."""
        return plain.loads(_copied(self.payload))


def unreadable(error: BaseException) -> str:
    """What is wrong with a job whose result cannot be read."""
    if isinstance(error, plain.NotPlain):
        return f"The result arrived, but the cluster takes plain data only: {error}\n"
    return f"The result arrived, but cannot be unpickled here: {type(error).__name__}: {error}\n"


def _is_failure(payload: Any) -> bool:
    """Whether it is not a result, but what the job has raised."""
    return type(payload) is bytes and payload[:1] == bytes([_FAILURE])


def _bytes(payload: Bulk) -> Any:
    return payload.parts() if isinstance(payload, MemoryPayload) else payload


def _copied(payload: Bulk) -> Any:
    """For what is unpickled each time somebody asks: arrays are views of the one piece, and may be changed."""
    data = _bytes(payload)
    return bytearray(data[0]) if isinstance(data, list) and len(data) == 1 else data
