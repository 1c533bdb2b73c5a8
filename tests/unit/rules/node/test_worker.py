"""The stages of a worker."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId
from gdispy.protocol.rows import JobOptions
from gdispy.rules.node.worker import Worker, WorkerStage
from tests.unit.rules.node.building import W1, computation, job


def worker(*jobs: int) -> Worker:
    made = Worker(W1, computation())
    made.hand.extend(map(job, jobs))
    made.latest = len(jobs)
    return made


def test_job_that_does_not_end_is_interrupted_then_terminated_then_ended() -> None:
    made = worker(1)
    stages = [made.stage]
    made.interrupt(1.0)
    stages.append(made.stage)
    made.terminate()
    stages.append(made.stage)
    made.end("")
    assert [*stages, made.stage] == list(map(WorkerStage, ("working", "interrupted", "terminated", "ending")))


def test_worker_that_answers_works_on_as_if_nothing_had_been_done_to_it() -> None:
    made = worker(1, 2)
    made.interrupt(1.0)
    made.terminate()
    made.answered(2.0)
    assert (made.stage, made.interrupted_at, made.since) == (WorkerStage.WORKING, None, 2.0)


def test_sigterm_is_sent_once_to_a_worker_whose_job_is_spared_and_interrupted_again() -> None:
    made = worker(1)
    made.interrupt(1.0)
    made.terminate()
    made.spare()
    assert (made.stage, made.interrupted_at) == (WorkerStage.SPARED, None)
    made.interrupt(3.0)
    assert made.stage is WorkerStage.TERMINATED


def test_nothing_brings_a_worker_back_that_is_to_end() -> None:
    made = worker(1)
    made.end("the hours are over")
    made.end("")
    made.answered(1.0)
    made.interrupt(2.0)
    made.spare()
    assert made.is_ending and made.why == "the hours are over"
    assert not made.is_free()


def test_sigterm_comes_after_an_interrupt_only() -> None:
    with pytest.raises(InternalError, match="working cannot be terminated"):
        worker(1).terminate()


def test_nothing_is_put_behind_what_is_interrupted_or_slow_or_has_options_or_is_enough() -> None:
    assert worker(1).may_have_more()
    interrupted, slow, alone, full = worker(1), worker(1), worker(), worker(1, 2)
    interrupted.interrupt(1.0)
    slow.slow = True
    alone.hand.append(job(1, options=JobOptions(b"", 0, 0.0, 2, 0, b"", [], [], [])))
    alone.latest = 1
    full.latest = 1
    assert not any(each.may_have_more() for each in (interrupted, slow, alone, full))


def test_taken_out_is_what_was_named_in_its_order() -> None:
    made = worker(1, 2, 3, 4)
    assert [each.number for each in made.take_out({JobId(4), JobId(2), JobId(9)})] == [2, 4]
    assert [each.number for each in made.hand] == [1, 3]
