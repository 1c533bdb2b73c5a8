"""Jobs that use too much, workers that are used up, full disks, and what a dead node leaves. (Faults 25-30, 35, 36.)"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster
from tests.support.daemons import Daemon, alive, run_script
from tests.support.jobs import breed, leave_far_descendant, wait_for_go
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
Use = Callable[..., JobCluster]


@pytest.fixture
def use(start_node: Start, secret_file: str) -> Use:
    """A cluster on a node with these options; both are ended after the test."""

    def make(computation: object, *options: str) -> JobCluster:
        daemon = start_node("--cpus", "1", *options)
        return JobCluster(computation, nodes=[daemon.place], secret_file=secret_file)

    return make


def burn(seconds: float, processes: int = 0) -> float:
    """Uses so much processor time itself, and as much in each of so many children at once."""
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass
            os._exit(0)
        children.append(child)
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    for child in children:
        os.waitpid(child, 0)
    return seconds


def test_processor_time_counts_for_each_job_and_with_all_its_processes(use: Use) -> None:
    with use(burn, "--job_cpu_time", "1.5") as made:
        # Together they use more than the limit, in one process.
        assert [made.submit(0.4).result_or_raise(20) for _ in range(5)] == [0.4] * 5
        job = made.submit(60.0)
        assert job.wait(20) and job.status == DispyJob.Terminated
        assert "s of CPU time, and the limit of this node is 1.5 s" in job.exception
        job = made.submit(1.2, 3)
        assert job.wait(20) and "the limit of this node is 1.5 s" in job.exception
        assert made.submit(0.1).result_or_raise(20) == 0.1


def test_a_job_may_have_a_limit_of_its_own_and_sleep_as_long_as_it_likes(use: Use) -> None:
    with use(burn, "--job_cpu_time", "30") as made:
        job = made.submit(60.0, dispy_cpu_time=0.5)
        assert job.wait(20) and "its limit (dispy_cpu_time) is 0.5 s" in job.exception
        assert made.submit(0.8).result_or_raise(20) == 0.8
        with pytest.raises(ConfigError, match="dispy_cpu_time"):
            made.submit(1.0, dispy_cpu_time=0)


def write(path: str, size: int) -> int:
    with open(path, "wb", buffering=0) as file:
        while file.tell() < size:
            file.write(bytes(min(size - file.tell(), 1 << 20)))
    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def test_a_file_that_grows_too_large_is_that_jobs_end_and_names_the_limit(use: Use) -> None:
    with use(write, "--job_file_size", "4m") as made:
        job = made.submit("large", 5_000_000)
        assert job.wait(20) and "File too large" in job.exception and "on this node is 4,194,304 bytes" in job.exception
        # What the worker itself writes is no file of the job's; and no job leaves an image of its memory.
        assert made.submit("small", 4_000_000).result_or_raise(20) == 0
    with use(bytes, "--job_file_size", "1m") as made:
        assert len(made.submit(5_000_000).result_or_raise(20)) == 5_000_000


def test_a_program_that_writes_too_much_is_told_the_limit(use: Use, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec head -c 5000000 /dev/zero > large\n")
    program.chmod(0o755)
    with use(str(program), "--job_file_size", "1m") as made:
        job = made.submit()
        assert job.wait(20)
        assert "SIGXFSZ" in job.exception and "--job_file_size" in job.exception


def test_a_worker_is_replaced_after_so_many_jobs_and_none_is_lost(use: Use) -> None:
    with use(lambda number: (number, os.getpid()), "--jobs_per_worker", "10") as made:
        jobs = [made.submit(number) for number in range(200)]
        results = [job.result_or_raise(60) for job in jobs]
    assert [number for number, _ in results] == list(range(200))
    pids = [pid for _, pid in results]
    assert len(set(pids)) == 20 and max(pids.count(pid) for pid in pids) == 10


def grow(size: int) -> int:
    import builtins

    hoard = builtins.__dict__.setdefault("hoard", [])
    hoard.append(b"x" * size)
    return os.getpid()


def test_a_worker_that_has_grown_is_replaced_when_its_job_is_over(use: Use) -> None:
    with use(grow, "--worker_growth", "50m") as made:
        pids = [made.submit(20_000_000).result_or_raise(20) for _ in range(9)]
    assert len(set(pids)) == 3, pids


def load_much() -> int:
    global much
    much = bytearray(os.urandom(1000)) * 300_000
    return 0


def use_much(size: int) -> int:
    more = bytearray(os.urandom(1000)) * (size // 1000)
    for _ in range(3):  # They share what is there, but for what has been made here.
        if size < 60_000_000 and os.fork() == 0:
            while True:
                signal.pause()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        pass
    return len(much) + len(more)  # type: ignore[name-defined]


def test_what_setup_has_loaded_is_not_the_memory_of_a_job(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1", "--job_memory", "250m")
    with JobCluster(use_much, nodes=[daemon.place], secret_file=secret_file, setup=load_much) as made:
        assert made.submit(50_000_000).result_or_raise(20) == 350_000_000
        assert made.submit(50_000_000, dispy_memory=250_000_000).result_or_raise(20) == 350_000_000
        job = made.submit(400_000_000)
        assert job.wait(20) and "bytes of memory, and the limit of this node is 262,144,000" in job.exception
        job = made.submit(100_000_000, dispy_memory=50_000_000)
        assert job.wait(20) and "its limit (dispy_memory) is 50,000,000" in job.exception


@pytest.mark.parametrize("words", [["--job_cpu_time", "-1"], ["--jobs_per_worker", "-1"], ["--worker_growth", "much"]])
def test_limits_that_make_no_sense_are_refused_by_name(words: list[str]) -> None:
    done = run_script("gdispy-node", "--insecure", "--daemon", *words)
    assert done.returncode == 2 and words[0].encode() in done.stderr


def flood(lines: int) -> int:
    for number in range(lines):
        os.write(1, b"%099d\n" % number)
    return lines


def test_a_flood_of_output_is_cut_told_and_stalls_nobody(use: Use) -> None:
    with use(flood) as made:
        job = made.submit(2_000_000)
        assert job.result_or_raise(60) == 2_000_000
        assert job.truncated and "bytes of output left out here" in job.stdout and len(job.stdout) < 9_000_000
        assert job.stdout.startswith("0" * 99) and job.stdout.endswith("1999999\n")
        assert made.submit(1).result_or_raise(10) == 1


def test_a_job_that_forks_without_end_is_ended_and_the_node_lives(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--cpus", "1", "--job_processes", "200")
    # Were the node not to end it, the tests' machine would suffer: no more than this can it make.
    with JobCluster(breed, nodes=[daemon.place], secret_file=secret_file, pulse_interval=1) as made:
        job = made.submit()
        assert job.wait(60) and "processes, and the limit of this node is 200" in job.exception
        eventually(lambda: len(daemon.below()) < 8, 20)
        assert made.status().nodes


def leave_a_printer(leaves: bool) -> str:
    code = "import time\nwhile True: print('late', flush=True); time.sleep(0.001)"
    if leaves:
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    with open("/proc/self/oom_score_adj") as file:
        return file.read().strip()


def test_what_a_job_has_left_does_not_print_into_the_next_and_jobs_die_before_the_node(use: Use) -> None:
    with use(leave_a_printer) as made:
        jobs = [made.submit(number % 2 == 0) for number in range(10)]
        assert [job.result_or_raise(20) for job in jobs] == ["500"] * 10
        assert [job.stdout for job in jobs[1::2]] == [""] * 5


# The disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk of 64 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(path)], capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    return path


def test_no_new_jobs_while_the_disk_is_nearly_full_and_the_user_hears_why(
    disk: Path, start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "1", "--dest_path_prefix", str(disk / "prefix"), "--disk_floor", "20m")
    ballast = disk / "ballast"
    try:
        with JobCluster(wait_for_go, nodes=[daemon.place], secret_file=secret_file) as made:
            running = made.submit(str(tmp_path / "a"))
            eventually((tmp_path / "a").exists)
            ballast.write_bytes(bytes(50_000_000))
            problem = "not accepting jobs at present (the disk is nearly full)"
            waiting = made.submit(str(tmp_path / "b"))
            eventually(lambda: any(problem in each for each in made.status().problems))
            (tmp_path / "a.go").touch()
            (tmp_path / "b.go").touch()
            assert running.result_or_raise(10) == str(tmp_path / "a")
            assert not waiting.wait(0.5)
            ballast.unlink()
            assert waiting.result_or_raise(10) == str(tmp_path / "b")
        assert "not enough free space" in daemon.log.read_text() and "enough free space again" in daemon.log.read_text()
    finally:
        daemon.stop()
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def on_disk(disk: Path, start_node: Start, secret_file: str) -> Iterator[Callable[..., JobCluster]]:
    """Clusters of a shell, whose jobs keep all output, on a node whose files are on the small disk."""
    made: list[JobCluster] = []
    daemons: list[Daemon] = []

    def make(floor: str) -> JobCluster:
        daemons.append(start_node("--cpus", "2", "--dest_path_prefix", str(disk / "prefix"), "--disk_floor", floor))
        options: Any = {"nodes": [daemons[0].place], "secret_file": secret_file, "output_limit": None}
        made.append(JobCluster("/bin/sh", **options))
        return made[0]

    yield make
    for cluster in made:
        cluster.close(timeout=0, terminate=True)
    for daemon in daemons:
        daemon.stop()
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("stream", [1, 2])
def test_a_job_whose_output_does_not_fit_on_the_disk_has_failed(
    on_disk: Callable[..., JobCluster], disk: Path, stream: int
) -> None:
    made = on_disk("0")
    job = made.submit("-c", f"head -c 80000000 /dev/zero >&{stream}; exit 0")
    assert job.wait(30) and job.status == DispyJob.Terminated
    assert "The output of the job is incomplete" in job.exception and "No space left on device" in job.exception
    assert str(disk / "prefix") in job.exception
    kept = len((job.stdout if stream == 1 else job.stderr) or b"")
    assert 0 < kept < 80000000
    eventually(lambda: shutil.disk_usage(disk).free > 50_000_000, 20, "its output was not removed from the node")
    after = made.submit("-c", "echo fine")
    assert after.wait(30) and after.status == DispyJob.Finished and after.stdout == b"fine\n"


def test_a_job_that_fills_the_disk_is_ended_and_others_are_not(
    on_disk: Callable[..., JobCluster], tmp_path: Path
) -> None:
    made = on_disk("20m")
    quiet = made.submit("-c", f"while [ ! -e {tmp_path}/go ]; do echo on; sleep 0.05; done")
    endless = made.submit("-c", "i=0; while :; do head -c 1000000 /dev/zero; sleep 0.02; done")
    assert endless.wait(60) and endless.status == DispyJob.Terminated
    assert "its output of" in endless.exception and "--disk_floor" in endless.exception
    (tmp_path / "go").touch()
    assert quiet.wait(30) and quiet.status == DispyJob.Finished


# What a dead node leaves


def test_a_new_node_ends_what_a_dead_one_and_its_spawner_left(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    prefix = tmp_path / "shared"
    first = start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
    made = JobCluster(leave_far_descendant, nodes=[first.place], secret_file=secret_file)
    mark = tmp_path / "mark"
    try:
        made.submit(str(mark))
        pid = eventually(lambda: mark.exists() and mark.read_text() and int(mark.read_text()))
        below = first.below()
        for each in (first.pid, below[0]):  # Nobody is left to clean up.
            os.kill(each, signal.SIGSTOP)
        # The node last: its end would have what is left below clean up.
        os.kill(below[0], signal.SIGKILL)
        eventually(lambda: not any(alive(each) for each in below if each != pid), 5)
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait(5)
        assert alive(pid), "there is nothing to sweep"
        directories = [entry for entry in os.listdir(prefix) if len(entry) == 32]
        assert len(directories) == 1
        start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
        assert not alive(pid)
        assert not os.path.exists(prefix / directories[0])
    finally:
        made.close(timeout=0, terminate=True)


def test_a_process_that_only_looks_like_one_of_a_dead_node_lives(start_node: Start, tmp_path: Path) -> None:
    prefix = tmp_path / "shared"
    first = start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
    other = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env={**os.environ, "GDISPY_NODE": os.urandom(16).hex()},
    )
    try:
        os.kill(first.below()[0], signal.SIGSTOP)
        first.kill()
        first.process.wait(5)
        start_node("--cpus", "1", "--dest_path_prefix", str(prefix))
        assert alive(other.pid)
    finally:
        other.communicate(b"\n", timeout=10)


# How soon


def test_the_death_of_a_worker_is_told_within_a_tenth_of_a_second(use: Use, tmp_path: Path) -> None:
    took = []
    with use(wait_for_go) as made:
        for number in range(5):
            path = tmp_path / str(number)
            job = made.submit(str(path))
            pid = eventually(lambda path=path: path.exists() and path.read_text() and int(path.read_text()))
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            assert job.wait(5) and "SIGKILL" in job.exception
            took.append(time.monotonic() - began)
    print("from kill -9 of a worker to the outcome of its job, ms:", [round(1000 * each, 1) for each in took])
    assert sorted(took)[2] < 0.1


def test_the_death_of_the_spawner_is_told_soon_and_the_next_job_runs(
    start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    took = []
    daemon = start_node("--cpus", "1")
    with JobCluster(wait_for_go, nodes=[daemon.place], secret_file=secret_file) as made:
        for number in range(2):
            path = tmp_path / str(number)
            job = made.submit(str(path))
            eventually(lambda path=path: path.exists() and path.read_text())
            began = time.monotonic()
            os.kill(daemon.below()[0], signal.SIGKILL)
            assert job.wait(5) and "spawner" in job.exception
            took.append(time.monotonic() - began)
        (tmp_path / "last.go").touch()
        assert made.submit(str(tmp_path / "last")).result_or_raise(10) == str(tmp_path / "last")
    print("from kill -9 of the spawner to the outcome of its job, ms:", [round(1000 * each, 1) for each in took])
    assert max(took) < 2
