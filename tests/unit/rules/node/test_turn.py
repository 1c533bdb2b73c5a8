"""What follows at the end of a turn."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Returned
from gdispy.rules.effects import Send
from gdispy.rules.node.assigner import Assigner
from gdispy.rules.node.effects import AssignJobs, NewWorker, RecallJobs
from gdispy.rules.node.turn import Turn
from tests.unit.builders import C, ended, outcome, plain
from tests.unit.rules.node.building import W1, A, Jobs, of


def turn(jobs: Jobs) -> Turn:
    made = Assigner(jobs.state, jobs.capacity, jobs.table)
    return Turn(jobs.state, jobs.capacity, jobs.outcomes, jobs.table, made)


def test_jobs_are_handed_out_before_outcomes_are_sent() -> None:
    jobs = Jobs(1)
    jobs.outcomes.add(jobs.computation, [of(2)])
    effects = plain(turn(jobs).end(0.0))
    expected = [NewWorker(W1, C), AssignJobs(W1, [1]), Send(A, ended(outcome(2)))]  # type: ignore[list-item]
    assert effects == expected


def test_jobs_that_wait_are_given_back_where_no_cpu_is_used() -> None:
    jobs = Jobs(1)
    jobs.capacity.allow(0)
    assert turn(jobs).adjust_cpus(0.0) == [Send(A, Returned(C, [JobId(1)], [1]))]


def test_number_that_does_not_change_ends_no_turn() -> None:
    jobs = Jobs(1)
    assert turn(jobs).adjust_cpus(0.0) == []
    assert jobs.queued() == [1]


def test_with_fewer_cpus_what_lies_behind_a_job_is_recalled_and_with_none_the_job_too() -> None:
    for cpus, recalled in ((1, [1]), (0, [1, 2])):
        jobs = Jobs(1, 2, 3)
        for number, amount in ((1, 1), (2, 0)):
            worker = jobs.worker(number)
            jobs.table.hand_first(worker, 1, 0.0)
            jobs.table.hand_more(worker, amount)
        jobs.capacity.allow(cpus)
        effects = turn(jobs).adjust_cpus(1.0)
        assert [each.worker for each in effects if isinstance(each, RecallJobs)] == recalled


def test_worker_that_is_to_end_is_asked_for_nothing_back() -> None:
    jobs = Jobs(1)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    worker.end("")
    jobs.capacity.allow(0)
    assert turn(jobs).adjust_cpus(1.0) == []
