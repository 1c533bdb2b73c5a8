"""The scheduler's rules: every job waits or is on one node, and has one end."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, CANCELLED, CLOSED, FINISHED, INITIALIZED, TERMINATED
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cancel,
    Ended,
    Event,
    Inventory,
    Limit,
    Notice,
    Open,
    OutcomesAcked,
    Prepare,
    Prepared,
    Progress,
    Recall,
    Release,
    Released,
    Reply,
    Returned,
    Run,
    SetPriority,
    Started,
    Status,
    StatusRequest,
)
from gdispy.protocol.payload import Bulk, MemoryPayload
from gdispy.protocol.rows import NodeRow
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.scheduler.assignment import AHEAD_LEAST, AHEAD_LIMIT
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.membership import ATTEMPTS, LEASE
from gdispy.rules.scheduler.node_record import BULK_LIMIT
from gdispy.rules.scheduler.node_reports import RECEIPT_AFTER
from gdispy.rules.scheduler.receipts import MANY_RECEIPTS
from gdispy.rules.scheduler.refusals import NAMED_PATIENCE, NODE_PATIENCE
from gdispy.rules.scheduler.reminders import PATIENCE
from tests.unit.builders import Announced, C, D, checked, ended, hello, outcome, prepare, sent

CLIENT = Peer(100)
A, B = Peer(1), Peer(2)
NODE_A = Instance(bytes([1]) * 16)


def scheduler(nodes: tuple[str, ...] = ("*",), reentrant: bool = False, python: str = "3.11") -> Dispatch:
    """A scheduler whose client has brought the computation C."""
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, list(nodes), reentrant), prepare(python=python)], 0.0)
    return dispatch


def join(
    dispatch: Dispatch,
    peer: Peer,
    cpus: int = 2,
    name: str = "",
    holding: Inventory | None = None,
    instance: bytes = b"",
    now: float = 0.0,
    host: str = "",
    python: str = "3.11",
) -> Effects:
    """A node connects and says what it holds. Its address is 10.0.0.<peer>."""
    word = hello(instance or bytes([peer]) * 16, name or f"node{peer}", cpus, python)
    effects = dispatch.joined(peer, word, [host or f"10.0.0.{peer}"], 51348, now)
    return effects + dispatch.receive(peer, [holding or Inventory([], [], [])], now)


def ready(dispatch: Dispatch, peer: Peer, cpus: int = 2, now: float = 0.0, **options: Any) -> Effects:
    """A node connects and loads the computation; what follows from that."""
    assert sent(join(dispatch, peer, cpus, now=now, **options), peer, Prepare)
    return dispatch.receive(peer, [Prepared(C, "")], now)


def submit(
    dispatch: Dispatch, *jobs: int, now: float = 0.0, arguments: Bulk = b"", number: ComputationId = C
) -> Effects:
    run = Run(number, [JobId(job) for job in jobs], [1] * len(jobs), [arguments] * len(jobs))
    return dispatch.receive_from_client(CLIENT, [run], now)


def placed(effects: Effects, peer: Peer) -> list[tuple[int, int]]:
    """Jobs and attempts that go to a node."""
    return [each for run in sent(effects, peer, Run) for each in zip(run.jobs, run.attempts, strict=True)]


def finish(
    dispatch: Dispatch, peer: Peer, *jobs: int, took: float = 1.0, attempt: int = 1, now: float = 1.0
) -> Effects:
    rows = [outcome(job, attempt, start=0.0, end=took) for job in jobs]
    return dispatch.receive(peer, [ended(*rows)], now)


def holding(*jobs: tuple[int, int]) -> Inventory:
    return Inventory([C], [[JobId(job) for job, _ in jobs]], [[attempt for _, attempt in jobs]])


def ends(effects: Effects) -> dict[int, int]:
    """The jobs whose end the client is told, with their statuses."""
    return {
        job: status
        for each in sent(effects, CLIENT, Ended)
        for job, status in zip(each.jobs, each.statuses, strict=True)
    }


def acknowledged(dispatch: Dispatch, peer: Peer, effects: Effects) -> list[tuple[int, int]]:
    """Jobs and attempts that a node is told to forget: at once, or when the time for that has come."""
    later = dispatch.tick((dispatch.due() or 0.0) + 0.001) if dispatch.due() is not None else []
    messages = sent([*effects, *later], peer, OutcomesAcked)
    return [each for message in messages for each in zip(message.jobs, message.attempts, strict=True)]


# Placing


def test_node_is_asked_to_prepare_once_it_has_said_what_it_holds_and_gets_jobs_when_it_has() -> None:
    dispatch = scheduler()
    assert submit(dispatch, 1) == []
    assert dispatch.joined(A, hello(b"a" * 16, "n", 2), ["10.0.0.1"], 51348, 0.0) == []
    assert dispatch.receive(A, [Inventory([], [], [])], 0.0) == [Send(A, prepare())]
    limit, told, run = dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert limit == Send(A, Limit(C, NO_LIMIT, NO_LIMIT))
    assert run == Send(A, Run(C, [JobId(1)], [1], [b""]))
    row = NodeRow("n", "10.0.0.1", 51348, 2, 0, 0, 0.0, 0, 0)
    assert told == Send(CLIENT, Event(C, INITIALIZED, Instance(b"a" * 16), [row], []))


def test_computation_that_comes_later_is_offered_to_all_nodes() -> None:
    dispatch = checked(Dispatch())
    join(dispatch, A)
    join(dispatch, B)
    effects = dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False), prepare()], 0.0)
    assert effects == [Send(A, prepare()), Send(B, prepare())]


def test_jobs_are_spread_evenly_over_nodes() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    ready(dispatch, B)
    effects = submit(dispatch, 1, 2)
    assert [len(placed(effects, peer)) for peer in (A, B)] == [1, 1]
    effects = submit(dispatch, 3, 4)
    assert [len(placed(effects, peer)) for peer in (A, B)] == [1, 1]
    assert submit(dispatch, 5) == []


def test_nodes_are_filled_in_proportion_to_their_cpus() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    ready(dispatch, B, cpus=3)
    effects = submit(dispatch, *range(1, 21))
    assert [len(placed(effects, peer)) for peer in (A, B)] == [1, 3]


def test_job_that_ends_makes_room_for_the_next_one() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2, 3, 4)
    assert finish(dispatch, A, 2) == [
        Send(CLIENT, ended(outcome(2), address="10.0.0.1", node=NODE_A)),
        Send(A, Run(C, [JobId(3)], [1], [b""])),
    ]


def test_jobs_are_placed_in_the_order_of_their_submission() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=3)
    assert placed(submit(dispatch, 3, 1, 2), A) == [(3, 1), (1, 1), (2, 1)]


def test_many_short_jobs_are_sent_ahead_in_growing_numbers() -> None:
    # Given a node whose jobs turn out to be very short.
    dispatch = scheduler()
    ready(dispatch, A, cpus=2)
    on_node = [job for job, _ in placed(submit(dispatch, *range(1, 50_001)), A)]
    counts = []
    for _ in range(8):
        effects = finish(dispatch, A, *on_node, took=0.000001)
        on_node = [job for job, _ in placed(effects, A)]
        counts.append(len(on_node))
    # Then ever more are ahead of it, four times as many each time, up to a limit.
    assert counts[:4] == [8, 32, 128, 512]
    assert counts[-1] == 2 * (1 + AHEAD_LIMIT)


def test_no_node_has_much_to_do_at_the_end_while_another_has_nothing() -> None:
    # Given two nodes of one CPU each, and many jobs that turn out to take 10 ms.
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    ready(dispatch, B, cpus=1)
    effects = submit(dispatch, *range(1, 201))
    hands = {peer: [job for job, _ in placed(effects, peer)] for peer in (A, B)}
    sizes: list[int] = []
    # When each node works off what it has, one after the other.
    while any(hands.values()):
        for peer in (A, B):
            effects = finish(dispatch, peer, *hands[peer], took=0.01) if hands[peer] else []
            hands[peer] = []
            for each in (A, B):
                jobs = [job for job, _ in placed(effects, each)]
                hands[each] += jobs
                sizes += [len(jobs)] if jobs else []
    # Then each has the more to do the better their length is known, and towards the end less, down to what hides
    # the way there and back; the rest stays where the other can get it.
    assert sizes[:4] == [4, 4, 16, 16]
    assert {17, 18}.issuperset(sizes[4:11])
    assert sizes[11:] == sorted(sizes[11:], reverse=True)
    assert sizes[-1] <= 1 + AHEAD_LEAST / 0.01
    assert sum(sizes) == 198


def test_long_jobs_are_not_sent_ahead() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=2)
    submit(dispatch, *range(1, 101))
    for job in range(1, 50):
        assert len(placed(finish(dispatch, A, job, took=0.5), A)) == 1


def test_jobs_sent_ahead_become_fewer_when_jobs_become_long() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    on_node = [job for job, _ in placed(submit(dispatch, *range(1, 10_001)), A)]
    for _ in range(5):
        effects = finish(dispatch, A, *on_node, took=0.0001)
        on_node = [job for job, _ in placed(effects, A)]
    assert len(on_node) > 20
    for job in on_node[:-1]:
        assert placed(finish(dispatch, A, job, took=5.0), A) == []
    assert len(placed(finish(dispatch, A, on_node[-1], took=5.0), A)) == 1


def test_jobs_with_many_bytes_are_not_sent_ahead() -> None:
    # Given a node that is known for short jobs.
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    submit(dispatch, 1)
    finish(dispatch, A, 1, took=0.0001)
    # When the arguments are large, then no more than the CPUs need are on the node.
    effects = submit(dispatch, *range(2, 10), arguments=Announced(BULK_LIMIT + 1))
    assert placed(effects, A) == [(2, 1)]


def test_node_that_gives_no_sign_of_life_gets_no_jobs_until_it_does() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert dispatch.silent(A, True, 1.0) == []
    assert submit(dispatch, 1, now=1.0) == []
    assert placed(dispatch.silent(A, False, 2.0), A) == [(1, 1)]
    assert dispatch.silent(A, False, 2.0) == []
    assert dispatch.silent(Peer(77), True, 2.0) == []


def test_two_computations_take_turns_on_a_node() -> None:
    # Given two computations, each with more jobs than fit.
    dispatch = scheduler()
    dispatch.receive_from_client(CLIENT, [Open(D, ["*"], False), prepare(D)], 0.0)
    join(dispatch, A, cpus=1)
    dispatch.receive(A, [Prepared(C, ""), Prepared(D, "")], 0.0)
    submit(dispatch, *range(1, 11))
    submit(dispatch, *range(1, 11), number=D)
    # When jobs end, one after the other, then both get their share.
    running: ComputationId = C
    served = []
    for _ in range(6):
        job = len([each for each in served if each == running]) + 1
        effects = dispatch.receive(A, [ended(outcome(job), computation=running)], 1.0)
        served.append(running)
        [run] = sent(effects, A, Run)
        running = run.computation
    assert served == [C, D, C, D, C, D]


# What nodes say


def test_outcome_gets_the_address_by_which_the_client_knows_the_node() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    started = Started(C, [JobId(1)], [1], [5.0], "")
    assert dispatch.receive(A, [started], 0.0) == [Send(CLIENT, Started(C, [JobId(1)], [1], [5.0], "10.0.0.1", NODE_A))]
    progress = Progress(C, JobId(1), 1, 0, b"half", "")
    shown = Progress(C, JobId(1), 1, 0, b"half", "10.0.0.1", NODE_A)
    assert dispatch.receive(A, [progress], 0.0) == [Send(CLIENT, shown)]
    assert sent(finish(dispatch, A, 1), CLIENT) == [ended(outcome(1), address="10.0.0.1", node=NODE_A)]


@pytest.mark.parametrize("large", [False, True])
def test_outcomes_are_acknowledged_with_the_next_jobs_where_they_are_many_or_large(large: bool) -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    count = 1 if large else MANY_RECEIPTS
    result: Bulk = MemoryPayload([bytes(100_000)]) if large else b""
    submit(dispatch, *range(1, count + 2))
    for number in range(1, count):
        assert sent(finish(dispatch, A, number), A) == [Run(C, [JobId(number + 1)], [1], [b""])]
    row = (JobId(count), 1, FINISHED, result, *outcome(count)[4:])
    assert sent(dispatch.receive(A, [ended(row)], 0.0), A) == [
        OutcomesAcked(C, [JobId(number) for number in range(1, count + 1)], [1] * count),
        Run(C, [JobId(count + 1)], [1], [b""]),
    ]


def test_outcome_is_acknowledged_soon_where_no_jobs_follow() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    finish(dispatch, A, 1, now=5.0)
    finish(dispatch, A, 2, now=5.05)
    assert dispatch.due() == pytest.approx(5.0 + RECEIPT_AFTER)
    assert dispatch.tick(5.0) == []
    assert dispatch.tick(5.0 + RECEIPT_AFTER) == [Send(A, OutcomesAcked(C, [JobId(1), JobId(2)], [1, 1]))]
    assert dispatch.due() is None


def test_node_that_comes_back_is_told_at_once_of_the_outcomes_that_have_arrived() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    finish(dispatch, A, 1)
    dispatch.gone(A, 2.0)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1), (2, 1)), now=3.0)
    # Else it would send them all on every new connection, and on a bad link never come further.
    assert sent(effects, B, OutcomesAcked) == [OutcomesAcked(C, [JobId(1)], [1])]
    # The outcome may come again all the same, and is acknowledged.
    assert acknowledged(dispatch, B, finish(dispatch, B, 1)) == [(1, 1)]


def test_outcome_that_comes_twice_is_collected_twice_and_told_once() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    assert acknowledged(dispatch, A, finish(dispatch, A, 1)) == [(1, 1)]
    effects = finish(dispatch, A, 1)
    assert ends(effects) == {}
    assert acknowledged(dispatch, A, effects) == [(1, 1)]


def test_message_with_some_outcomes_told_before_tells_the_others() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    finish(dispatch, A, 1)
    effects = finish(dispatch, A, 1, 2)
    assert acknowledged(dispatch, A, effects) == [(1, 1), (1, 1), (2, 1)]
    assert ends(effects) == {2: 11}


def test_word_about_a_job_that_is_not_there_is_dropped() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert dispatch.receive(A, [Started(C, [JobId(9)], [1], [5.0], "")], 0.0) == []
    assert dispatch.receive(A, [Progress(D, JobId(9), 1, 0, b"", "")], 0.0) == []
    assert dispatch.receive(A, [Returned(C, [JobId(9)], [1])], 0.0) == []
    assert dispatch.receive(A, [Returned(D, [JobId(9)], [1])], 0.0) == []
    assert dispatch.receive(A, [Prepared(D, "")], 0.0) == []
    assert dispatch.receive(A, [Released(D)], 0.0) == []
    assert dispatch.receive(A, [ended(outcome(9), computation=D)], 0.0) == []
    assert dispatch.tick(1.0) == [Send(A, OutcomesAcked(D, [JobId(9)], [1]))]


def test_message_that_a_scheduler_does_not_take_from_a_node_ends_the_connection() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert dispatch.receive(A, [StatusRequest(C, 1)], 0.0) == [
        Drop(A, "a message is refused: a scheduler takes no StatusRequest from a node")
    ]


def test_messages_of_a_connection_that_is_over_are_ignored() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    dispatch.gone(A, 1.0)
    assert dispatch.receive(A, [ended(outcome(1))], 1.0) == []
    assert dispatch.gone(A, 1.0) == []


def test_returned_jobs_are_placed_again_as_a_new_attempt() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    submit(dispatch, 1)
    ready(dispatch, B, cpus=1)
    effects = dispatch.receive(A, [Returned(C, [JobId(1)], [1])], 1.0)
    assert placed(effects, A) + placed(effects, B) == [(1, 2)]


def test_returned_jobs_come_before_those_that_wait() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=2)
    submit(dispatch, 1, 2, 3)
    effects = dispatch.receive(A, [Returned(C, [JobId(1), JobId(2)], [1, 1])], 1.0)
    assert placed(effects, A) == [(1, 2), (2, 2)]


# Nodes that are lost


def test_node_that_is_away_keeps_its_jobs_until_the_lease_is_over() -> None:
    # Given a node that is gone with two jobs.
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    assert dispatch.gone(A, 10.0) == []
    assert dispatch.due() == 10.0 + LEASE
    assert dispatch.tick(9.9 + LEASE) == []
    # When the lease is over, then they are abandoned, for they may have begun.
    event, report = sent(dispatch.tick(10.0 + LEASE), CLIENT)
    assert (event.what, event.node) == (CLOSED, NODE_A)
    assert (report.jobs, report.statuses, report.address) == ([1, 2], [ABANDONED] * 2, "10.0.0.1")
    assert report.exceptions == ["The node 10.0.0.1:51348 that ran the job is lost: not heard from for 30 s.\n"] * 2
    assert dispatch.due() is None


def test_jobs_of_a_lost_node_run_elsewhere_where_that_is_allowed() -> None:
    dispatch = scheduler(reentrant=True)
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    dispatch.gone(A, 10.0)
    ready(dispatch, B, now=11.0)
    assert placed(dispatch.tick(10.0 + LEASE), B) == [(1, 2), (2, 2)]


def test_job_whose_nodes_are_lost_each_time_is_abandoned_after_some() -> None:
    # Given a job that may run again, and nodes that are lost one after the other.
    dispatch = scheduler(reentrant=True)
    submit(dispatch, 1)
    told: dict[int, int] = {}
    for number in range(1, ATTEMPTS + 1):
        assert told == {}
        now = 100.0 * number
        assert placed(ready(dispatch, Peer(number), now=now), Peer(number)) == [(1, number)]
        dispatch.gone(Peer(number), now)
        told = ends(dispatch.tick(now + LEASE))
    # Then the last loss is its end.
    assert told == {1: ABANDONED}


def test_late_answer_of_an_older_attempt_is_collected_and_dropped() -> None:
    # Given a job that was moved from a lost node to another one.
    dispatch = scheduler(reentrant=True)
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.gone(A, 0.0)
    ready(dispatch, B, now=1.0)
    dispatch.tick(LEASE)
    # When the first node is back and answers, then it is told to forget, and the client hears nothing.
    effects = join(dispatch, A, holding=holding((1, 1)), now=LEASE + 1)
    assert sent(effects, A)[0] == Release(C)
    effects = dispatch.receive(A, [ended(outcome(1))], LEASE + 2)
    assert ends(effects) == {}
    assert acknowledged(dispatch, A, effects) == [(1, 1)]
    # And the answer of the second counts.
    assert ends(finish(dispatch, B, 1, attempt=2)) == {1: 11}


def test_answer_of_an_older_attempt_on_the_same_node_is_collected_and_dropped() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.receive(A, [Returned(C, [JobId(1)], [1])], 1.0)
    effects = finish(dispatch, A, 1, attempt=1)
    assert ends(effects) == {}
    assert acknowledged(dispatch, A, effects) == [(1, 1)]
    assert dispatch.receive(A, [Progress(C, JobId(1), 1, 0, b"", "")], 2.0) == []
    assert ends(finish(dispatch, A, 1, attempt=2)) == {1: 11}


def test_cancelled_job_of_a_lost_node_ends_as_cancelled_and_never_runs_again() -> None:
    dispatch = scheduler(reentrant=True)
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    dispatch.gone(A, 0.0)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 1.0)
    ready(dispatch, B, now=2.0)
    effects = dispatch.tick(LEASE)
    assert ends(effects) == {1: CANCELLED}
    assert placed(effects, B) == [(2, 2)]


def test_node_without_jobs_is_lost_as_soon_as_it_is_gone() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    dispatch.gone(A, 1.0)
    assert dispatch.due() is None
    assert sent(dispatch.receive_from_client(CLIENT, [StatusRequest(C, 1)], 2.0), CLIENT) == [Status(C, 1, [], 0, [])]


def test_other_life_at_the_same_place_means_that_the_former_is_lost() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.gone(A, 1.0)
    effects = join(dispatch, B, host="10.0.0.1", now=2.0)
    assert ends(effects) == {1: ABANDONED}
    [report] = sent(effects, CLIENT, Ended)
    assert report.exceptions == ["The node 10.0.0.1:51348 that ran the job is lost: it was started again.\n"]


# Nodes that come back


def test_node_that_comes_back_with_all_its_jobs_goes_on() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    dispatch.gone(A, 1.0)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1), (2, 1)), now=2.0)
    assert effects == [Send(B, Limit(C, NO_LIMIT, NO_LIMIT))]
    assert dispatch.due() is None
    assert ends(finish(dispatch, B, 1)) == {1: 11}


def test_jobs_that_a_returning_node_does_not_hold_are_placed_again() -> None:
    # Given a node that never got what was sent last.
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    dispatch.gone(A, 1.0)
    # When it is back with one of two, then the other is sent again as a new attempt.
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1)), now=2.0)
    assert placed(effects, B) == [(2, 2)]


def test_jobs_that_a_returning_node_should_not_hold_are_cancelled_there() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.receive(A, [Returned(C, [JobId(1)], [1])], 1.0)
    dispatch.gone(A, 1.0)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1), (9, 4)), now=2.0)
    assert sent(effects, B, Cancel) == [Cancel(C, [JobId(1), JobId(9)], [1, 4])]
    assert placed(effects, B) == [(1, 3)]


def test_cancel_while_the_node_was_away_is_sent_when_it_is_back() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.gone(A, 1.0)
    assert dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 2.0) == []
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1)), now=3.0)
    assert sent(effects, B, Cancel) == [Cancel(C, [JobId(1)], [1])]


def test_cancelled_job_that_a_returning_node_does_not_hold_ends_as_cancelled() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.gone(A, 1.0)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 2.0)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding(), now=3.0)
    assert ends(effects) == {1: CANCELLED}


def test_returning_node_that_has_lost_the_computation_prepares_it_again() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.gone(A, 1.0)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", now=2.0)
    assert sent(effects, B) == [prepare()]
    assert placed(dispatch.receive(B, [Prepared(C, "")], 3.0), B) == [(1, 2)]


def test_node_that_holds_an_unknown_computation_is_told_to_release_it() -> None:
    dispatch = scheduler()
    effects = join(dispatch, A, holding=Inventory([D], [[JobId(1)]], [[1]]))
    assert sent(effects, A) == [Release(D), prepare()]


def test_newer_connection_of_a_node_takes_the_place_of_the_old() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    effects = join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=holding((1, 1)), now=1.0)
    assert effects == [Drop(A, "replaced by a newer connection"), Send(B, Limit(C, NO_LIMIT, NO_LIMIT))]
    assert dispatch.gone(A, 2.0) == []
    assert ends(finish(dispatch, B, 1)) == {1: 11}


# Recalling


def with_jobs_ahead() -> Dispatch:
    """Node A is known for short jobs and has sixteen, node B is idle; each has one CPU."""
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    on_node = [job for job, _ in placed(submit(dispatch, *range(1, 22)), A)]
    for _ in range(2):
        on_node = [job for job, _ in placed(finish(dispatch, A, *on_node, took=0.0001), A)]
    assert len(on_node) == 16
    submit(dispatch, 90)
    ready(dispatch, B, cpus=1)
    return dispatch


def test_idle_node_gets_half_of_what_the_fullest_has_ahead() -> None:
    # Given a node that has sixteen jobs, fifteen of them ahead, and another that becomes idle and may have more.
    dispatch = with_jobs_ahead()
    finish(dispatch, B, 90, took=0.0001)
    submit(dispatch, 91)
    dispatch.receive(A, [Returned(C, [], [])], 2.0)
    assert sent(finish(dispatch, B, 91, took=0.0001), A, Recall) == [Recall(C, 7)]


def test_idle_node_gets_no_more_than_it_may_have_ahead() -> None:
    # Given an idle node whose first job was a long one; it may have no other behind the next.
    dispatch = with_jobs_ahead()
    effects = finish(dispatch, B, 90)
    assert sent(effects, A, Recall) == [Recall(C, 1)]
    # When they are returned, then they go to the idle one.
    returned = [JobId(job) for job in (21, 20, 19)]
    effects = dispatch.receive(A, [Returned(C, returned, [1] * 3)], 2.0)
    assert placed(effects, B)[0] == (21, 2)


def test_node_is_asked_for_jobs_once_at_a_time() -> None:
    # Given a recall that is not answered yet.
    dispatch = with_jobs_ahead()
    finish(dispatch, B, 90)
    submit(dispatch, 91)
    assert sent(finish(dispatch, B, 91), A, Recall) == []
    # When it is answered, then the next may follow.
    dispatch.receive(A, [Returned(C, [], [])], 2.0)
    submit(dispatch, 92)
    assert sent(finish(dispatch, B, 92), A, Recall) == [Recall(C, 1)]


def test_recall_that_was_lost_with_its_connection_does_not_keep_others_from_following() -> None:
    # Given a recall on its way to a node whose connection breaks.
    dispatch = with_jobs_ahead()
    finish(dispatch, B, 90)
    dispatch.gone(A, 2.0)
    held = holding(*((job, 1) for job in range(6, 22)))
    join(dispatch, Peer(3), cpus=1, instance=bytes([A]) * 16, host="10.0.0.1", holding=held, now=3.0)
    # When it is back and the other node is idle again, then it is asked again.
    effects = submit(dispatch, 91)
    assert placed(effects, B) == [(91, 1)]
    assert sent(finish(dispatch, B, 91), Peer(3), Recall) == [Recall(C, 1)]


def test_nothing_is_recalled_while_jobs_wait_or_where_none_is_ahead() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    ready(dispatch, B, cpus=1)
    submit(dispatch, 1, 2, 3)
    assert sent(finish(dispatch, A, 1), B, Recall) == []
    assert sent(finish(dispatch, B, 2), A, Recall) == []


# Cancelling


def test_waiting_job_is_cancelled_at_once_and_never_placed() -> None:
    dispatch = scheduler()
    submit(dispatch, 1, 2)
    assert ends(dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 1.0)) == {1: CANCELLED}
    assert placed(ready(dispatch, A), A) == [(2, 1)]


def test_placed_job_is_cancelled_by_its_node() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    assert dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 1.0) == [
        Send(A, Cancel(C, [JobId(1)], [1]))
    ]
    row = outcome(1, status=CANCELLED)
    assert ends(dispatch.receive(A, [ended(row)], 2.0)) == {1: CANCELLED}


def test_cancelled_job_that_is_returned_ends_as_cancelled() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 1.0)
    effects = dispatch.receive(A, [Returned(C, [JobId(1)], [1])], 2.0)
    assert (ends(effects), placed(effects, A)) == ({1: CANCELLED}, [])


def test_cancel_of_what_has_ended_or_was_cancelled_changes_nothing() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    finish(dispatch, A, 1)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(2)], [0])], 1.0)
    assert dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1), JobId(2), JobId(9)], [0] * 3)], 1.0) == []


# Releasing


def test_release_is_confirmed_when_all_nodes_have_confirmed_it() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    ready(dispatch, B)
    submit(dispatch, 1, 2, 3, 4, 5)
    effects = dispatch.receive_from_client(CLIENT, [Release(C)], 1.0)
    assert [each.what for each in sent(effects, CLIENT)] == [CLOSED, CLOSED]
    assert (sent(effects, A), sent(effects, B)) == ([Release(C)], [Release(C)])
    assert dispatch.receive(A, [Released(C)], 2.0) == []
    assert dispatch.receive(A, [Released(C)], 2.0) == []
    assert dispatch.receive(B, [Released(C)], 2.0) == [Send(CLIENT, Released(C))]


def test_node_that_goes_counts_as_having_confirmed_the_release() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    dispatch.receive_from_client(CLIENT, [Release(C)], 1.0)
    assert dispatch.gone(A, 2.0) == [Send(CLIENT, Released(C))]


def test_release_without_nodes_or_of_nothing_is_confirmed_at_once() -> None:
    dispatch = scheduler()
    assert dispatch.receive_from_client(CLIENT, [Release(C)], 1.0) == [Send(CLIENT, Released(C))]
    assert dispatch.receive_from_client(CLIENT, [Release(C)], 1.0) == [Send(CLIENT, Released(C))]


def test_outcomes_after_the_release_are_collected_and_dropped() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.receive_from_client(CLIENT, [Release(C)], 1.0)
    effects = finish(dispatch, A, 1)
    assert ends(effects) == {}
    assert acknowledged(dispatch, A, effects) == [(1, 1)]


def test_release_makes_room_for_other_computations() -> None:
    dispatch = scheduler()
    dispatch.receive_from_client(CLIENT, [Open(D, ["*"], False), prepare(D)], 0.0)
    join(dispatch, A, cpus=1)
    dispatch.receive(A, [Prepared(C, ""), Prepared(D, "")], 0.0)
    submit(dispatch, 1)
    submit(dispatch, 1, number=D)
    effects = dispatch.receive_from_client(CLIENT, [Release(C)], 1.0)
    assert sent(effects, A) == [Release(C), Run(D, [JobId(1)], [1], [b""])]


def test_late_messages_of_a_client_about_a_released_computation_are_ignored() -> None:
    dispatch = scheduler()
    dispatch.receive_from_client(CLIENT, [Release(C)], 1.0)
    assert dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 2.0) == []


# Telling the user


def test_user_is_told_why_jobs_wait_at_growing_intervals() -> None:
    # Given a job and no node.
    dispatch = scheduler()
    submit(dispatch, 1, now=10.0)
    assert dispatch.due() == 10.0 + PATIENCE
    assert dispatch.tick(9.9 + PATIENCE) == []
    # When patience is over, then the user hears of it.
    [trouble] = sent(dispatch.tick(10.0 + PATIENCE), CLIENT)
    assert trouble == Notice(
        C,
        "f: 1 job waits, and no node can run them.\n"
        "  no gdispy-node was found: start gdispy-node on the machines, with the same "
        "secret as this program\n"
        "  or use this machine: nodes=['local'], and on the command line --local",
    )
    # And again after ten times as long, up to an hour, whatever is submitted meanwhile.
    submit(dispatch, 2, now=20.0)
    now, told = 10.0 + PATIENCE, []
    for _ in range(5):
        due = dispatch.due()
        assert due is not None and dispatch.tick(due - 0.1) == []
        told.append(due - now)
        [again] = sent(dispatch.tick(due), CLIENT)
        assert again.text.startswith("f: 2 jobs wait")
        now = due
    assert told == [30.0, 300.0, 3000.0, 3600.0, 3600.0]
    # Until there is a node.
    ready(dispatch, A)
    assert dispatch.tick(now + 7200.0) == []


def test_clients_of_a_shared_scheduler_are_not_sent_to_a_node_of_their_own() -> None:
    rules = Dispatch()
    rules.local_advice = ""
    dispatch = checked(rules)
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False), prepare()], 0.0)
    submit(dispatch, 1)
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT)
    assert "no gdispy-node was found" in trouble.text and "local" not in trouble.text


def test_line_about_an_address_names_it_once() -> None:
    dispatch = scheduler()
    dispatch.problem(
        "10.0.0.3:51348", "no gdispy-node is listening at 10.0.0.3:51348 (connection refused): start it there"
    )
    dispatch.problem("10.0.0.4:51348", "its secret differs")
    dispatch.problem("lab:5", "the name in lab:5 is not known: Name or service not known")
    text = "10.0.0.5:51348 cannot be reached: no answer within 10 s: is TCP 51348 open in its firewall?"
    dispatch.problem("10.0.0.5:51348", text)
    submit(dispatch, 1)
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT)
    assert trouble.text.split("\n  ")[1:-1] == [
        "10.0.0.3:51348: no gdispy-node is listening (connection refused): start it there",
        "10.0.0.4:51348: its secret differs",
        "the name in lab:5 is not known: Name or service not known",
        "10.0.0.5:51348 cannot be reached: no answer within 10 s: is TCP 51348 open in its firewall?",
    ]


def test_user_is_told_what_is_wrong_with_each_node() -> None:
    # Given nodes that cannot be used, each for a reason of its own.
    dispatch = scheduler(nodes=("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    dispatch.problem("10.0.0.3:51348", "connection refused")
    assert sent(join(dispatch, A, python="3.9"), A) == []
    assert sent(join(dispatch, Peer(4)), Peer(4)) == []
    assert sent(join(dispatch, B), B) == [prepare()]
    dispatch.receive(B, [Prepared(C, "no module named x\n")], 0.0)
    submit(dispatch, 1, 2)
    # Then all reasons are told.
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT)
    assert trouble.text.split("\n  ") == [
        "f: 2 jobs wait, and no node can run them.",
        "10.0.0.3:51348: connection refused",
        "10.0.0.1:51348: it runs Python 3.9, but the function was compiled by Python 3.11",
        "10.0.0.4:51348: found, but not matched by `nodes`",
        "10.0.0.2:51348: no module named x",
    ]


def test_problem_of_a_place_ends_when_a_node_joins_there_or_it_is_taken_back() -> None:
    dispatch = scheduler()
    dispatch.problem("10.0.0.1:51348", "refused")
    dispatch.problem("10.0.0.9:51348", "refused")
    dispatch.problem("10.0.0.9:51348", "")
    join(dispatch, A)
    [standing] = sent(dispatch.receive_from_client(CLIENT, [StatusRequest(C, 7)], 1.0), CLIENT)
    assert standing.problems == []


def test_program_runs_under_any_version_of_python() -> None:
    dispatch = scheduler(python="")
    assert sent(join(dispatch, A, python="3.9"), A) == [prepare(python="")]


def test_node_that_joins_in_time_spares_the_user_the_word() -> None:
    dispatch = scheduler()
    submit(dispatch, 1, 2, 3, now=10.0)
    ready(dispatch, A, now=11.0)
    assert dispatch.due() is None
    assert dispatch.tick(99.0) == []


def test_node_that_comes_back_in_time_spares_the_user_the_word() -> None:
    # Given more jobs than fit on the only node, whose connection breaks for a moment.
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2, 3, 4, 5, now=1.0)
    dispatch.gone(A, 2.0)
    held = holding((1, 1), (2, 1))
    join(dispatch, B, instance=bytes([A]) * 16, host="10.0.0.1", holding=held, now=3.0)
    # Then a node can run them, and nobody says otherwise.
    assert sent(dispatch.tick(2.0 + PATIENCE), CLIENT) == []


def test_user_is_not_told_of_jobs_that_were_cancelled() -> None:
    dispatch = scheduler()
    submit(dispatch, 1)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(1)], [0])], 1.0)
    assert dispatch.due() is None
    assert dispatch.tick(PATIENCE) == []


def test_user_is_told_again_when_the_last_node_is_lost_later() -> None:
    dispatch = scheduler()
    submit(dispatch, *range(1, 10))
    dispatch.tick(PATIENCE)
    ready(dispatch, A, now=10.0)
    dispatch.gone(A, 20.0)
    assert len(sent(dispatch.tick(20.0 + PATIENCE), CLIENT, Notice)) == 1


def test_standing_says_what_each_node_does() -> None:
    # Given a node that has done one job and has two more, with two waiting.
    dispatch = scheduler()
    ready(dispatch, A)
    ready(dispatch, B, cpus=4)
    dispatch.gone(B, 0.0)
    submit(dispatch, 1, 2, 3, 4, 5)
    finish(dispatch, A, 1, took=1.5)
    # When the client asks.
    [standing] = sent(dispatch.receive_from_client(CLIENT, [StatusRequest(C, 7)], 1.0), CLIENT)
    assert standing == Status(C, 7, [NodeRow("node1", "10.0.0.1", 51348, 2, 2, 1, 1.5, 0, 6)], 2, [], standing.versions)
    assert len(standing.versions) == 1 and standing.versions[0].startswith("gdispy ")


def test_standing_of_nothing_is_empty() -> None:
    dispatch = scheduler()
    assert dispatch.receive_from_client(CLIENT, [StatusRequest(D, 7)], 1.0) == [Send(CLIENT, Status(D, 7, [], 0, []))]


def test_standing_names_nodes_that_are_away_or_silent() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    ready(dispatch, B)
    submit(dispatch, 1, 2)
    dispatch.gone(A, 1.0)
    dispatch.silent(B, True, 1.0)
    [standing] = sent(dispatch.receive_from_client(CLIENT, [StatusRequest(C, 7)], 1.0), CLIENT)
    assert standing.problems == [
        "10.0.0.1:51348: the connection broke; reconnecting",
        "10.0.0.2:51348: no heartbeat at present",
    ]


@pytest.mark.parametrize("count", [1000, 16_000])
def test_work_for_one_decision_does_not_grow_with_the_queue(count: int) -> None:
    """Counts the tasks that are looked at, not seconds."""
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, *range(1, count + 1))
    queue = dispatch._state.computations[C].backlog.queue
    looked_at = []

    class Watched(type(queue)):  # type: ignore[misc]
        def __iter__(self) -> Any:
            looked_at.append(len(self))
            return super().__iter__()

    watched = dispatch._state.computations[C].backlog.queue = Watched()
    for task in queue:
        watched.append(task)
    dispatch._rules.receive(A, [ended(outcome(1))], 1.0)  # type: ignore[attr-defined]
    assert looked_at == []


def test_what_a_node_says_of_a_computation_that_it_has_loaded_is_told_once() -> None:
    dispatch = scheduler()
    join(dispatch, A)
    (told,) = sent(dispatch.receive(A, [Prepared(C, "", "threads are left")], 0.0), CLIENT, Notice)
    assert told == Notice(C, "f: 10.0.0.1:51348: threads are left")
    assert sent(dispatch.receive(A, [Prepared(C, "", "threads are left")], 0.0), CLIENT, Notice) == []


# Messages that one side refuses

REASON = "a message is refused: Ended.exceptions is not what it must be"


def test_node_whose_messages_are_refused_twice_is_given_up_with_that_reason() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    assert reasons(dispatch.refused(A, REASON, 1.0)) == []
    join(dispatch, B, instance=bytes([A]) * 16, holding=holding((1, 1)), now=2.0)
    [(status, text)] = reasons(dispatch.refused(B, REASON, 3.0))
    assert status == ABANDONED and REASON in text
    again = dispatch.joined(Peer(7), hello(bytes([A]) * 16, "node1", 2, "3.11"), ["10.0.0.1"], 51348, 4.0)
    assert [type(each) for each in again] == [Drop] and REASON in again[0].reason  # type: ignore[attr-defined]


def test_refusals_with_an_end_in_between_are_no_reason_to_give_a_node_up() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1, 2)
    dispatch.refused(A, REASON, 1.0)
    join(dispatch, B, instance=bytes([A]) * 16, holding=holding((1, 1), (2, 1)), now=2.0)
    finish(dispatch, B, 1, now=3.0)
    assert reasons(dispatch.refused(B, REASON, 4.0)) == []


def test_refusals_for_different_reasons_are_no_reason_to_give_a_node_up() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, 1)
    dispatch.refused(A, REASON, 1.0)
    join(dispatch, B, instance=bytes([A]) * 16, holding=holding((1, 1)), now=2.0)
    assert reasons(dispatch.refused(B, REASON + " now", 3.0)) == []


def reasons(effects: Effects) -> list[tuple[int, str]]:
    return [each for told in sent(effects, CLIENT, Ended) for each in zip(told.statuses, told.exceptions, strict=True)]


# Nodes that cannot run a computation


def unable(dispatch: Dispatch, peer: Peer, error: str = "no module x", now: float = 0.0, for_now: bool = False) -> None:
    join(dispatch, peer, now=now)
    dispatch.receive(peer, [Prepared(C, error, for_now=for_now)], now)


def endings(effects: Effects) -> list[tuple[list[int], list[int], list[str]]]:
    return [(list(ended.jobs), ended.statuses, ended.exceptions) for ended in sent(effects, CLIENT, Ended)]


def test_jobs_end_where_all_named_nodes_cannot_run_them() -> None:
    dispatch = scheduler(nodes=("10.0.0.1", "10.0.0.2"))
    submit(dispatch, 1, 2)
    unable(dispatch, A)
    # The other one has said nothing yet.
    assert endings(dispatch.tick(NAMED_PATIENCE)) == []
    unable(dispatch, B, now=5.0)
    assert endings(dispatch.tick(5.0)) == []
    effects = dispatch.tick(5.0 + NAMED_PATIENCE)
    assert endings(effects) == [([1, 2], [TERMINATED] * 2, ["no module x\n"] * 2)]
    (told,) = sent(effects, CLIENT, Notice)
    assert told == Notice(C, "f: no node can run it; its jobs are terminated: no module x")
    # Later ones need not wait for it again.
    submit(dispatch, 3, now=9.0)
    assert endings(dispatch.tick(9.0)) == [([3], [TERMINATED], ["no module x\n"])]


def test_where_nodes_are_looked_for_jobs_wait_a_while_for_one_that_can() -> None:
    dispatch = scheduler()
    submit(dispatch, 1)
    unable(dispatch, A)
    unable(dispatch, B, "no module y", now=4.0)
    assert endings(dispatch.tick(NODE_PATIENCE)) == []
    text = "No node can run the computation.\n10.0.0.1:51348: no module x\n10.0.0.2:51348: no module y\n"
    assert endings(dispatch.tick(4.0 + NODE_PATIENCE)) == [([1], [TERMINATED], [text])]


def test_jobs_wait_as_long_as_one_node_may_run_them() -> None:
    for error, for_now in (("", False), ("it belongs to another client", True)):
        dispatch = scheduler(nodes=("10.0.0.1", "10.0.0.2"))
        submit(dispatch, 1)
        unable(dispatch, A)
        unable(dispatch, B, error, for_now=for_now)
        assert endings(dispatch.tick(NODE_PATIENCE)) == []


def test_a_node_that_can_run_them_after_all_gets_them() -> None:
    dispatch = scheduler()
    submit(dispatch, 1)
    unable(dispatch, A)
    effects = ready(dispatch, B, now=NODE_PATIENCE / 2)
    assert sent(effects, B, Run)
    assert endings(dispatch.tick(NODE_PATIENCE)) == []


def test_nodes_of_a_version_that_cannot_be_served_count_as_unable() -> None:
    dispatch = scheduler(nodes=("10.0.0.1",), python="3.99")
    submit(dispatch, 1)
    join(dispatch, A)
    ((_, statuses, (text,)),) = endings(dispatch.tick(NAMED_PATIENCE))
    assert statuses == [TERMINATED] and text == "it runs Python 3.11, but the function was compiled by Python 3.99\n"


def test_a_node_that_tries_again_has_not_said_that_it_cannot() -> None:
    dispatch = scheduler(nodes=("10.0.0.1",))
    submit(dispatch, 1)
    unable(dispatch, A)
    dispatch.gone(A, 0.2)
    # It comes back, and loads the computation anew.
    assert sent(join(dispatch, A, now=0.5), A, Prepare)
    assert endings(dispatch.tick(NAMED_PATIENCE)) == []
    dispatch.receive(A, [Prepared(C, "")], 2.0)
    assert endings(dispatch.tick(2.0 + NODE_PATIENCE)) == []


def test_priority_of_a_job_that_waits_is_changed_and_of_others_is_not() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    assert placed(submit(dispatch, 1, 2, 3, 4), A) == [(1, 1)]

    def prefer(job: int, priority: float, computation: ComputationId = C) -> str:
        message = SetPriority(computation, 5, JobId(job), priority)
        [answer] = sent(dispatch.receive_from_client(CLIENT, [message], 1.0), CLIENT)
        assert isinstance(answer, Reply) and answer.question == 5 and answer.value == priority
        return answer.error

    assert sent(dispatch.receive_from_client(CLIENT, [SetPriority(C, 0, JobId(4), 1.0)], 1.0), CLIENT) == []
    assert prefer(4, 1.0) == ""
    assert "is on a node" in prefer(1, 9.0)
    assert "no job 7" in prefer(7, 9.0) and "no such computation" in prefer(4, 9.0, D)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(3)], [0])], 1.0)
    assert "no job 3" in prefer(3, 9.0)
    order = [job for number in (1, 4, 2) for job, _ in placed(finish(dispatch, A, number), A)]
    assert order == [4, 2]
