"""The way of new jobs into the hub."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import submission
from gdispy.client.submission import SubmissionQueue
from gdispy.errors import ClusterClosed, ForkedError
from gdispy.protocol.rows import JobOptions


class Made:
    """A queue, and how often it has woken the hub."""

    def __init__(self) -> None:
        self.woken = self.yielded = 0
        self.count: Any = SimpleNamespace(made=0)
        self.queue = SubmissionQueue(None, self.count, self._wake, self._let_run)

    def _wake(self) -> None:
        self.woken += 1

    def _let_run(self) -> None:
        self.yielded += 1
        self.queue.drain()


def test_hub_runs_whenever_many_jobs_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "HAND_OVER", 10)
    made = Made()
    for _ in range(35):
        made.queue.put(b"", None, None)
    assert made.yielded == 3 and len(made.queue) == 5


def test_jobs_are_drained_in_their_order_with_the_options_of_those_that_have_any() -> None:
    made = Made()
    options = JobOptions(priority=1.0)
    jobs = [made.queue.put(b"a", None, None), made.queue.put(b"b", options, "named"), made.queue.put(b"c", None, None)]
    assert made.count.made == 3 and len(made.queue) == 3
    drained = made.queue.drain()
    assert drained.jobs == jobs and drained.options == [None, options, None]
    assert jobs[1].id == "named" and jobs[0].id == jobs[0]._number < jobs[1]._number < jobs[2]._number
    assert made.queue.drain() == ([], [])


def test_hub_is_woken_once_until_it_has_drained() -> None:
    made = Made()
    for _ in range(3):
        made.queue.put(b"", None, None)
    assert made.woken == 1
    made.queue.drain()
    made.queue.put(b"", None, None)
    assert made.woken == 2


def test_no_job_is_taken_once_the_queue_refuses_and_those_before_are_drained() -> None:
    made = Made()
    job = made.queue.put(b"", None, None)
    made.queue.refuse(ClusterClosed)
    with pytest.raises(ClusterClosed):
        made.queue.put(b"", None, None)
    assert made.count.made == 1 and made.queue.drain().jobs == [job]


def test_options_of_a_job_that_was_refused_are_not_kept() -> None:
    made = Made()
    made.queue.refuse(ClusterClosed)
    with pytest.raises(ClusterClosed):
        made.queue.put(b"", JobOptions(cpus=2), None)
    assert made.queue._options == {}


def test_forked_child_refuses_although_its_parent_had_the_lock() -> None:
    made = Made()
    made.queue._lock.acquire()
    made.queue.forget_in_child(ForkedError)
    with pytest.raises(ForkedError):
        made.queue.put(b"", None, None)


def test_job_that_the_recovery_file_cannot_keep_is_not_submitted() -> None:
    made = Made()

    def submitted(*_: Any) -> None:
        raise OSError("the disk is full")

    recovery: Any = SimpleNamespace(submitted=submitted)
    made.queue = SubmissionQueue(recovery, made.count, made._wake, made._let_run)
    with pytest.raises(OSError, match="full"):
        made.queue.put(b"", None, None)
    assert made.count.made == 0 and made.woken == 0 and made.queue.drain().jobs == []
