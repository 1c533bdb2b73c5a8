"""Which computations nodes load, with how many CPUs, and how they leave them."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cpus,
    Event,
    Inventory,
    Limit,
    NodeCommand,
    NodeFound,
    Notice,
    Open,
    Prepare,
    Prepared,
    Recall,
    Release,
    Released,
    Returned,
    Run,
    UseNode,
)
from gdispy.rules.effects import Effects
from gdispy.rules.scheduler.assignment import AssignmentStage, Use
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.node_record import NodeStage
from gdispy.rules.scheduler.reminders import PATIENCE
from tests.unit.builders import C, checked, ended, hello, outcome, prepare, sent
from tests.unit.rules.scheduler.builders import CLIENT, OTHER, A, B, Parts


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
    assert "not accepting jobs at present" in trouble.text
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
    other = OTHER
    number = ComputationId(b"asks....")
    asking = [Open(number, ["*"], False, True), prepare(number)]
    assert sent(dispatch.receive_from_client(other, asking, 2.0), other, NodeFound) == []
    # When it takes that back, then the other is asked whether it wants the node.
    (question,) = sent(allow(dispatch, 2), other, NodeFound)
    assert question.cpus == 2


# The object alone


def test_computation_is_offered_once_to_a_node_whose_inventory_is_known() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join()
    node.stage = NodeStage.JOINED
    assert parts.provisioning.offer(node, computation, 0.0) == []
    node.stage = NodeStage.ACTIVE
    assert sent(parts.provisioning.offer(node, computation, 0.0), A) == [prepare()]
    assignment = node.assignments[C]
    assert (assignment.stage, assignment.prepared_at) == (AssignmentStage.LOADING, 0.0)
    parts.provisioning.note_ready(node, computation, assignment, True)
    assert parts.provisioning.offer(node, computation, 1.0) == []
    parts.check()


def test_node_that_is_not_named_or_has_another_python_is_not_offered_a_computation() -> None:
    parts = Parts()
    computation = parts.open(nodes=("10.0.0.2",))
    node = parts.join(A)
    assert parts.provisioning.offer(node, computation, 0.0) == []
    assert node.assignments[C].error and node.instance in computation.refused
    other = parts.join(B)
    computation.prepare = prepare(python="3.9")
    assert parts.provisioning.offer(other, computation, 0.0) == []
    assert "it runs Python 3.11" in other.assignments[C].error and other.assignments[C].is_unable
    assert parts.provisioning.offer_to_all(computation, 0.0) == []


def test_computation_leaves_a_node_once_and_only_when_no_job_is_left_there() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join()
    assignment = parts.load(node, computation)
    [job] = parts.submit(computation, 1)
    parts.placement.place(0.0)
    assignment.use = Use.CLOSING
    assert parts.provisioning.leave(node, computation, assignment) == []
    node.remove(assignment, job.job)
    assert sent(parts.provisioning.leave(node, computation, assignment), A) == [Release(C)]
    assert parts.provisioning.leave(node, computation, assignment) == []
    assert assignment.stage is AssignmentStage.RELEASING and computation.places == set()
    [event] = sent(parts.provisioning.left(computation, node, assignment), CLIENT, Event)
    assert (assignment.stage, assignment.use) == (AssignmentStage.IDLE, Use.CLOSED) and event.computation == C


def test_computation_is_closed_when_the_last_node_has_confirmed_its_release() -> None:
    parts = Parts()
    computation, other = parts.open(), parts.open(ComputationId(b"another1"), OTHER)
    nodes = [parts.join(A), parts.join(B)]
    for node in nodes:
        parts.load(node, computation)
    parts.submit(computation, 1)
    effects = parts.provisioning.release(computation, 0.0)
    assert [len(sent(effects, peer, Release)) for peer in (A, B)] == [1, 1]
    assert sent(effects, CLIENT, Released) == [] and not parts.turns.waiting
    assert parts.provisioning.confirm_release(nodes[0], computation) == []
    assert sent(parts.provisioning.confirm_release(nodes[1], computation), CLIENT) == [Released(C)]
    assert list(parts.state.computations.values()) == [other]
    parts.check()


def test_discarded_computation_leaves_its_nodes_and_its_client_is_told_nothing() -> None:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(), computation)
    parts.submit(computation, 1, 2, 3)
    parts.placement.place(0.0)
    effects = parts.provisioning.discard(computation)
    assert sent(effects, A) == [Release(C)] and sent(effects, CLIENT) == []
    assert not parts.state.computations and not parts.turns.waiting
    parts.check()


def test_other_number_of_cpus_recalls_what_waits_on_the_node_and_offers_it_again() -> None:
    parts = Parts()
    computation, asking = parts.open(), parts.open(ComputationId(b"another1"), OTHER, asks=True)
    node = parts.join(cpus=4)
    assignment = parts.load(node, computation)
    parts.submit(computation, *range(1, 5))
    parts.placement.place(0.0)
    effects = parts.provisioning.allow(node, 0, 0.0)
    assert sent(effects, A) == [Limit(C, NO_LIMIT, 0), Recall(C, 2)]
    assert assignment.recalling and node.cpus == 0
    effects = parts.provisioning.allow(node, 3, 0.0)
    assert [each.computation for each in sent(effects, OTHER, NodeFound)] == [asking.id]
