"""Computations that outlive a run of their scheduler or client: what is written, restored, inherited and given up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gdispy.protocol.ids import Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, FINISHED
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cancel,
    Ended,
    Fenced,
    Inventory,
    Limit,
    NodeCommand,
    Open,
    OutcomesAcked,
    Prepare,
    Prepared,
    Release,
    Released,
    Run,
)
from gdispy.protocol.rows import Claim
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import GivenUp, Met, Placed, Unplaced
from gdispy.rules.history.replay import ComputationHistory, JournalState
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.reconciliation import Reconciliation
from tests.unit.builders import C, D, checked, ended, hello, outcome, prepare, sent
from tests.unit.rules.scheduler.builders import CLIENT, OTHER, A, B, Parts

TOKEN = b"t" * 16


def kept(epoch: int = 1) -> Prepare:
    return replace(prepare(), token=TOKEN, epoch=epoch)


def run(*jobs: int) -> Run:
    return Run(C, [JobId(job) for job in jobs], [1] * len(jobs), [b"arguments"] * len(jobs))


def facts(effects: Effects) -> list[Any]:
    return [fact for effect in effects if isinstance(effect, WriteFacts) for fact in effect.facts]


def opened(reentrant: bool = False, epoch: int = 1) -> Open:
    return Open(C, ["*"], reentrant, token=TOKEN, epoch=epoch)


def join(dispatch: Dispatch, peer: Peer, life: bytes, *held: tuple[int, int]) -> Effects:
    dispatch.joined(peer, hello(life, "node", 2), ["10.0.0.1"], 51348, 0.0)
    jobs, attempts = [JobId(job) for job, _ in held], [attempt for _, attempt in held]
    holding = Inventory([C], [jobs], [attempts]) if held else Inventory([], [], [])
    return dispatch.receive(peer, [holding], 0.0)


def history(reentrant: bool = False) -> ComputationHistory:
    """Of four jobs, one has ended, one was on a node, and two waited."""
    known = JournalState()
    life = Instance(b"n" * 16)
    for fact in (
        opened(reentrant, 2),
        kept(2),
        run(1, 2, 3, 4),
        Met(C, life, "node", ["10.0.0.1"], 51348, "3.11", "linux", 2),
        Placed(C, life, [JobId(1), JobId(2)], [1, 1]),
        ended(outcome(1)),
    ):
        known.take(fact)
    return known.histories[C]


def test_what_is_placed_and_what_has_ended_is_written_before_it_is_said() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [opened(), kept(), run(1, 2, 3)], 0.0)
    join(dispatch, A, b"n" * 16)
    effects = dispatch.receive(A, [Prepared(C, "")], 0.0)
    told = [each for each in effects if isinstance(each, WriteFacts) or (isinstance(each, Send) and each.peer == A)]
    assert [each.message for each in told if isinstance(each, Send)] == [Limit(C, NO_LIMIT, NO_LIMIT), run(1, 2)]
    assert isinstance(told[-2], WriteFacts)
    assert [type(fact) for fact in facts(effects)] == [Met, Placed]
    effects = dispatch.receive(A, [ended(outcome(1))], 1.0)
    told = [
        each for each in effects if isinstance(each, WriteFacts) or (isinstance(each, Send) and each.peer == CLIENT)
    ]
    assert [type(each) for each in told][:2] == [WriteFacts, Send]
    assert isinstance(facts(effects)[0], Ended)


def test_lost_node_is_written_with_what_becomes_of_its_jobs() -> None:
    dispatch = checked(Dispatch(lease=30.0))
    dispatch.receive_from_client(CLIENT, [opened(reentrant=True), kept(), run(1)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    dispatch.gone(A, 1.0)
    assert facts(dispatch.tick(40.0)) == [
        GivenUp(C, Instance(b"n" * 16)),
        Unplaced(C, [JobId(1)], [2], [1]),
    ]


def test_next_life_of_a_scheduler_goes_on_with_the_node_that_held_the_jobs() -> None:
    dispatch = checked(Dispatch())
    assert dispatch.restore(CLIENT, history(), kept(2), 0.0) == []
    assert dispatch.claims() == [Claim(C, TOKEN, 2)]
    effects = join(dispatch, A, b"n" * 16, (2, 1))
    assert sent(effects, A) == [kept(2)]
    effects = dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert [each.jobs for each in sent(effects, A, Run)] == [[3]]
    assert [each.jobs for each in sent(dispatch.receive(A, [ended(outcome(2))], 1.0), CLIENT, Ended)] == [[2]]


def test_what_a_node_holds_that_the_journal_did_not_say_is_written() -> None:
    # Given a life that was killed before it had written that two jobs were placed, of which one was placed again.
    dispatch = checked(Dispatch())
    dispatch.restore(CLIENT, history(), kept(2), 0.0)
    # When the node says what it has, then that is written: their next placements must have other numbers.
    effects = join(dispatch, A, b"n" * 16, (2, 1), (3, 1), (4, 2))
    assert facts(effects) == [Placed(C, Instance(b"n" * 16), [JobId(3), JobId(4)], [1, 2])]


def test_job_whose_node_was_given_up_is_placed_anew_where_its_outcome_was_not_written() -> None:
    known = history(reentrant=True)
    del known.nodes[Instance(b"n" * 16)]
    dispatch = checked(Dispatch())
    dispatch.restore(CLIENT, known, kept(2), 0.0)
    effects = join(dispatch, A, b"m" * 16)
    effects += dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert [(each.jobs, each.attempts) for each in sent(effects, A, Run)] == [([2, 3], [2, 1])]


def test_job_that_never_came_to_its_node_runs_there_again() -> None:
    dispatch = checked(Dispatch())
    dispatch.restore(CLIENT, history(), kept(2), 0.0)
    effects = join(dispatch, A, b"n" * 16)
    effects += dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert [(each.jobs, each.attempts) for each in sent(effects, A, Run)] == [([2, 3], [2, 1])]


def test_node_that_does_not_come_back_is_lost_with_its_jobs() -> None:
    dispatch = checked(Dispatch(lease=30.0))
    dispatch.restore(CLIENT, history(), kept(2), 0.0)
    told = sent(dispatch.tick(31.0), CLIENT, Ended)
    assert [(each.jobs, each.statuses) for each in told] == [([2], [ABANDONED])]


def test_another_life_of_a_node_brings_what_the_former_one_has_written() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [opened(), kept(), run(1, 2)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    dispatch.gone(A, 1.0)
    # When it comes back as another one, with one of the two jobs, then the other one is lost.
    effects = join(dispatch, B, b"m" * 16, (1, 1))
    assert [(each.jobs, each.statuses) for each in sent(effects, CLIENT, Ended)] == [([2], [ABANDONED])]
    assert [each.jobs for each in sent(dispatch.receive(B, [ended(outcome(1))], 2.0), CLIENT, Ended)] == [[1]]


def test_fenced_scheduler_ends_its_jobs_and_all_that_come() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [opened(), kept(), run(1, 2, 3)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    # Not by a node that does not know the token, nor by what was so before.
    for word in (Fenced(C), Fenced(C, b"w" * 16, 9), Fenced(C, TOKEN, 0)):
        assert dispatch.receive(A, [word], 1.0) == []
    effects = dispatch.receive(A, [Fenced(C, TOKEN, 2)], 1.0)
    told = sent(effects, CLIENT)
    assert sorted(told[0].jobs) == [1, 2, 3] and set(told[0].statuses) == {ABANDONED}
    assert told[1] == Fenced(C)
    assert facts(effects) == []
    later = sent(dispatch.receive_from_client(CLIENT, [run(4)], 2.0), CLIENT)
    assert [(each.jobs, each.statuses) for each in later] == [([4], [ABANDONED])]
    # And the node hears nothing more of it.
    effects = dispatch.receive_from_client(CLIENT, [Release(C)], 3.0)
    assert sent(effects, A) == [] and sent(effects, CLIENT) == [Released(C)]


def test_computation_that_was_handed_over_speaks_to_its_new_client() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [opened(), kept(), run(1, 2, 3)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    dispatch.hand_over(C, OTHER)
    assert [each.statuses for each in sent(dispatch.receive(A, [ended(outcome(1))], 1.0), OTHER, Ended)] == [[FINISHED]]


def test_clients_have_parts_by_their_weights() -> None:
    dispatch = checked(Dispatch())
    dispatch.weights[OTHER] = 2.0
    for peer, computation in ((CLIENT, C), (OTHER, D)):
        messages = [Open(computation, ["*"], False), prepare(computation)]
        dispatch.receive_from_client(peer, messages, 0.0)
    dispatch.joined(A, hello(b"n" * 16, "node", 9), ["10.0.0.1"], 51348, 0.0)
    dispatch.receive(A, [Inventory([], [], [])], 0.0)
    for peer, computation in ((CLIENT, C), (OTHER, D)):
        jobs = [JobId(job) for job in range(1, 31)]
        dispatch.receive_from_client(peer, [Run(computation, jobs, [1] * 30, [b""] * 30)], 0.0)
    effects = dispatch.receive(A, [Prepared(C, ""), Prepared(D, "")], 0.0)
    placed = {each.computation: len(each.jobs) for each in sent(effects, A, Run)}
    assert placed == {C: 3, D: 6}


def test_result_of_a_node_that_was_given_up_is_told_when_it_comes_back() -> None:
    # Given a job that was abandoned with its node.
    dispatch = checked(Dispatch(lease=30.0))
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False), prepare(), run(1)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    dispatch.gone(A, 1.0)
    assert [each.statuses for each in sent(dispatch.tick(40.0), CLIENT, Ended)] == [[ABANDONED]]
    # When the node is back, with the result, then the client hears it, and the node may forget it.
    join(dispatch, B, b"n" * 16, (1, 1))
    effects = dispatch.receive(B, [ended(outcome(1))], 50.0)
    assert [each.statuses for each in sent(effects, CLIENT, Ended)] == [[FINISHED]]


def test_when_the_machine_was_off_nodes_are_heard_before_anything_is_placed() -> None:
    # Given a journal whose last words may be missing, and two nodes.
    known = history()
    known.rebooted = True
    dispatch = checked(Dispatch(lease=30.0))
    dispatch.restore(CLIENT, known, kept(2), 0.0)
    dispatch.joined(B, hello(b"m" * 16, "other", 2), ["10.0.0.2"], 51348, 0.0)
    dispatch.receive(B, [Inventory([], [], [])], 0.0)
    assert sent(dispatch.receive(B, [Prepared(C, "")], 0.0), B, Run) == []
    # When the one that was used comes back, and has begun a job of which the journal does not know it.
    effects = join(dispatch, A, b"n" * 16, (2, 1), (3, 1))
    # Then only the other job is placed.
    assert [each.jobs for each in sent(effects, B, Run)] == [[4]]
    # And where it does not come back, the others wait for it no longer than for any node.
    other = checked(Dispatch(lease=30.0))
    other.restore(CLIENT, known, kept(2), 0.0)
    other.joined(B, hello(b"m" * 16, "other", 2), ["10.0.0.2"], 51348, 0.0)
    other.receive(B, [Inventory([], [], []), Prepared(C, "")], 0.0)
    assert [each.jobs for each in sent(other.tick(31.0), B, Run)] == [[3, 4]]


def test_client_that_does_not_take_its_results_gets_no_more_done_meanwhile() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False), prepare(), run(1, 2, 3)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.slow_down(CLIENT, True, 0.0)
    assert sent(dispatch.receive(A, [Prepared(C, "")], 0.0), A, Run) == []
    assert [each.jobs for each in sent(dispatch.slow_down(CLIENT, False, 1.0), A, Run)] == [[1, 2]]


# The object alone


def parts_with_a_job() -> tuple[Parts, Reconciliation]:
    parts = Parts()
    below = parts.placement, parts.provisioning, parts.lifecycle, parts.membership
    reconciliation = Reconciliation(parts.state, parts.reminders, parts.turns, parts.wide_jobs, *below)
    computation = parts.open()
    parts.load(parts.join(A, 1), computation)
    parts.submit(computation, 1)
    parts.placement.place(0.0)
    return parts, reconciliation


def inventory(*held: tuple[int, int]) -> Inventory:
    return Inventory([C], [[JobId(job) for job, _ in held]], [[attempt for _, attempt in held]])


def test_job_that_has_not_arrived_at_its_node_waits_again() -> None:
    parts, reconciliation = parts_with_a_job()
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    reconciliation.on_inventory(node, inventory(), 0.0)
    assert [(each.job, each.attempt) for each in computation.backlog.jobs()] == [(1, 2)]
    parts.check()


def test_attempt_that_is_of_no_interest_is_acknowledged_and_cancelled() -> None:
    parts, reconciliation = parts_with_a_job()
    [node] = parts.state.nodes.values()
    effects = reconciliation.on_inventory(node, inventory((1, 1), (9, 3)), 0.0)
    assert sent(effects, A, OutcomesAcked) == [OutcomesAcked(C, [JobId(9)], [3])]
    assert sent(effects, A, Cancel) == [Cancel(C, [JobId(9)], [3])]
    assert list(node.assignments[C].placed) == [1]


def test_job_that_waits_is_placed_on_the_node_that_holds_it_unless_its_attempt_is_older() -> None:
    parts, reconciliation = parts_with_a_job()
    [computation] = parts.state.computations.values()
    second, third = parts.submit(computation, 2, 3)
    third.attempt = 5
    other = parts.join(B)
    effects = reconciliation.on_inventory(other, inventory((2, 4), (3, 4)), 0.0)
    assert [(job, each.attempt) for job, each in other.assignments[C].placed.items()] == [(2, 4)]
    assert second.cancelled and third.node is None
    assert sent(effects, B, Cancel) == [Cancel(C, [JobId(3)], [4])]
    parts.check()


def test_computation_that_is_not_known_is_released_and_cancelled_jobs_are_cancelled_again() -> None:
    parts, reconciliation = parts_with_a_job()
    [computation], [node] = parts.state.computations.values(), parts.state.nodes.values()
    computation.tasks[JobId(1)].cancelled = True
    effects = reconciliation.on_inventory(node, Inventory([C, D], [[JobId(1)], []], [[1], []]), 0.0)
    assert sent(effects, A, Release) == [Release(D)]
    assert sent(effects, A, Cancel) == [Cancel(C, [JobId(1)], [1])]


def test_former_runs_of_a_node_are_given_up_when_its_inventory_is_known() -> None:
    parts, reconciliation = parts_with_a_job()
    [former] = parts.state.nodes.values()
    parts.membership.gone(A, 0.0)
    parts.membership.joined(B, hello(b"n" * 16, "node1", 1), [former.names[0]], 51348)
    node = parts.state.nodes[Instance(b"n" * 16)]
    [end] = sent(reconciliation.on_inventory(node, Inventory([], [], []), 0.0), CLIENT, Ended)
    assert "it was started again" in end.exceptions[0] and list(parts.state.nodes.values()) == [node]
    parts.check()


def test_a_node_that_came_back_from_elsewhere_is_not_given_up_for_another_one_at_its_former_address() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [opened(), kept(), run(1)], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    # Given a node that is away with a job, and another one that is reached at its address.
    dispatch.gone(A, 1.0)
    dispatch.joined(B, hello(b"m" * 16, "node", 2), ["10.0.0.1"], 51348, 2.0)
    # When the first comes back from another address before the second has reported what it holds.
    back = Peer(3)
    dispatch.joined(back, hello(b"n" * 16, "node", 2), ["10.0.0.7"], 51348, 2.0)
    dispatch.receive(back, [Inventory([C], [[JobId(1)]], [[1]])], 2.0)
    assert sent(dispatch.receive(B, [Inventory([], [], [])], 3.0), CLIENT, Ended) == []
    # Then it keeps its job, also when its connection breaks.
    dispatch.gone(back, 4.0)
    join(dispatch, back, b"n" * 16, (1, 1))
    assert [each.statuses for each in sent(dispatch.receive(back, [ended(outcome(1))], 5.0), CLIENT, Ended)] == [
        [FINISHED]
    ]


def test_a_node_that_was_to_be_left_while_it_was_away_is_left_when_it_is_back() -> None:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False), prepare()], 0.0)
    dispatch.receive_from_client(OTHER, [Open(D, ["*"], False), prepare(D)], 0.0)
    dispatch.receive_from_client(OTHER, [Run(D, [JobId(1)], [1], [b""])], 0.0)
    join(dispatch, A, b"n" * 16)
    dispatch.receive(A, [Prepared(C, ""), Prepared(D, "")], 0.0)
    # Given that it is away, with a job of the other computation, when its client closes it.
    dispatch.gone(A, 1.0)
    dispatch.receive_from_client(CLIENT, [NodeCommand(C, 1, "close", Instance(b"n" * 16), 0.0)], 2.0)
    # When it comes back with both loaded, then it is left.
    dispatch.joined(B, hello(b"n" * 16, "node", 2), ["10.0.0.1"], 51348, 3.0)
    held = Inventory([C, D], [[], [JobId(1)]], [[], [1]])
    assert Release(C) in sent(dispatch.receive(B, [held], 3.0), B)
