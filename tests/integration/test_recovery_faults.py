"""What goes wrong around recovery: killed at every write, twice at once, damaged files, full disks, busy programs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster, JournalError, SharedJobCluster, fault_recover_jobs, recover_jobs
from gdispy.journal.format import read
from tests.support.crashing import Program, begun
from tests.support.daemons import Daemon, lacking, run_python
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
Run = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path, secret_file: str) -> Iterator[Run]:
    """Starts programs; each has a directory of its own, with its recovery file `jobs`, its log and its gate."""
    started: list[Program] = []

    def start(node: Daemon, name: str, jobs: int = 2) -> Program:
        directory = tmp_path / name
        directory.mkdir()
        options = {"nodes": [node.place], "secret_file": secret_file, "fault_recover": str(directory / "jobs")}
        todo: dict[str, Any] = {"jobs": jobs, "seconds": 0.0, "log": str(directory / "begun"), "options": options}
        started.append(Program(directory, **todo, gate=str(directory / "gate")))
        return started[-1]

    yield start
    for each in started:
        each.end()


# Killed at every write

#: Programs that end by SIGKILL when they are about to write to their file for so many a time.
_MORTAL = """
import json, os, signal, sys, time
import gdispy
from gdispy.journal.file import Journal

left = int(sys.argv[1])
write = Journal._write

def writing(journal, data):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    write(journal, data)

Journal._write = writing
place, secret_file, file, log = sys.argv[2:6]

def compute(number, log):
    import os
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
    return number * number
"""

_SUBMITTING = (
    _MORTAL
    + """
cluster = gdispy.JobCluster(compute, nodes=[place], secret_file=secret_file, fault_recover=file)
jobs = []
for number in range(5):
    jobs.append(cluster.submit(number, log))
    print(number, flush=True)
for job in jobs:
    job()
cluster.detach()
"""
)

_COLLECTING = (
    _MORTAL
    + """
jobs = gdispy.recover_jobs(file, 20, secret_file=secret_file)
print(json.dumps([[job.id, job.status, job.result] for job in jobs]))
"""
)


def test_program_killed_at_any_write_loses_no_job_that_was_submitted(
    node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    place = "{}:{}".format(*node.place)
    for count in range(1, 40):
        file, log = tmp_path / f"jobs{count}", tmp_path / f"begun{count}"
        done = run_python(_SUBMITTING, count, place, secret_file, file, log)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        submitted = len(done.stdout.split())
        jobs = recover_jobs(str(file), timeout=20, secret_file=secret_file) if file.exists() else []
        # Each whose submit has returned is there once; the one that was about to be submitted may be, too.
        assert submitted <= len(jobs) <= submitted + 1
        finished = [job for job in jobs if job.status == DispyJob.Finished]
        assert all(job.result == job.args[0] ** 2 for job in finished)
        assert {job.status for job in jobs} <= {DispyJob.Finished, DispyJob.Created}
        assert begun(log) == Counter(job.args[0] for job in finished)
        if done.returncode == 0:
            assert count > 6
            return
    raise AssertionError("the program writes for ever")


def test_recovery_killed_at_any_write_is_run_again(
    program: Run, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    program(node, "it", jobs=6).kill_when(2)
    (tmp_path / "it" / "gate").touch()
    words = ["{}:{}".format(*node.place), secret_file, tmp_path / "it" / "jobs", tmp_path / "it" / "begun"]
    killed = 0
    for count in range(1, 40):
        done = run_python(_COLLECTING, count, *words)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert done.stdout == b""
        killed += 1
    jobs = json.loads(done.stdout)
    assert killed >= 3
    assert sorted(job[0] for job in jobs) == [f"job {number}" for number in range(6)]
    for name, status, result in jobs:
        number = int(name.split()[1])
        assert (status, result) in ((DispyJob.Finished, number * number), (DispyJob.Created, None))
    ran = Counter(int(name.split()[1]) for name, status, _ in jobs if status == DispyJob.Finished)
    assert begun(tmp_path / "it" / "begun") == ran


# Twice at once


def test_second_recovery_at_the_same_time_is_refused(
    program: Run, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    program(node, "it").kill_when(2)
    file = tmp_path / "it" / "jobs"
    found: list[DispyJob] = []
    first = Thread(target=lambda: found.extend(recover_jobs(str(file), timeout=30, secret_file=secret_file)))
    first.start()
    try:
        code = "import sys, gdispy\ngdispy.fault_recover_jobs(sys.argv[1], secret_file=sys.argv[2])"

        def is_refused() -> bool:
            done = run_python(code, file, secret_file)
            return done.returncode == 1 and b"in use by process %d" % os.getpid() in done.stderr

        eventually(is_refused, 10)
    finally:
        (tmp_path / "it" / "gate").touch()
        first.join(30)
    assert sorted(job.result for job in found) == [0, 1]
    with pytest.raises(JournalError, match="does not exist"):
        fault_recover_jobs(str(file), secret_file=secret_file)


# Damage


@pytest.mark.parametrize("where", ["beginning", "middle"])
def test_one_damaged_file_of_a_node_costs_its_own_results_only(
    program: Run, start_node: Start, secret_file: str, tmp_path: Path, where: str
) -> None:
    prefix = str(tmp_path / "own")
    node = start_node("--cpus", "2", "--dest_path_prefix", prefix)
    spool = Path(prefix, "spool")

    written: list[Path] = []

    def files() -> list[Path]:
        """The one in which both results are now."""
        new = [path for path in spool.iterdir() if path not in written and path.stat().st_size]
        return [
            path
            for path in new
            if sum(len(history.jobs) for history in read(str(path)).remembered.histories.values()) == 2
        ]

    for name in ("bad", "good"):
        program(node, name).kill_when(2)
        (tmp_path / name / "gate").touch()
        written += eventually(files, 20, "nothing is written down")
    node.kill()
    node.process.wait(10)
    data = bytearray(written[0].read_bytes())
    data[3 if where == "beginning" else 40] ^= 1
    written[0].write_bytes(data)
    again = start_node("-p", str(node.place[1]), "--dest_path_prefix", prefix)
    good = recover_jobs(str(tmp_path / "good" / "jobs"), timeout=20, secret_file=secret_file)
    assert sorted(job.result for job in good) == [0, 1]
    bad = recover_jobs(str(tmp_path / "bad" / "jobs"), timeout=20, secret_file=secret_file)
    told = [(job.status, "does not know the job" in str(job.exception)) for job in bad]
    assert [each for each in told if each != (DispyJob.Finished, False)] == [(DispyJob.Abandoned, True)] * 2
    assert written[0].name in again.log.read_text()
    kept = written[0] if where == "beginning" else written[0].with_name(written[0].name + ".corrupt")
    assert kept.read_bytes() == data


# Full disks


class Small:
    """A disk of 8 MiB, and how to fill it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        with open(self._ballast, "wb", buffering=0) as file, pytest.raises(OSError) as raised:
            while True:
                file.write(bytes(1 << 12))
        assert raised.value.errno == errno.ENOSPC

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    directory = tmp_path / "small"
    directory.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        lacking("a disk of a few MiB is mounted by root only")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(directory)], capture_output=True)
    if mounted.returncode:
        lacking(f"no disk of a few MiB can be mounted: {mounted.stderr.decode()}")
    try:
        yield Small(directory)
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_node_on_a_full_disk_takes_no_jobs_loses_none_and_goes_on_by_itself(
    small: Small, program: Run, start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "2", "--disk_floor", "0", "--dest_path_prefix", str(small.directory / "prefix"))
    program(node, "it").kill_when(2)
    eventually(lambda: "disconnected" in node.log.read_text(), 20)
    small.fill()
    (tmp_path / "it" / "gate").touch()
    eventually(lambda: "no new jobs are taken" in node.log.read_text(), 20)
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as cluster:
        job = cluster.submit(-1)
        assert not job.wait(1)
        eventually(lambda: any("no room for results" in problem for problem in cluster.status().problems))
        small.free()
        assert job.wait(20) and job.result == 1
    assert "results can be written down again" in node.log.read_text()
    jobs = recover_jobs(str(tmp_path / "it" / "jobs"), timeout=20, secret_file=secret_file)
    assert sorted(job.result for job in jobs) == [0, 1]
    assert begun(tmp_path / "it" / "begun") == Counter([0, 1])


def test_scheduler_on_a_full_disk_accepts_nothing_loses_nothing_and_goes_on_by_itself(
    small: Small, node: Daemon, start_scheduler: Start, secret_file: str
) -> None:
    place = "{}:{}".format(*node.place)
    scheduler = start_scheduler("-n", place, "--journal", str(small.directory / "journal"))
    host, port = scheduler.place
    with SharedJobCluster(len, scheduler_node=host, scheduler_port=port, secret_file=secret_file) as cluster:
        assert cluster.submit(b"first").result_or_raise(20) == 5
        small.fill()
        jobs = [cluster.submit(bytes(10_000)) for _ in range(20)]
        eventually(lambda: "cannot be written" in scheduler.log.read_text(), 20)
        assert not jobs[-1].wait(1)
        assert scheduler.process.poll() is None
        small.free()
        assert [job.result_or_raise(20) for job in jobs] == [10_000] * 20


# Clocks

#: Lets the clock of a process go wrong by what a file says.
_CLOCK = """
import os, time
_right = time.time

def _wrong():
    with open(os.environ["TEST_CLOCK"]) as file:
        return _right() + float(file.read() or 0)

time.time = _wrong
"""


@pytest.mark.parametrize("whose", ["node", "client"])
@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_clock_that_is_set_by_a_day_ends_nothing(
    start_node: Start, secret_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str, jump: float
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CLOCK)
    clock, right = tmp_path / "clock", time.time
    clock.write_text("0")
    node = start_node("--cpus", "2", env={"PYTHONPATH": str(tmp_path), "TEST_CLOCK": str(clock)})
    with JobCluster(wait_for_go, nodes=[node.place], secret_file=secret_file, pulse_interval=0.2) as cluster:
        jobs = [cluster.submit(str(tmp_path / name)) for name in "abc"]
        eventually(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        if whose == "client":
            monkeypatch.setattr(time, "time", lambda: right() + jump)
        else:
            clock.write_text(str(jump))
        assert not jobs[0].wait(2)  # More than the lease, which is six times `pulse_interval`.
        assert [job.status for job in jobs] == [DispyJob.Running, DispyJob.Running, DispyJob.Created]
        for name in "abc":
            (tmp_path / f"{name}.go").touch()
        assert [job.result_or_raise(10) for job in jobs] == [str(tmp_path / name) for name in "abc"]
        # Times are shown as the node has them.
        assert jobs[2].start_time is not None and jobs[2].start_time <= jobs[2].end_time
        assert abs(jobs[2].start_time - right() - (jump if whose == "node" else 0)) < 60
    assert node.process.poll() is None


# Busy programs

_BUSY = """
import json, re, sys, time
import gdispy

def compute(number, log):
    import os, time
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
    time.sleep(0.3)
    return number

place, secret_file, log = sys.argv[1:]
cluster = gdispy.JobCluster(compute, nodes=[place], secret_file=secret_file, pulse_interval=0.2)
first = cluster.submit(0, log)
first()
jobs = [cluster.submit(number, log) for number in range(1, 9)]
began = time.monotonic()
while time.monotonic() - began < 0.2:
    pass
began, size = time.process_time(), 10_000_000
sum(range(size))  # One call, in which no other thread of this program can do anything.
size = int(size * 4 / (time.process_time() - began))
began = time.monotonic()
sum(range(size))
took = time.monotonic() - began
print(json.dumps([took, [job() for job in jobs], [job.exception for job in jobs]]))
cluster.close()
"""


def test_program_that_computes_longer_than_the_lease_in_one_call_gets_its_results_once(
    node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    done = run_python(_BUSY, "{}:{}".format(*node.place), secret_file, tmp_path / "begun")
    assert done.returncode == 0, done.stderr
    took, results, exceptions = json.loads(done.stdout)
    assert took > 1.2  # Six times `pulse_interval`.
    assert (results, exceptions) == (list(range(1, 9)), [None] * 8), done.stderr
    assert begun(tmp_path / "begun") == Counter(range(9))
