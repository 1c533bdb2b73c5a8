"""Futures of an executor: a job as a `concurrent.futures.Future`.

A program may make a million of them, and most are only asked for their result. So a future is a view of its job: the
lock, the list of waiters and the callbacks of the standard library's futures are made when `wait`, `as_completed` or
`add_done_callback` first need them (`_condition`), and then the hub tells the future of the end of its job.

Used in any thread. `_settle` runs in the hub, or in the thread that makes the parts, if the job has ended.

Invariants:
1. `_state` is final when the job has ended and all waiters were notified, and stays the same.
2. Waiters are notified, and callbacks are called, once; callbacks outside the hub.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import (
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    LOGGER,
    PENDING,
    RUNNING,
)
from concurrent.futures._base import (
    TimeoutError as FutureTimeout,
)
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from gdispy.client.job import DispyJob
from gdispy.errors import JobFailed, RemoteError
from gdispy.hub import Hub
from gdispy.protocol import job_status
from gdispy.protocol.error_lines import CANCELLED
from gdispy.worker.function_calls import InitializerFailed

if TYPE_CHECKING:
    from gdispy.client.executor import Executor

_PARTS = threading.Lock()
#: In the text of a job that was ended for its time limit.
_OVERTIME = "(dispy_timeout) and was terminated"


class WorkerDied(JobFailed, BrokenProcessPool):
    """The process of a job was killed, or its node was lost: the job has no result. Other jobs are not affected."""


class CallTimeout(JobFailed, FutureTimeout):
    """The call took longer than the time limit that `Executor.options` has set for it, and was ended."""


class RemoteTraceback(Exception):
    """The traceback of an exception on its node; the `__cause__` of that exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def __str__(self) -> str:
        return f'\n"""\n{self._text.strip()}\n"""'


class _Parts:
    """What the functions of `concurrent.futures` use of a future, beside its methods."""

    __slots__ = ("callbacks", "condition", "is_settled", "waiters")

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiters: list[Any] = []
        self.callbacks: list[Callable[[Future[Any]], object]] = []
        self.is_settled = False


class JobFuture(Future[Any]):
    """The result of a call. `job` is its job; `stop()` ends a call that runs."""

    # The constructor of the base class is not called: the parts that it makes are made on demand.
    _parts: _Parts | None = None
    job: DispyJob

    def __init__(self, executor: weakref.ref[Executor], job: DispyJob) -> None:
        self._executor = executor
        self.job = job

    # What the functions of `concurrent.futures` read

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        return self._made().condition

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        return self._made().waiters

    @property
    def _done_callbacks(self) -> list[Callable[[Future[Any]], object]]:
        return self._made().callbacks

    @property
    def _state(self) -> str:  # type: ignore[override]
        job, parts = self.job, self._parts
        # With parts it is final once waiters were notified, and not before: a waiter that finds it final, and adds
        # itself to other futures, would be notified of this one as well.
        if job._done and (parts is None or parts.is_settled):
            return CANCELLED_AND_NOTIFIED if is_cancelled(job) else FINISHED
        return PENDING if job._status == job_status.CREATED else RUNNING

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]
        return self.exception() if self.job._done and not is_cancelled(self.job) else None

    @property
    def _result(self) -> Any:  # type: ignore[override]
        return self.job.result if self.job._done else None

    def _made(self) -> _Parts:
        parts = self._parts
        if parts is not None:
            return parts
        with _PARTS:
            parts = self._parts
            if parts is not None:
                return parts
            parts = self._parts = _Parts()
        try:
            self.job._tell(self._settle)
        except BaseException:  # In a forked child, which the end of the job does not reach.
            self._parts = None
            raise
        return parts

    def _settle(self) -> None:
        """The job has ended."""
        parts = self._parts
        assert parts is not None
        with parts.condition:
            if parts.is_settled:
                return
            parts.is_settled = True
            for waiter in parts.waiters:
                self._tell_waiter(waiter)
            parts.condition.notify_all()
            callbacks, parts.callbacks = parts.callbacks, []
        for callback in callbacks:
            Hub.get().call_back(self._call, callback)

    def _tell_waiter(self, waiter: Any) -> None:
        if self.job._status == job_status.FINISHED:
            waiter.add_result(self)
        elif is_cancelled(self.job):
            waiter.add_cancelled(self)
        else:
            waiter.add_exception(self)

    def _call(self, callback: Callable[[Future[Any]], object]) -> None:
        try:
            callback(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    # What programs call

    def cancel(self) -> bool:
        """Cancel the call if it has not begun; False if it runs or has ended. Waits for the answer of its node. See
        `stop`."""
        executor = self._executor()
        if executor is not None and not self.job._done:
            executor._withdraw(self.job)
        return self.cancelled()

    def stop(self) -> None:
        """End the call even if it runs: KeyboardInterrupt is raised in it, then its process is ended. Its outcome is
        CancelledError."""
        executor = self._executor()
        if executor is not None:
            executor._stop(self.job)

    def cancelled(self) -> bool:
        return self.job._done and is_cancelled(self.job)

    def running(self) -> bool:
        """Whether the call runs, as far as its node has reported."""
        return not self.job._done and self.job._status != job_status.CREATED

    def done(self) -> bool:
        return self.job._done

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        if not self.job._done:
            Hub.get().prepare_callbacks()
        parts = self._made()
        with parts.condition:
            if not parts.is_settled:
                parts.callbacks.append(fn)
                return
        self._call(fn)

    def result(self, timeout: float | None = None) -> Any:
        """The value that the call has returned. Raises the exception that it has raised; CancelledError; WorkerDied if
        its process was killed or its node lost; and TimeoutError after `timeout` seconds."""
        job = self.job
        if not job._done and not job.wait(timeout):
            raise FutureTimeout
        value = job.result
        if job.status != job_status.FINISHED:
            raise failure_of(job, self._executor())
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that the call has raised, or None. Raises CancelledError and TimeoutError as `result` does."""
        job = self.job
        if not job._done and not job.wait(timeout):
            raise FutureTimeout
        if job.status == job_status.FINISHED:
            return None
        error = failure_of(job, self._executor())
        if isinstance(error, CancelledError):
            raise error
        return error

    # What only executors of the standard library call

    def set_running_or_notify_cancel(self) -> bool:
        raise RuntimeError("the state of this future is that of its job")

    def set_result(self, result: Any) -> None:
        self.set_running_or_notify_cancel()

    def set_exception(self, exception: BaseException | None) -> None:
        self.set_running_or_notify_cancel()

    def __repr__(self) -> str:
        return f"<JobFuture of {self.job!r}>"


def is_cancelled(job: DispyJob) -> bool:
    """Whether a job that has ended was cancelled, while it waited or while it ran."""
    if job._status == job_status.CANCELLED:
        return True
    return job._status == job_status.TERMINATED and (job._exception or "").endswith(f"{CANCELLED}\n")


def failure_of(job: DispyJob, executor: Executor | None) -> BaseException:
    """What the call of an ended job has raised, or why it has no result."""
    if is_cancelled(job):
        return CancelledError()
    text = job.exception or ""
    error = job._cause()
    if error is None:
        if _OVERTIME in text:
            return CallTimeout(text.replace("job", "call", 1).replace(" (dispy_timeout)", "").strip(), job)
        # Not the text of JobFailed, which shows the arguments: unpickling them may have been what ended the process.
        return WorkerDied(text.strip().replace("(dispy_", "(") or job.status_name, job)
    if isinstance(error, InitializerFailed):
        if executor is not None:
            executor._break(str(error))
        return BrokenProcessPool(f"the initializer has failed in a worker\n{error}")
    if isinstance(error, RemoteError):
        add_note(error, "The exception cannot be unpickled here: this one has its name and its text.")
    error.__cause__ = RemoteTraceback(text)
    return error


def add_note(error: BaseException, text: str) -> None:
    if hasattr(error, "add_note"):  # Since Python 3.11.
        error.add_note(text)


def as_raised(error: Exception) -> Exception:
    """The exception of pickling, with our text as a note, instead of ours."""
    cause = error.__cause__
    if not isinstance(cause, Exception):
        return error
    add_note(cause, str(error))
    return cause


def failed(error: BaseException) -> Future[Any]:
    """The future of a call that was never made."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    future.set_exception(error)
    return future


class RetriedFuture(Future[Any]):
    """The result of a call that is made again when it fails. `job` is the job of its last attempt."""

    def __init__(self, executor: Executor, send: Callable[[], DispyJob], retries: int) -> None:
        super().__init__()
        self._executor, self._send, self._left = executor, send, retries
        self._is_stopped = False
        self._lock = threading.Lock()
        executor._hub.prepare_callbacks()
        self._begin()

    def _begin(self) -> None:
        self.job = job = self._send()
        job._tell(lambda: self._executor._call_back(self._end, job))

    def _end(self, job: DispyJob) -> None:
        """A job has ended. Called once by the hub, and perhaps by `cancel` before."""
        with self._lock:
            if job is not self.job or self.done():
                return
            if is_cancelled(job):
                super().cancel()
                self.set_running_or_notify_cancel()
                return
            is_finished = job.status == job_status.FINISHED
            if not is_finished and self._left and not self._is_stopped:
                self._left -= 1
                try:
                    self._begin()
                    return
                except RuntimeError:  # It was shut down.
                    pass
            self.set_running_or_notify_cancel()
            error = None if is_finished else failure_of(job, self._executor)
        # Without the lock, since these call the callbacks.
        if error is None:
            self.set_result(job.result)
        else:
            self.set_exception(error)

    def cancel(self) -> bool:
        """As `JobFuture.cancel`, for the attempt that waits."""
        if not self.done():
            job = self.job
            self._executor._withdraw(job)
            if job._done and is_cancelled(job):
                self._end(job)
        return self.cancelled()

    def stop(self) -> None:
        """As `JobFuture.stop`."""
        self._is_stopped = True
        self._executor._stop(self.job)

    def running(self) -> bool:
        """Whether an attempt runs, as far as its node has reported."""
        return not self.done() and self.job._status != job_status.CREATED
