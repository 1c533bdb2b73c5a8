"""Cancelling jobs: waiting, running, and those that will not end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gdispy import DispyJob, JobCluster
from tests.support.daemons import alive
from tests.support.jobs import ignore_everything, leave_a_process, wait_for_interrupt
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def test_a_waiting_job_is_cancelled_at_once(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_interrupt)
    running = [made.submit(str(tmp_path / str(n)), True) for n in range(2)]
    waiting = made.submit(str(tmp_path / "never"), True)
    eventually(lambda: all(job.status == DispyJob.Running for job in running))
    assert made.cancel(waiting) == 0
    assert waiting.wait(2)
    assert waiting.status == DispyJob.Cancelled and waiting.result is None
    assert not (tmp_path / "never").exists()
    for job in running:
        made.cancel(job)
        assert job.wait(5)


def test_a_running_job_may_catch_the_interrupt_and_finish(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_interrupt)
    mark = tmp_path / "pid"
    job = made.submit(str(mark), True)
    eventually(mark.exists)
    assert made.cancel(job) == 0
    assert job.wait(2) and job.status == DispyJob.Finished and job.result == "caught"
    assert made.cancel(job) == -1


def test_a_running_job_that_does_not_catch_it_is_terminated(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_interrupt)
    mark = tmp_path / "pid"
    job = made.submit(str(mark), False)
    eventually(mark.exists)
    made.cancel(job)
    assert job.wait(2) and job.status == DispyJob.Terminated
    assert job.exception.endswith("KeyboardInterrupt\nThe job was cancelled.\n")
    assert "wait_for_interrupt" in job.exception and "runner.py" not in job.exception
    assert made.submit(str(tmp_path / "other"), True) is not None


def test_a_job_that_ignores_all_signals_is_gone_after_six_seconds(cluster: Make, tmp_path: Path) -> None:
    made = cluster(ignore_everything)
    mark = tmp_path / "pids"
    job = made.submit(str(mark))
    eventually(lambda: all(path.exists() and path.read_text() for path in (mark, tmp_path / "pids2")))
    pids = [int(mark.read_text()), int((tmp_path / "pids2").read_text())]
    assert all(map(alive, pids))
    made.cancel(job)
    assert job.wait(6)
    assert job.status == DispyJob.Terminated and job.exception == "The job was cancelled and had to be killed.\n"
    eventually(lambda: not any(map(alive, pids)), 1)


def test_what_a_job_leaves_behind_ends_with_it(cluster: Make, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    assert cluster(leave_a_process).submit(str(mark))() == 1
    assert not alive(int(mark.read_text()))


def test_cancelling_all_of_many_short_jobs_ends_each_once(cluster: Make) -> None:
    ends: list[int] = []
    made = cluster(lambda n: n, callback=lambda job: ends.append(job.id))
    jobs = [made.submit(n) for n in range(3000)]
    for job in jobs[::2]:
        made.cancel(job)
    assert made.wait(20)
    assert all(job.status in (DispyJob.Finished, DispyJob.Cancelled, DispyJob.Terminated) for job in jobs)
    assert all(job.status == DispyJob.Finished and job.result == n for n, job in list(enumerate(jobs))[1::2])
    eventually(lambda: len(ends) >= 3000)
    assert sorted(ends) == [job.id for job in jobs]
