"""A node as the scheduler knows it: stages, CPUs, and what is placed on it."""

from __future__ import annotations

import itertools

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.messages import Prepared
from gdispy.rules.scheduler.assignment import AssignmentStage, Use
from gdispy.rules.scheduler.node_record import BULK_LIMIT, MOVES, CpuOffer, NodeStage, to_node
from tests.unit.builders import Announced, C
from tests.unit.rules.scheduler.builders import Parts, task


@pytest.mark.parametrize(("begin", "end"), list(itertools.product(NodeStage, repeat=2)))
def test_only_legal_moves_between_stages_are_made(begin: NodeStage, end: NodeStage) -> None:
    node = Parts().join()
    node.stage = begin
    if end is begin or end in MOVES[begin]:
        node.move(end)
        assert node.stage is end
    else:
        with pytest.raises(InternalError, match=f"from {begin.name} to {end.name}"):
            node.move(end)


def test_lost_node_stays_lost_and_nobody_speaks_to_a_node_that_is_away() -> None:
    assert MOVES[NodeStage.LOST] == set()
    node = Parts().join()
    node.peer = None
    with pytest.raises(InternalError, match="away"):
        to_node(node, Prepared(C, ""))


@pytest.mark.parametrize(("allowed", "usable"), [(1, 1), (9, 4), (0, 0), (-1, 3), (-9, 0)])
def test_user_allows_some_of_the_cpus_or_all_but_some(allowed: int, usable: int) -> None:
    offer = CpuOffer(4)
    offer.allow(allowed)
    assert offer.usable() == usable
    offer.change(0, "it is night")
    assert (offer.usable(), offer.most, offer.reason) == (0, 4, "it is night")


def test_there_is_room_only_on_an_active_node_that_has_loaded_the_computation_and_is_not_to_leave_it() -> None:
    parts = Parts()
    node = parts.join()
    assignment = parts.load(node, parts.open())
    assert (node.room_for(assignment), node.has_room(), node.most_for(C)) == (2, True, 2)
    uses = [("use", each) for each in (Use.CLOSED, Use.CLOSING, Use.RESETTING)]
    for name, value in (*uses, ("stage", AssignmentStage.LOADING)):
        before = getattr(assignment, name)
        setattr(assignment, name, value)
        assert (node.room_for(assignment), node.has_room(), node.most_for(C)) == (0, False, 0)
        setattr(assignment, name, before)
    for name, value in (("silent", True), ("stage", NodeStage.JOINED)):
        before = getattr(node, name)
        setattr(node, name, value)
        assert (node.room_for(assignment), node.most_for(C)) == (0, 0)
        setattr(node, name, before)
    assert node.room_for(assignment) == 2


def test_what_is_placed_is_counted_for_the_node_the_assignment_and_the_client_and_removed_again() -> None:
    parts = Parts()
    node = parts.join(cpus=4)
    assignment = parts.load(node, parts.open())
    one, wide = task(1), task(2, cpus=2)
    one.arguments = Announced(BULK_LIMIT)
    node.put(assignment, one)
    node.put(assignment, wide)
    assert (node.load, assignment.load, assignment.owner.load, node.sharers) == (3, 3, 3, 1)
    assert node.is_full_of_bytes() and not node.has_room_for(assignment, wide)
    node.remove(assignment, one.job)
    assert (node.load, node.bulk, one.node) == (2, 0, None)
    node.forget(assignment)
    assert (node.load, assignment.load, assignment.owner.load, node.sharers) == (0, 0, 0, 0)
