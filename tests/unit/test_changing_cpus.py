"""The scheduler's rules where nodes change how many CPUs they offer."""

from __future__ import annotations

from gdispy.core.board import PATIENCE
from gdispy.core.dispatch import Dispatch
from gdispy.core.effects import Effects, Peer
from gdispy.core.messages import (
    Appeared,
    Cpus,
    Holding,
    JobId,
    Open,
    Prepare,
    Prepared,
    Returned,
    Run,
    Take,
    Trouble,
)
from tests.unit.making import C, checked, hello, prepare, sent

CLIENT = Peer(100)
A = Peer(1)


def scheduler(asks: bool = False) -> Dispatch:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False, asks), prepare()], 0.0)
    return dispatch


def join(dispatch: Dispatch, cpus: int) -> Effects:
    dispatch.joined(A, hello(b"a" * 16, "node", cpus, role="node"), ["10.0.0.1"], 51348, 0.0)
    return dispatch.receive(A, [Holding([], [], [])], 0.0)


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
    (trouble,) = sent(dispatch.tick(1.0 + PATIENCE), CLIENT, Trouble)
    assert "takes no jobs at present" in trouble.text
    assert placed(dispatch.receive(A, [Cpus(2)], 9.0)) == [2]


def test_user_hears_of_each_time_in_which_no_node_takes_jobs() -> None:
    dispatch = scheduler()
    join(dispatch, cpus=1)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    submit(dispatch, 1, 2)
    for begin in (10.0, 20.0):
        dispatch.receive(A, [Cpus(0)], begin)
        assert len(sent(dispatch.tick(begin + PATIENCE), CLIENT, Trouble)) == 1
        dispatch.receive(A, [Cpus(1)], begin + 5)
        assert sent(dispatch.tick(begin + 5 + PATIENCE), CLIENT, Trouble) == []


def test_client_that_decides_about_nodes_is_asked_when_there_is_something_to_decide() -> None:
    # Given a node out of its hours, then the client is not asked.
    dispatch = scheduler(asks=True)
    assert sent(join(dispatch, cpus=0), CLIENT, Appeared) == []
    # When it takes jobs, then it is, once.
    (question,) = sent(dispatch.receive(A, [Cpus(2)], 1.0), CLIENT, Appeared)
    assert question.cpus == 2
    assert sent(dispatch.receive(A, [Cpus(1)], 1.0), CLIENT, Appeared) == []
    take = Take(C, question.node, 1, b"", [], [])
    assert sent(dispatch.receive_from_client(CLIENT, [take], 2.0), A, Prepare)
