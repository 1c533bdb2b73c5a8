"""Futures of jobs, as `concurrent.futures` and `asyncio` use them. No hub and no nodes: jobs end by hand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import DispyJob, JobFailed
from gdispy.client import futures as module
from gdispy.client.futures import (
    CallTimeout,
    JobFuture,
    RemoteTraceback,
    RetriedFuture,
    WorkerDied,
    as_raised,
    failed,
    failure_of,
)
from gdispy.protocol import job_status
from gdispy.protocol.error_lines import CANCELLED as CANCELLED_TEXT
from gdispy.worker import pickling
from gdispy.worker.function_calls import InitializerFailed
from tests.unit.ends import end, end_with

TRACEBACK = 'Traceback (most recent call last):\n  File "<node>", line 1, in f\nValueError: wrong\n'
INTERRUPTED = f"KeyboardInterrupt\n{CANCELLED_TEXT}\n"
OVERTIME = "The job took longer than its limit of 2.5 s (dispy_timeout) and was terminated.\n"


class Executor:
    """What futures use of an executor. Callbacks wait in `queue` for `run`; `withdraws` ends withdrawn jobs."""

    def __init__(self) -> None:
        self.jobs: list[DispyJob] = []
        self.withdrawn: list[DispyJob] = []
        self.stopped: list[DispyJob] = []
        self.broken: list[str] = []
        self.queue: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.prepared = 0
        self.withdraws = True
        self.error: Exception | None = None
        self._hub = self

    def prepare_callbacks(self) -> None:
        self.prepared += 1

    def send(self) -> DispyJob:
        if self.error is not None:
            raise self.error
        job = DispyJob._new(len(self.jobs) + 1, 0.0, b"")
        self.jobs.append(job)
        return job

    def future(self) -> JobFuture:
        return JobFuture(weakref.ref(self), self.send())  # type: ignore[arg-type]

    def retried(self, retries: int) -> RetriedFuture:
        return RetriedFuture(self, self.send, retries)  # type: ignore[arg-type]

    def run(self) -> None:
        while self.queue:
            function, args = self.queue.pop(0)
            function(*args)

    def _call_back(self, function: Callable[..., Any], *args: Any) -> None:
        self.queue.append((function, args))

    def _withdraw(self, job: DispyJob) -> None:
        self.withdrawn.append(job)
        if self.withdraws and not job._done and job._status == job_status.CREATED:
            end(job, None, job_status.CANCELLED)

    def _stop(self, job: DispyJob) -> None:
        self.stopped.append(job)

    def _break(self, text: str) -> None:
        self.broken.append(text)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Executor:
    made = Executor()
    hub = SimpleNamespace(call_back=lambda *call: made._call_back(*call), prepare_callbacks=made.prepare_callbacks)
    monkeypatch.setattr("gdispy.client.futures.Hub", SimpleNamespace(get=lambda: hub))
    return made


def run_job(job: DispyJob) -> None:
    """Its node reports that it runs."""
    job._status = job_status.RUNNING


def fail(job: DispyJob, error: BaseException, text: str = TRACEBACK) -> None:
    """A job that has raised an exception."""
    end_with(job, bytes([pickling.FAILURE]) + pickle.dumps(error), job_status.TERMINATED, text)


def failing(executor: Executor, text: str, error: BaseException | None = None) -> BaseException:
    """What a job with this text has raised."""
    job = executor.send()
    if error is not None:
        fail(job, error, text)
    else:
        end(job, None, job_status.TERMINATED, text)
    return failure_of(job, executor)  # type: ignore[arg-type]


# States


def test_future_is_pending_until_its_job_runs_and_done_when_it_has_ended(executor: Executor) -> None:
    future = executor.future()
    states = [(future.running(), future.done(), future.cancelled())]
    run_job(future.job)
    states.append((future.running(), future.done(), future.cancelled()))
    end(future.job, 5)
    states.append((future.running(), future.done(), future.cancelled()))
    assert states == [(False, False, False), (True, False, False), (False, True, False)]
    assert future.result() == 5 and future.exception() is None


@pytest.mark.parametrize("status", [job_status.PROVISIONAL_RESULT, job_status.CANCELLED])
def test_job_that_has_not_ended_is_not_done_whatever_its_status(executor: Executor, status: int) -> None:
    future = executor.future()
    future.job._status = status
    assert not future.done() and not future.cancelled()
    assert future._exception is None and future._result is None


@pytest.mark.parametrize(
    ("status", "text"), [(job_status.CANCELLED, None), (job_status.TERMINATED, INTERRUPTED)], ids=["waiting", "running"]
)
def test_cancelled_job_is_cancelled_whether_it_ran_or_not(executor: Executor, status: int, text: str | None) -> None:
    future = executor.future()
    end(future.job, None, status, text)
    assert future.cancelled() and future.done() and not future.running()
    for ask in (future.result, future.exception):
        with pytest.raises(CancelledError):
            ask()
    assert future._exception is None


def test_text_of_a_user_about_cancellation_is_not_a_cancellation(executor: Executor) -> None:
    future = executor.future()
    fail(future.job, ValueError(CANCELLED_TEXT), f"Traceback\nValueError: {CANCELLED_TEXT} Or not.\n")
    assert not future.cancelled() and isinstance(future.exception(), ValueError)


def test_result_that_is_not_there_in_time_raises_timeout_and_can_be_asked_for_again(executor: Executor) -> None:
    future = executor.future()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            ask(0.0)
    end(future.job, 5)
    assert future.result(0.0) == 5


def test_exception_of_a_call_is_raised_as_it_was_with_the_traceback_of_its_node(executor: Executor) -> None:
    future = executor.future()
    fail(future.job, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong") as raised:
        future.result()
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert str(raised.value.__cause__) == f'\n"""\n{TRACEBACK.strip()}\n"""'
    assert isinstance(future.exception(), ValueError) and isinstance(future._exception, ValueError)


def test_state_of_a_future_is_set_by_its_job_only(executor: Executor) -> None:
    future = executor.future()
    for call in (future.set_running_or_notify_cancel, lambda: future.set_result(1), lambda: future.set_exception(None)):
        with pytest.raises(RuntimeError, match="is that of its job"):
            call()


def test_nothing_is_made_for_a_future_that_is_only_asked_for_its_result(executor: Executor) -> None:
    future = executor.future()
    end(future.job, 5)
    assert (future.result(), future.exception(), future.done(), repr(future)) == (
        *(5, None, True),
        f"<JobFuture of {future.job!r}>",
    )
    assert future._parts is None and future.job._gate is None and executor.prepared == 0


# Cancelling


def test_cancel_is_true_if_the_job_had_not_begun(executor: Executor) -> None:
    future = executor.future()
    assert future.cancel() and future.cancelled()
    # A second one asks no node.
    assert future.cancel() and executor.withdrawn == [future.job]


def test_cancel_is_false_for_a_call_that_runs_or_has_ended(executor: Executor) -> None:
    running, over = executor.future(), executor.future()
    run_job(running.job)
    end(over.job, 1)
    assert not running.cancel() and not over.cancel()
    assert executor.withdrawn == [running.job] and not running.done()
    assert executor.stopped == []


def test_stop_ends_the_job_even_if_it_runs(executor: Executor) -> None:
    future = executor.future()
    run_job(future.job)
    future.stop()
    assert executor.stopped == [future.job]


# `concurrent.futures`


def test_wait_returns_those_that_have_ended_before_and_meanwhile(executor: Executor) -> None:
    futures = [executor.future() for _ in range(3)]
    end(futures[0].job, 0)
    assert concurrent.futures.wait(futures, 0.0) == ({futures[0]}, {futures[1], futures[2]})
    threads = [threading.Thread(target=end, args=(each.job, 1)) for each in futures[1:]]
    for thread in threads:
        thread.start()
    assert concurrent.futures.wait(futures, 10) == (set(futures), set())
    for thread in threads:
        thread.join()


def wait_in_thread(futures: list[JobFuture], return_when: str) -> tuple[threading.Thread, list[Any]]:
    """A thread that waits for futures, and what it has found; it waits when this returns."""
    found: list[Any] = []
    installed = threading.Event()

    class Waiters(list[Any]):
        def append(self, waiter: Any) -> None:
            super().append(waiter)
            installed.set()

    for each in futures:
        each._made().waiters = Waiters(each._made().waiters)
    thread = threading.Thread(
        target=lambda: found.append(concurrent.futures.wait(futures, None, return_when)), daemon=True
    )
    thread.start()
    assert installed.wait(10)
    return thread, found


@pytest.mark.parametrize(
    ("return_when", "first", "later"),
    [
        (FIRST_COMPLETED, "result", None),
        (FIRST_COMPLETED, "cancelled", None),
        (FIRST_EXCEPTION, "error", None),
        (FIRST_EXCEPTION, "result", "error"),
        (FIRST_EXCEPTION, "cancelled", "result"),
        (ALL_COMPLETED, "error", "result"),
        (ALL_COMPLETED, "cancelled", "error"),
    ],
)
def test_waiting_ends_as_soon_as_it_should(executor: Executor, return_when: str, first: str, later: str | None) -> None:
    ends: dict[str | None, Callable[[DispyJob], None]] = {
        "result": lambda job: end(job, 1),
        "error": lambda job: fail(job, ValueError("wrong")),
        "cancelled": lambda job: end(job, None, job_status.CANCELLED),
    }
    futures = [executor.future() for _ in range(2)]
    thread, found = wait_in_thread(futures, return_when)
    [waiter] = futures[1]._waiters
    ends[first](futures[0].job)
    if later is not None:
        # What has ended so far is not enough.
        assert not waiter.event.is_set()
        ends[later](futures[1].job)
    thread.join(10)
    done = set(futures) if later is not None else {futures[0]}
    assert found == [(done, set(futures) - done)]
    assert all(each._waiters == [] for each in futures)


def test_as_completed_yields_each_future_once_in_the_order_of_their_ends(executor: Executor) -> None:
    futures = [executor.future() for _ in range(4)]
    end(futures[2].job, 2)
    found = concurrent.futures.as_completed([*futures, futures[2]], 10)
    assert next(found) is futures[2]
    end(futures[3].job, 3)
    fail(futures[0].job, ValueError("wrong"))
    assert [next(found), next(found)] == [futures[3], futures[0]]
    end(futures[1].job, None, job_status.CANCELLED)
    assert list(found) == [futures[1]]
    assert all(each._waiters == [] for each in futures)


def test_futures_of_jobs_and_others_can_be_waited_for_together(executor: Executor) -> None:
    own, other = executor.future(), concurrent.futures.Future[int]()
    other.set_result(1)
    end(own.job, 1)
    assert concurrent.futures.wait([own, other], 0.0).done == {own, other}


def test_end_of_a_job_that_is_told_twice_counts_once_for_waiters_and_callbacks(executor: Executor) -> None:
    futures, seen = [executor.future() for _ in range(2)], list[Any]()
    futures[0].add_done_callback(seen.append)
    thread, found = wait_in_thread(futures, ALL_COMPLETED)
    [waiter] = futures[1]._waiters
    for _ in range(2):
        end(futures[0].job, 1)
    assert not waiter.event.is_set()
    end(futures[1].job, 1)
    thread.join(10)
    executor.run()
    assert found == [(set(futures), set())] and seen == futures[:1]


# Callbacks


def test_callback_is_called_with_the_future_in_the_order_of_adding(executor: Executor) -> None:
    future, seen = executor.future(), list[Any]()
    for number in range(3):
        future.add_done_callback(lambda each, number=number: seen.append((number, each, each.result())))
    assert executor.prepared == 3
    end(future.job, 7)
    # Not in the hub, where the job has ended.
    assert seen == []
    executor.run()
    assert seen == [(0, future, 7), (1, future, 7), (2, future, 7)]


def test_callback_of_a_future_that_is_done_is_called_at_once_and_starts_no_thread(executor: Executor) -> None:
    future, seen = executor.future(), list[Any]()
    end(future.job, 7)
    future.add_done_callback(seen.append)
    assert seen == [future] and executor.prepared == 0 and executor.queue == []


def test_callback_that_raises_is_logged_and_the_others_are_called(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    future, seen = executor.future(), list[Any]()
    future.add_done_callback(lambda each: 1 // 0)
    future.add_done_callback(seen.append)
    end(future.job, 1)
    executor.run()
    assert seen == [future] and "exception calling callback for" in caplog.text


def test_callbacks_that_are_added_while_the_job_ends_are_all_called_once(executor: Executor) -> None:
    futures, seen = [executor.future() for _ in range(500)], list[Any]()
    thread = threading.Thread(target=lambda: [end(each.job, 1) for each in futures])
    thread.start()
    for each in futures:
        each.add_done_callback(seen.append)
    thread.join()
    executor.run()
    assert len(seen) == len(futures) and set(seen) == set(futures)


def test_parts_that_another_thread_makes_meanwhile_are_used(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    future, others = executor.future(), list[Any]()

    class Lock:
        """As it is taken, another thread has made the parts."""

        def __enter__(self) -> None:
            if not others:
                others.append(None)
                others.append(future._made())

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(module, "_PARTS", Lock())
    assert future._condition is others[1].condition


# asyncio


def test_future_of_asyncio_gets_the_result_the_exception_and_the_cancellation(executor: Executor) -> None:
    executor._call_back = lambda function, *args: function(*args)  # type: ignore[method-assign]

    async def main() -> list[Any]:
        futures = [executor.future() for _ in range(3)]
        wrapped = [asyncio.wrap_future(each) for each in futures]
        end(futures[0].job, 5)
        fail(futures[1].job, ValueError("wrong"))
        end(futures[2].job, None, job_status.CANCELLED)
        return await asyncio.gather(*wrapped, return_exceptions=True)

    result, error, cancelled = asyncio.run(main())
    assert result == 5
    assert isinstance(error, ValueError) and str(error) == "wrong"
    assert isinstance(cancelled, asyncio.CancelledError)


def test_future_of_asyncio_that_is_cancelled_withdraws_the_job(executor: Executor) -> None:
    executor._call_back = lambda function, *args: function(*args)  # type: ignore[method-assign]

    async def main() -> JobFuture:
        future = executor.future()
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        return future

    assert asyncio.run(main()).cancelled()


# Failures


def test_time_limit_of_a_call_raises_timeout_with_a_text_without_jobs(executor: Executor) -> None:
    error = failing(executor, OVERTIME)
    assert (
        type(error) is CallTimeout and str(error) == "The call took longer than its limit of 2.5 s and was terminated."
    )
    assert isinstance(error, concurrent.futures.TimeoutError) and isinstance(error, JobFailed)
    assert error.job is executor.jobs[0]


@pytest.mark.parametrize(("text", "shown"), [("killed by SIGKILL\n", "killed by SIGKILL"), ("", "Terminated")])
def test_call_whose_process_died_raises_a_broken_pool(executor: Executor, text: str, shown: str) -> None:
    error = failing(executor, text)
    assert type(error) is WorkerDied and str(error) == shown
    assert isinstance(error, BrokenProcessPool) and executor.broken == []


def test_lost_node_is_a_dead_worker(executor: Executor) -> None:
    job = executor.send()
    end(job, None, job_status.ABANDONED, "node 10.0.0.1 is lost\n")
    error = failure_of(job, executor)  # type: ignore[arg-type]
    assert type(error) is WorkerDied and str(error) == "node 10.0.0.1 is lost"


def test_failed_initializer_breaks_the_executor_and_shows_its_traceback(executor: Executor) -> None:
    error = failing(executor, TRACEBACK, InitializerFailed("Traceback\nValueError: no licence"))
    assert type(error) is BrokenProcessPool and "ValueError: no licence" in str(error)
    assert executor.broken == ["Traceback\nValueError: no licence"]


def test_exception_that_cannot_be_unpickled_here_is_replaced_by_one_of_its_name(executor: Executor) -> None:
    error = failing(executor, TRACEBACK)
    assert (type(error).__name__, str(error)) == ("ValueError", "wrong") and not isinstance(error, WorkerDied)


def test_result_that_cannot_be_unpickled_here_is_a_failure(executor: Executor) -> None:
    future = executor.future()
    end_with(future.job, b"\x80\x04\x8c\x07no_such\x8c\x05thing\x93.", job_status.FINISHED, None)
    with pytest.raises(WorkerDied, match="cannot be unpickled here"):
        future.result()


class Unpicklable(Exception):
    """An error of pickling."""


def test_error_of_pickling_is_raised_as_it_was_with_our_text_as_a_note() -> None:
    cause, error = Unpicklable("cannot pickle"), TypeError("an argument of the job cannot be pickled")
    error.__cause__ = cause
    assert as_raised(error) is cause
    if hasattr(cause, "add_note"):
        assert cause.__notes__ == [str(error)]


@pytest.mark.parametrize("cause", [None, KeyboardInterrupt()])
def test_error_without_an_exception_behind_it_is_raised_as_it_is(cause: BaseException | None) -> None:
    error = TypeError("wrong")
    error.__cause__ = cause
    assert as_raised(error) is error


def test_call_that_was_never_made_has_a_future_that_is_done() -> None:
    future = failed(ValueError("wrong"))
    assert future.done() and not future.cancel() and isinstance(future.exception(), ValueError)


# Repeated calls


def test_call_that_fails_is_made_again_until_it_succeeds(executor: Executor) -> None:
    future, seen = executor.retried(2), list[Any]()
    future.add_done_callback(seen.append)
    for job_number in range(2):
        fail(executor.jobs[job_number], ValueError("wrong"))
        executor.run()
        assert not future.done() and future.job is executor.jobs[job_number + 1]
    end(executor.jobs[2], 5)
    executor.run()
    assert future.result(0.0) == 5 and seen == [future] and len(executor.jobs) == 3
    assert executor.prepared == 1


def test_call_that_fails_more_often_than_it_is_repeated_raises_its_last_error(executor: Executor) -> None:
    future = executor.retried(1)
    fail(executor.jobs[0], ValueError("first"))
    executor.run()
    end(executor.jobs[1], None, job_status.TERMINATED, "killed by SIGKILL\n")
    executor.run()
    assert isinstance(future.exception(0.0), WorkerDied) and len(executor.jobs) == 2


def test_end_of_an_attempt_that_is_told_twice_counts_once(executor: Executor) -> None:
    future = executor.retried(2)
    fail(executor.jobs[0], ValueError("wrong"))
    executor.queue *= 2
    executor.run()
    assert len(executor.jobs) == 2 and not future.done()
    end(executor.jobs[1], 5)
    executor.queue *= 2
    executor.run()
    assert future.result(0.0) == 5


def test_cancelled_call_is_not_made_again(executor: Executor) -> None:
    future = executor.retried(2)
    assert future.cancel()
    executor.run()
    assert future.cancelled() and len(executor.jobs) == 1
    with pytest.raises(CancelledError):
        future.result(0.0)


def test_call_that_was_cancelled_with_its_executor_is_not_made_again(executor: Executor) -> None:
    future = executor.retried(2)
    end(executor.jobs[0], None, job_status.CANCELLED)
    executor.run()
    assert future.cancelled() and len(executor.jobs) == 1


def test_call_that_was_stopped_is_not_made_again(executor: Executor) -> None:
    future = executor.retried(2)
    run_job(executor.jobs[0])
    assert future.running()
    future.stop()
    assert executor.stopped == [executor.jobs[0]]
    fail(executor.jobs[0], ValueError("wrong"))
    executor.run()
    assert len(executor.jobs) == 1 and isinstance(future.exception(0.0), ValueError) and not future.running()


def test_call_that_cannot_be_made_again_raises_its_error(executor: Executor) -> None:
    future = executor.retried(2)
    executor.error = RuntimeError("cannot schedule new futures after shutdown")
    fail(executor.jobs[0], ValueError("wrong"))
    executor.run()
    assert isinstance(future.exception(0.0), ValueError)


def test_repeated_call_is_waited_for_as_any_other(executor: Executor) -> None:
    futures = [executor.retried(1) for _ in range(2)]
    end(futures[1].job, 1)
    executor.run()
    assert concurrent.futures.wait(futures, 0.0) == ({futures[1]}, {futures[0]})
