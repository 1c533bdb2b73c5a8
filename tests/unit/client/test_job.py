"""A job in the user's hands: every way to wait for it, and what each gives."""

from __future__ import annotations

import asyncio
import copy
import operator
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from gdispy import DispyJob, JobFailed
from gdispy.client.map_results import as_completed
from gdispy.client.parameters import function_call
from gdispy.errors import RemoteError
from gdispy.protocol import job_status
from gdispy.protocol.error_lines import error_line
from gdispy.runtime.gate import Gate
from gdispy.worker import pickling
from tests.support.waiting import reached
from tests.unit.ends import end, end_with

#: Seconds until a test gives up.
LIMIT = 20

FAILED = [DispyJob.Terminated, DispyJob.Cancelled, DispyJob.Abandoned]


@pytest.fixture
def job() -> DispyJob:
    return DispyJob._new(7, 0.0, b"")


def later(function: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


def test_finish_is_an_event_that_only_the_end_sets(job: DispyJob) -> None:
    assert isinstance(job.finish, threading.Event) and job.finish is job.finish
    assert not job.finish.wait(0.01) and not job.finish.is_set()
    job.finish.set()
    assert not job.finish.is_set()
    thread = later(end, job, 1)
    assert job.finish.wait(LIMIT) and job.finish.is_set()
    assert job(clear=True) == 1
    assert not job.finish.is_set() and not job.finish.wait(0.01) and job.wait()
    job.finish.set()
    assert job.finish.is_set() and job.finish.wait()
    thread.join()


def test_a_job_that_ends_while_somebody_begins_to_wait_is_seen(job: DispyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended between the look whether it had, and the making of a gate: the hub found none to open."""
    make_gate = DispyJob._own_gate

    def end_first(job: DispyJob) -> Gate:
        assert job._gate is None
        job._done = True
        return make_gate(job)

    monkeypatch.setattr(DispyJob, "_own_gate", end_first)
    monkeypatch.setattr(Gate, "wait", lambda *_: pytest.fail("it waits for what has been"))
    assert job.wait()


def test_clear_does_not_make_the_next_call_wait(job: DispyJob) -> None:
    end(job, "value")
    assert job(clear=True) == "value" and job() == "value"


def test_result_or_raise_gives_the_result_none_too(job: DispyJob) -> None:
    end(job, None)
    assert job.result_or_raise() is None


@pytest.mark.parametrize("status", FAILED)
def test_result_or_raise_raises_what_went_wrong(job: DispyJob, status: int) -> None:
    end(job, None, status, "Traceback ...\nValueError: far away\n")
    with pytest.raises(JobFailed, match=r"job 7: \w+\nTraceback ...\nValueError: far away$") as raised:
        job.result_or_raise(LIMIT)
    assert raised.value.job is job


def test_result_or_raise_tells_a_result_that_cannot_be_unpickled(job: DispyJob) -> None:
    end(job, 1)
    job._payload = b"\x80\x05not a pickle"
    with pytest.raises(JobFailed, match="cannot be unpickled here"):
        job.result_or_raise()


def test_result_or_raise_gives_up_when_time_is_up(job: DispyJob) -> None:
    with pytest.raises(TimeoutError, match=r"job 7 .* 0\.01 s"):
        job.result_or_raise(0.01)
    end(job, 3)
    assert job.result_or_raise(0) == 3


def test_a_failure_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(JobFailed("why", None)))
    assert str(copy) == "why" and copy.job is None


def test_threads_that_ask_together_get_the_same_object(job: DispyJob) -> None:
    end(job, list(range(100_000)))
    barrier, seen = threading.Barrier(8), list[Any]()

    def ask() -> None:
        barrier.wait(LIMIT)
        seen.append(job.result)

    for thread in [later(ask) for _ in range(8)]:
        thread.join(LIMIT)
    assert len(seen) == 8 and seen[0] == list(range(100_000))
    assert all(each is seen[0] for each in seen)


def test_a_provisional_result_that_is_being_read_does_not_hide_the_final_one(job: DispyJob) -> None:
    class Slow:
        """Its unpickling lasts until the job has ended."""

        def __reduce__(self) -> Any:
            return _end_meanwhile, ()

    job.status, job._payload = DispyJob.ProvisionalResult, pickle.dumps(Slow())
    _meanwhile.append(lambda: end(job, "final"))
    assert job.result == "provisional"
    assert job.result == "final" and job.status == DispyJob.Finished


_meanwhile: list[Any] = []


def _end_meanwhile() -> str:
    _meanwhile.pop()()
    return "provisional"


def test_setting_the_result_forgets_what_arrived(job: DispyJob) -> None:
    end(job, "x" * 1000)
    job.result = None
    assert job.result is None and job._payload == b""


def test_who_waits_for_a_provisional_copy_waits_for_the_end(job: DispyJob) -> None:
    job.status, job._payload = DispyJob.ProvisionalResult, pickle.dumps(1)
    shown = job._copy()
    assert not shown.wait(0.01) and shown.result == 1
    thread = later(end, job, 2)
    assert shown.wait(LIMIT) and (shown.result, shown.status) == (2, DispyJob.Finished)
    thread.join()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, DispyJob._copy])
def test_a_copy_means_the_job(job: DispyJob, copied: Any) -> None:
    twin = copied(job)
    assert twin is not job and twin == job and hash(twin) == hash(job) and copied(twin) == job
    assert twin in [job] and {job: 1}[twin] == 1 and isinstance(twin, DispyJob)
    assert DispyJob._new(7, 0.0) != job
    thread = later(end, job, "result")
    assert twin() == "result" and twin.status == DispyJob.Finished and twin.end_time == job.end_time
    thread.join()


def test_a_job_is_no_argument_of_another(job: DispyJob) -> None:
    end(job, 1)
    with pytest.raises(TypeError, match="job 7 cannot be pickled, so it cannot be an argument of another job: wait"):
        function_call((job,), {})


def test_a_job_of_no_cluster_is_numbered_and_knows_what_it_is_called_with() -> None:
    first, second = DispyJob(None, (1,), ()), DispyJob("own", (2,), {"k": 3})
    assert isinstance(first.id, int) and first.id < second._number and second.id == "own"
    assert DispyJob(0).id and DispyJob("").id
    assert (first._args, first._kwargs, second.args, second.kwargs) == ((1,), {}, (2,), {"k": 3})
    first.result = 5
    assert first.result == 5 and first._uid == first.id


class Unlucky:
    """It can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return operator.truediv, (1, 0)


@pytest.mark.parametrize("look", ["status", "exception", "result", "status_name", "error"])
def test_a_result_that_cannot_be_unpickled_is_none_from_the_first_look(job: DispyJob, look: str) -> None:
    end_with(job, pickle.dumps(Unlucky(), 5), job_status.FINISHED, None)
    getattr(job, look)
    assert (job._status, job._result, job._payload) == (job_status.TERMINATED, None, b"")
    assert job.error == ("The result arrived, but cannot be unpickled here: ZeroDivisionError: division by zero")


class Exiting:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def test_a_result_that_exits_when_it_is_unpickled_ends_nobody(job: DispyJob) -> None:
    end_with(job, pickle.dumps(Exiting(), 5), job_status.FINISHED, None)
    assert job() is None and job.error == "The result arrived, but cannot be unpickled here: SystemExit: 3"


def test_a_provisional_result_that_cannot_be_unpickled_is_reported(
    job: DispyJob, caplog: pytest.LogCaptureFixture
) -> None:
    job.status, job._payload = DispyJob.ProvisionalResult, pickle.dumps(Unlucky(), 5)
    assert job._copy().result is None
    assert "a provisional result of job 7 cannot be read here: ZeroDivisionError" in caplog.text


def test_a_plain_result_is_not_unpickled_to_know_the_status(job: DispyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickling, "loads", lambda data: pytest.fail("it is unpickled"))
    end(job, {"a": [1, 2.5, "text", b"bytes", None, (True, {1, 2})]})
    assert job.status == DispyJob.Finished and job.exception is None


# what went wrong


def raised(error: BaseException) -> tuple[bytes, str]:
    try:
        raise error
    except BaseException as caught:
        return pickling.dumps_failure(caught), traceback.format_exc()


def test_the_cause_is_what_the_job_raised(job: DispyJob) -> None:
    payload, text = raised(ValueError("no such thing", 3))
    end_with(job, payload, job_status.TERMINATED, text)
    with pytest.raises(JobFailed, match=r"^job 7: Terminated\nTraceback") as caught:
        job.result_or_raise()
    cause = caught.value.__cause__
    assert type(cause) is ValueError and cause.args == ("no such thing", 3)
    assert (job.result, job.error) == (None, "ValueError: ('no such thing', 3)")


def test_a_cause_that_cannot_travel_keeps_its_name(job: DispyJob) -> None:
    class AppError(Exception):
        def __init__(self, code: int, why: str) -> None:
            super().__init__(f"{code}: {why}")

    payload, text = raised(AppError(3, "why"))
    end_with(job, payload, job_status.TERMINATED, text)
    cause = job._failed().__cause__
    assert isinstance(cause, RemoteError) and type(cause).__name__ == "AppError" and str(cause) == "3: why"


def test_a_failure_shows_the_arguments_shortened() -> None:
    job = DispyJob._new(9, 0.0, function_call((1, "x" * 500), {"key": [1, 2]}))
    end_with(job, b"", job_status.TERMINATED, "It was killed.\n")
    line = job._failure().splitlines()[0]
    assert line.startswith("job 9, called with (1, 'xxx") and line.endswith("xxx', key=[1, 2]): Terminated")
    assert len(line) < 140 and job.error == "It was killed."
    assert (job.args, job.kwargs) == ((1, "x" * 500), {"key": [1, 2]})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("The program was killed by signal 9 (SIGKILL).\nmore\n", "The program was killed by signal 9 (SIGKILL)."),
        ('Traceback (most recent call last):\n  File "a", line 1, in f\n    x\nKeyError: 1\n', "KeyError: 1"),
        ('Traceback (most recent call last):\n  File "a", line 1\nE: a\nb\n', "E: a"),
        ("E: " + "x" * 1000, "E: " + "x" * 494 + "..."),
        (
            "  + Exception Group Traceback (most recent call last):\n  |   File \"a\", line 1, in f\n  |     raise g\n"
            "  | ExceptionGroup: both (2 sub-exceptions)\n  +-+------- 1 -------\n    | KeyError: 1\n",
            "ExceptionGroup: both (2 sub-exceptions)",
        ),
        ('Traceback (most recent call last):\n  File "a", line 1\nKeyboardInterrupt\nThe job was cancelled.\n',
         "The job was cancelled."),
    ],
)  # fmt: skip
def test_the_line_of_a_text_that_says_what_went_wrong(text: str, line: str) -> None:
    assert error_line(text) == line


# await


def test_await_gives_what_calling_gives(job: DispyJob) -> None:
    async def main() -> Any:
        task = asyncio.ensure_future(_result(job))
        await reached(lambda: waiting_for(job) == 1)
        threads.append(later(end, job, "result"))
        return await asyncio.wait_for(task, LIMIT), await job

    threads: list[threading.Thread] = []
    assert asyncio.run(main()) == ("result", "result")
    threads[0].join()
    assert job._gate is not None and job._gate._wakers == []


def test_await_of_a_job_that_failed_gives_none_and_of_one_that_ended_needs_no_loop_turn(job: DispyJob) -> None:
    end(job, None, DispyJob.Terminated, "why")
    with pytest.raises(StopIteration) as over:
        job.__await__().send(None)
    assert over.value.value is None and job._gate is None


def waiting_for(job: DispyJob) -> int:
    """How many wait for the end of a job."""
    return len(job._gate._wakers) if job._gate is not None else 0


async def _result(job: DispyJob) -> Any:
    return await job


def test_several_loops_and_tasks_await_the_same_job(job: DispyJob) -> None:
    waiting = threading.Barrier(3)
    seen: list[Any] = []

    async def main() -> None:
        tasks = [asyncio.ensure_future(_result(job)) for _ in range(5)]
        await reached(lambda: waiting_for(job) >= 5)
        await asyncio.to_thread(waiting.wait, LIMIT)
        seen.append(await asyncio.wait_for(asyncio.gather(*tasks), LIMIT))

    threads = [later(asyncio.run, main()) for _ in range(2)]
    waiting.wait(LIMIT)
    end(job, "for all")
    for thread in threads:
        thread.join(LIMIT)
    assert seen == [["for all"] * 5] * 2


def test_cancelling_who_awaits_leaves_the_job_and_the_others_alone(job: DispyJob) -> None:
    async def main() -> Any:
        first, second = asyncio.ensure_future(_result(job)), asyncio.ensure_future(_result(job))
        await reached(lambda: waiting_for(job) == 2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert job._gate is not None and len(job._gate._wakers) == 1
        thread = later(end, job, "still")
        found = await asyncio.wait_for(second, LIMIT)
        thread.join()
        return found

    assert asyncio.run(main()) == "still" and job.status == DispyJob.Finished


def test_a_loop_that_was_closed_does_not_disturb_the_end(job: DispyJob) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(_result(job))
    loop.run_until_complete(reached(lambda: waiting_for(job) == 1))
    loop.close()
    end(job, 5)
    assert job() == 5
    assert task.cancelling() == 0 if hasattr(task, "cancelling") else True
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def _awaited(job: DispyJob) -> Any:
    return await job


@pytest.fixture
def in_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    """Runs a call in a forked child; the name of the exception that it raises, or 'none'."""

    def run(call: Callable[[], None]) -> str:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            name = "none"
            try:
                call()
            except BaseException as error:
                name = type(error).__name__
            os.write(write, name.encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with open(read, "rb") as answer:
            return answer.read().decode()

    return run


@pytest.mark.parametrize(
    "call",
    [
        lambda job: job(),
        lambda job: job.wait(0.01),
        lambda job: job.wait(),
        lambda job: job.result_or_raise(),
        lambda job: job.finish.wait(),
        lambda job: list(as_completed([job], 1.0)),
        lambda job: asyncio.run(_awaited(job)),
    ],
)
def test_unfinished_job_of_the_parent_is_refused_in_a_forked_child(
    call: Callable[[DispyJob], Any], in_child: Callable[[Callable[[], None]], str]
) -> None:
    running, ended = DispyJob(), DispyJob()
    end(ended, 7)
    assert in_child(lambda: call(running)) == "ForkedError"
    assert in_child(lambda: call(ended)) == "none"
    # A job of the child itself is waited for there, and the parent is not concerned.
    assert in_child(lambda: DispyJob().wait(0.01)) == "none"
    assert running.wait(0.01) is False
    end(running, 8)
    assert running() == 8
