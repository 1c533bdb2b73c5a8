"""Ctrl-C at any moment: the program hears of it, and can go on with its cluster as if nothing had been.

In a program that gevent has patched, whichever greenlet it finds, nothing of gdispy is interrupted in the middle of
what it does. In others it may come between any two steps of what the program calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from tests.support.daemons import Daemon, run_python
from tests.support.waiting import without_waiting

#: `place` says what the program does at the moment of Ctrl-C: it is sent there, to this very process.
PROGRAM = """
import gevent.monkey
gevent.monkey.patch_all()
import os, signal, sys
import gevent
import gdispy
from gdispy.hub import Hub

place, go = sys.argv[1:]
os.mkfifo(go)
gate = os.open(go, os.O_RDWR)
went_on = []

def strike():
    os.kill(os.getpid(), signal.SIGINT)
    went_on.append(place)

def compute(go):
    if go:  # Until the program writes there.
        with open(go, "rb") as file:
            file.read(1)
    return "result"

with gdispy.JobCluster(compute, nodes=["local"]) as cluster:
    first = cluster.submit("")
    assert first() == "result", first.exception
    job = cluster.submit(go)
    if place == "hub":
        Hub.get().post(strike)
    elif place == "greenlet":
        gevent.spawn(strike)
    elif place == "thread":
        import threading
        threading.Thread(target=strike).start()
    try:
        if place == "program":
            strike()
        job()
    except KeyboardInterrupt:
        print("interrupted", went_on)
    os.write(gate, b"x")
    # All goes on as if nothing had been: the link, the node, and those who wait.
    assert job() == "result", job.exception
    assert cluster.submit("")() == "result"
    print("over")
"""


@pytest.mark.parametrize("place", ["hub", "greenlet", "thread", "program"])
def test_ctrl_c_reaches_the_program_wherever_it_strikes(place: str, tmp_path: Path) -> None:
    done = run_python(PROGRAM, place, tmp_path / "go")
    went_on = [] if place == "program" else [place]
    assert done.stdout.decode().split("\n") == [f"interrupted {went_on}", "over", ""], done.stderr.decode()
    assert without_waiting(done.stderr.decode()) == ""


#: A greenlet of the user that never lets others run is interrupted itself, by the second Ctrl-C at the latest.
_BUSY = """
import gevent.monkey
gevent.monkey.patch_all()
import os, signal
import gevent
import gevent.event
import gdispy

def spin():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass

with gdispy.JobCluster(abs, nodes=["local"]) as cluster:
    assert cluster.submit(-1)() == 1
    gevent.spawn(spin)
    try:
        gevent.event.Event().wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_a_second_ctrl_c_interrupts_what_keeps_all_else_from_running() -> None:
    done = run_python(_BUSY)
    assert done.stdout == b"interrupted\n", done.stderr.decode()


#: Who has a handler of his own keeps it.
_OWN = """
import gevent.monkey
gevent.monkey.patch_all()
import signal
import gdispy

def own(*_):
    pass

signal.signal(signal.SIGINT, own)
with gdispy.JobCluster(abs, nodes=["local"]) as cluster:
    assert cluster.submit(-1)() == 1
assert signal.getsignal(signal.SIGINT) is own
"""


def test_a_handler_of_the_users_own_stays() -> None:
    assert run_python(_OWN).returncode == 0


def is_destructor(frame: FrameType | None) -> bool:
    """Whether this is, or is called by, a `__del__`: Python itself ignores what is raised there."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def interrupted_at(step: int, call: Callable[[], object]) -> bool:
    """Call it, with KeyboardInterrupt at the so-manieth place where Python may raise that: where a function of Python
    begins, and where one of C has returned. Whether it came so far."""
    left = step

    def at_each(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        if event in ("call", "c_return") and not is_destructor(frame):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(at_each)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.mark.parametrize("kept", [False, True], ids=["", "with a recovery file"])
def test_submit_may_be_interrupted_at_any_place(tmp_path: Path, kept: bool) -> None:
    file = str(tmp_path / "jobs") if kept else None
    with JobCluster(abs, nodes=["local"], fault_recover=file) as cluster:
        assert cluster.submit(-1)() == 1
        step = 0
        while interrupted_at(step, lambda: cluster.submit(-3)):
            # What comes after it is as if nothing had been; and so is what came before: it has its number alone.
            after = cluster.submit(-step)
            assert after.wait(20), f"interrupted at step {step}"
            assert after.result == step
            assert cluster.wait(20), f"interrupted at step {step}"
            step += 1
        assert step > 15


def test_submit_that_is_interrupted_and_nothing_else_loses_no_job_of_before() -> None:
    with JobCluster(abs, nodes=["local"]) as cluster:
        assert cluster.submit(-1)() == 1
        step, went_on = 0, True
        while went_on:
            jobs: list[DispyJob] = []
            went_on = interrupted_at(step, lambda jobs=jobs: jobs.extend(cluster.submit(-n) for n in range(3)))
            assert all(job.wait(20) for job in jobs), f"interrupted at step {step}"
            assert cluster.wait(20), f"interrupted at step {step}"
            step += 1


OPERATIONS: dict[str, Callable[[JobCluster], object]] = {
    "job()": lambda cluster: cluster.submit(-2)(),
    "wait": lambda cluster: cluster.wait(20),
    "status": lambda cluster: cluster.status(),
    "stats": lambda cluster: cluster.stats(),
    "cancel": lambda cluster: cluster.cancel(cluster.submit(-2)),
    "map": lambda cluster: list(cluster.map([-1, -2, -3])),
    "as_completed": lambda cluster: list(cluster.as_completed([cluster.submit(-n) for n in range(3)])),
    "id": lambda cluster: setattr(cluster.submit(-2), "id", "name"),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kept", [False, True], ids=["", "with a recovery file"])
def test_whatever_is_interrupted_the_cluster_goes_on(name: str, kept: bool, tmp_path: Path) -> None:
    file = str(tmp_path / "jobs") if kept else None
    with JobCluster(abs, nodes=["local"], fault_recover=file) as cluster:
        assert cluster.submit(-1)() == 1
        step = 0
        while interrupted_at(step, lambda: OPERATIONS[name](cluster)):
            after = cluster.submit(-step)
            assert after.wait(20), f"interrupted at step {step}"
            assert after.result == step
            step += 1
        assert cluster.wait(20)
        assert step


def test_close_that_is_interrupted_can_be_called_again(start_node: Callable[..., Daemon], secret_file: str) -> None:
    node = start_node()
    step, went_on = 0, True
    while went_on:
        cluster = JobCluster(abs, nodes=[node.place], secret_file=secret_file)
        assert cluster.submit(-1)() == 1
        went_on = interrupted_at(step, cluster.close)
        # None where it was interrupted at its very end.
        assert cluster.close(timeout=20) in (True, None), f"interrupted at step {step}"
        assert cluster._closed
        step += 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kept", [False, True], ids=["", "with a recovery file"])
def test_a_cluster_whose_making_is_interrupted_is_in_nobodys_way(
    start_node: Callable[..., Daemon], secret_file: str, kept: bool, tmp_path: Path
) -> None:
    node = start_node()
    options: dict[str, Any] = {"nodes": [node.place], "secret_file": secret_file}
    if kept:
        options["fault_recover"] = str(tmp_path / "jobs")
    made: list[JobCluster] = []
    step = 0
    while interrupted_at(step, lambda: made.append(JobCluster(abs, **options))) and not made:
        with JobCluster(abs, **options) as cluster:
            job = cluster.submit(-step)
            assert job.wait(20), f"interrupted at step {step}"
            assert job.result == step
            assert cluster.close(timeout=20), f"interrupted at step {step}"
        step += 7  # Of some thousand places.
    assert made[0].close(timeout=20)
    assert step > 100
