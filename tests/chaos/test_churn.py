"""A hundred thousand tiny jobs, many cancelled, while nodes and workers are killed and come back. (Fault 50.)"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy import DispyJob, JobCluster
from tests.support.daemons import Daemon
from tests.support.jobs import note_quickly
from tests.support.waiting import eventually

JOBS, CANCELS = 100_000, 10_000
SEED = int(os.environ.get("GDISPY_SEED", str(random.randrange(1 << 30))))
#: Bytes that this program may have grown by when all is over: what Python and its allocator keep.
GROWTH = 64 << 20


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def run_all(made: JobCluster, log: str, jobs: list[DispyJob], strike: Callable[[int], None]) -> None:
    """Submit, cancel and strike, until all have ended."""
    chance = random.Random(SEED)
    every = JOBS // CANCELS
    for number in range(JOBS):
        jobs.append(made.submit(log, number, ""))
        if number % every == every - 1:
            made.cancel(chance.choice(jobs[-2000:]))
        if number % 20_000 == 19_999:
            strike(number)
    assert made.wait(90), made.status().problems


@pytest.mark.timeout(240)
def test_every_job_ends_once_and_nothing_is_left(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    print(f"GDISPY_SEED={SEED}")
    log = tmp_path / "begun"
    steady = start_node("--cpus", "2")
    falling = [start_node("--cpus", "2")]
    place = falling[0].place
    told: Counter[int] = Counter()
    options = {"nodes": [steady.place, place], "secret_file": secret_file}

    kills = 0

    def strike(number: int) -> None:
        nonlocal kills
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(steady.below()[-1], signal.SIGKILL)  # The youngest: a worker.
            kills += 1
        falling[-1].kill()
        falling[-1].process.wait(10)
        falling.append(start_node("--cpus", "2", "-p", str(place[1])))

    with JobCluster(note_quickly, callback=lambda job: told.update([job.id]), **options) as made:
        for job in [made.submit(str(log), -1, "") for _ in range(100)]:
            assert job() == -1
        eventually(lambda: sum(told.values()) == 100, 10)
        told.clear()
        gc.collect()
        before = resident(), open_files(os.getpid()), threading.active_count(), open_files(steady.pid)
        jobs: list[DispyJob] = []
        run_all(made, str(log), jobs, strike)
        # Each has one end, that is told once and true; none has begun twice.
        eventually(lambda: sum(told.values()) >= JOBS, 30, "callbacks are missing")
        assert set(told) == {job.id for job in jobs} and set(told.values()) == {1}
        begun = Counter(map(int, log.read_text().split()))
        ends = Counter(job.status for job in jobs)
        unknown = []
        for number, job in enumerate(jobs):
            assert begun[number] <= 1
            assert job.result == (number if job.status == DispyJob.Finished else None)
            # An interrupt may come to a worker before it has called the function.
            was_cancelled = job.status == DispyJob.Terminated and "cancelled" in job.exception
            if not (begun[number] or was_cancelled or job.status in (DispyJob.Cancelled, DispyJob.Abandoned)):
                unknown.append((number, job.exception))
        # A worker may be killed when it has said that it begins a job, and has not.
        assert len(unknown) <= kills and all("SIGKILL" in text for _, text in unknown), unknown
        print(dict(ends))
        assert ends[DispyJob.Finished] > JOBS // 2
        assert set(ends) <= {DispyJob.Finished, DispyJob.Cancelled, DispyJob.Terminated, DispyJob.Abandoned}
        # What it took is given back.
        jobs.clear()
        told.clear()
        del job, begun
        gc.collect()
        eventually(lambda: open_files(os.getpid()) <= before[1] + 10, 10, "files are left open")
        eventually(lambda: open_files(steady.pid) <= before[3] + 20, 10, "files of the node are left open")
        assert threading.active_count() <= before[2] + 1
        assert resident() - before[0] < GROWTH
