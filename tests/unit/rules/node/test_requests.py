"""Messages of schedulers: which are taken, and whose computations they are about."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.job_status import CANCELLED
from gdispy.protocol.messages import (
    Cancel,
    FileContents,
    Follow,
    Inventory,
    Limit,
    LogRequest,
    Message,
    OutcomesAcked,
    Prepared,
    ProgressAcked,
    PutFile,
    Recall,
    Release,
    Released,
    Reply,
    Returned,
    Run,
    RunningJobsRequest,
    Uploaded,
    Withdraw,
)
from gdispy.protocol.rows import RunningJobRow
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import raise_fault
from gdispy.rules.node.effects import AnswerFile, FollowJob, ListJobs, RecallJobs, ShowLog, Unload
from gdispy.rules.node.loading import Loading
from gdispy.rules.node.progress import FileKey, ProvisionalResult, SentFile
from gdispy.rules.node.requests import Requests
from gdispy.rules.node.worker import Worker
from tests.unit.builders import Announced, C, D, prepare
from tests.unit.rules.node.building import W1, A, B, Served, computation, job, of, session

JOB = JobId(1)


class Asked:
    """The requests of a scheduler with the computation C; D is that of another one."""

    def __init__(self) -> None:
        served = self.served = Served()
        served.join()
        served.bring()
        self.own = served.state.computations[C]
        self.other = computation(session(b"o" * 16, B), D)
        served.state.add(self.other)
        loading = Loading(served.state, served.jobs.table, served.ownership, served.sessions)
        self.requests = Requests(served.state, served.jobs.table, served.sessions, loading)

    def receive(self, *messages: Message, on_fault: Any = raise_fault) -> Effects:
        return self.requests.receive(self.own.session, A, list(messages), on_fault, 0.0)


def run(number: Any = C, *jobs: int, attempt: int = 1) -> Run:
    return Run(number, [JobId(each) for each in jobs], [attempt] * len(jobs), [b""] * len(jobs))


def test_messages_up_to_the_first_that_is_not_taken_are_handled() -> None:
    asked = Asked()
    effects = asked.receive(run(C, 1), Inventory([], [], []), run(C, 2))
    assert effects == [Drop(A, "a message is refused: a node takes no Inventory from a scheduler")]
    assert list(asked.own.jobs) == [1]


def test_message_that_cannot_be_handled_is_told_and_none_after_it_is_handled() -> None:
    asked = Asked()
    bad = Run(C, [JobId(1)], [1], [])
    effects = asked.receive(bad, run(C, 2), on_fault=lambda peer, message, error: [Drop(peer, type(error).__name__)])
    assert effects == [Drop(A, "ValueError")]
    assert list(asked.own.jobs) == []


@pytest.mark.parametrize(
    "message",
    [prepare(), run(C, 1), Limit(C, 1, 1), Recall(C, 1), Withdraw(C, 0, [JOB])],
    ids=lambda each: each.tag,
)
def test_recoverer_brings_nothing_and_limits_nothing(message: Message) -> None:
    asked = Asked()
    asked.own.session.recovers = True
    assert [type(each) for each in asked.receive(message)] == [Drop]
    assert [type(each) for each in asked.receive(Release(C))] == [Unload]


def test_nothing_changes_by_a_message_about_the_computation_of_another() -> None:
    asked = Asked()
    table, content = asked.served.jobs.table, Announced(1)
    table.accept(asked.other, job(1), 0.0)
    asked.other.outcomes.unacked[JobId(2)] = of(2)
    asked.other.progress.show(JOB, ProvisionalResult(1, 0, b""))
    not_here = "the computation is not loaded on that node"
    answers: list[tuple[Message, list[Any]]] = [
        (Cancel(D, [JOB], [1]), []),
        (Withdraw(D, 0, [JOB]), []),
        (Recall(D, 1), []),
        (OutcomesAcked(D, [JobId(2)], [1]), []),
        (ProgressAcked(D, [JOB], [1], [1]), []),
        (FileContents(D, [0], [content]), []),
        (PutFile(D, 3, "", [], []), [Send(A, Reply(D, 3, not_here, -1.0, []))]),
        (Release(D), [Send(A, Released(D))]),
        (
            run(D, 5),
            [
                Send(A, Prepared(D, "it is still being loaded", for_now=True)),
                Send(A, Returned(D, [JobId(5)], [1])),
            ],
        ),
    ]
    for message, expected in answers:
        assert asked.receive(message) == expected
    assert list(asked.other.jobs) == [1] and not asked.other.jobs[JOB].cancelled
    assert list(asked.other.outcomes.unacked) == [2] and asked.other.progress.shown() == [1]
    assert D in asked.served.state.computations and content.released == 1


def test_limit_holds_for_the_own_computation_and_for_the_scheduler() -> None:
    asked = Asked()
    asked.receive(Limit(C, 1, 5), Limit(D, 1, 1))
    assert asked.own.cpus == 1 != asked.other.cpus
    assert (asked.own.session.cpus, asked.served.jobs.capacity.cpus) == (1, 1)


def test_jobs_of_a_computation_that_cannot_be_loaded_are_returned_with_the_reason() -> None:
    asked = Asked()
    asked.own.processes.loaded("no module")
    assert asked.receive(run(C, 1, 2)) == [
        Send(A, Prepared(C, "no module")),
        Send(A, Returned(C, [JobId(1), JobId(2)], [1, 1])),
    ]


def test_job_that_is_said_twice_is_here_once_and_a_later_attempt_replaces_it() -> None:
    asked = Asked()
    asked.receive(run(C, 1), run(C, 1))
    assert [each.attempt for each in asked.own.queue] == [1]
    asked.receive(run(C, 1, attempt=2), run(C, 1))
    assert [each.attempt for each in asked.own.queue] == [2]


def test_later_attempt_of_a_job_that_has_ended_drops_its_outcome() -> None:
    asked = Asked()
    asked.own.outcomes.unacked[JOB] = of(1)
    asked.receive(run(C, 1))
    assert not asked.own.queue
    asked.receive(run(C, 1, attempt=2))
    assert [each.attempt for each in asked.own.queue] == [2]
    assert asked.own.outcomes.unacked == {}


def test_answer_to_a_file_goes_to_the_job_that_sent_it() -> None:
    asked = Asked()
    asked.own.progress.add_file(FileKey(JOB, 1, 0), SentFile([], b"", W1))
    assert asked.receive(Uploaded(C, JOB, 1, 0, "no room")) == [AnswerFile(W1, JOB, 1, 0, "no room")]
    assert asked.receive(Uploaded(C, JOB, 1, 0, "no room")) == []


def test_file_of_another_schedulers_job_is_not_answered() -> None:
    asked = Asked()
    asked.other.progress.add_file(FileKey(JOB, 1, 0), SentFile([], b"", W1))
    assert asked.receive(Uploaded(D, JOB, 1, 0, "")) == []
    assert asked.other.progress.take_file(FileKey(JOB, 1, 0)) is not None


def test_withdrawn_jobs_end_where_they_wait_and_each_worker_with_others_is_asked_once() -> None:
    asked = Asked()
    asked.receive(run(C, 1, 2, 3, 4, 5))
    table, worker = asked.served.jobs.table, Worker(W1, asked.own)
    asked.served.state.add_worker(worker)
    table.hand_first(worker, 1, 0.0)
    table.hand_more(worker, 2)
    # 1, 2 and 3 are in hand; 9 is not here. A node does not answer.
    assert asked.receive(Withdraw(C, 0, [JobId(each) for each in (1, 3, 4, 9)])) == [RecallJobs(W1)]
    assert [each.number for each in asked.own.queue] == [5]
    assert {number: each.status for number, each in asked.own.outcomes.unacked.items()} == {4: CANCELLED}
    assert [each.withdrawn for each in worker.hand] == [True, False, True]


def test_only_jobs_that_run_are_followed() -> None:
    asked = Asked()
    table = asked.served.jobs.table
    worker = Worker(W1, asked.own)
    asked.served.state.add_worker(worker)
    for number in (1, 2, 3):
        table.accept(asked.own, job(number), 0.0)
    table.hand_first(worker, 1, 0.0)
    table.hand_more(worker, 1)
    assert asked.receive(Follow(C, [JobId(each) for each in (1, 2, 3, 9)])) == [FollowJob(W1, JOB, 1)]
    assert asked.receive(Follow(D, [JOB])) == []


def test_first_job_in_each_hand_runs_and_the_longest_is_first() -> None:
    asked = Asked()
    for number, since in ((1, 7.0), (2, 5.0), (3, 9.0)):
        worker = Worker(WorkerId(number), asked.own)
        worker.hand.extend([job(10 * number), job(10 * number + 1)])
        worker.since = since
        asked.served.state.add_worker(worker)
    asked.served.state.add_worker(Worker(WorkerId(4), asked.own))
    foreign = Worker(WorkerId(5), asked.other)
    foreign.hand.append(job(50))
    asked.served.state.add_worker(foreign)
    [effect] = asked.requests.receive(asked.own.session, A, [RunningJobsRequest(7, 2)], raise_fault, 10.0)
    rows = [(2, RunningJobRow(C, JobId(20), 0, 5.0, -1.0, 0)), (1, RunningJobRow(C, JobId(10), 0, 3.0, -1.0, 0))]
    assert effect == ListJobs(A, 7, rows, 1)  # type: ignore[arg-type]
    assert asked.receive(RunningJobsRequest(8, 0)) == [ListJobs(A, 8, [], 3)]


def test_log_is_asked_of_the_shell() -> None:
    request = LogRequest(7, 0.0, 100, "", [])
    assert Asked().receive(request) == [ShowLog(A, request)]
