"""What is used beyond a limit, and how it is said."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys

import pytest

from gdispy.worker import limits as module
from gdispy.worker.limits import Limits, OwnLimits, overtime


@pytest.fixture
def page() -> mmap.mmap:
    return mmap.mmap(-1, mmap.PAGESIZE)


def test_no_limit_is_never_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tree_bytes", lambda tree: 1 << 60)
    assert Limits().excess(list(range(1000))) == ""


def test_memory_and_processes_of_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tree_bytes", lambda tree: 1000 * len(tree))
    limits = Limits(memory=2000, processes=3)
    assert limits.excess([1, 2]) == ""
    assert "3,000 bytes" in limits.excess([1, 2, 3]) and "2,000" in limits.excess([1, 2, 3])
    assert "4 processes" in limits.excess([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("node", "own", "expected", "whose"),
    [
        (0.0, 0.0, None, ""),
        (5.0, 0.0, 5.0, "the limit of this node"),
        (0.0, 5.0, 5.0, "its limit (dispy_cpu_time)"),
        (5.0, 3.0, 3.0, "its limit (dispy_cpu_time)"),
        (3.0, 5.0, 3.0, "the limit of this node"),
    ],
)
def test_smaller_limit_of_processor_time_counts(
    page: mmap.mmap, monkeypatch: pytest.MonkeyPatch, node: float, own: float, expected: float | None, whose: str
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: killed.append((pid, number)))
    mine = OwnLimits(Limits(processor=node), page)
    assert mine.begin(1, 1, own) is (expected is not None)
    before = sum(os.times()[:4])
    for used, ended in [(0.0, False), (expected or 0.0, False), ((expected or 0.0) + 100.0, expected is not None)]:
        monkeypatch.setattr(module, "processor_seconds", lambda pid, used=used: before + used - 0.5)
        text = overtime(page, [4711])
        assert bool(text) is ended and (whose in text or not ended)
    assert killed == ([(4711, signal.SIGSTOP)] if expected is not None else [])
    mine.end()
    assert overtime(page, [4711]) == ""


def test_worker_that_went_on_to_another_job_meanwhile_is_not_ended(
    page: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = OwnLimits(Limits(processor=1.0), page)
    mine.begin(1, 1, 0.0)
    signals: list[int] = []

    def kill(pid: int, number: int) -> None:
        signals.append(number)
        mine.begin(2, 1, 0.0)

    monkeypatch.setattr(module.os, "kill", kill)
    monkeypatch.setattr(module, "processor_seconds", lambda pid: 1e9)
    assert overtime(page, [4711]) == ""
    assert signals == [signal.SIGSTOP, signal.SIGCONT]


def test_worker_is_used_up_after_its_jobs_or_when_it_has_grown(
    page: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_jobs = OwnLimits(Limits(jobs=2), page)
    assert not by_jobs.are_none
    by_jobs.begin(1, 1, 0.0)
    assert not by_jobs.is_used_up()
    by_jobs.begin(2, 1, 0.0)
    assert by_jobs.is_used_up()
    size = 1000
    monkeypatch.setattr(module, "resident_bytes", lambda pid: size)
    by_growth = OwnLimits(Limits(growth=500), page)
    size = 1500
    assert not by_growth.is_used_up()
    size = 1501
    assert by_growth.is_used_up()
    assert OwnLimits(Limits(memory=1, processes=1), page).are_none


def test_file_limit_is_for_the_job_and_not_for_its_worker() -> None:
    # In a process of its own: the limit ends what goes beyond it.
    program = """
import mmap, os, signal, tempfile
from gdispy.worker.limits import Limits, OwnLimits
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
own = OwnLimits(Limits(file=1000), mmap.mmap(-1, mmap.PAGESIZE))
with tempfile.TemporaryFile(buffering=0) as file:
    try:
        file.write(bytes(1000)); file.write(b"x")
    except OSError as error:
        print(own.note(error), end="")
    with own.lifted():
        print(file.write(bytes(2000)))
    try:
        file.write(b"x")
    except OSError as error:
        print("again")
print(own.note(None, signal.SIGXFSZ) != "", own.note(OSError(5, "other")) == "", own.note(None) == "")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    expected = (
        "The limit for files of a job on this node is 1,000 bytes (--job_file_size).\n2000\nagain\nTrue True True\n"
    )
    assert done.stdout == expected
