"""Processes killed, links cut, bytes damaged: every job still ends once. (Faults 8, 10, 30, 35, 36.)"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import DispyJob, JobCluster
from gdispy.filesystem.own_directory import MARKER
from gdispy.protocol.handshake import FIRST_BYTES
from tests.support.daemons import Daemon, alive, run_python
from tests.support.jobs import note_and_wait, take_too_much, wait_for_go
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


@pytest.fixture
def proxy(node: Daemon) -> Iterator[Proxy]:
    made = Proxy(node.place)
    yield made
    made.close()


def begun(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_link_that_is_cut_again_and_again_loses_and_repeats_nothing(
    proxy: Proxy, secret_file: str, tmp_path: Path
) -> None:
    told: list[int] = []
    log = tmp_path / "begun"
    with JobCluster(
        note_and_wait, nodes=[proxy.place], secret_file=secret_file, callback=lambda job: told.append(job.id)
    ) as made:
        jobs = [made.submit(str(log), number, 0.005) for number in range(300)]
        for share in (20, 80, 150, 220):
            eventually(lambda share=share: len(told) >= share, 30)
            proxy.cut()
        assert made.wait(60), made.status().problems
    assert [job.result for job in jobs] == list(range(300))
    assert sorted(begun(log)) == list(range(300))
    assert sorted(told) == [job.id for job in jobs]
    assert proxy.connections >= 5


def test_a_link_that_breaks_in_the_middle_of_frames_loses_nothing(proxy: Proxy, secret_file: str) -> None:
    proxy.cut_after = 5_000_000
    data = [os.urandom(700_000) for _ in range(12)]
    with JobCluster(lambda part: part, nodes=[proxy.place], secret_file=secret_file) as made:
        jobs = [made.submit(part) for part in data]
        assert made.wait(60), made.status().problems
    assert [job.result == part for job, part in zip(jobs, data, strict=True)] == [True] * 12
    assert proxy.connections >= 2


@pytest.mark.parametrize("damage", ["flip", "repeat", "drop"])
def test_damaged_repeated_and_missing_bytes_break_the_connection_and_nothing_else(
    proxy: Proxy, secret_file: str, damage: str
) -> None:
    pieces = [0]

    def change(data: bytes) -> bytes:
        pieces[0] += 1
        if pieces[0] % 5 or len(data) == FIRST_BYTES:  # A handshake cut short takes ten seconds to end.
            return data
        if damage == "flip":
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data * 2 if damage == "repeat" else b""

    with JobCluster(abs, nodes=[proxy.place], secret_file=secret_file, pulse_interval=0.2) as made:
        assert made.submit(-1)() == 1
        proxy.change = change
        for round in range(8):
            jobs = [made.submit(-number) for number in range(round, round + 5)]
            assert all(job.wait(30) for job in jobs), made.status().problems
            assert [job.result for job in jobs] == list(range(round, round + 5))
        proxy.change = lambda data: data


def test_killing_the_node_ends_its_processes_and_tells_what_became_of_its_jobs(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "2")
    log = tmp_path / "begun"
    made = JobCluster(note_and_wait, nodes=[daemon.place], secret_file=secret_file, pulse_interval=0.2)
    try:
        jobs = [made.submit(str(log), number, 60) for number in range(2)]
        eventually(lambda: len(begun(log)) == 2)
        below = daemon.below()
        assert len(below) >= 4
        daemon.kill()
        killed = time.monotonic()
        eventually(lambda: not any(map(alive, below)), 5)
        assert all(job.wait(6) for job in jobs)
        assert 1.2 - 0.3 < time.monotonic() - killed < 6
        assert all(job.status == DispyJob.Abandoned and job() is None for job in jobs)
        assert "lost" in jobs[0].exception
        assert made.wait(1)
    finally:
        made.close(timeout=0, terminate=True)


def test_reentrant_jobs_of_a_killed_node_run_elsewhere(start_node: Start, secret_file: str, tmp_path: Path) -> None:
    nodes = [start_node("--cpus", "1") for _ in range(2)]
    log = tmp_path / "begun"
    options = {"nodes": [each.place for each in nodes], "secret_file": secret_file, "pulse_interval": 0.2}
    made = JobCluster(note_and_wait, reentrant=True, **options)
    try:
        jobs = [made.submit(str(log), number, 0.3) for number in range(6)]
        eventually(lambda: len(begun(log)) >= 2)
        nodes[0].kill()
        assert made.wait(30)
        assert [job.result for job in jobs] == list(range(6))
    finally:
        made.close(timeout=0, terminate=True)


def test_a_restarted_node_takes_up_the_jobs_that_wait(start_node: Start, secret_file: str, tmp_path: Path) -> None:
    daemon = start_node("--cpus", "1")
    log = tmp_path / "begun"
    made = JobCluster(note_and_wait, nodes=[daemon.place], secret_file=secret_file)
    try:
        jobs = [made.submit(str(log), number, 0 if number else 60) for number in range(3)]
        eventually(lambda: len(begun(log)) == 1)
        daemon.kill()
        daemon.process.wait(5)
        start_node("--cpus", "1", "-p", str(daemon.place[1]))
        assert made.wait(20), made.status().problems
        # The one that had begun is not begun again; nobody waits for the lease, since the node is new.
        assert [job.status for job in jobs] == [DispyJob.Abandoned, DispyJob.Finished, DispyJob.Finished]
    finally:
        made.close(timeout=0, terminate=True)


def test_killing_the_spawner_ends_the_running_jobs_and_the_node_goes_on(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "2")
    log = tmp_path / "begun"
    with JobCluster(note_and_wait, nodes=[daemon.place], secret_file=secret_file) as made:
        jobs = [made.submit(str(log), number, 60) for number in range(2)]
        eventually(lambda: len(begun(log)) == 2)
        below = daemon.below()
        os.kill(below[0], signal.SIGKILL)
        assert all(job.wait(5) for job in jobs)
        assert all(job.status == DispyJob.Terminated for job in jobs)
        assert "spawner" in jobs[0].exception
        eventually(lambda: not any(map(alive, below)), 5)
        assert made.submit(str(log), 7, 0)() == 7


def test_node_whose_processes_all_get_sigterm_ends_in_order(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    # Given a batch system, which signals every process of a step.
    daemon = start_node("--cpus", "1")
    with JobCluster(wait_for_go, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit(str(tmp_path / "go"))
        eventually((tmp_path / "go").exists)
        spawner, *below = daemon.below()
        os.kill(spawner, signal.SIGTERM)
        (tmp_path / "go.go").touch()
        assert job.result_or_raise(10)
        assert spawner in daemon.below()
        for pid in (*below, spawner, daemon.pid):
            with contextlib.suppress(ProcessLookupError):  # The end of one may be that of those below.
                os.kill(pid, signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        made.close(timeout=0, terminate=True)
    assert not any(map(alive, [spawner, *below]))
    assert "unexpectedly" not in daemon.log.read_text()


#: A node that is told to end while it waits for a spawner that dies, but is not dead yet when it is first looked at.
_ENDING_WITH_ITS_SPAWNER = """
import gevent.monkey
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
import os, signal, sys
import gdispy.execution.process_manager
from gdispy.transport.credentials import find_secret
from gdispy.node import Node
from gdispy.execution.node_settings import NodeSettings

secret = find_secret("", sys.argv[1])
node = Node(NodeSettings(secret, 1, ip_addrs=("127.0.0.1",), node_port=0, dest_path_prefix=sys.argv[2]))
waitpid, looks = os.waitpid, 0

def look(pid, options):
    global looks
    looks += 1
    if looks == 1:
        node.stop()
    return waitpid(pid, options) if looks > 2 else (0, 0)

def strike():
    node._workers.is_up.wait()
    gdispy.execution.process_manager.os.waitpid = look
    os.kill(node._workers._spawner_pid, signal.SIGKILL)

node.run(lambda: gdispy.execution.process_manager.spawn(strike, what='a test'))
assert looks > 2
"""


def test_node_that_ends_while_its_spawner_dies_starts_no_other_one(secret_file: str, tmp_path: Path) -> None:
    done = run_python(_ENDING_WITH_ITS_SPAWNER, secret_file, tmp_path / "prefix")
    assert (done.returncode, done.stderr) == (0, b"")


def test_killing_a_worker_ends_its_job_only(start_node: Start, secret_file: str, tmp_path: Path) -> None:
    daemon = start_node("--cpus", "2")

    with JobCluster(wait_for_go, nodes=[daemon.place], secret_file=secret_file) as made:
        paths = [tmp_path / name for name in ("a", "b")]
        jobs = [made.submit(str(path)) for path in paths]
        eventually(lambda: all(path.exists() and path.read_text() for path in paths))
        os.kill(int(paths[0].read_text()), signal.SIGKILL)
        assert jobs[0].wait(5) and "SIGKILL" in jobs[0].exception
        (tmp_path / "b.go").touch()
        assert jobs[1]() == str(paths[1])


def test_a_job_beyond_the_limits_of_its_node_is_ended_and_told(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1", "--job_memory", "200m", "--job_processes", "20")

    with JobCluster(take_too_much, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit("memory")
        assert job.wait(20) and "bytes of memory, and the limit" in job.exception
        job = made.submit("processes")
        assert job.wait(20) and "processes, and the limit" in job.exception
        assert made.submit("nothing").wait(5)
        eventually(lambda: len(daemon.below()) < 8)


def test_a_job_that_fills_its_directory_with_files_leaves_none(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1")

    def litter() -> str:
        for number in range(10_000):
            open(f"file{number}", "w").close()
        return os.getcwd()

    with JobCluster(litter, nodes=[daemon.place], secret_file=secret_file) as made:
        directory = made.submit()()
    eventually(lambda: not os.path.exists(directory))


def test_a_node_clears_away_what_a_killed_one_left(start_node: Start, secret_file: str, tmp_path: Path) -> None:
    prefix = tmp_path / "shared"
    first = start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
    living = start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
    spawner = first.below()[0]

    def directories() -> int:
        return sum(entry not in ("spool", MARKER) and not entry.endswith(".lock") for entry in os.listdir(prefix))

    # The spawner cleans up when its node dies; stopped, it cannot.
    os.kill(spawner, signal.SIGSTOP)
    try:
        first.kill()
        first.process.wait(5)
        assert directories() == 2
        start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
        assert not alive(spawner)
    finally:
        if alive(spawner):
            os.kill(spawner, signal.SIGKILL)
    assert directories() == 2
    assert alive(living.pid)


def test_result_that_comes_when_its_job_was_given_up_is_kept_aside(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    # Given a node that is stopped until its job counts as lost, and that had ended it by then.
    node = start_node("--cpus", "1")
    go = tmp_path / "go"
    with (
        Proxy(node.place) as link,
        JobCluster(wait_for_go, nodes=[link.place], secret_file=secret_file, pulse_interval=0.2) as made,
    ):
        job = made.submit(str(go))
        eventually(go.exists, 10)
        link.block()
        (tmp_path / "go.go").touch()
        assert job.wait(10)
        assert job.status == DispyJob.Abandoned
        # When it can be reached again, then the job stays as it is, and its result is there.
        link.unblock()
        assert eventually(lambda: job.late_result, 20) == str(go)
        assert (job.status, job.result) == (DispyJob.Abandoned, None)
