"""Jobs that come back, are cancelled, or are taken over."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import ABANDONED, CANCELLED
from gdispy.protocol.messages import Cancel, Ended, ResendRequest, Withdraw
from gdispy.protocol.payload import ABSENT
from gdispy.protocol.texts import TAKEN_OVER
from gdispy.rules.effects import WriteFacts
from gdispy.rules.history.facts import Unplaced
from tests.unit.builders import C, ended, outcome, sent
from tests.unit.rules.scheduler.builders import CLIENT, A, B, Parts


def with_jobs_on_a_node(*jobs: int) -> tuple[Parts, list[int]]:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(A, len(jobs)), computation)
    parts.submit(computation, *jobs)
    parts.placement.place(0.0)
    return parts, list(jobs)


def test_jobs_that_come_back_go_first_with_the_next_attempt_in_their_order() -> None:
    parts, _ = with_jobs_on_a_node(1, 2)
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    parts.submit(computation, 3)
    assert parts.lifecycle.requeue(node, computation, list(computation.tasks.values())[:2], 0.0) == []
    assert [(each.job, each.attempt) for each in computation.backlog.jobs()] == [(1, 2), (2, 2), (3, 1)]
    assert (node.load, computation.owner.load) == (0, 0)
    parts.check()


def test_cancelled_job_that_comes_back_ends_and_absent_one_is_asked_for() -> None:
    parts, _ = with_jobs_on_a_node(1, 2)
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    first, second = computation.tasks.values()
    first.cancelled, second.arguments, second.losses = True, ABSENT, 1
    effects = parts.lifecycle.requeue(node, computation, [first, second], 0.0)
    [end] = sent(effects, CLIENT, Ended)
    assert (end.jobs, end.statuses, end.attempts) == ([1], [CANCELLED], [2])
    assert sent(effects, CLIENT, ResendRequest) == [ResendRequest(C, [JobId(2)], True)]
    # When the client sends it again, its attempts and losses are counted on.
    assert computation.given_back == {2: (2, 1)} and not computation.tasks


def test_what_comes_back_is_written_where_a_journal_is_kept() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    computation.kept = True
    effects = parts.lifecycle.requeue(node, computation, list(computation.tasks.values()), 0.0)
    assert effects[0] == WriteFacts(C, [Unplaced(C, [JobId(1)], [2], [0])])


def test_waiting_job_ends_when_it_is_cancelled_and_one_on_a_node_when_the_node_says_so() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation] = parts.state.computations.values()
    parts.submit(computation, 2, 3)
    effects = parts.lifecycle.cancel(computation, [JobId(1), JobId(2), JobId(9)])
    assert sent(effects, A) == [Cancel(C, [JobId(1)], [1])]
    assert [each.jobs for each in sent(effects, CLIENT, Ended)] == [[2]]
    assert parts.lifecycle.cancel(computation, [JobId(1)]) == []
    # When the last one that waits is cancelled, the computation waits no more.
    parts.lifecycle.cancel(computation, [JobId(3)])
    assert not parts.turns.waiting
    parts.check()


def test_jobs_of_a_computation_that_was_taken_over_end_here_and_leave_their_nodes() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    parts.submit(computation, 2)
    [end] = sent(parts.lifecycle.fence(computation), CLIENT, Ended)
    assert (sorted(end.jobs), set(end.statuses), set(end.exceptions)) == ([1, 2], {ABANDONED}, {TAKEN_OVER})
    assert computation.is_over and not node.assignments and not node.load
    parts.check()


def test_outcome_of_a_job_that_was_given_up_is_reported_only_by_a_node_that_was_given_up() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [node] = parts.state.nodes.values()
    message = ended(outcome(1), outcome(7))
    assert parts.lifecycle.report_late(node, message) == []
    node.returned = True
    assert [each.jobs for each in sent(parts.lifecycle.report_late(node, message), CLIENT, Ended)] == [[7]]


# Withdrawal


def test_withdrawn_job_that_waits_ends_and_one_on_a_node_only_if_that_node_ends_it() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation] = parts.state.computations.values()
    parts.submit(computation, 2, 3)
    effects, waiting = parts.lifecycle.withdraw(computation, [JobId(1), JobId(2), JobId(9)])
    assert waiting == [2]
    assert sent(effects, A) == [Withdraw(C, 0, [JobId(1)])]
    [end] = sent(effects, CLIENT, Ended)
    assert (end.jobs, end.statuses) == ([2], [CANCELLED])
    # The node may report that it runs, and it is not interrupted then.
    assert list(computation.tasks) == [1, 3] and not computation.tasks[JobId(1)].cancelled
    parts.check()


def test_each_node_gets_its_withdrawn_jobs_in_one_message() -> None:
    parts, _ = with_jobs_on_a_node(1, 2)
    [computation] = parts.state.computations.values()
    parts.load(parts.join(B, 2), computation)
    parts.submit(computation, 3, 4)
    parts.placement.place(0.0)
    effects, waiting = parts.lifecycle.withdraw(computation, [JobId(each) for each in (4, 1, 3, 2)])
    assert waiting == []
    assert sent(effects, A) == [Withdraw(C, 0, [JobId(1), JobId(2)])]
    assert sent(effects, B) == [Withdraw(C, 0, [JobId(4), JobId(3)])]
    assert len(effects) == 2


def test_job_on_a_node_that_is_away_is_not_withdrawn() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    parts.membership.gone(A, 0.0)
    assert node.peer is None
    assert parts.lifecycle.withdraw(computation, [JobId(1)]) == ([], [])
    assert not computation.tasks[JobId(1)].cancelled


def test_job_that_was_cancelled_before_is_not_withdrawn_again() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation] = parts.state.computations.values()
    parts.lifecycle.cancel(computation, [JobId(1)])
    assert parts.lifecycle.withdraw(computation, [JobId(1)]) == ([], [])


def test_computation_whose_last_waiting_job_is_withdrawn_waits_no_more() -> None:
    parts, _ = with_jobs_on_a_node(1)
    [computation] = parts.state.computations.values()
    parts.submit(computation, 2)
    parts.lifecycle.withdraw(computation, [JobId(2)])
    assert not parts.turns.waiting
    parts.check()
