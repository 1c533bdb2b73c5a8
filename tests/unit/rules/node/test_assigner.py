"""Which job goes to which worker."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.rows import JobOptions
from gdispy.rules.node.assigner import Assigner
from gdispy.rules.node.effects import AssignJobs, NewWorker
from tests.unit.builders import C, D, plain
from tests.unit.rules.node.building import W1, W2, Jobs, computation, job, of


def assigner(jobs: Jobs) -> Assigner:
    return Assigner(jobs.state, jobs.capacity, jobs.table)


def add_computation(jobs: Jobs, number: ComputationId, *numbers: int) -> None:
    made = computation(number=number)
    jobs.state.add(made)
    for each in numbers:
        jobs.table.accept(made, job(each), 0.0)
    jobs.table.wait(made)


def handed(effects: list[Any]) -> list[tuple[int, list[int]]]:
    return [(each.worker, each.jobs) for each in plain(effects) if isinstance(each, AssignJobs)]


def test_workers_are_started_for_as_many_jobs_as_there_are_cpus() -> None:
    jobs = Jobs(1, 2, 3)
    effects = plain(assigner(jobs).assign(0.0))
    expected = [NewWorker(W1, C), AssignJobs(W1, [1]), NewWorker(W2, C), AssignJobs(W2, [2])]  # type: ignore[list-item]
    assert effects == expected
    assert jobs.queued() == [3]
    jobs.table.check()


def test_free_worker_is_used_before_another_is_started_and_one_that_ends_never() -> None:
    jobs = Jobs(1, 2)
    ending, free = jobs.worker(8), jobs.worker(9)
    ending.end("")
    assert handed(assigner(jobs).assign(0.0)) == [(9, [1]), (1, [2])]
    assert not ending.hand and free.hand


def test_no_more_run_than_their_scheduler_allows_the_computation() -> None:
    jobs = Jobs(1, 2, cpus=4)
    jobs.computation.cpus = 1
    assert handed(assigner(jobs).assign(0.0)) == [(1, [1])]


def test_job_waits_until_all_of_its_cpus_are_free() -> None:
    jobs = Jobs(1)
    jobs.table.accept(jobs.computation, job(2, options=JobOptions(b"", 0, 0.0, 2, 0, b"", [], [], [])), 0.0)
    made = assigner(jobs)
    assert handed(made.assign(0.0)) == [(1, [1])]
    jobs.table.take_answers(jobs.state.workers[W1], [of(1)])
    assert handed(made.assign(1.0)) == [(1, [2])]
    assert jobs.capacity.busy == 2


def test_computations_that_wait_share_the_cpus() -> None:
    jobs = Jobs(1, 2, 3, cpus=4)
    add_computation(jobs, D, 11, 12, 13)
    assigner(jobs).assign(0.0)
    assert [each.load() for each in jobs.state.computations.values()] == [2, 2]


def test_short_jobs_are_put_behind_those_in_hand_and_long_ones_are_not() -> None:
    for pace, amount in ((0.005, 1), (0.5, 0)):
        jobs = Jobs(1, 2, 3, 4, cpus=1)
        jobs.computation.pace = pace
        effects = handed(assigner(jobs).assign(0.0))
        assert effects[0] == (1, [1])
        assert len(effects[1:]) == amount


def test_computation_whose_processes_are_gone_gets_no_worker_and_waits_again_when_it_is_loaded() -> None:
    jobs = Jobs(1)
    jobs.computation.processes.template_ended()
    made = assigner(jobs)
    assert made.assign(0.0) == []
    jobs.computation.processes.loaded("")
    jobs.table.wait(jobs.computation)
    assert handed(made.assign(1.0)) == [(1, [1])]
