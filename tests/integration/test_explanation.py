"""`job.explain()`, `job.stack()` and `cluster.explain()` with real nodes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gdispy
from gdispy import JobCluster
from tests.support.daemons import Daemon
from tests.support.jobs import print_lines
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def compute_in_c(count: int) -> int:
    print("begin", flush=True)
    return sum(range(count))


def wait_in_a_thread(directory: str) -> int:
    import threading

    thread = threading.Thread(target=print_lines, args=(directory, 1), name="own thread")
    thread.start()
    thread.join()
    return 1


def wait_among_threads(directory: str, count: int, depth: int) -> int:
    """Many threads wait for an event, and so does the job, `depth` calls deep."""
    import threading

    def wait_as_the_job(left: int) -> int:
        return wait_as_the_job(left - 1) if left > 1 else print_lines(directory, 1)

    event = threading.Event()
    threads = [threading.Thread(target=event.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_as_the_job(depth)
    event.set()
    for thread in threads:
        thread.join()
    return len(threads)


def poll_in_c(fifo: str) -> int:
    """What poll returns that C code has called: 1 if the fifo can be read, -1 if a signal has ended it early."""
    import ctypes
    import os

    class Wish(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    print("buffered", end="")
    wish = Wish(os.open(fifo, os.O_RDWR), 1, 0)
    return int(ctypes.CDLL(None).poll(ctypes.byref(wish), 1, -1))


def poll_in_python(fifo: str) -> int:
    import os
    import select

    made = select.poll()
    made.register(os.open(fifo, os.O_RDWR), 1)
    return len(made.poll())


def runs(job: gdispy.DispyJob) -> bool:
    return bool(eventually(lambda: job.status == gdispy.DispyJob.Running))


def test_running_job_is_seen_with_its_process_its_output_and_its_stack(one: Make, tmp_path: Path) -> None:
    made = one(print_lines)
    job, waiting = made.submit(str(tmp_path), 1), made.submit(str(tmp_path), 1)
    assert runs(job)
    found = job.explain()
    assert eventually(lambda: job.explain().get("last output") == "line 0")
    assert found.get("state") == "Running" and found.get("node") and int(found.get("process"))
    assert "MiB" in found.get("memory") and "in print_lines" in found.get("stack")
    assert "gdispy/worker" not in found.get("stack") and "<string>" not in found.get("stack")
    assert "1 of them with its own jobs" in waiting.explain().get("waits for")
    assert "1 of them with its own jobs" in made.explain().get("waits for")
    with pytest.raises(gdispy.ConfigError, match="has no Python stack at present"):
        waiting.stack()
    (tmp_path / "0").touch()
    assert job() == waiting() == 1
    assert job.explain().get("state") == "Finished"
    with pytest.raises(gdispy.ConfigError, match="does not run: Finished"):
        job.stack()


def test_job_that_computes_in_c_is_seen_at_once_and_goes_on_undisturbed(one: Make) -> None:
    job = one(compute_in_c).submit(100_000_000)
    assert runs(job)
    stacks = []
    until = time.monotonic() + 30
    while len(stacks) < 20 and job.status == gdispy.DispyJob.Running and time.monotonic() < until:
        try:
            stacks.append(job.stack())
        except gdispy.ConfigError:  # It has just ended.
            break
    assert stacks and all("in compute_in_c" in each for each in stacks)
    assert job() == sum(range(100_000_000)) and job.stderr == ""


def test_c_code_that_waits_is_left_alone_and_pythons_own_waits_are_seen(one: Make, tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with open(fifo, "wb", opener=lambda path, flags: os.open(path, os.O_RDWR)) as file:
        job = one(poll_in_c).submit(fifo)
        assert runs(job)
        eventually(lambda: "it waits in poll, called by libffi" in job.explain().get("no stack"))
        follower = threading.Thread(target=list, args=(job.follow(),))
        follower.start()
        for _ in range(5):
            assert job.explain().get("memory")
            with pytest.raises(gdispy.ConfigError, match="which the signal for a stack would end early"):
                job.stack()
        file.write(b"x")
        file.flush()
        assert (job(), job.stdout) == (1, "buffered")
        follower.join()
        os.read(file.fileno(), 1)
        job = one(poll_in_python).submit(fifo)
        assert runs(job)
        assert eventually(lambda: "in poll_in_python" in job.stack())
        file.write(b"x")
        file.flush()
        assert job() == 1


def test_all_threads_are_shown(one: Make, tmp_path: Path) -> None:
    job = one(wait_in_a_thread).submit(str(tmp_path))
    assert runs(job)
    assert eventually(lambda: "in print_lines" in job.stack() and "in wait_in_a_thread" in job.stack())
    (tmp_path / "0").touch()
    assert job() == 1


@pytest.mark.parametrize(("threads", "depth"), [(30, 1), (30, 150), (150, 1), (150, 150)])
def test_stack_of_the_job_comes_first_among_many_threads(one: Make, threads: int, depth: int, tmp_path: Path) -> None:
    job = one(wait_among_threads).submit(str(tmp_path), threads, depth)
    assert eventually(lambda: job.explain().get("last output") == "line 0")
    for _ in range(20):
        first = job.stack().split("\n\n")[0]
        assert "in wait_as_the_job" in first, first
        assert "gdispy/worker" not in first
    assert "in wait_as_the_job" in job.explain().get("stack").split("\n\n")[0]
    (tmp_path / "0").touch()
    assert job() == threads


def run_in_threads(seconds: float) -> int:
    """Threads begin, run and end all the time, and so do functions of the job."""
    import threading
    import time

    def descend(depth: int) -> int:
        return descend(depth - 1) + 1 if depth else 0

    until, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        threads = [threading.Thread(target=descend, args=(100,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        descend(150)
        for thread in threads:
            thread.join()
        rounds += 1
    return rounds


def test_job_whose_threads_run_while_they_are_looked_at_goes_on(one: Make) -> None:
    job = one(run_in_threads).submit(5.0)
    assert runs(job)
    looks = 0
    while job.status == gdispy.DispyJob.Running:
        job.explain()
        looks += 1
    assert job() > 0 and looks > 10, job.exception


def test_program_has_no_python_stack_of_its_own_but_the_rest(one: Make, tmp_path: Path) -> None:
    program = tmp_path / "program.sh"
    program.write_text('#!/bin/sh\necho word\nwhile [ ! -e "$1/0" ]; do sleep 0.05; done\n')
    program.chmod(0o755)
    job = one(str(program)).submit(str(tmp_path))
    assert runs(job)
    assert eventually(lambda: job.explain().get("last output") == "word")
    assert "below it" in job.explain().get("process")
    (tmp_path / "0").touch()
    assert job() == 0


def test_shared_scheduler_answers_too_and_a_lost_one_is_told(
    start_scheduler: Any, start_node: Any, secret_file: str, tmp_path: Path
) -> None:
    node: Daemon = start_node("--cpus", "1")
    scheduler: Daemon = start_scheduler("-n", f"{node.place[0]}:{node.place[1]}")
    host, port = scheduler.place
    with gdispy.SharedJobCluster(
        print_lines, scheduler_node=host, scheduler_port=port, secret_file=secret_file
    ) as cluster:
        job, waiting = cluster.submit(str(tmp_path), 1), cluster.submit(str(tmp_path), 1)
        assert runs(job)
        assert "in print_lines" in job.stack()
        assert next(job.follow("stdout")) == "line 0"
        assert "a free CPU" in waiting.explain().get("waits for")
        scheduler.kill()
        assert eventually(lambda: "cannot be reached" in waiting.explain().get("problem"))
        cluster.cancel_all()
        cluster.close(timeout=0, terminate=True)
