"""A message that cannot be handled: what its peer may end by it, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import Instance, JobId, Peer
from gdispy.protocol.messages import (
    ALL,
    Availability,
    Cpus,
    Event,
    Hello,
    Inventory,
    Message,
    NodeCommand,
    Open,
    Prepared,
    Returned,
    Run,
    Upload,
    from_values,
)
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import refusal
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.requests import Requests
from gdispy.rules.scheduler.client_requests import ClientRequests
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.node_reports import EARLY_LIMIT, NodeReports
from tests.unit.builders import C, D, ended, hello, outcome, prepare, sent

CLIENT, OTHER, A = Peer(1), Peer(2), Peer(3)
NODE = Instance(b"a" * 16)


def drop(peer: Peer, message: Message, error: Exception) -> Effects:
    return [Drop(peer, refusal(message, error))]


def scheduler() -> Dispatch:
    """With two clients, each with a computation, and a node that has loaded both."""
    dispatch = Dispatch()
    dispatch.on_fault = drop
    for client, computation in ((CLIENT, C), (OTHER, D)):
        dispatch.receive_from_client(client, [Open(computation, ["*"], False), prepare(computation)], 0.0)
    dispatch.joined(A, hello(NODE, "n", 2), ["10.0.0.1"], 51348, 0.0)
    dispatch.receive(A, [Inventory([], [], []), Prepared(C, ""), Prepared(D, "")], 0.0)
    return dispatch


def run(computation: Any, *jobs: int) -> Run:
    return Run(computation, [JobId(job) for job in jobs], [1] * len(jobs), [b""] * len(jobs))


def test_what_a_client_said_before_is_done_and_what_it_says_after_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = scheduler()

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setitem(ClientRequests.HANDLERS, NodeCommand, fail)
    order = NodeCommand(C, 1, "jobs", NODE, 0.0)
    effects = dispatch.receive_from_client(CLIENT, [run(C, 1), order, run(C, 2)], 1.0)
    reason = "a message is refused: NodeCommand could not be handled (ZeroDivisionError: planted)"
    assert [each for each in effects if isinstance(each, Drop)] == [Drop(CLIENT, reason)]
    assert [each.jobs for each in sent(effects, A, Run)] == [[1]]
    # The other client goes on.
    assert [each.jobs for each in sent(dispatch.receive_from_client(OTHER, [run(D, 1)], 1.0), A, Run)] == [[1]]
    dispatch.check()


def test_message_that_a_scheduler_does_not_take_drops_its_client() -> None:
    dispatch = scheduler()
    effects = dispatch.receive_from_client(CLIENT, [run(C, 1), Inventory([], [], []), run(C, 2)], 1.0)
    assert Drop(CLIENT, "a message is refused: a scheduler takes no Inventory from a client") in effects
    assert [each.jobs for each in sent(effects, A, Run)] == [[1]]
    dispatch.check()


def test_node_that_returns_a_job_twice_has_returned_it_once() -> None:
    dispatch = scheduler()
    dispatch.receive_from_client(CLIENT, [run(C, 1, 2)], 1.0)
    effects = dispatch.receive(A, [Returned(C, [JobId(1), JobId(1)], [1, 1])], 2.0)
    assert [(each.jobs, each.attempts) for each in sent(effects, A, Run)] == [([1], [2])]
    dispatch.check()


def test_node_that_never_says_what_it_holds_does_not_fill_the_memory() -> None:
    dispatch = scheduler()
    other = Peer(9)
    dispatch.joined(other, hello(b"b" * 16, "m", 2), ["10.0.0.2"], 51348, 0.0)
    told: Effects = []
    for _ in range(EARLY_LIMIT + 1):
        told += [each for each in dispatch.receive(other, [Availability([])], 0.0) if isinstance(each, Drop)]
    assert len(told) == 1 and told[0].peer == other


def test_node_drops_the_scheduler_whose_message_it_cannot_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("planted")

    rules = NodeRules(2)
    rules.on_fault = drop
    rules.joined(CLIENT, hello(), 0.0)
    rules.receive(CLIENT, [prepare()], 0.0)
    monkeypatch.setitem(Requests._ABOUT_OWN, Run, fail)
    effects = rules.receive(CLIENT, [run(C, 1)], 0.0)
    assert [each.peer for each in effects if isinstance(each, Drop)] == [CLIENT]
    rules.check()


ROW = ["n", "10.0.0.1", 1, 1, 0, 0, 0.0, 0, 0]
FILE = ["f", 0, 0.0, 1, b"d" * 32]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Open(C, ["lab1", "*:x"], False), r"Open.nodes has '\*:x': 'x' is not a port"),
        (Open(C, [":"], False), "Open.nodes has ':'"),
        (Open(C, ["127.0.0.1:99999"], False), "99999 is not a port"),
        (NodeCommand(C, 1, "cpus", NODE, 1e299), "NodeCommand.value is out of range"),
        (Event(C, 5, NODE, [ROW], []), "Event.what"),
        (Event(C, 4, NODE, [], []), "Event has one row"),
        (Upload(C, JobId(1), 1, 0, [], []), "Upload brings one file"),
        (Upload(C, JobId(1), 1, 0, [FILE, FILE], [b"", b""]), "Upload brings one file"),
        (ended(outcome(1, status=7)), "Ended.statuses"),
        (ended(outcome(1, start=-1.0)), "Ended.starts"),
        (ended(outcome(1, end=1e300)), "Ended.ends"),
        (Cpus(1 << 20), "Cpus.cpus"),
        (Hello("node", NODE, "n" * 5000, "", "", "", 1, "", 0.0), "Hello.name"),
    ],
    ids=str,
)
def test_what_a_field_can_hold_and_no_peer_may_say_is_refused_where_it_arrives(message: Message, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        from_values(message.values())


def test_every_message_is_taken_in_some_role_and_refused_in_others() -> None:
    """No type of message ends a scheduler, whoever sends it."""
    dispatch = scheduler()
    for kind in ALL:
        message = object.__new__(kind)
        if kind not in ClientRequests.HANDLERS:
            assert any(isinstance(each, Drop) for each in dispatch.receive_from_client(CLIENT, [message], 1.0))
        if kind not in NodeReports.HANDLERS:
            assert any(isinstance(each, Drop) for each in dispatch.receive(A, [message], 1.0))
    assert isinstance(dispatch.receive_from_client(OTHER, [run(D, 1)], 1.0)[0], Send)
