"""A job as the user holds it.

Floor 2. Made by `submit` in the user's thread; its fields are set by the hub, and read anywhere. It
is kept small: a program may hold a million of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from gdispy.core import statuses
from gdispy.core.payloads import Bulk, MemoryPayload, joined
from gdispy.errors import JobFailed
from gdispy.hub import Gate
from gdispy.worker import pickling

if TYPE_CHECKING:
    import asyncio

    from gdispy.core.messages import Ended

_gates = threading.Lock()


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

    Created = statuses.CREATED
    Running = statuses.RUNNING
    ProvisionalResult = statuses.PROVISIONAL_RESULT
    Cancelled = statuses.CANCELLED
    Terminated = statuses.TERMINATED
    Abandoned = statuses.ABANDONED
    Finished = statuses.FINISHED

    #: What remembers the names of jobs, if anything does.
    _logbook: Any = None
    #: What it is called with, where it comes from a recovery file.
    _arguments: Bulk | None = None

    __slots__ = (
        "_done",
        "_gate",
        "_id",
        "_late",
        "_number",
        "_payload",
        "_result",
        "end_time",
        "exception",
        "ip_addr",
        "start_time",
        "status",
        "stderr",
        "stdout",
        "submit_time",
        "truncated",
    )

    def __init__(self, number: int, submit_time: float) -> None:
        self._id: Any = number
        self._number = number
        self.status = statuses.CREATED
        self.submit_time = submit_time
        self.start_time: float | None = None
        self.end_time: float | None = None
        self.ip_addr: str | None = None
        self.stdout: Any = ""
        self.stderr: Any = ""
        self.exception: str | None = None
        self.truncated = False
        self._result: Any = None
        #: The result as it arrived, until somebody asks for it.
        self._payload: Bulk = b""
        self._done = False
        self._gate: Gate | None = None
        #: The result that came when the job had been given up.
        self._late: Bulk = b""

    @property
    def id(self) -> Any:
        """What the user calls it; at first its number."""
        return self._id

    @id.setter
    def id(self, value: Any) -> None:
        self._id = value
        if self._logbook is not None:
            self._logbook.named(self._number, value)

    @property
    def late_result(self) -> Any:
        """What an abandoned job returned after all, where its node came back with that; else None. Its end stays."""
        return pickling.loads(_copied(self._late)) if self._late else None

    @property
    def args(self) -> Any:
        """The arguments of a job that comes from a recovery file, for a program its words; else None."""
        call = self._call()
        return call[0] if type(call) is tuple else call

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of such a job; else None."""
        call = self._call()
        return call[1] if type(call) is tuple else None

    def _call(self) -> Any:
        return None if self._arguments is None else pickling.loads(_bytes(self._arguments))

    @property
    def result(self) -> Any:
        """What the job returned. It is unpickled here, in the thread that asks first."""
        done, payload = self._done, self._payload
        if not payload:
            return self._result
        # The hub may replace a provisional result at any moment, so nothing of it is kept.
        value = self._unpickled(_bytes(payload) if done else _copied(payload))
        if not done:
            return value
        with _gates:
            # Of several threads that unpickle it at the same time, the first one's is everybody's.
            if self._payload is payload:
                self._result, self._payload = value, b""
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        with _gates:
            self._result, self._payload = value, b""

    def _unpickled(self, data: Any) -> Any:
        try:
            return pickling.loads(data)
        except Exception as error:
            self.status = statuses.TERMINATED
            reason = f"{type(error).__name__}: {error}"
            self.exception = f"The result arrived, but cannot be unpickled here: {reason}\n"
            return None

    def __call__(self, clear: bool = False) -> Any:
        """Wait for the end, and return `result`: None where the job failed (see `exception`).

        `clear` is for compatibility: a job that has ended stays so.
        """
        self.wait()
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
        if self.status != statuses.FINISHED:
            raise JobFailed(self._failure(), self)
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
        return Finish(self)

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

    def _failure(self) -> str:
        """Why there is no result, in a line and, where there is one, the traceback of the node."""
        line = f"job {self.id!r}: {STATUS_NAMES[self.status]}"
        cause = (self.exception or "").strip()
        return f"{line}\n{cause}" if cause else line

    def _end(self, ended: Ended, place: int, is_program: bool) -> None:
        """Take what came of it from a message."""
        self._payload = ended.results[place]
        self.status, self.ip_addr = ended.statuses[place], ended.address or None
        self.start_time, self.end_time = ended.starts[place] or None, ended.ends[place] or None
        output, error = joined(ended.outputs[place]), joined(ended.errors[place])
        self.stdout = output if is_program else output.decode("utf-8", "replace")
        self.stderr = error if is_program else error.decode("utf-8", "replace")
        self.truncated, self.exception = bool(ended.truncated[place]), ended.exceptions[place] or None
        self._done = True

    def _copy(self) -> DispyJob:
        """What a callback gets for a provisional result: the job as it is at this moment."""
        copy = DispyJob(self._number, self.submit_time)
        for name in ("_id", "status", "start_time", "ip_addr", "_result", "_payload"):
            setattr(copy, name, getattr(self, name))
        copy._gate = self._own_gate()
        return copy

    def _part(self, exception: str) -> DispyJob:
        """One of several calls that this job made, which has failed."""
        part = DispyJob(self._number, self.submit_time)
        for name in ("_id", "start_time", "end_time", "ip_addr", "stdout", "stderr", "truncated"):
            setattr(part, name, getattr(self, name))
        part.status, part.exception, part._done = statuses.TERMINATED, exception, True
        return part

    def __lt__(self, other: DispyJob) -> bool:
        return self._number < other._number

    def __repr__(self) -> str:
        return f"<DispyJob {self.id!r}: {STATUS_NAMES[self.status]}>"


class KeptJob(DispyJob):
    """A job that a recovery file remembers."""

    __slots__ = ("_arguments", "_logbook")

    def __init__(self, number: int, submit_time: float, logbook: Any, arguments: Bulk | None = None) -> None:
        super().__init__(number, submit_time)
        self._logbook, self._arguments = logbook, arguments


class Finish:
    """The end of a job, in the shape of a `threading.Event`. Made when it is asked for."""

    __slots__ = ("_job",)

    def __init__(self, job: DispyJob) -> None:
        self._job = job

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the job; False if `timeout` seconds pass before."""
        return self._job.wait(timeout)

    def is_set(self) -> bool:
        """Whether the job has ended."""
        return self._job._done

    isSet = is_set

    def set(self) -> None:
        """For compatibility. It changes nothing: only its node ends a job."""

    def clear(self) -> None:
        """For compatibility. It changes nothing: a job that has ended stays so."""


STATUS_NAMES = {
    statuses.CREATED: "Created",
    statuses.RUNNING: "Running",
    statuses.PROVISIONAL_RESULT: "ProvisionalResult",
    statuses.CANCELLED: "Cancelled",
    statuses.TERMINATED: "Terminated",
    statuses.ABANDONED: "Abandoned",
    statuses.FINISHED: "Finished",
}


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():  # Else it was cancelled, or told twice.
        future.set_result(None)


def _bytes(payload: Bulk) -> Any:
    return payload.parts() if isinstance(payload, MemoryPayload) else payload


def _copied(payload: Bulk) -> Any:
    """For what is unpickled each time somebody asks: arrays are views of the one piece, and may be changed."""
    data = _bytes(payload)
    return bytearray(data[0]) if isinstance(data, list) and len(data) == 1 else data
