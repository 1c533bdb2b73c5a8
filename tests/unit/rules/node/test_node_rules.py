"""The node's rules: every job in one place, one outcome for each, kept until it is collected."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.field_checks import COLUMN_LIMIT
from gdispy.protocol.ids import ComputationId, JobId, Peer, WorkerId
from gdispy.protocol.job_status import CANCELLED, FINISHED, TERMINATED
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Inventory,
    OutcomesAcked,
    Prepared,
    Progress,
    Recall,
    Release,
    Released,
    Returned,
    Run,
    Started,
    StatusRequest,
)
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.protocol.wire import MESSAGE_LIMIT
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.node.computation import PORTIONS
from gdispy.rules.node.effects import AssignJobs, Interrupt, Kill, Load, NewWorker, RecallJobs, Terminate, Unload
from gdispy.rules.node.loading import TEMPLATE_LIMIT
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.outcomes import TELL_AFTER
from gdispy.rules.node.sessions import LEASE
from gdispy.rules.node.supervision import KILL_AFTER, REPORT_AFTER, STILLBORN_LIMIT, TERMINATE_AFTER
from tests.unit.builders import Announced, C, D, checked, ended, hello, outcome, plain, prepare, sent

A, B = Peer(1), Peer(2)
W1, W2, W3 = WorkerId(1), WorkerId(2), WorkerId(3)


def node(cpus: int = 2, isolation: str = "", **options: Any) -> NodeRules:
    """A node whose scheduler is A, with the computation C loaded."""
    rules = checked(NodeRules(cpus, **options))
    assert rules.joined(A, hello(), 0.0) == [Send(A, Inventory([], [], []))]
    message = prepare(isolation=isolation)
    assert rules.receive(A, [message], 0.0) == [Load(message, {})]
    assert rules.loaded(C, "", 0.0) == [Send(A, Prepared(C, ""))]
    return rules


def run(*jobs: int, computation: ComputationId = C, arguments: Bulk = b"", attempt: int = 1) -> Run:
    return Run(computation, [JobId(job) for job in jobs], [attempt] * len(jobs), [arguments] * len(jobs))


def cancel(job: int, attempt: int = 1) -> Cancel:
    return Cancel(C, [JobId(job)], [attempt])


def start(rules: NodeRules, *jobs: int, now: float = 0.0) -> list[Any]:
    return plain(rules.receive(A, [run(*jobs)], now))


def cancelled(job: int, now: float, attempt: int = 1) -> Send:
    return Send(A, ended(outcome(job, attempt, CANCELLED, b"", start=now, end=now)))


def busy_with_short_jobs(last: int = 40) -> NodeRules:
    """A node with one CPU, whose one worker has answered a job of 2.5 ms and so has several in hand."""
    rules = node(cpus=1)
    start(rules, 1, now=1.0)
    rules.answered(W1, [outcome(1, start=1.0, end=1.0025)], 1.0)
    effects = start(rules, *range(2, last + 1), now=2.0)
    behind = -(-(last - 1) // PORTIONS)
    assert effects == [AssignJobs(W1, [2]), AssignJobs(W1, list(range(3, 3 + behind)))]  # type: ignore[list-item, arg-type]
    return rules


def assert_given_back(effects: list[Any], peer: Peer, returned: Returned) -> None:
    """The scheduler hears first why, so that it does not send the jobs again at once."""
    why, jobs = effects
    assert isinstance(why.message, Prepared) and why.message.error
    assert jobs == Send(peer, returned)


# Joining and loading


def test_first_word_to_a_scheduler_is_what_is_held_for_it() -> None:
    assert checked(NodeRules(1)).joined(A, hello(), 0.0) == [Send(A, Inventory([], [], []))]


def test_computation_is_loaded_once_and_said_to_be_prepared_as_often_as_asked() -> None:
    # Given a computation that is being loaded.
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    assert rules.receive(A, [prepare()], 0.0) == [Load(prepare(), {})]
    # When it comes again, then nothing happens until it is loaded.
    assert rules.receive(A, [prepare()], 0.0) == []
    assert rules.loaded(C, "", 0.0) == [Send(A, Prepared(C, ""))]
    assert rules.receive(A, [prepare()], 0.0) == [Send(A, Prepared(C, ""))]


def test_computation_that_cannot_be_loaded_says_why_as_often_as_asked() -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    rules.receive(A, [prepare()], 0.0)
    assert rules.loaded(C, "no module", 0.0) == [Send(A, Prepared(C, "no module"))]
    assert rules.receive(A, [prepare()], 0.0) == [Send(A, Prepared(C, "no module"))]


@pytest.mark.parametrize("state", ["unknown", "loading", "failed"])
def test_jobs_of_a_computation_that_is_not_loaded_are_returned(state: str) -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    if state != "unknown":
        rules.receive(A, [prepare()], 0.0)
    if state == "failed":
        rules.loaded(C, "no module", 0.0)
    assert_given_back(rules.receive(A, [run(1, 2)], 0.0), A, Returned(C, [JobId(1), JobId(2)], [1, 1]))


def test_loading_that_ends_after_the_release_changes_nothing() -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    rules.receive(A, [prepare(), Release(C)], 0.0)
    assert rules.loaded(C, "", 0.0) == []


def test_message_that_a_node_does_not_take_ends_the_connection() -> None:
    assert node().receive(A, [StatusRequest(C, 1)], 0.0) == [
        Drop(A, "a message is refused: a node takes no StatusRequest from a scheduler")
    ]


def test_messages_of_who_has_not_joined_are_ignored() -> None:
    assert node().receive(B, [run(1)], 0.0) == []


# Running


def test_job_runs_in_a_new_worker_and_its_outcome_is_told() -> None:
    rules = node()
    assert start(rules, 1) == [NewWorker(W1, C), AssignJobs(W1, [1])]  # type: ignore[list-item]
    assert rules.answered(W1, [outcome(1)], 1.0) == [Send(A, ended(outcome(1)))]


def test_idle_worker_gets_the_next_job() -> None:
    rules = node()
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    assert start(rules, 2, now=2.0) == [AssignJobs(W1, [2])]  # type: ignore[list-item]


def test_no_more_workers_have_jobs_than_there_are_cpus() -> None:
    # Given two CPUs and three jobs.
    rules = node(cpus=2)
    assert start(rules, 1, 2, 3) == [
        NewWorker(W1, C),
        AssignJobs(W1, [1]),  # type: ignore[list-item]
        NewWorker(W2, C),
        AssignJobs(W2, [2]),  # type: ignore[list-item]
    ]
    # When one ends, then the third begins in its place.
    effects = plain(rules.answered(W2, [outcome(2)], 1.0))
    assert effects == [AssignJobs(W2, [3]), Send(A, ended(outcome(2)))]  # type: ignore[list-item]


def test_job_that_is_said_twice_runs_once() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert start(rules, 1, 2) == []
    rules.answered(W1, [outcome(1)], 1.0)
    assert start(rules, 1) == []


def test_arguments_and_outcome_are_given_back_when_they_are_not_needed() -> None:
    arguments, result = Announced(100_000), Announced(200_000)
    rules = node()
    rules.receive(A, [run(1, arguments=arguments)], 0.0)
    rules.answered(W1, [outcome(1, result=result)], 1.0)
    assert (arguments.released, result.released) == (1, 0)
    rules.receive(A, [OutcomesAcked(C, [JobId(1)], [1])], 2.0)
    assert result.released == 1


def test_provisional_result_is_passed_on() -> None:
    rules = node()
    start(rules, 1)
    began = Send(A, Started(C, [JobId(1)], [1], [0.0], ""))
    progress = [Send(A, Progress(C, JobId(1), 1, index, b"half", "")) for index in range(2)]
    assert rules.progressed(W1, JobId(1), 1, 0, b"half") == [began, progress[0]]
    assert rules.progressed(W1, JobId(1), 1, 1, b"half") == [progress[1]]


def test_what_comes_of_a_worker_that_is_gone_is_ignored() -> None:
    rules = node()
    assert rules.answered(W3, [outcome(1)], 0.0) == []
    assert rules.progressed(W3, JobId(1), 1, 0, b"") == []
    assert rules.took_back(W3, [], 0.0) == []
    assert rules.exited(W3, [], "", 0.0) == []


@pytest.mark.parametrize(
    "rows", [[outcome(2)], [outcome(1, attempt=2)], [outcome(1), outcome(1)], [outcome(1), outcome(2)]]
)
def test_worker_that_answers_for_what_it_was_not_given_is_ended(rows: list[Any]) -> None:
    rules = node(cpus=1)
    start(rules, 1)
    assert Kill(W1) in rules.answered(W1, rows, 1.0)
    rules.exited(W1, [], "killed", 2.0)
    assert start(rules, 9, now=3.0) == [NewWorker(W2, C), AssignJobs(W2, [9])]  # type: ignore[list-item]


def test_two_computations_take_turns() -> None:
    # Given two computations with many jobs each.
    rules = node(cpus=2)
    rules.receive(A, [prepare(D)], 0.0)
    rules.loaded(D, "", 0.0)
    effects = plain(rules.receive(A, [run(1, 2, 3, 4), run(1, 2, 3, 4, computation=D)], 0.0))
    # Then each has one of the two CPUs.
    assert [each.computation for each in effects if isinstance(each, NewWorker)] == [C, D]


@pytest.mark.parametrize(("cpus", "part"), [(1, 1), (2, 1), (4, 2), (5, 2)])
def test_short_jobs_of_one_computation_leave_another_its_part(cpus: int, part: int) -> None:
    # Given a node whose workers all have many short jobs of one computation in hand, and more wait.
    rules = node(cpus=cpus)
    rules.receive(A, [prepare(D)], 0.0)
    rules.loaded(D, "", 0.0)
    work = Work(rules)
    work.take(rules.receive(A, [run(*range(1, 1001))], 0.0))
    for _ in range(10 * cpus):
        work.answer(0.005)
    assert set(work.owners()) == {C}
    # When as many come of another one, whose jobs are as short.
    work.take(rules.receive(A, [run(*range(1, 1001), computation=D)], 1.0))
    for _ in range(20 * cpus):
        work.answer(0.005)
    # Then it has its part of the CPUs, and goes on having it; a single one they have in turn.
    shares = []
    for _ in range(40):
        work.answer(0.005)
        shares.append(list(work.owners()).count(D))
    if cpus == 1:
        assert 0.3 < sum(shares) / len(shares) < 0.7
    else:
        assert part <= sum(shares) / len(shares) <= cpus - part


class Work:
    """The workers of a node, each of which answers for all that it was handed at once."""

    def __init__(self, rules: NodeRules) -> None:
        self._rules = rules
        self._owner: dict[WorkerId, ComputationId] = {}
        #: What each worker has in hand, message by message; and who answers next.
        self.hands: dict[WorkerId, list[list[JobId]]] = {}

    def take(self, effects: Effects) -> None:
        for each in effects:
            if isinstance(each, NewWorker):
                self._owner[each.worker] = each.computation
            elif isinstance(each, AssignJobs):
                self.hands.setdefault(each.worker, []).append([job.number for job in each.jobs])

    def owners(self) -> list[ComputationId]:
        """Whose jobs they have in hand."""
        return [self._owner[worker] for worker in self.hands]

    def answer(self, took: float) -> None:
        """The worker that has waited longest answers for its first message."""
        worker = next(iter(self.hands))
        hand = self.hands.pop(worker)
        rows = [outcome(job, start=0.0, end=took) for job in hand.pop(0)]
        if hand:
            self.hands[worker] = hand
        self.take(self._rules.answered(worker, rows, 1.0))


def test_jobs_of_a_computation_that_failed_to_load_again_end_with_the_reason() -> None:
    rules = node(cpus=1)
    start(rules, 1, now=1.0)
    rules.exited(W1, [], "killed", 2.0)
    rules.template_lost(C, "killed", 2.0)
    assert rules.loaded(C, "no memory", 3.0) == [Send(A, Prepared(C, "no memory"))]


# How many jobs a worker has in hand


def test_worker_has_two_portions_of_short_jobs_in_hand() -> None:
    # Given a worker with a job, and a portion behind it.
    rules = busy_with_short_jobs(last=40)
    # When the job has ended, then the next portion is put behind the one that is left.
    effects = plain(rules.answered(W1, [outcome(2, start=2.0, end=2.0025)], 2.0))
    assert effects[0] == AssignJobs(W1, list(range(13, 23)))  # type: ignore[arg-type]
    # And the one after that when that has ended, not earlier.
    for job in range(3, 12):
        assert rules.answered(W1, [outcome(job, start=2.0, end=2.0025)], 2.0) == []
    effects = plain(rules.answered(W1, [outcome(12, start=2.0, end=2.0025)], 2.0))
    assert effects[0] == AssignJobs(W1, list(range(23, 30)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "amount"), [(0.03, 0), (0.019, 2), (0.0055, 7), (0.005, 8), (0.0001, 400), (0.0, 400)]
)
def test_a_portion_takes_forty_milliseconds_at_most(seconds: float, amount: int) -> None:
    assert hands_of(seconds, jobs=5000) == [1, amount] if amount else [1]


def test_portions_become_smaller_with_what_is_left() -> None:
    assert hands_of(0.005, jobs=20) == [1, 5]
    assert hands_of(0.005, jobs=5) == [1, 2]
    # But none of less than two milliseconds, which would cost more than it is worth.
    assert hands_of(0.0001, jobs=40) == [1, 20]


def hands_of(seconds: float, jobs: int) -> list[int]:
    """What the one worker of a node is handed, its job before having taken so many seconds."""
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1, start=0.0, end=seconds)], 1.0)
    effects = start(rules, *range(2, 2 + jobs))
    return [len(each.jobs) for each in effects if isinstance(each, AssignJobs)]


def test_workers_come_to_their_end_together() -> None:
    # Given two workers, and forty jobs of 10 ms.
    rules, effects = two_workers(jobs=40)
    # When each answers what it has in hand, one after the other, as fast as the other.
    hands: dict[WorkerId, list[int]] = {W1: [], W2: []}
    handed: list[int] = []
    while True:
        for each in effects:
            if isinstance(each, AssignJobs):
                hands[each.worker] += each.jobs
                handed.append(len(each.jobs))
        effects = []
        if not all(hands.values()):
            break
        for worker, jobs in hands.items():
            effects += plain(rules.answered(worker, [outcome(jobs.pop(0), start=0.0, end=0.01)], 1.0))
    # Then little is left for the one when nothing is left for the other, and all has been handed out.
    assert sum(handed) == 40
    assert sum(map(len, hands.values())) <= 2


def test_worker_has_one_job_in_hand_where_jobs_are_long() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1, start=0.0, end=1.0)], 1.0)
    assert start(rules, 2, 3, 4) == [AssignJobs(W1, [2])]  # type: ignore[list-item]


def test_worker_has_one_job_in_hand_as_long_as_none_has_ended() -> None:
    rules = node(cpus=1)
    assert start(rules, 1, 2, 3) == [NewWorker(W1, C), AssignJobs(W1, [1])]  # type: ignore[list-item]


def test_outcomes_wait_for_others_while_the_node_has_enough_to_do() -> None:
    # Given two workers with many jobs of 10 ms: when the one has answered, then its outcomes wait for the other's.
    rules, _ = two_workers(jobs=40)
    assert told(rules.answered(W2, [outcome(3, start=1.0, end=1.01)], 1.01)) == []
    assert told(rules.answered(W1, [outcome(4, start=1.0, end=1.01)], 1.012)) == [[3, 4]]
    # And where that takes longer, they are told without.
    assert told(rules.answered(W1, [outcome(5, start=1.01, end=1.02)], 1.02)) == []
    assert rules.due() == pytest.approx(1.02 + TELL_AFTER)
    assert told(rules.tick(1.02 + TELL_AFTER)) == [[5]]


def test_outcomes_are_told_at_once_where_the_node_has_little_to_do() -> None:
    # Given work for 30 ms behind the jobs that run, and 40 ms from telling late to an answer.
    rules, _ = two_workers(jobs=9)
    assert told(rules.answered(W2, [outcome(3, start=1.0, end=1.01)], 1.01)) == [[3]]


def two_workers(jobs: int) -> tuple[NodeRules, list[Any]]:
    """A node with two workers that have answered a job of 10 ms each, and so many further ones."""
    rules = node(cpus=2)
    start(rules, 1, 2)
    rules.answered(W1, [outcome(1, start=0.0, end=0.01)], 1.0)
    rules.answered(W2, [outcome(2, start=0.0, end=0.01)], 1.0)
    return rules, start(rules, *range(3, 3 + jobs), now=1.0)


def told(effects: Effects) -> list[list[JobId]]:
    """The jobs whose outcomes are told, message by message."""
    return [message.jobs for message in sent(effects, A) if isinstance(message, Ended)]


def test_free_worker_comes_before_filling_up_a_busy_one() -> None:
    rules = node(cpus=2)
    start(rules, 1)
    rules.answered(W1, [outcome(1, start=0.0, end=0.0001)], 1.0)
    effects = start(rules, 2, 3)
    assert effects == [AssignJobs(W1, [2]), NewWorker(W2, C), AssignJobs(W2, [3])]  # type: ignore[list-item]


def test_job_that_turns_out_long_keeps_no_others_waiting_behind_it() -> None:
    # Given a worker with eleven jobs in hand, of which the first has not ended for some time.
    rules = busy_with_short_jobs(last=40)
    assert rules.due() == pytest.approx(2.0 + REPORT_AFTER)
    effects = rules.tick(2.0 + REPORT_AFTER)
    assert effects == [Send(A, Started(C, [JobId(2)], [1], [2.0], "")), RecallJobs(W1)]
    # When the others are taken back, then they wait again, the first of them first.
    assert rules.took_back(W1, [(JobId(job), 1) for job in range(3, 13)], 2.1) == []
    rules.receive(A, [Recall(C, 100)], 2.2)
    assert rules.receive(A, [cancel(3)], 2.3) == []
    assert rules.due() is None


def test_job_with_a_time_limit_goes_with_others_and_is_alone_when_its_time_is_over() -> None:
    # Given a worker with several jobs in hand of which each may take 50 ms.
    rules = node(cpus=1)
    start(rules, 1, now=1.0)
    rules.answered(W1, [outcome(1, start=1.0, end=1.0025)], 1.0)
    jobs = [JobId(job) for job in range(2, 10)]
    options: list[Any] = [JobOptions(b"", 0.0, 0.05, 0, 0, b"", [], [], 0.0)] * 8
    effects = plain(rules.receive(A, [Run(C, jobs, [1] * 8, [b""] * 8, options)], 2.0))
    assert effects == [AssignJobs(W1, [2]), AssignJobs(W1, [3, 4])]  # type: ignore[list-item, arg-type]
    # When the time of the first is over, then what has ended and not been told comes, and what has not begun.
    assert rules.due() == pytest.approx(2.05)
    assert rules.tick(2.051) == [RecallJobs(W1)]
    rules.answered(W1, [outcome(2)], 2.052)
    rules.took_back(W1, [(JobId(4), 1)], 2.053)
    # Then the one that runs has its own time, and nobody else's.
    assert rules.tick(2.07) == []
    assert rules.tick(2.103) == [Interrupt(W1, JobId(3), 1)]


def test_jobs_that_were_taken_back_go_to_another_worker_in_their_order() -> None:
    rules = node(cpus=2)
    start(rules, 1)
    rules.answered(W1, [outcome(1, start=0.0, end=0.0001)], 1.0)
    start(rules, 2, 3, 4, 5, now=2.0)
    rules.tick(2.0 + REPORT_AFTER)
    rules.answered(W2, [outcome(3, start=2.0, end=2.0)], 2.05)
    hands = [each.jobs for each in plain(rules.took_back(W1, [(JobId(4), 1)], 2.1)) if isinstance(each, AssignJobs)]
    assert hands in ([[4]], [])


def test_running_is_told_once_and_of_long_jobs_only() -> None:
    # Given a job that ends at once, and another that does not.
    rules = node(cpus=2, epoch=100.0)
    start(rules, 1, 2, now=1.0)
    rules.answered(W1, [outcome(1)], 1.0)
    assert rules.due() == pytest.approx(1.0 + REPORT_AFTER)
    assert rules.tick(1.0) == []
    # Then it is said of the other, once, with the time that the user's clock shows.
    assert rules.tick(1.5) == [Send(A, Started(C, [JobId(2)], [1], [101.0], ""))]
    assert rules.due() is None
    assert rules.tick(9.0) == []


# A process for each job


def test_with_isolation_each_job_has_a_process_of_its_own() -> None:
    # Given a computation whose jobs are to be isolated, and short.
    rules = node(cpus=1, isolation="job")
    assert start(rules, 1, 2, 3) == [NewWorker(W1, C), AssignJobs(W1, [1])]  # type: ignore[list-item]
    # When a job ends, then its worker is ended and another one begins.
    effects = plain(rules.answered(W1, [outcome(1, start=0.0, end=0.0)], 1.0))
    assert effects == [Kill(W1), NewWorker(W2, C), AssignJobs(W2, [2]), Send(A, ended(outcome(1, start=0.0, end=0.0)))]  # type: ignore[list-item]
    # And the end of the process is nobody's failure.
    assert rules.exited(W1, [], "killed", 1.1) == []


# Cancelling


def test_job_that_waits_is_cancelled_at_once() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.receive(A, [cancel(2)], 1.0) == [cancelled(2, 1.0)]


def test_job_in_hand_that_has_not_begun_is_taken_back_and_cancelled() -> None:
    rules = busy_with_short_jobs(last=17)
    assert rules.receive(A, [cancel(5)], 3.0) == [RecallJobs(W1)]
    effects = plain(rules.took_back(W1, [(JobId(job), 1) for job in range(3, 7)], 3.0))
    assert cancelled(5, 3.0) in effects
    assert Interrupt(W1, JobId(5), 1) not in effects
    handed = [job for each in effects if isinstance(each, AssignJobs) for job in each.jobs]
    assert handed == [3, 4, 6, 7]


def test_only_job_in_hand_that_has_not_begun_is_cancelled_and_the_worker_is_free() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.receive(A, [cancel(1)], 1.0) == [RecallJobs(W1)]
    effects = plain(rules.took_back(W1, [(JobId(1), 1)], 1.0))
    assert effects == [AssignJobs(W1, [2]), cancelled(1, 1.0)]  # type: ignore[list-item]


def test_job_that_runs_is_interrupted_then_terminated_then_killed() -> None:
    # Given a job that runs and is cancelled.
    rules = node(cpus=1)
    start(rules, 1)
    rules.tick(1.0)
    assert rules.receive(A, [cancel(1)], 10.0) == [RecallJobs(W1)]
    assert rules.took_back(W1, [], 10.0) == [Interrupt(W1, JobId(1), 1)]
    # When it does not end, then each step follows at its time, once.
    assert rules.due() == 10.0 + TERMINATE_AFTER
    assert rules.tick(9.9 + TERMINATE_AFTER) == []
    assert rules.tick(10.0 + TERMINATE_AFTER) == [Terminate(W1)]
    assert rules.due() == 10.0 + KILL_AFTER
    assert rules.tick(10.1 + TERMINATE_AFTER) == []
    assert rules.tick(10.0 + KILL_AFTER) == [Kill(W1)]
    assert rules.due() is None
    assert rules.tick(99.0) == []
    # Then its end says that it was cancelled.
    [report] = sent(rules.exited(W1, [], "SIGKILL", 16.0), A)
    assert report.statuses == [TERMINATED]
    assert report.exceptions == ["The job was cancelled and had to be killed.\n"]


def test_job_that_ends_after_its_interrupt_is_not_killed_nor_is_the_next_one() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    rules.receive(A, [cancel(1)], 10.0)
    rules.took_back(W1, [], 10.0)
    rules.answered(W1, [outcome(1, status=TERMINATED)], 11.0)
    effects = rules.tick(10.0 + KILL_AFTER)
    assert not any(isinstance(each, Terminate | Kill) for each in effects)


def test_cancelling_twice_interrupts_once() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.receive(A, [cancel(1)], 10.0)
    rules.took_back(W1, [], 10.0)
    rules.receive(A, [cancel(1)], 11.0)
    assert rules.took_back(W1, [], 11.0) == []


def test_cancel_reaches_a_job_that_the_worker_began_meanwhile() -> None:
    # Given two jobs in hand, of which the worker has ended the first and begun the second; that answer
    # is still on its way when the second is cancelled.
    rules = busy_with_short_jobs(last=3)
    assert rules.receive(A, [cancel(3)], 3.0) == [RecallJobs(W1)]
    effects = rules.took_back(W1, [], 3.0)
    # When the answer arrives, then the second is interrupted.
    effects += rules.answered(W1, [outcome(2)], 3.1)
    effects += rules.tick(3.2)
    assert Interrupt(W1, JobId(3), 1) in effects


def test_cancel_that_comes_before_its_job_ends_it_at_once() -> None:
    rules = node()
    assert rules.receive(A, [cancel(1)], 1.0) == []
    assert rules.receive(A, [run(1)], 2.0) == [cancelled(1, 2.0)]


def test_cancel_of_another_attempt_changes_nothing() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.receive(A, [cancel(2, attempt=7)], 1.0) == []
    effects = plain(rules.answered(W1, [outcome(1)], 2.0))
    assert effects[0] == AssignJobs(W1, [2])  # type: ignore[arg-type]


def test_cancel_of_a_job_that_has_ended_changes_nothing() -> None:
    rules = node()
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    assert rules.receive(A, [cancel(1)], 2.0) == []


# Jobs that are placed anew where a former attempt still is: their scheduler had given the node up meanwhile


def test_later_attempt_takes_the_place_of_one_that_waits() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.receive(A, [run(2, attempt=2), run(2, attempt=1), run(2, attempt=2)], 1.0) == []
    effects = plain(rules.answered(W1, [outcome(1)], 2.0))
    assert effects[0] == AssignJobs(W1, [2])  # type: ignore[arg-type]
    [report] = sent(rules.answered(W1, [outcome(2, attempt=2)], 3.0), A)
    assert (report.jobs, report.attempts) == ([2], [2])


@pytest.mark.parametrize("cancel_first", [True, False])
def test_later_attempt_begins_when_the_former_has_ended_and_nobody_hears_of_that(cancel_first: bool) -> None:
    # Given a job that runs.
    rules = node(cpus=1)
    start(rules, 1)
    effects = rules.receive(A, [cancel(1)], 1.0) if cancel_first else []
    # When it is said once more as another attempt, and as a later one still, then it is ended.
    effects += rules.receive(A, [run(1, attempt=2), run(1, attempt=3), run(1, attempt=2)], 1.0)
    assert RecallJobs(W1) in effects
    assert rules.took_back(W1, [], 1.0) == [Interrupt(W1, JobId(1), 1)]
    # A scheduler that comes back hears of the later attempt.
    rules.gone(A, 1.5)
    assert rules.joined(B, hello(), 1.6) == [Send(B, Inventory([C], [[JobId(1)]], [[3]]))]
    # Then the later one begins.
    effects = plain(rules.answered(W1, [outcome(1, status=TERMINATED)], 2.0))
    assert effects == [AssignJobs(W1, [1])]  # type: ignore[list-item]
    [report] = sent(rules.answered(W1, [outcome(1, attempt=3)], 3.0), B)
    assert (report.jobs, report.attempts, report.statuses) == ([1], [3], [FINISHED])


def test_later_attempt_is_cancelled_while_the_former_has_not_ended() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.receive(A, [run(1, attempt=2), cancel(1, attempt=2)], 1.0)
    rules.took_back(W1, [], 1.0)
    [report] = sent(rules.answered(W1, [outcome(1, status=TERMINATED, end=2.0)], 2.0), A)
    assert (report.jobs, report.attempts, report.statuses) == ([1], [2], [CANCELLED])


def test_later_attempt_runs_though_the_outcome_of_the_former_was_not_collected() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    assert plain(rules.receive(A, [run(1)], 2.0)) == []
    assert plain(rules.receive(A, [run(1, attempt=2)], 2.0)) == [AssignJobs(W1, [1])]  # type: ignore[list-item]
    # What is said of the former one changes nothing.
    rules.receive(A, [OutcomesAcked(C, [JobId(1)], [1])], 2.0)
    [report] = sent(rules.answered(W1, [outcome(1, attempt=2)], 3.0), A)
    assert report.attempts == [2]


@pytest.mark.parametrize("end", ["release", "lease"])
def test_later_attempt_goes_with_its_computation(end: str) -> None:
    rules, arguments = node(cpus=1), Announced(100_000)
    start(rules, 1)
    rules.receive(A, [run(1, attempt=2, arguments=arguments)], 1.0)
    if end == "release":
        rules.receive(A, [Release(C)], 2.0)
    else:
        rules.gone(A, 2.0)
        rules.tick(3.0 + LEASE)
    assert arguments.released


# Workers that end


def test_job_that_had_begun_ends_with_its_worker() -> None:
    rules = node(cpus=1)
    start(rules, 1, now=1.0)
    assert rules.exited(W1, [], "its process was ended by SIGSEGV", 2.0) == [
        Send(
            A, ended(outcome(1, 1, TERMINATED, b"", exception="its process was ended by SIGSEGV\n", start=1.0, end=2.0))
        )
    ]


def test_job_that_had_not_begun_runs_in_another_worker() -> None:
    # Given a worker with three jobs in hand that ends while it runs the first.
    rules = busy_with_short_jobs(last=8)
    effects = plain(rules.exited(W1, [(JobId(3), 1), (JobId(4), 1)], "killed", 3.0))
    # Then the first is lost and the others run elsewhere.
    assert effects[0] == NewWorker(W2, C)
    assert [job for each in effects if isinstance(each, AssignJobs) for job in each.jobs] == [3, 4, 5]
    [report] = sent(effects, A)
    assert (report.jobs, report.statuses) == ([2], [TERMINATED])


def test_worker_that_ends_without_a_job_is_nobodys_failure() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    assert rules.exited(W1, [], "killed", 2.0) == []
    assert start(rules, 2, now=3.0) == [NewWorker(W2, C), AssignJobs(W2, [2])]  # type: ignore[list-item]


def test_job_whose_workers_end_before_it_can_begin_is_given_up_after_some() -> None:
    # Given workers that end at once, time and again.
    rules = node(cpus=1)
    effects: Effects = start(rules, 1, 2)
    for number in range(1, STILLBORN_LIMIT + 1):
        assert NewWorker(WorkerId(number), C) in effects
        effects = rules.exited(WorkerId(number), [(JobId(1), 1)], "no memory", 1.0)
    # Then the job that waited first is given up, and the next one has its chance.
    [report] = sent(effects, A)
    assert (report.jobs, report.statuses) == ([1], [TERMINATED])
    assert report.exceptions == ["The worker process ended before the job could start: no memory\n"]
    assert plain(effects)[:2] == [NewWorker(WorkerId(4), C), AssignJobs(WorkerId(4), [2])]  # type: ignore[list-item]


def test_workers_that_end_early_count_in_a_row_only() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    for number in range(1, STILLBORN_LIMIT):
        rules.exited(WorkerId(number), [(JobId(1), 1)], "killed", 1.0)
    rules.answered(WorkerId(STILLBORN_LIMIT), [outcome(1)], 2.0)
    rules.exited(WorkerId(STILLBORN_LIMIT), [], "killed", 2.5)
    start(rules, 2, now=3.0)
    assert sent(rules.exited(WorkerId(STILLBORN_LIMIT + 1), [(JobId(2), 1)], "killed", 4.0), A) == []


def test_workers_that_are_used_up_and_leave_jobs_untouched_count_for_nothing() -> None:
    rules = node(cpus=STILLBORN_LIMIT)
    workers = range(1, STILLBORN_LIMIT + 1)
    start(rules, *range(1, 2 * STILLBORN_LIMIT + 1))
    for number in workers:
        effects = plain(rules.answered(WorkerId(number), [outcome(number)], 1.0))
        assert AssignJobs(WorkerId(number), [STILLBORN_LIMIT + number]) in effects  # type: ignore[list-item]
    for number in workers:
        untouched = [(JobId(STILLBORN_LIMIT + number), 1)]
        effects = rules.exited(WorkerId(number), untouched, "exit code 0", 2.0)
        assert not [each for each in sent(effects, A) if isinstance(each, Ended)]


# Templates that end


def test_template_that_ends_is_loaded_again_and_jobs_go_on() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.exited(W1, [], "killed", 1.0)
    assert rules.template_lost(C, "killed", 1.0) == [Load(prepare(), {})]
    assert_given_back(start(rules, 2, now=1.5), A, Returned(C, [JobId(2)], [1]))
    assert rules.loaded(C, "", 2.0) == [Send(A, Prepared(C, ""))]


def test_no_worker_is_forked_from_a_template_that_has_ended() -> None:
    # Given jobs that wait while the template and its worker end; the worker's end is told first.
    rules = node(cpus=1)
    start(rules, 1, 2, 3)
    effects = rules.template_ended(C, 1.0)
    effects += rules.exited(W1, [], "killed", 1.0) + rules.template_lost(C, "killed", 1.0)
    # Then the next worker comes when the template has been loaded again.
    assert [each for each in plain(effects) if isinstance(each, NewWorker | AssignJobs)] == []
    assert [job for each in plain(rules.loaded(C, "", 2.0)) if isinstance(each, AssignJobs) for job in each.jobs] == [2]


def test_computation_whose_template_keeps_ending_is_given_up() -> None:
    # Given a template that ends again and again, and jobs that wait for it.
    rules = node(cpus=1)
    start(rules, 1, 2, 3)
    effects: Effects = []
    for number in range(TEMPLATE_LIMIT):
        effects += rules.exited(WorkerId(number + 1), [], "killed", 1.0)
        effects += rules.template_lost(C, "killed", 1.0)
        if number < TEMPLATE_LIMIT - 1:
            effects += rules.loaded(C, "", 1.0)
    # Then each job has its end, and the scheduler hears why.
    assert sorted(job for message in sent(effects, A, Ended) for job in message.jobs) == [1, 2, 3]
    assert sent(effects, A, Prepared)[-1] == Prepared(C, "its process on the node ends repeatedly: killed")


def test_template_of_a_released_computation_may_end() -> None:
    assert node().template_lost(D, "killed", 0.0) == []


# Recalling


def test_recall_gives_back_what_waits_the_last_first_and_no_more_than_asked() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2, 3, 4)
    assert rules.receive(A, [Recall(C, 2)], 1.0) == [Send(A, Returned(C, [JobId(4), JobId(3)], [1, 1]))]
    assert rules.receive(A, [Recall(C, 9)], 1.0) == [Send(A, Returned(C, [JobId(2)], [1]))]
    assert rules.receive(A, [Recall(C, 9)], 1.0) == [Send(A, Returned(C, [], []))]


def test_job_that_was_returned_can_come_again() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    rules.receive(A, [Recall(C, 1)], 1.0)
    assert rules.receive(A, [run(2, attempt=2)], 2.0) == []
    assert plain(rules.answered(W1, [outcome(1)], 3.0))[0] == AssignJobs(W1, [2])  # type: ignore[arg-type]


def test_arguments_of_returned_jobs_are_given_back() -> None:
    arguments = Announced(100_000)
    rules = node(cpus=1)
    rules.receive(A, [run(1), run(2, arguments=arguments), Recall(C, 1)], 0.0)
    assert arguments.released == 1


# Schedulers that come and go


def test_other_scheduler_is_refused_while_one_is_served() -> None:
    rules = node()
    assert rules.joined(B, hello(b"o" * 16, "other"), 1.0) == [
        Drop(
            B,
            "busy: in use by client; wait until that program has ended, or share nodes between programs with "
            "gdispy-scheduler",
        )
    ]
    assert rules.receive(B, [prepare(D)], 1.0) == []


def test_other_scheduler_is_served_while_the_first_is_away_and_shares_nothing_with_it() -> None:
    # Given a scheduler that went away, with a job running.
    rules = node(cpus=2)
    start(rules, 1)
    rules.gone(A, 1.0)
    # When another one comes, then it sees nothing of the first.
    assert rules.joined(B, hello(b"o" * 16, "other"), 2.0) == [Send(B, Inventory([], [], []))]
    assert_given_back(rules.receive(B, [run(5)], 2.0), B, Returned(C, [JobId(5)], [1]))
    assert rules.receive(B, [cancel(1), Recall(C, 5), OutcomesAcked(C, [JobId(1)], [1])], 2.0) == []
    assert rules.receive(B, [Release(C)], 2.0) == [Send(B, Released(C))]
    # And the first, which has something here, can come back beside it; a third one cannot.
    assert rules.joined(A, hello(), 3.0) == [Send(A, Inventory([C], [[JobId(1)]], [[1]]))]
    third = rules.joined(Peer(9), hello(b"t" * 16, "third"), 3.0)
    assert [type(effect) for effect in third] == [Drop]


def test_computation_that_a_new_scheduler_brings_again_begins_anew() -> None:
    # Given a job that runs for a scheduler that was killed.
    rules = node(cpus=2)
    start(rules, 1)
    rules.gone(A, 1.0)
    # When the next one brings the same computation, then what was there ends, and it is loaded afresh.
    rules.joined(B, hello(b"o" * 16, "other"), 2.0)
    assert rules.receive(B, [prepare(C)], 2.0) == [Unload(C)]
    assert rules.unloaded(C, 3.0) == [Load(prepare(C), {})]
    rules.loaded(C, "", 4.0)
    assert plain(rules.receive(B, [run(1)], 5.0))[-1] == AssignJobs(WorkerId(2), [1])  # type: ignore[list-item]


def test_jobs_go_on_while_their_scheduler_is_away_and_nothing_is_sent() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.gone(A, 1.0) == []
    assert plain(rules.answered(W1, [outcome(1)], 2.0)) == [AssignJobs(W1, [2])]  # type: ignore[list-item]
    assert rules.tick(5.0) == []


def test_scheduler_that_comes_back_hears_what_is_held_and_every_outcome_not_collected() -> None:
    # Given outcomes collected, not collected and made while it was away; a job that runs; one that waits.
    rules = node(cpus=1)
    start(rules, 1, 2, 3, 4, 5)
    rules.answered(W1, [outcome(1)], 1.0)
    rules.answered(W1, [outcome(2)], 1.0)
    rules.receive(A, [OutcomesAcked(C, [JobId(1)], [1])], 1.5)
    rules.gone(A, 2.0)
    rules.answered(W1, [outcome(3)], 3.0)
    # When it comes back.
    effects = rules.joined(B, hello(), 4.0)
    # Then it hears of all but the first, and the outcomes come again.
    [holding] = sent(effects, B, Inventory)
    assert effects[0] == Send(B, holding)
    assert holding.computations == [C]
    assert sorted(holding.jobs[0]) == [2, 3, 4, 5]
    assert holding.attempts == [[1, 1, 1, 1]]
    assert sent(effects, B, Ended) == [ended(outcome(2), outcome(3))]


def test_outcome_comes_again_after_each_reconnection_until_it_is_collected() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    for peer in (B, Peer(3)):
        rules.gone(A, 2.0)
        assert sent(rules.joined(peer, hello(), 3.0), peer, Ended) == [ended(outcome(1))]
    rules.receive(Peer(3), [OutcomesAcked(C, [JobId(1)], [1])], 4.0)
    assert rules.joined(Peer(4), hello(), 5.0) == [
        Drop(Peer(3), "replaced by a newer connection"),
        Send(Peer(4), Inventory([C], [[]], [[]])),
    ]


def test_collected_of_another_attempt_or_job_forgets_nothing() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.answered(W1, [outcome(1)], 1.0)
    rules.receive(A, [OutcomesAcked(C, [JobId(1), JobId(7)], [2, 1])], 2.0)
    assert sent(rules.joined(B, hello(), 3.0), B, Ended) == [ended(outcome(1))]


def test_newer_connection_of_the_same_scheduler_takes_the_place_of_the_old() -> None:
    rules = node(cpus=1)
    assert rules.joined(B, hello(), 1.0)[0] == Drop(A, "replaced by a newer connection")
    assert rules.receive(A, [run(1)], 1.0) == []
    assert rules.gone(A, 1.0) == []
    assert plain(rules.receive(B, [run(1)], 1.0)) == [NewWorker(W1, C), AssignJobs(W1, [1])]  # type: ignore[list-item]


def test_outcomes_that_are_sent_again_fit_into_messages_that_the_other_side_takes() -> None:
    # Given sixty-four outcomes with a megabyte of output on each stream, made while the scheduler was away.
    output = bytes(1 << 20)
    rules = node(cpus=64)
    start(rules, *range(1, 65))
    rules.gone(A, 1.0)
    for number in range(1, 65):
        rules.answered(WorkerId(number), [outcome(number, stdout=output, stderr=output)], 2.0)
    # When they are told, then no message is longer than a receiver accepts.
    messages = sent(rules.joined(B, hello(), 3.0), B, Ended)
    assert sum(len(message.jobs) for message in messages) == 64
    for message in messages:
        assert len(message.jobs) <= COLUMN_LIMIT
        size = sum(len(each) for each in message.outputs + message.errors)
        assert size <= MESSAGE_LIMIT


def test_scheduler_that_stays_away_is_forgotten_after_the_lease() -> None:
    # Given a scheduler that went away with a job running, one waiting and an outcome.
    rules = node(cpus=1)
    start(rules, 1, 2, 3)
    rules.answered(W1, [outcome(1)], 1.0)
    rules.tick(1.5)
    rules.gone(A, 2.0)
    # When the lease is over, then all of its work is ended.
    assert rules.due() == 2.0 + LEASE
    assert rules.tick(1.9 + LEASE) == []
    assert rules.tick(2.0 + LEASE) == [Unload(C)]
    assert rules.due() is None
    assert rules.unloaded(C, 3.0 + LEASE) == []
    assert rules.joined(B, hello(), 4.0 + LEASE) == [Send(B, Inventory([], [], []))]


def test_scheduler_that_comes_back_in_time_keeps_its_work() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.tick(1.0)
    rules.gone(A, 1.0)
    rules.joined(B, hello(), 2.0)
    assert rules.due() is None
    assert rules.tick(9.0 + LEASE) == []


# Releasing


def test_release_ends_everything_of_a_computation_and_is_confirmed_when_nothing_is_left() -> None:
    # Given a computation with a job running, one waiting and an outcome.
    arguments, result = Announced(100_000), Announced(100_000)
    rules = node(cpus=1)
    rules.receive(A, [run(1, 2, 3, arguments=arguments)], 0.0)
    rules.answered(W1, [outcome(1, result=result)], 1.0)
    # When it is released, then it ends, and its payloads are given back.
    assert rules.receive(A, [Release(C)], 2.0) == [Unload(C)]
    assert (arguments.released, result.released) == (3, 1)
    assert rules.unloaded(C, 3.0) == [Send(A, Released(C))]
    assert rules.unloaded(C, 3.0) == []


def test_release_of_what_is_not_there_is_confirmed() -> None:
    assert node().receive(A, [Release(D)], 0.0) == [Send(A, Released(D))]


def test_release_frees_the_cpus_for_other_computations() -> None:
    rules = node(cpus=1)
    rules.receive(A, [prepare(D)], 0.0)
    rules.loaded(D, "", 0.0)
    rules.receive(A, [run(1), run(1, computation=D)], 0.0)
    effects = plain(rules.receive(A, [Release(C)], 1.0))
    assert effects == [Unload(C), NewWorker(W2, D), AssignJobs(W2, [1])]  # type: ignore[list-item]


def test_late_word_of_a_worker_of_a_released_computation_is_ignored() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.receive(A, [Release(C)], 1.0)
    assert rules.answered(W1, [outcome(1)], 2.0) == []
    assert rules.exited(W1, [], "killed", 2.0) == []


def test_computation_that_is_prepared_again_is_loaded_when_the_former_is_gone() -> None:
    # Given a release that is still going on, as after a node was taken for lost and is back.
    rules = node(cpus=1)
    effects = rules.receive(A, [Release(C), prepare()], 1.0)
    assert effects == [Unload(C)]
    # When nothing is left of the former, then it is loaded anew.
    assert Load(prepare(), {}) in rules.unloaded(C, 2.0)
    rules.loaded(C, "", 3.0)
    assert [type(each) for each in start(rules, 1, now=4.0)] == [NewWorker, AssignJobs]


def test_statuses_a_node_reports_are_final() -> None:
    assert CANCELLED < TERMINATED < FINISHED
