"""Where jobs are, and that each is in one place."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError, ProtocolError
from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import CANCELLED, FINISHED, TERMINATED
from gdispy.protocol.messages import Release, Returned
from gdispy.protocol.rows import JobOptions
from gdispy.rules.effects import Send, WriteFacts
from gdispy.rules.node import job_table
from gdispy.rules.node.effects import RecallJobs, Unload
from tests.unit.builders import Announced, C, plain
from tests.unit.rules.node.building import TOKEN, W1, A, Jobs, job, of


def test_cpus_are_busy_as_long_as_a_worker_has_a_job_in_hand() -> None:
    jobs = Jobs(1, 2, 3)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 2, 1.0)
    jobs.table.hand_more(worker, 1)
    assert (jobs.capacity.busy, worker.since) == (2, 1.0)
    jobs.table.take_answers(worker, [of(1)])
    assert jobs.capacity.busy == 2
    jobs.table.take_answers(worker, [of(2)])
    assert jobs.capacity.busy == 0
    jobs.table.check()


def test_jobs_that_were_taken_back_wait_before_all_others_and_cancelled_ones_end() -> None:
    jobs = Jobs(1, 2, 3, 4)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, 2)
    assert jobs.table.cancel(jobs.computation, JobId(2), 1, 0.0) == [RecallJobs(W1)]
    jobs.table.put_back(worker, [(JobId(1), 1), (JobId(2), 1), (JobId(3), 1)], 1.0)
    assert jobs.queued() == [1, 3, 4]
    assert jobs.computation.outcomes.unacked[JobId(2)].status == CANCELLED
    assert jobs.capacity.busy == 0
    jobs.table.check()


def test_answer_for_another_job_is_not_taken_nor_what_follows_it() -> None:
    jobs = Jobs(1, 2)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, 1)
    assert not jobs.table.take_answers(worker, [of(1), of(2, attempt=2), of(2)])
    assert list(jobs.computation.outcomes.unacked) == [1]
    assert [each.number for each in worker.hand] == [2]


def test_job_that_ends_for_its_limit_says_so() -> None:
    jobs = Jobs(1, 2)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, 1)
    worker.hand[0].expired = worker.hand[1].expired = True
    worker.hand[0].limit = 2.5
    jobs.table.take_answers(worker, [of(1, status=TERMINATED, exception="killed"), of(2)])
    texts = [each.exception for each in jobs.computation.outcomes.unacked.values()]
    assert texts == ["The job took longer than its limit of 2.5 s (dispy_timeout) and was terminated.\n", ""]


def test_later_attempt_waits_for_the_former_whose_outcome_is_dropped() -> None:
    jobs = Jobs(1)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    known, result = worker.hand[0], Announced(1)
    assert jobs.table.replace(jobs.computation, known, job(1, attempt=2), 1.0) == [RecallJobs(W1)]
    assert jobs.queued() == []
    jobs.table.take_answers(worker, [of(1, result=result)])
    assert jobs.computation.outcomes.unacked == {}
    assert [each.attempt for each in jobs.computation.queue] == [2]
    assert result.released == 1


def test_later_attempt_replaces_one_that_waits() -> None:
    jobs = Jobs(1, 2)
    known = jobs.computation.jobs[JobId(1)]
    assert jobs.table.replace(jobs.computation, known, job(1, attempt=2), 1.0) == []
    assert [(each.number, each.attempt) for each in jobs.computation.queue] == [(2, 1), (1, 2)]
    jobs.table.check()


def test_cancel_that_comes_before_its_job_ends_it_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs()
    assert jobs.table.cancel(jobs.computation, JobId(1), 1, 0.0) == []
    jobs.table.accept(jobs.computation, job(1), 1.0)
    assert jobs.computation.outcomes.unacked[JobId(1)].status == CANCELLED
    # A cancel of a job that has ended is no such one; and these are not remembered without end.
    monkeypatch.setattr(job_table, "EARLY_LIMIT", 1)
    jobs.table.cancel(jobs.computation, JobId(1), 1, 2.0)
    jobs.table.cancel(jobs.computation, JobId(2), 1, 2.0)
    with pytest.raises(ProtocolError, match="too many jobs are cancelled"):
        jobs.table.cancel(jobs.computation, JobId(3), 1, 2.0)


def test_job_with_options_is_not_put_behind_another() -> None:
    jobs = Jobs(1, 2)
    jobs.table.accept(jobs.computation, job(3, options=JobOptions(b"", 0, 0.0, 2, 0, b"", [], [], [])), 0.0)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    assert [each.jobs for each in plain(jobs.table.hand_more(worker, 9))] == [[2]]
    assert jobs.table.hand_more(worker, 9) == []


def test_recall_returns_the_last_first_and_no_more_than_asked() -> None:
    jobs = Jobs(1, 2, 3)
    returned = Returned(C, [JobId(3), JobId(2)], [1, 1])
    assert jobs.table.recall(jobs.computation, 2) == [Send(A, returned)]
    assert list(jobs.computation.jobs) == [1]
    jobs.table.check()


def test_jobs_of_a_scheduler_that_is_away_are_not_given_back() -> None:
    jobs = Jobs(1)
    jobs.computation.session.peer = None
    assert jobs.table.give_back() == []
    assert jobs.queued() == [1]


def test_computation_that_is_retired_ends_its_jobs_and_keeps_their_outcomes() -> None:
    jobs = Jobs(1, 2)
    jobs.table.hand_first(jobs.worker(), 1, 0.0)
    assert jobs.table.retire(jobs.computation, "away", 5.0) == [Unload(C)]
    assert {each.exception for each in jobs.computation.outcomes.unacked.values()} == {"away"}
    assert (jobs.capacity.busy, jobs.state.workers, jobs.computation.processes.is_over) == (0, {}, True)
    assert list(jobs.table.take_waiting()) == []
    assert jobs.state.unloading == {C: jobs.computation.session}


def test_computation_that_is_forgotten_leaves_nothing_but_what_is_to_be_unloaded() -> None:
    jobs = Jobs(1, 2, token=TOKEN)
    jobs.table.hand_first(jobs.worker(), 1, 0.0)
    jobs.computation.outcomes.has_spool = True
    effects = jobs.table.forget(jobs.computation)
    assert effects == [WriteFacts(C, [Release(C)]), Unload(C)]
    assert (jobs.state.computations, jobs.state.workers, jobs.capacity.busy) == ({}, {}, 0)
    assert list(jobs.table.take_waiting()) == []


def test_check_finds_a_job_in_two_places() -> None:
    jobs = Jobs(1)
    jobs.table.check()
    jobs.computation.queue.append(jobs.computation.queue[0])
    with pytest.raises(InternalError, match="in no place, or in two"):
        jobs.table.check()


def test_check_finds_jobs_that_wait_where_nobody_looks() -> None:
    jobs = Jobs(1)
    jobs.table.take_waiting()
    with pytest.raises(InternalError, match="outside the queue"):
        jobs.table.check()


# Withdrawal


def test_withdrawn_job_that_waits_ends_and_its_outcome_is_kept_for_the_scheduler() -> None:
    jobs = Jobs(1, 2)
    assert jobs.table.withdraw(jobs.computation, JobId(1), 3.0) == []
    assert jobs.queued() == [2] and list(jobs.computation.jobs) == [2]
    ended = jobs.computation.outcomes.unacked[JobId(1)]
    assert (ended.status, ended.exception, ended.start, ended.end) == (CANCELLED, "", 3.0, 3.0)
    jobs.table.check()


def test_withdrawn_job_in_hand_ends_when_it_comes_back_and_is_not_run_again() -> None:
    jobs = Jobs(1, 2, 3)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, 2)
    assert jobs.table.withdraw(jobs.computation, JobId(2), 0.0) == [RecallJobs(W1)]
    # It ends with the answer of the worker, not before.
    assert jobs.computation.outcomes.unacked == {}
    jobs.table.put_back(worker, [(JobId(2), 1), (JobId(3), 1)], 1.0)
    assert jobs.queued() == [3]
    assert jobs.computation.outcomes.unacked[JobId(2)].status == CANCELLED
    assert [each.number for each in worker.hand] == [1] and jobs.capacity.busy == 1
    jobs.table.check()


def test_withdrawn_job_that_has_begun_is_not_ended_and_keeps_its_result() -> None:
    jobs = Jobs(1)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.withdraw(jobs.computation, JobId(1), 0.0)
    jobs.table.put_back(worker, [], 1.0)
    # A job that is to be interrupted is `cancelled`; this one runs to its end.
    assert not worker.hand[0].cancelled
    jobs.table.take_answers(worker, [of(1)])
    assert jobs.computation.outcomes.unacked[JobId(1)].status == FINISHED
    jobs.table.check()


def test_withdrawal_of_a_job_that_has_ended_or_is_not_here_ends_nothing() -> None:
    jobs = Jobs(1)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 1.0)
    jobs.table.take_answers(worker, [of(1)])
    for number in (1, 2):
        assert jobs.table.withdraw(jobs.computation, JobId(number), 2.0) == []
    assert jobs.computation.outcomes.unacked[JobId(1)].status == FINISHED
    assert list(jobs.computation.outcomes.unacked) == [1]
    jobs.table.check()
