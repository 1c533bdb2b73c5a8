"""A job as an object of the user's program.

It is created by `submit` in the user's thread; its fields are written in the hub and read in any thread. It is kept
small: a program may hold a million of them.

Invariants:
1. A counter of the process numbers the jobs, so jobs of different clusters have different numbers.
2. Whether a result can be unpickled here is decided before the end of the job becomes visible: `status`,
   `exception` and `result` are consistent at any time.
3. A copy is equal to its job, has the same hash, and ends with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import reprlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from gdispy.client import explanation, live_output
from gdispy.client.finish_event import Finish
from gdispy.client.job_errors import stand_in, with_source_lines
from gdispy.client.job_numbers import is_of_parent, next_number, numbers
from gdispy.client.notebook_views import job_html
from gdispy.client.result_payload import Plain, as_bytes, copied, is_failure, unreadable
from gdispy.errors import ConfigError, ForkedError, JobFailed
from gdispy.protocol import job_status
from gdispy.protocol.error_lines import error_line
from gdispy.protocol.limits import printable
from gdispy.protocol.payload import Bulk, joined
from gdispy.runtime.gate import Gate
from gdispy.worker import batch, pickling, plain

if TYPE_CHECKING:
    import asyncio

    from gdispy.client.explanation import Explanation
    from gdispy.client.job_source import JobSource
    from gdispy.client.live_output import OutputLines
    from gdispy.journal.recovery_file import RecoveryFile
    from gdispy.protocol.messages import Ended

logger = logging.getLogger("gdispy")

_gates = threading.Lock()
#: Maximum size, in bytes, of the pickled arguments that a job keeps when it has ended.
ARGUMENTS_LIMIT = 64 * 1024
_loads = pickling.loads
#: A pickle without this opcode calls nothing and loads nothing by name, so it can always be unpickled.
_STACK_GLOBAL = b"\x93"


def _begin_child() -> None:
    global _gates
    _gates = threading.Lock()  # Another thread of the parent may have had it.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


class DispyJob:
    """One call of the computation, from `submit` to its result.

    `id` may be set by the user, and `result` may be set to None to free its memory; all other attributes are read-only.
    `status` is one of the constants below. `result` is the return value of the function, or the exit code of a program;
    while the status is `ProvisionalResult`, it is the latest provisional result. `stdout` and `stderr` are text for
    functions and bytes for programs; `truncated` tells whether output was dropped because of `output_limit`.
    `exception` is None, or a text that describes the failure. `submit_time`, `start_time` and `end_time` are seconds
    since the epoch, the latter two by the node's clock; `ip_addr` is the address of that node.

    Wait with `job()`, `job.wait(seconds)`, `job.result_or_raise()`, or, in a coroutine, `await job`.
    """

    Created = job_status.CREATED
    Running = job_status.RUNNING
    ProvisionalResult = job_status.PROVISIONAL_RESULT
    Cancelled = job_status.CANCELLED
    Terminated = job_status.TERMINATED
    Abandoned = job_status.ABANDONED
    Finished = job_status.FINISHED

    #: Records changes of `id`, or None.
    _recovery: RecoveryFile | None = None

    __slots__ = (
        "_arguments",
        "_done",
        "_exception",
        "_gate",
        "_id",
        "_number",
        "_payload",
        "_rare",
        "_result",
        "_source",
        "_status",
        "end_time",
        "ip_addr",
        "start_time",
        "stderr",
        "stdout",
        "submit_time",
        "truncated",
    )

    #: As in dispy, for programs that take numbers from it.
    id_iter = numbers

    def __init__(self, job_id: object = None, args: Any = (), kwargs: Any = None) -> None:
        """A job that does not belong to a cluster, for programs written for dispy; clusters create jobs in `submit`.
        Without `job_id`, `id` is the number of the job."""
        self._make(next_number(), 0.0, (tuple(args), dict(kwargs or ())), job_id or None)

    @classmethod
    def _new(cls, number: int, submit_time: float, arguments: Any = None) -> DispyJob:
        """A job of a cluster, with its pickled arguments."""
        job = cls.__new__(cls)
        job._make(number, submit_time, arguments)
        return job

    def _make(
        self, number: int, submit_time: float, arguments: Any, job_id: object = None, source: JobSource | None = None
    ) -> None:
        self._id: Any = number if job_id is None else job_id
        self._number = number
        #: Pickled for the node, or the pair `(args, kwargs)`; None if they are not known or were dropped.
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
        self._payload: Bulk | Plain = b""
        self._done = False
        self._gate: Gate | None = None
        self._rare: _Rare | None = None
        #: Its cluster; None if that is not known.
        self._source = source

    @property
    def id(self) -> Any:
        """The user's name for the job; by default its number, which is unique in this process."""
        return self._id

    @id.setter
    def id(self, value: Any) -> None:
        self._id = value
        if self._recovery is not None:
            self._recovery.named(self._number, value)

    @property
    def late_result(self) -> Any:
        """The result of an abandoned job whose node came back with it, else None. `status` remains Abandoned."""
        late = self._rare.late if self._rare is not None else b""
        if not late:
            return None
        return late.value() if type(late) is Plain else pickling.loads(copied(late))

    @property
    def status(self) -> int:
        """One of the constants of this class."""
        payload = self._payload
        # The first check of `_decide`, without a call: many programs poll each job.
        if payload and self._done and (type(payload) is not bytes or _STACK_GLOBAL in payload):
            self._decide()
        return self._status

    @status.setter
    def status(self, value: int) -> None:
        self._status = value

    @property
    def status_name(self) -> str:
        """The name of `status`, such as 'Finished'."""
        return STATUS_NAMES[self.status]

    @property
    def exception(self) -> str | None:
        """None, or a text that describes the failure."""
        if self._payload and self._done:
            self._decide()
        text = self._exception
        return text if text is None or 'File "' not in text else with_source_lines(text)

    @exception.setter
    def exception(self, value: str | None) -> None:
        self._exception = value

    @property
    def error(self) -> str | None:
        """The failure in one line, such as 'ValueError: invalid level', or None."""
        text = self.exception
        return error_line(text) if text else None

    @property
    def args(self) -> Any:
        """The arguments of the job, for a program its command-line arguments; a copy, unpickled at each access. None
        for a job that has ended if they are larger than 64 KiB, and if they are not known."""
        call = self._call()
        return call[0] if type(call) is tuple else call

    @property
    def kwargs(self) -> Any:
        """The keyword arguments, as `args`; None for a program."""
        call = self._call()
        return call[1] if type(call) is tuple else None

    # The names of these attributes in dispy, and the attributes that identify a job in its documentation.
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
        data = as_bytes(known)
        return None if data[0] == batch.MARK else pickling.loads(data)

    @property
    def result(self) -> Any:
        """The result of the job. It is unpickled on first access, in the thread that accesses it."""
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

    def _provisional(self, payload: Bulk | Plain) -> Any:
        """A provisional result. It is not cached, since the hub may replace it at any time."""
        try:
            return payload.value() if type(payload) is Plain else pickling.loads(copied(payload))
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("a provisional result of job %r cannot be read here: %s", self._id, printable(reason))
            return None

    def _decide(self) -> None:
        """The job has ended and its result was not accessed yet: unpickle it, unless that cannot fail."""
        payload = self._payload
        if type(payload) is not bytes or _STACK_GLOBAL in payload:
            self._unpickle(payload)

    def _unpickle(self, payload: Bulk | Plain) -> None:
        """Unpickle the result, or record why that fails."""
        value, problem = None, ""
        try:
            if type(payload) is bytes:  # Almost always, so without the calls of `is_failure`.
                if payload[0] == pickling.FAILURE:
                    return
                value = _loads(payload)
            elif type(payload) is Plain:
                value = plain.loads(as_bytes(payload.payload))
            elif is_failure(payload):
                return
            else:
                value = pickling.loads(as_bytes(payload))
        except (Exception, SystemExit) as error:  # A class of the result may call exit.
            problem = unreadable(error)
        with _gates:
            # If several threads unpickle it at the same time, all get the value of the first.
            if self._payload is payload:
                if problem:
                    self._status, self._exception = job_status.TERMINATED, problem
                self._result, self._payload = value, b""

    def __call__(self, clear: bool = False) -> Any:
        """Wait for the end, and return `result`: None if the job failed (see `exception`).

        With `clear`, `finish` is not set afterwards, as in dispy; the job itself has ended and stays so.
        """
        self.wait()
        if clear:
            self.finish.clear()
        return self.result

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if `timeout` seconds pass first. Raises ForkedError in a forked child, if the job
        had not ended when it was forked: its end arrives in the parent only."""
        if self._done:
            return True
        # Create the gate before checking `_done`: the hub sets `_done` first and then checks for a gate.
        gate = self._own_gate()
        return self._done or gate.wait(timeout) or self._done

    def result_or_raise(self, timeout: float | None = None) -> Any:
        """Wait for the end, and return `result`. Raises JobFailed if there is none because the job was
        cancelled, terminated or abandoned, and TimeoutError if `timeout` seconds pass first."""
        if not self.wait(timeout):
            raise TimeoutError(f"job {self.id!r} has not ended within {timeout} s")
        result = self.result
        if self.status != job_status.FINISHED:
            raise self._failed()
        return result

    def __await__(self) -> Generator[Any, None, Any]:
        """`await job` waits for the end and returns `result`, as `job()` does. In any number of event loops."""
        if not self._done:
            import asyncio  # A large module, which a program that awaits has already imported.

            loop = asyncio.get_running_loop()
            future = loop.create_future()

            def wake() -> None:
                with contextlib.suppress(RuntimeError):  # The loop is closed.
                    loop.call_soon_threadsafe(_settle, future)

            self._tell(wake)
            try:
                yield from future.__await__()
            finally:
                self._forget(wake)
        return self.result

    @property
    def finish(self) -> Finish:
        """An event for programs written for dispy, as in `job.finish.wait(seconds)`."""
        rare = self._use_rare()
        if rare.finish is None:
            rare.finish = Finish(self)
        return rare.finish

    def _use_rare(self) -> _Rare:
        with _gates:
            if self._rare is None:
                self._rare = _Rare()
            return self._rare

    def _tell(self, wake: Callable[[], None]) -> None:
        """Call `wake` when the job ends, or now if it has ended: at least once, from any thread."""
        # As in `wait`: first the gate, then the check.
        gate = None if self._done else self._own_gate()
        if gate is None or self._done:
            wake()
        else:
            gate.tell(wake)

    def _forget(self, wake: Callable[[], None]) -> None:
        if self._gate is not None:
            self._gate.forget(wake)

    def _own_gate(self) -> Gate:
        if is_of_parent(self._number):
            raise ForkedError
        with _gates:
            if self._gate is None:
                self._gate = Gate()
            return self._gate

    def _failed(self, note: str = "") -> JobFailed:
        """The error to raise for a job without a result. `__cause__` is the exception of the job, or a stand-in."""
        text = self._failure()
        error = JobFailed(f"{text}\n{note}" if note else text, self)
        error.__cause__ = self._cause()
        return error

    def _failure(self) -> str:
        """Why there is no result: a line with the arguments, and the traceback of the node, if any."""
        called = self._shown_call()
        line = f"job {self.id!r}{f', called with {called}' if called else ''}: {self.status_name}"
        cause = (self.exception or "").strip()
        return f"{line}\n{cause}" if cause else line

    def _shown_call(self, first: int = 0) -> str:
        """The arguments from an index on, shortened; '' if they are not known or cannot be shown."""
        try:
            args, kwargs = self.args, self.kwargs
            if args is None:
                return ""
            parts = [_short.repr(arg) for arg in args[first:]]
            parts += [f"{name}={_short.repr(value)}" for name, value in (kwargs or {}).items()]
        except (Exception, SystemExit):  # Of a class whose `__repr__`, or unpickling, fails.
            return ""
        return f"({', '.join(parts)})"

    def _cause(self) -> BaseException | None:
        """The exception of the job if it can be unpickled here, else an exception with the same name."""
        text = self.exception
        if not text:
            return None
        payload = self._payload
        if is_failure(payload):
            with contextlib.suppress(Exception):
                error = pickling.loads(joined(payload)[1:])
                if isinstance(error, BaseException):
                    return error
        return stand_in(error_line(text)) if "Traceback" in text else None

    def _end(self, ended: Ended, place: int, is_program: bool, is_plain: bool = False) -> None:
        """Take the outcome of the job from a message."""
        result = ended.results[place]
        self._payload = Plain(result) if is_plain and result else result
        self._status, self.ip_addr = ended.statuses[place], ended.address or None
        self.start_time, self.end_time = ended.starts[place] or None, ended.ends[place] or None
        output, error = joined(ended.outputs[place]), joined(ended.errors[place])
        self.stdout = output if is_program else output.decode("utf-8", "replace")
        self.stderr = error if is_program else error.decode("utf-8", "replace")
        self.truncated, self._exception = bool(ended.truncated[place]), ended.exceptions[place] or None
        self._done = True

    def follow(self, stream: str | None = None) -> OutputLines:
        """The lines that the job prints, without their line ends, as an iterator: as they are printed, until the job
        has ended. `stream` is 'stdout' or 'stderr', None for both.

        Lines appear within about a second, from the start of the job, even if this is called later. At most the last
        10,000 lines wait to be read. Raises ConfigError for a job that does not belong to a cluster of this process.
        """
        streams = live_output.wanted_streams(stream)
        if self._done:
            return live_output.ended_lines(self, streams)
        engine = self._source.engine() if self._source is not None else None
        if engine is None:
            raise ConfigError(
                f"job {self.id!r} cannot be followed: its cluster does not exist in this process any more"
            )
        return engine.follow(self._origin(), streams)

    def explain(self) -> Explanation:
        """Why the job waits, what it does just now, or how it has ended: for people; `print` shows it in lines.

        Of a waiting job: what it waits for. Of a running one: its node, process, CPU time, memory, last output and
        Python stacks. Raises ConfigError for an unfinished job that does not belong to a cluster of this process.
        """
        return explanation.explain_job(self)

    def stack(self) -> str:
        """The Python stacks of all threads of the running job, at this moment, the most recent call first. The job is
        not disturbed. Raises ConfigError if it does not run."""
        return explanation.stack_of(self)

    def replay(self) -> Any:
        """Call the function with the arguments of this job in this process, and return its result: for a debugger.
        Raises what the function raises, and ConfigError if the function or the arguments are not known here."""
        from gdispy.client.inline import replay  # It imports modules of workers.

        return replay(self)

    def _origin(self) -> DispyJob:
        """The original of this copy; itself if it is not a copy."""
        return self

    def _copy(self) -> DispyJob:
        """A copy with the current state, for callbacks before the end."""
        return _JobCopy(self._origin(), self)

    __copy__ = _copy

    def __deepcopy__(self, memo: object) -> DispyJob:
        return self._copy()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"job {self.id!r} cannot be pickled, so it cannot be an argument of another job: "
            "wait for it with job(), and pass its result"
        )

    def _part(self, exception: str, arguments: Any = None, cause: Bulk = b"") -> DispyJob:
        """A failed call out of the several calls of this job."""
        part = DispyJob._new(self._number, self.submit_time, arguments)
        for name in ("_id", "_source", "start_time", "end_time", "ip_addr", "stdout", "stderr", "truncated"):
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

    _repr_html_ = job_html


class _Rare:
    """What few jobs have."""

    __slots__ = ("finish", "late")

    def __init__(self, late: Bulk | Plain = b"") -> None:
        self.finish: Finish | None = None
        #: The result that arrived after the job had been abandoned.
        self.late = late


class _JobCopy(DispyJob):
    """A snapshot of a job. Waiting for it updates it to the final state of the job."""

    __slots__ = ("_job",)

    def __init__(self, job: DispyJob, state: DispyJob) -> None:
        self._job = job
        self._take(state)

    def _take(self, state: DispyJob) -> None:
        for name in DispyJob.__slots__:
            setattr(self, name, getattr(state, name))
        self._gate = None
        if self._rare is not None:
            self._rare = _Rare(late=self._rare.late)

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
    """A job that is recorded in a recovery file."""

    __slots__ = ("_recovery",)

    @classmethod
    def _kept(
        cls,
        number: int,
        submit_time: float,
        recovery: RecoveryFile | None,
        arguments: Any = None,
        source: JobSource | None = None,
    ) -> KeptJob:
        """A recorded job; `recovery` records changes of its `id`."""
        job = cls.__new__(cls)
        job._make(number, submit_time, arguments, None, source)
        job._recovery = recovery
        return job


STATUS_NAMES = job_status.NAMES


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():  # It may have been cancelled or settled already.
        future.set_result(None)


#: Shortens arguments in error messages.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlevel = 3
