"""A job in the user's hands: every way to wait for it, and what each gives."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

from gdispy import DispyJob, JobFailed
from gdispy.hub import Gate
from tests.support.waiting import reached
from tests.unit.ends import end

#: Seconds until a test gives up.
LIMIT = 20

FAILED = [DispyJob.Terminated, DispyJob.Cancelled, DispyJob.Abandoned]


@pytest.fixture
def job() -> DispyJob:
    return DispyJob(7, 0.0)


def later(function: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


def test_finish_waits_as_an_event_does_and_cannot_be_changed(job: DispyJob) -> None:
    assert not job.finish.wait(0.01) and not job.finish.is_set()
    job.finish.set()
    assert not job.finish.is_set()
    thread = later(end, job, 1)
    assert job.finish.wait(LIMIT) and job.finish.is_set()
    job.finish.clear()
    assert job.finish.is_set() and job.finish.wait(0) and job.finish.wait()
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
    copy = job._copy()
    assert not copy.wait(0.01) and copy.result == 1
    thread = later(end, job, 2)
    assert copy.wait(LIMIT) and copy.result == 1
    thread.join()


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
