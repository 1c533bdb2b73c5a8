"""What goes wrong with dispy does not with gdispy: stopped nodes, dead clients, setting up again, listeners.

Which fault is shown where is in `dispy_rows/semantics.py`.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster, SharedJobCluster, generate_secret
from tests.support.daemons import Daemon
from tests.support.jobs import wait_for_go
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def test_a_job_of_a_node_that_stops_ends_once_and_its_late_answer_changes_nothing(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    node, mark = start_node("--cpus", "1"), tmp_path / "mark"
    told: list[tuple[Any, int]] = []
    made = JobCluster(
        wait_for_go,
        nodes=[node.place],
        secret_file=secret_file,
        pulse_interval=0.2,
        callback=lambda job: told.append((job.id, job.status)),
    )
    with made:
        job = made.submit(str(mark))
        eventually(mark.exists)
        node.kill(signal.SIGSTOP)
        assert job() is None and job.status == DispyJob.Abandoned
        assert job.exception is not None and "lost" in job.exception
        assert made.wait(5) and made.status().jobs_pending == 0
        (tmp_path / "mark.go").touch()  # The job ends, and its node would tell.
        (tmp_path / "next.go").touch()
        node.kill(signal.SIGCONT)
        later = made.submit(str(tmp_path / "next"))
        assert later() == str(tmp_path / "next")
        assert made.wait(5) and made.status().jobs_pending == 0
        assert job.status == DispyJob.Abandoned and job.result is None
    eventually(lambda: len(told) == 2)
    assert told == [(job.id, DispyJob.Abandoned), (later.id, DispyJob.Finished)]


_ENDLESS = """
import sys, time, gdispy as dispy

def compute(mark):
    open(mark, "w").close()
    time.sleep(600)

cluster = dispy.JobCluster(compute, nodes=sys.argv[1:2])
cluster.submit(sys.argv[2])()
"""


def test_a_client_that_was_killed_leaves_the_node_to_the_next(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    node, mark = start_node("--cpus", "2"), tmp_path / "mark"
    place = f"{node.place[0]}:{node.place[1]}"
    env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
    client = subprocess.Popen([sys.executable, "-c", _ENDLESS, place, str(mark)], env=env)
    try:
        eventually(mark.exists)
    finally:
        client.kill()
        client.wait(10)
    # Its job may go on for a while, since it might come back, but does not keep the node from others.
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as made:
        job = made.submit(-1)
        assert job.wait(10) and job.result == 1


def test_a_node_is_set_up_again_and_again_while_jobs_come(node: Daemon, secret_file: str) -> None:
    def set_up() -> int:
        global table
        table = list(range(1000))
        return 0

    def clean_up() -> None:
        global table
        del table

    def compute(number: int) -> int:
        return int(table[number])

    with JobCluster(compute, nodes=[node.place], secret_file=secret_file, setup=set_up, cleanup=clean_up) as made:
        jobs = [made.submit(0)]
        assert jobs[0]() == 0, jobs[0].exception
        for number in range(1, 300):
            jobs.append(made.submit(number))
            if number % 60 == 0:
                row = eventually(lambda: made.status().nodes)[0]
                assert made.resetup_node(row) in (0, -1)
        assert made.wait(30)
        assert [job.result for job in jobs] == list(range(300)), [job.exception for job in jobs if job.exception]


def test_jobs_that_are_gone_leave_their_numbers_to_nobody(node: Daemon, secret_file: str) -> None:
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as made:
        seen = set()
        for _ in range(200):
            job = made.submit(-1)
            assert job() == 1
            seen.add(job.id)
            del job
        gc.collect()
        assert len(seen | {made.submit(1).id}) == 201


def test_one_connection_carries_all_and_nothing_of_it_can_be_read(node: Daemon, secret_file: str) -> None:
    seen = bytearray()
    proxy = Proxy(node.place)

    def record(data: bytes) -> bytes:
        seen.extend(data)
        return data

    proxy.change = record
    try:
        with JobCluster(lambda text: text.upper(), nodes=[proxy.place], secret_file=secret_file) as made:
            jobs = [made.submit(f"a private matter {number}") for number in range(2000)]
            assert [job() for job in jobs] == [f"A PRIVATE MATTER {number}" for number in range(2000)]
            name = made.name.encode()
    finally:
        proxy.close()
    assert proxy.connections == 1 and len(seen) > 2000
    for text in (b"private matter", b"upper", name, Path(secret_file).read_bytes().strip()):
        assert text not in seen


def test_clusters_leave_the_list_of_depends_and_each_other_alone(
    node: Daemon, start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    """Two in one program, each with a secret and files of its own."""
    other_secret = tmp_path / "other"
    other_secret.touch(0o600)
    other_secret.write_text(generate_secret())
    other = start_node("--cpus", "1", secret=str(other_secret))
    (tmp_path / "mine.txt").write_text("mine")
    depends: list[Any] = [str(tmp_path / "mine.txt")]
    one = JobCluster(os.path.exists, [node.place], depends, secret_file=secret_file, setup=lambda: 0)
    two = JobCluster(os.path.exists, [other.place], secret_file=str(other_secret), cleanup=lambda: None)
    with one, two:
        assert (one.submit("mine.txt")(), two.submit("mine.txt")()) == (True, False)
        assert [made.status().nodes[0].port for made in (one, two)] == [node.place[1], other.place[1]]
    assert depends == [str(tmp_path / "mine.txt")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_no_job_is_left_without_an_end_when_its_node_does_not_answer_the_close(
    start_node: Start, secret_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("gdispy.client.cluster.RELEASE_LIMIT", 0.5)
    node, mark = start_node("--cpus", "1"), tmp_path / "mark"
    told: list[int] = []
    made = JobCluster(
        wait_for_go, nodes=[node.place], secret_file=secret_file, callback=lambda job: told.append(job.status)
    )
    job = made.submit(str(mark))
    eventually(lambda: mark.exists() and job.status == DispyJob.Running)
    node.kill(number)
    assert made.close(timeout=0, terminate=True)
    assert job.wait(1) and job() is None and job.status == DispyJob.Abandoned and job.ip_addr == "127.0.0.1"
    assert job.exception is not None and "was closed before" in job.exception
    assert told == [DispyJob.Abandoned] and made.status().jobs_pending == 0


# Shared nodes


@pytest.fixture
def shared(start_node: Start, start_scheduler: Start) -> tuple[Daemon, Daemon, tuple[str, int]]:
    """Two nodes, `one` and `two`, with a CPU each, and where their scheduler is."""
    one, two = (start_node("--cpus", "1", "--name", name) for name in ("one", "two"))
    places = ["{}:{}".format(*node.place) for node in (one, two)]
    return one, two, start_scheduler("-n", places[0], "-n", places[1], "--pulse_interval", "0.2").place


def both_run(one: Daemon, jobs: list[DispyJob], directory: Path) -> tuple[DispyJob, DispyJob]:
    """Two jobs that run, that of `one` first. Jobs are called as their files."""

    def pid(job: DispyJob) -> str:
        path = directory / str(job.id)
        return path.read_text() if path.exists() else ""

    eventually(lambda: sum(bool(pid(job)) for job in jobs) == 2)
    running = sorted((job for job in jobs if pid(job)), key=lambda job: int(pid(job)) not in one.below())
    return running[0], running[1]


def test_reentrant_jobs_of_shared_nodes_run_elsewhere_when_their_node_is_killed(
    shared: tuple[Daemon, Daemon, tuple[str, int]], secret_file: str, tmp_path: Path
) -> None:
    one, two, (host, port) = shared
    told: list[Any] = []
    options = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file, "reentrant": True}
    with SharedJobCluster(wait_for_go, callback=lambda job: told.append(job.id), **options) as made:
        eventually(lambda: len(made.status().nodes) == 2)
        jobs = [made.submit_job_id(name, str(tmp_path / name)) for name in ("a", "b")]
        lost, other = both_run(one, jobs, tmp_path)
        one.kill()
        (tmp_path / f"{other.id}.go").touch()
        assert other() == str(tmp_path / str(other.id))
        eventually(lambda: int((tmp_path / str(lost.id)).read_text() or 0) in two.below())
        (tmp_path / f"{lost.id}.go").touch()
        assert lost.wait(10) and lost.result == str(tmp_path / str(lost.id))
        assert made.wait(5) and made.status().jobs_pending == 0
    eventually(lambda: sorted(told) == ["a", "b"])


def test_a_node_that_is_stopped_gives_its_jobs_back_to_the_scheduler(
    shared: tuple[Daemon, Daemon, tuple[str, int]], secret_file: str, tmp_path: Path
) -> None:
    one, two, (host, port) = shared
    options = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    with SharedJobCluster(wait_for_go, **options) as made:
        eventually(lambda: len(made.status().nodes) == 2)
        jobs = [made.submit_job_id(name, str(tmp_path / name)) for name in "abcdef"]
        own, other = both_run(one, jobs, tmp_path)
        pinned = made.submit_job_id_node("pinned", "one", str(tmp_path / "pinned"))
        one.stop()
        for name in "abcdef":
            (tmp_path / f"{name}.go").touch()
        # The job that ran there has ended with it; those that waited run elsewhere, called as they were.
        assert made.wait(20), made.status()
        ended = [job for job in jobs if job.status == DispyJob.Finished]
        assert [job.result for job in ended] == [str(tmp_path / str(job.id)) for job in ended] and other in ended
        assert len(ended) == 5 and own.status in (DispyJob.Abandoned, DispyJob.Terminated)
        assert pinned is not None and pinned.status == DispyJob.Abandoned
        assert made.status().jobs_pending == 0
    assert two.process.poll() is None
