"""The scheduler's rules where nodes change how many CPUs they offer."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cpus,
    Inventory,
    Limit,
    NodeCommand,
    NodeFound,
    Notice,
    Open,
    Prepare,
    Prepared,
    Returned,
    Run,
    UseNode,
)
from gdispy.rules.effects import Effects
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.reminders import PATIENCE
from tests.unit.making import C, checked, ended, hello, outcome, prepare, sent

CLIENT = Peer(100)
A = Peer(1)


def scheduler(asks: bool = False) -> Dispatch:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False, asks), prepare()], 0.0)
    return dispatch


def join(dispatch: Dispatch, cpus: int) -> Effects:
    dispatch.joined(A, hello(b"a" * 16, "node", cpus, role="node"), ["10.0.0.1"], 51348, 0.0)
    return dispatch.receive(A, [Inventory([], [], [])], 0.0)


def submit(dispatch: Dispatch, *jobs: int, now: float = 0.0) -> Effects:
    message = Run(C, [JobId(job) for job in jobs], [1] * len(jobs), [b""] * len(jobs))
    return dispatch.receive_from_client(CLIENT, [message], now)


def placed(effects: Effects) -> list[int]:
    return [job for message in sent(effects, A, Run) for job in message.jobs]


def test_node_that_offers_no_cpus_gets_no_jobs_until_it_does() -> None:
    dispatch = scheduler()
    assert sent(join(dispatch, cpus=0), A, Prepare)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert placed(submit(dispatch, 1, 2)) == []
    assert placed(dispatch.receive(A, [Cpus(2)], 1.0)) == [1, 2]


def test_jobs_that_come_back_from_a_node_without_cpus_wait_and_the_user_hears_why() -> None:
    # Given a node that runs a job, and has another.
    dispatch = scheduler()
    join(dispatch, cpus=2)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert placed(submit(dispatch, 1, 2)) == [1, 2]
    # When it takes none any more and gives one back, then that waits.
    assert placed(dispatch.receive(A, [Cpus(0), Returned(C, [JobId(2)], [1])], 1.0)) == []
    (trouble,) = sent(dispatch.tick(1.0 + PATIENCE), CLIENT, Notice)
    assert "takes no jobs at present" in trouble.text
    assert placed(dispatch.receive(A, [Cpus(2)], 9.0)) == [2]


def test_user_hears_of_each_time_in_which_no_node_takes_jobs() -> None:
    dispatch = scheduler()
    join(dispatch, cpus=1)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    submit(dispatch, 1, 2)
    for begin in (10.0, 20.0):
        dispatch.receive(A, [Cpus(0)], begin)
        assert len(sent(dispatch.tick(begin + PATIENCE), CLIENT, Notice)) == 1
        dispatch.receive(A, [Cpus(1)], begin + 5)
        assert sent(dispatch.tick(begin + 5 + PATIENCE), CLIENT, Notice) == []


def test_client_that_decides_about_nodes_is_asked_when_there_is_something_to_decide() -> None:
    # Given a node out of its hours, then the client is not asked.
    dispatch = scheduler(asks=True)
    assert sent(join(dispatch, cpus=0), CLIENT, NodeFound) == []
    # When it takes jobs, then it is, once.
    (question,) = sent(dispatch.receive(A, [Cpus(2)], 1.0), CLIENT, NodeFound)
    assert question.cpus == 2
    assert sent(dispatch.receive(A, [Cpus(1)], 1.0), CLIENT, NodeFound) == []
    take = UseNode(C, question.node, 1, b"", [], [])
    assert sent(dispatch.receive_from_client(CLIENT, [take], 2.0), A, Prepare)


# How many of them a client wants to use


def allow(dispatch: Dispatch, cpus: int) -> Effects:
    """The client says how many CPUs of the node may be used."""
    return dispatch.receive_from_client(CLIENT, [NodeCommand(C, 1, "cpus", Instance(b"a" * 16), float(cpus))], 1.0)


def finish(dispatch: Dispatch, *jobs: int, took: float = 0.0001) -> Effects:
    return dispatch.receive(A, [ended(*(outcome(job, end=took) for job in jobs))], 1.0)


def test_node_hears_how_many_of_its_cpus_may_be_used_before_it_gets_jobs() -> None:
    dispatch = scheduler()
    join(dispatch, cpus=4)
    submit(dispatch, *range(1, 9))
    limit, run = sent(dispatch.receive(A, [Prepared(C, "")], 0.0), A)
    assert limit == Limit(C, NO_LIMIT, NO_LIMIT) and run.jobs == [1, 2, 3, 4]
    assert sent(allow(dispatch, 3), A, Limit) == [Limit(C, NO_LIMIT, 3)]
    assert sent(allow(dispatch, -1), A, Limit) == [Limit(C, NO_LIMIT, 3)]


def test_client_that_takes_some_cpus_of_a_node_has_jobs_ahead_on_those() -> None:
    # Given a client that wants one CPU of four.
    dispatch = scheduler(asks=True)
    (question,) = sent(join(dispatch, cpus=4), CLIENT, NodeFound)
    dispatch.receive_from_client(CLIENT, [UseNode(C, question.node, 1, b"", [], [])], 0.0)
    assert sent(dispatch.receive(A, [Prepared(C, "")], 0.0), A) == [Limit(C, 1, NO_LIMIT)]
    assert placed(submit(dispatch, *range(1, 101))) == [1]
    # When its jobs prove short, then it has some ahead, as it would with a node of one CPU.
    assert placed(finish(dispatch, 1)) == [2, 3, 4, 5]
    assert len(placed(finish(dispatch, 2, 3, 4, 5))) == 16


def test_node_of_which_no_cpus_could_be_used_is_offered_when_some_can() -> None:
    # Given two clients, of which the one has said that no CPUs of the node are to be used.
    dispatch = scheduler()
    join(dispatch, cpus=4)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    allow(dispatch, 0)
    other = Peer(101)
    number = ComputationId(b"asks....")
    asking = [Open(number, ["*"], False, True), prepare(number)]
    assert sent(dispatch.receive_from_client(other, asking, 2.0), other, NodeFound) == []
    # When it takes that back, then the other is asked whether it wants the node.
    (question,) = sent(allow(dispatch, 2), other, NodeFound)
    assert question.cpus == 2
