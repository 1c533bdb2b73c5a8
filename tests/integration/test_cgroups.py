"""Control groups around workers, where a node may make some. (Part D of what jobs may use; faults 29 and 30.)"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdispy import DispyJob, JobCluster
from gdispy.worker import cgroups
from gdispy.worker.cgroups import Groups
from gdispy.worker.limits import Limits
from tests.support.daemons import Daemon, alive
from tests.support.jobs import leave_far_descendant, note_quickly
from tests.support.waiting import eventually

LIMITS = Limits(memory=1_000_000, processes=100)


# With files instead of a kernel


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that looks like the group that the calling process is in."""
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    monkeypatch.setattr(cgroups, "_own_group", lambda: str(tmp_path))
    return tmp_path


def test_a_worker_enters_a_group_with_the_limits(own: Path) -> None:
    groups = Groups.find(frozenset([os.getpid()]))
    assert groups is not None
    assert (own / "gdispy-node" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+pids"  # One after the other.
    groups.enter(LIMITS)
    group = own / f"gdispy-worker-{os.getpid()}"
    found = {path.name: path.read_text() for path in group.iterdir()}
    assert found == {
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "memory.max": "1000000",
        "pids.max": "116",
        "cgroup.procs": str(os.getpid()),
    }


@pytest.mark.parametrize(("events", "cause"), [("oom 1\noom_kill 0\n", ""), ("oom 3\noom_kill 2\n", "1,000,000 bytes")])
def test_the_kernel_says_whether_memory_was_the_reason(own: Path, events: str, cause: str) -> None:
    groups = Groups.find(frozenset([os.getpid()]))
    assert groups is not None
    (own / "gdispy-worker-7").mkdir()
    (own / "gdispy-worker-7" / "memory.events").write_text(events)
    assert cause in groups.end(7, LIMITS) and bool(cause) == bool(groups.end(7, LIMITS))
    assert groups.end(8, LIMITS) == ""


def test_a_group_with_others_in_it_is_left_alone(own: Path) -> None:
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    assert Groups.find(frozenset([os.getpid()])) is None
    assert sorted(path.name for path in own.iterdir()) == ["cgroup.controllers", "cgroup.procs"]


# With the kernel's own


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of the kernel's, empty, in which a node can be started."""
    if os.geteuid() != 0:
        pytest.skip("a control group of one's own needs root")
    where = Path("/run") / f"gdispy-cgroup-{os.getpid()}"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "cgroup2", "none", str(where)], capture_output=True, text=True)
    if mounted.returncode:
        where.rmdir()
        pytest.skip(f"this kernel has no control groups of the second version: {mounted.stderr}")
    made = where / f"gdispy-test-{os.getpid()}"
    made.mkdir()
    yield made
    for path in sorted(made.glob("**/"), reverse=True):
        eventually(lambda path=path: not path.exists() or _removed(path), 10, f"{path} is in use")
    subprocess.run(["umount", "-l", str(where)], check=True)
    where.rmdir()


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


@pytest.fixture
def node_within(group: Path, tmp_path: Path, secret_file: str) -> Iterator[Daemon]:
    """A node that was started in that group."""
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    words = ("--cpus", "1", "--dest_path_prefix", str(tmp_path / "own"), "--secret-file", secret_file)
    daemon = Daemon(tmp_path, *words, within=["sh", "-c", enter, "sh"])
    yield daemon
    daemon.stop()


def members(group: Path, kind: str) -> list[set[int]]:
    found = []
    for path in group.glob(f"gdispy-{kind}*/cgroup.procs"):
        with contextlib.suppress(OSError):  # It has gone meanwhile.
            found.append(set(map(int, path.read_text().split())))
    return found


def test_each_worker_is_in_a_group_that_goes_with_it(
    group: Path, node_within: Daemon, secret_file: str, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    with JobCluster(leave_far_descendant, nodes=[node_within.place], secret_file=secret_file) as made:
        job = made.submit(str(marks))
        far = int(eventually(lambda: marks.exists() and marks.read_text(), 20))
        # The process between the two may still be ending.
        eventually(lambda: len(members(group, "worker")[0]) == 2, 10, "more than the worker and its descendant")
        (worker,) = members(group, "worker")
        assert far in worker
        (home,) = members(group, "node")
        assert node_within.pid in home and not worker & home
        made.cancel(job)
        assert job.wait(20) and job.status == DispyJob.Terminated
        eventually(lambda: not alive(far), 10)
    eventually(lambda: not members(group, "worker"), 10, "groups of workers are left")


def test_a_killed_worker_is_replaced_in_a_new_group(
    group: Path, node_within: Daemon, secret_file: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    with JobCluster(note_quickly, nodes=[node_within.place], secret_file=secret_file) as made:
        job = made.submit(log, 1, "kill")
        assert job.wait(20) and "SIGKILL" in job.exception
        assert made.submit(log, 2, "").result_or_raise(20) == 2
        eventually(lambda: len(members(group, "worker")) == 1 and all(map(alive, members(group, "worker")[0])), 10)
