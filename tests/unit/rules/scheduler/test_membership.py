"""Nodes that are connected, away, or lost."""

from __future__ import annotations

import pytest

from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import Ended, Event
from gdispy.rules.effects import Drop
from gdispy.rules.scheduler.membership import ATTEMPTS, GIVEN_UP_LIMIT
from gdispy.rules.scheduler.node_record import NodeStage
from tests.unit.builders import hello, sent
from tests.unit.rules.scheduler.builders import CLIENT, A, B, Parts

NODE = Instance(bytes([A]) * 16)
LEASE = 30.0


def with_job(reentrant: bool = False, port: int = 51348) -> Parts:
    """A node has a job."""
    parts = Parts(lease=LEASE)
    computation = parts.open(reentrant=reentrant)
    parts.load(parts.join(port=port), computation)
    parts.submit(computation, 1)
    parts.placement.place(0.0)
    return parts


def test_node_that_holds_jobs_may_come_back_within_the_lease() -> None:
    parts = with_job()
    node = parts.state.nodes[NODE]
    assert sent(parts.membership.gone(A, 10.0), CLIENT, Ended) == []
    assert (node.stage, node.peer, node.lost_at) == (NodeStage.AWAY, None, 10.0 + LEASE)
    parts.membership.joined(B, hello(bytes(NODE), "node1", 2), ["10.0.0.1"], 51348)
    assert parts.state.nodes[NODE] is node and node.stage is NodeStage.JOINED
    assert parts.membership.at(B) is node and parts.membership.at(A) is None
    assert parts.state.timers.ring(10.0 + LEASE) == []
    parts.check()


def test_node_that_does_not_come_back_is_lost_with_the_jobs_that_may_have_begun() -> None:
    parts = with_job()
    parts.membership.gone(A, 10.0)
    effects = parts.state.timers.ring(10.0 + LEASE)
    [end] = sent(effects, CLIENT, Ended)
    assert (end.jobs, end.statuses) == ([1], [ABANDONED])
    assert "not heard from for 30 s" in end.exceptions[0]
    assert NODE not in parts.state.nodes and len(sent(effects, CLIENT, Event)) == 1
    parts.check()


def test_reentrant_job_is_placed_again_but_not_without_end() -> None:
    parts = with_job(reentrant=True)
    [computation] = parts.state.computations.values()
    for number in range(1, ATTEMPTS + 1):
        [node] = parts.state.nodes.values()
        ends = sent(parts.membership.lose(node, 0.0, "it was stopped"), CLIENT, Ended)
        assert bool(ends) == (number == ATTEMPTS)
        parts.load(parts.join(), computation)
        parts.placement.place(0.0)
    assert not computation.tasks
    parts.check()


def test_node_without_jobs_is_lost_at_once() -> None:
    parts = Parts()
    node = parts.join()
    assert parts.membership.gone(A, 0.0) == []
    assert not parts.state.nodes and node.stage is NodeStage.LOST
    # Where it comes back, it is another record, and may bring results of what was given up.
    assert parts.join() is not node and parts.state.nodes[NODE].returned


def test_newer_connection_takes_the_place_of_the_old_one() -> None:
    parts = with_job()
    [drop] = parts.membership.joined(B, hello(bytes(NODE), "node1", 2), ["10.0.0.1"], 51348)
    assert isinstance(drop, Drop) and drop.peer == A
    assert parts.membership.gone(A, 1.0) == [] and parts.state.nodes[NODE].peer == B


def test_another_run_at_the_same_address_knows_the_former_ones_only_where_it_was_dialled() -> None:
    for port, formers in ((51348, [NODE]), (0, [])):
        parts = with_job(port=port)
        parts.membership.gone(A, 0.0)
        parts.membership.joined(B, hello(b"n" * 16, "node1", 2), ["10.0.0.1"], port)
        assert parts.state.nodes[Instance(b"n" * 16)].formers == formers


def test_node_is_given_up_when_it_is_refused_twice_for_one_reason_with_nothing_in_between() -> None:
    parts = with_job()
    reason = "a message is refused"
    parts.membership.refused(A, reason, 0.0)
    parts.membership.joined(A, hello(bytes(NODE), "node1", 2), ["10.0.0.1"], 51348)
    # A job that has ended in between counts as understood.
    parts.membership.note_end(parts.state.nodes[NODE])
    parts.membership.refused(A, reason, 1.0)
    parts.membership.joined(A, hello(bytes(NODE), "node1", 2), ["10.0.0.1"], 51348)
    assert NODE in parts.state.nodes
    effects = parts.membership.refused(A, reason, 2.0)
    assert NODE not in parts.state.nodes and reason in sent(effects, CLIENT, Ended)[0].exceptions[0]
    [drop] = parts.membership.joined(A, hello(bytes(NODE), "node1", 2), ["10.0.0.1"], 51348)
    assert isinstance(drop, Drop) and reason in drop.reason


def test_silent_node_gets_no_jobs() -> None:
    parts = with_job()
    [computation] = parts.state.computations.values()
    parts.membership.silent(A, True, 0.0)
    parts.submit(computation, 2)
    assert parts.placement.place(0.0) == []
    assert len(parts.membership.silent(A, False, 1.0)) == 1
    assert parts.membership.silent(A, False, 1.0) == []


@pytest.mark.parametrize("count", [GIVEN_UP_LIMIT + 5])
def test_given_up_nodes_are_not_remembered_without_end(count: int) -> None:
    parts = Parts()
    for number in range(count):
        peer = Peer(number)
        parts.membership.joined(peer, hello(b"%016d" % number, "node", 1), ["10.0.0.1"], 51348)
        parts.membership.gone(peer, 0.0)
    parts.membership.joined(A, hello(b"%016d" % 0, "node", 1), ["10.0.0.1"], 51348)
    parts.membership.joined(B, hello(b"%016d" % (count - 1), "node", 1), ["10.0.0.1"], 51348)
    assert [node.returned for node in parts.state.nodes.values()] == [False, True]
