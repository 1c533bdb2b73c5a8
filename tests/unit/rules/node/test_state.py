"""The tables of what is on a node."""

from __future__ import annotations

from gdispy.rules.node.state import NodeState
from gdispy.rules.node.worker import Worker
from tests.unit.builders import C, D
from tests.unit.rules.node.building import W1, B, computation, session

OWN, OTHER = session(), session(b"o" * 16, B)


def state() -> NodeState:
    made = NodeState()
    made.add(computation(OWN, C))
    made.add(computation(OTHER, D))
    return made


def test_computation_is_found_by_its_own_scheduler_only() -> None:
    made = state()
    assert made.own(OWN, C) is made.computations[C]
    assert made.own(OWN, D) is None and made.own(OTHER, C) is None
    assert made.of(OTHER) == [made.computations[D]]


def test_something_is_here_of_a_scheduler_until_its_last_computation_is_unloaded() -> None:
    made = state()
    made.remove(made.computations[C])
    made.unload(C, OWN)
    assert made.has_anything_of(OWN)
    assert made.unloaded(C) is OWN
    assert made.unloaded(C) is None
    assert not made.has_anything_of(OWN) and made.has_anything_of(OTHER)


def test_worker_comes_and_goes_in_both_tables() -> None:
    made = state()
    worker = Worker(W1, made.computations[C])
    made.add_worker(worker)
    assert made.workers == {W1: worker} == made.computations[C].workers
    made.remove_worker(worker)
    assert made.workers == {} == made.computations[C].workers
