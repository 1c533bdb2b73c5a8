"""Threads of a program that use one cluster at once, while Python changes between them, and the hub, all the time.

What one thread does between two steps of another is a matter of luck, and a moment that comes once in a million jobs
comes on some machine every day. Here threads take turns every few microseconds, not every 5 ms: a job that ended just
as somebody began to wait for it was found in seconds by this.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gdispy import DispyJob, JobCluster, hub
from gdispy.journal.format import read

Make = Callable[..., JobCluster]

THREADS = 3
#: Seconds for which each kind of use goes on; and seconds after which a step of it counts as hanging.
DURATION = 3.0
LIMIT = 20.0
#: How often each thread uses the cluster at least, however slow the machine.
ROUNDS = 3


@pytest.fixture(autouse=True)
def changing() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def answer(number: int) -> int:
    return number


def call(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    return [job() for job in jobs]


def wait_for_each(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    return [job.wait() and job.result for job in jobs]


def wait_in_small_steps(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    for job in jobs:
        while not job.wait(random.random() * 0.001):
            pass
    return [job.result for job in jobs]


def wait_for_all(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    # Others submit meanwhile, so that it may never be true for all of them.
    while not made.wait(0.01) and not all(job.wait(0) for job in jobs):
        pass
    return [job.result_or_raise() for job in jobs]


def take_as_they_end(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    return sorted(job.result for job in made.as_completed(jobs))


def cancel_some(made: JobCluster, jobs: list[DispyJob]) -> list[Any]:
    for job in jobs[::3]:
        made.cancel(job)
    for number, job in enumerate(jobs):
        job()
        cancelled = number % 3 == 0 and job.status in (DispyJob.Cancelled, DispyJob.Terminated)
        assert cancelled or job.status == DispyJob.Finished
    return list(range(len(jobs)))


USES = [call, wait_for_each, wait_in_small_steps, wait_for_all, take_as_they_end, cancel_some]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_nobody_waits_for_what_has_been(cluster: Make, use: Callable[..., list[Any]]) -> None:
    use_at_once(cluster(answer), use)


def test_a_recovery_file_is_written_by_all_threads(cluster: Make, tmp_path: Path) -> None:
    use_at_once(cluster(answer, fault_recover=str(tmp_path / "jobs")), call)
    assert read(str(tmp_path / "jobs")).fault == ""


def use_at_once(made: JobCluster, use: Callable[..., list[Any]]) -> None:
    until = time.monotonic() + DURATION
    done: list[int] = []
    failures: list[BaseException] = []

    def go_on(number: int) -> None:
        chance, rounds = random.Random(number), 0
        try:
            while time.monotonic() < until or rounds < ROUNDS:
                rounds += 1
                size = chance.choice([1, 1, 2, 5, 40])
                assert use(made, [made.submit(each) for each in range(size)]) == list(range(size))
                done.append(size)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=go_on, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DURATION + LIMIT)
    assert not failures, failures[0]
    assert not any(thread.is_alive() for thread in threads), f"it hangs after {sum(done)} jobs: {made.status()}"
    assert len(done) >= THREADS * ROUNDS


def test_callbacks_are_called_once_for_each_job(cluster: Make) -> None:
    told: list[int] = []
    made = cluster(answer, callback=lambda job: told.append(job.result))
    numbers = iter(range(1 << 40))
    until = time.monotonic() + DURATION

    def submit() -> None:
        while time.monotonic() < until:
            made.submit(next(numbers))()

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DURATION + LIMIT)
    assert not any(thread.is_alive() for thread in threads)
    assert made.wait(LIMIT)
    made.close(timeout=LIMIT)
    assert sorted(told) == list(range(next(numbers)))


def test_the_hub_takes_jobs_while_a_program_submits_without_a_pause(cluster: Make) -> None:
    made = cluster(answer)
    assert made.submit(-1).result_or_raise(LIMIT) == -1
    sys.setswitchinterval(60.0)  # Nobody takes the interpreter from this thread now: it has to hand it over.
    jobs = [made.submit(number) for number in range(20_000)]
    waiting = len(made._queue)
    sys.setswitchinterval(0.005)
    assert waiting < 1000
    assert [job.result_or_raise(LIMIT) for job in jobs] == list(range(20_000))


def test_submit_does_not_wait_for_a_hub_that_is_kept_busy(cluster: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.setswitchinterval(0.005)
    monkeypatch.setattr(hub, "LET_RUN_LIMIT", 0.001)
    made = cluster(answer)
    assert made.submit(-1).result_or_raise(LIMIT) == -1
    gate = threading.Event()
    made._hub.post(gate.wait)
    try:
        jobs = [made.submit(number) for number in range(1000)]
    finally:
        gate.set()
    assert [job.result_or_raise(LIMIT) for job in jobs] == list(range(1000))


def test_the_same_in_a_thread_that_has_a_loop(cluster: Make) -> None:
    gevent.get_hub()
    test_the_hub_takes_jobs_while_a_program_submits_without_a_pause(cluster)
