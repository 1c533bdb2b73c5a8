"""Workers under watch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Printed, Progress, Started
from gdispy.rules.effects import Send
from gdispy.rules.node.effects import Interrupt, Kill, RecallJobs, Terminate
from gdispy.rules.node.progress import FileKey, ProvisionalResult, SentFile
from gdispy.rules.node.supervision import (
    INVALID_ANSWER,
    KILL_AFTER,
    REPORT_AFTER,
    STILLBORN_LIMIT,
    TERMINATE_AFTER,
    Supervision,
)
from gdispy.rules.node.worker import Worker
from tests.unit.builders import Announced, C, outcome
from tests.unit.rules.node.building import W1, A, Jobs

FALSE_CAUSE = "its process was killed by signal 9 (SIGKILL): by another process (it had used up to 17 MiB)"


def running(*numbers: int, limit: float = 0.0, cpus: int = 2) -> tuple[Jobs, Supervision, Worker]:
    """A worker with these jobs in hand, since 0.0, the first of which has that limit."""
    jobs = Jobs(*numbers, cpus=cpus)
    worker = jobs.worker()
    jobs.table.hand_first(worker, 1, 0.0)
    jobs.table.hand_more(worker, len(numbers))
    worker.hand[0].limit = limit
    return jobs, Supervision(jobs.state, jobs.table), worker


def interrupt(number: int) -> Interrupt:
    return Interrupt(W1, JobId(number), 1)


def test_job_that_runs_for_long_is_reported_once() -> None:
    _, supervision, _ = running(1)
    assert supervision.due() == [REPORT_AFTER]
    assert supervision.watch(REPORT_AFTER / 2) == []
    assert supervision.watch(REPORT_AFTER) == [Send(A, Started(C, [JobId(1)], [1], [0.0], ""))]
    assert supervision.due() == [] == supervision.watch(9.0)


def test_what_waits_behind_a_job_that_runs_for_long_is_recalled() -> None:
    _, supervision, worker = running(1, 2)
    assert RecallJobs(W1) in supervision.watch(REPORT_AFTER)
    assert worker.slow


def test_job_that_takes_too_long_is_interrupted_terminated_and_its_worker_killed() -> None:
    _, supervision, worker = running(1, limit=0.05)
    assert supervision.watch(0.04) == []
    assert supervision.watch(0.05) == [interrupt(1)]
    assert worker.hand[0].expired
    assert supervision.due() == [0.05 + TERMINATE_AFTER]
    assert supervision.watch(0.05 + TERMINATE_AFTER) == [Terminate(W1)]
    assert supervision.due() == [0.05 + KILL_AFTER]
    assert supervision.watch(0.04 + KILL_AFTER) == []
    assert supervision.watch(0.05 + KILL_AFTER) == [Kill(W1)]
    assert supervision.due() == [] == supervision.watch(99.0)


def test_cancelled_job_that_was_not_taken_back_has_begun_and_is_interrupted_once() -> None:
    jobs, supervision, worker = running(1)
    jobs.table.cancel(jobs.computation, JobId(1), 1, 0.0)
    assert supervision.took_back(worker, [], 1.0) == [interrupt(1)]
    assert supervision.took_back(worker, [], 2.0) == []


def test_next_job_is_not_ended_for_the_one_before_it() -> None:
    jobs, supervision, worker = running(1, 2)
    jobs.table.cancel(jobs.computation, JobId(1), 1, 0.0)
    supervision.took_back(worker, [], 1.0)
    assert supervision.answered(worker, [outcome(1)], 2.0) == []
    assert not any(isinstance(each, Terminate | Kill) for each in supervision.watch(99.0))


def test_worker_that_answers_for_what_it_was_not_given_is_killed() -> None:
    jobs, supervision, worker = running(1)
    assert supervision.answered(worker, [outcome(2)], 1.0) == [Kill(W1)]
    assert worker.is_ending
    supervision.exited(worker, [], FALSE_CAUSE, 3.0)
    assert jobs.computation.outcomes.unacked[JobId(1)].exception == f"{INVALID_ANSWER}\n"


def test_job_that_had_begun_ends_with_its_worker_and_others_wait_again() -> None:
    jobs, supervision, worker = running(1, 2)
    supervision.exited(worker, [(JobId(2), 1)], "killed by signal 9", 3.0)
    ends = [(each.job, each.status, each.exception) for each in jobs.computation.outcomes.unacked.values()]
    assert ends == [(1, TERMINATED, "killed by signal 9\n")]
    assert (jobs.queued(), jobs.state.workers, jobs.capacity.busy) == ([2], {}, 0)
    jobs.table.check()


def test_cause_that_is_given_for_a_kill_is_told_with_the_end() -> None:
    jobs, supervision, worker = running(1)
    assert supervision.kill_all("the hours are over") == [Kill(W1)]
    assert supervision.kill_all("again") == []
    supervision.exited(worker, [], "killed by signal 9", 3.0)
    assert jobs.computation.outcomes.unacked[JobId(1)].exception == "the hours are over\n"


def ended_after(seconds: float, *, cause: str, cancelled: bool, why: str = "") -> str:
    """The text of a job that was to end, and whose worker exits this long after it was interrupted."""
    jobs, supervision, worker = running(1, limit=0.0 if cancelled else 1.0)
    if cancelled:
        jobs.table.cancel(jobs.computation, JobId(1), 1, 0.0)
        supervision.took_back(worker, [], 1.0)
    for moment in (1.0, 1.0 + TERMINATE_AFTER, 1.0 + KILL_AFTER):
        if moment <= 1.0 + seconds:
            supervision.watch(moment)
    if why:
        supervision.kill_all(why)
    supervision.exited(worker, [], cause, 9.0)
    return jobs.computation.outcomes.unacked[JobId(1)].exception


@pytest.mark.parametrize("seconds", [TERMINATE_AFTER, KILL_AFTER])
def test_kill_by_the_node_itself_is_not_said_to_be_by_another_process(seconds: float) -> None:
    text = ended_after(seconds, cause=FALSE_CAUSE, cancelled=True)
    assert text == "The job was cancelled and had to be killed.\n"
    text = ended_after(seconds, cause=FALSE_CAUSE, cancelled=False)
    assert text == "The job took longer than its limit of 1 s (dispy_timeout) and was terminated.\n"


def test_cancelled_job_that_ends_otherwise_is_not_said_to_be_killed() -> None:
    cause = "its process ended with exit code 3 before the job was done"
    assert ended_after(0.0, cause=cause, cancelled=True) == f"The job was cancelled; then {cause}\n"


def test_cancelled_job_that_is_killed_for_another_reason_has_that() -> None:
    text = ended_after(0.0, cause=FALSE_CAUSE, cancelled=True, why="the hours are over")
    assert text == "The job was cancelled and had to be killed: the hours are over\n"


def test_job_is_given_up_after_some_workers_in_a_row_that_ended_before_it_began() -> None:
    jobs, supervision, worker = running(1)
    for number in range(STILLBORN_LIMIT):
        assert jobs.computation.outcomes.unacked == {}
        if number:
            worker = jobs.worker(number + 1)
            jobs.table.hand_first(worker, 1, 0.0)
        supervision.exited(worker, [(JobId(1), 1)], "no memory", 1.0)
    text = jobs.computation.outcomes.unacked[JobId(1)].exception
    assert text == "The worker process ended before the job could start: no memory\n"


def test_worker_that_had_begun_a_job_counts_as_none_of_those() -> None:
    jobs, supervision, worker = running(1, 2, 3)
    supervision.exited(worker, [(JobId(2), 1), (JobId(3), 1)], "no memory", 1.0)
    assert jobs.computation.processes.stillborn == 0


def test_provisional_result_comes_after_the_report_that_its_job_runs() -> None:
    _, supervision, worker = running(1)
    for position, kinds in ((0, [Started, Progress]), (1, [Progress])):
        effects: Any = supervision.progressed(worker, JobId(1), ProvisionalResult(1, position, b"half"))
        assert [type(each.message) for each in effects] == kinds


def test_file_of_a_job_that_does_not_run_is_given_back() -> None:
    jobs, supervision, worker = running(1)
    content = Announced(1)
    assert supervision.sent_file(worker, FileKey(JobId(2), 1, 0), SentFile([], content, W1)) == []
    assert content.released == 1
    assert list(jobs.computation.progress.messages(C)) == []


def test_with_isolation_a_worker_has_one_job_and_is_killed_after_it() -> None:
    jobs, supervision, worker = running(1)
    jobs.computation.prepare = replace(jobs.computation.prepare, isolation="job")
    assert supervision.answered(worker, [outcome(1)], 1.0) == [Kill(W1)]


def test_output_is_reported_of_the_first_job_in_hand_only_and_not_to_a_scheduler_that_is_away() -> None:
    _, supervision, worker = running(1, 2)
    said = (JobId(1), 1, 1, 7, b"text")
    assert supervision.printed(worker, *said) == [Send(A, Printed(C, *said))]
    assert supervision.printed(worker, JobId(2), 1, 1, 0, b"text") == []
    assert supervision.printed(worker, JobId(1), 2, 1, 0, b"text") == []
    worker.computation.session.peer = None
    assert supervision.printed(worker, *said) == []
