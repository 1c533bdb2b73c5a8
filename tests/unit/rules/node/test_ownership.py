"""Whose a computation is."""

from __future__ import annotations

import pytest

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Fenced
from gdispy.rules.effects import Send
from gdispy.rules.node import ownership
from gdispy.rules.node.ownership import Ownership
from gdispy.rules.node.state import NodeState
from tests.unit.builders import C
from tests.unit.rules.node.building import TOKEN, A, B, computation, session

FORMER, LATER = session(), session(b"l" * 16, B)


def owned(token: bytes = TOKEN) -> tuple[NodeState, Ownership]:
    """A computation of `FORMER` with epoch 1."""
    state = NodeState()
    state.add(computation(FORMER, token=token))
    owners = Ownership(state)
    owners.note(state.computations[C])
    return state, owners


def test_later_epoch_takes_over_and_the_former_owner_is_fenced() -> None:
    state, owners = owned()
    assert owners.claim(LATER, C, TOKEN, 2) == [Send(A, Fenced(C, TOKEN, 2))]
    assert (state.computations[C].session, state.computations[C].epoch) == (LATER, 2)
    assert owners.is_behind(C, TOKEN, 1) and not owners.is_behind(C, TOKEN, 2)


def test_same_epoch_is_refused_to_another_scheduler_and_nothing_new_to_its_own() -> None:
    state, owners = owned()
    assert owners.claim(LATER, C, TOKEN, 1) == [Send(B, Fenced(C, TOKEN, 1))]
    assert owners.claim(FORMER, C, TOKEN, 1) == []
    assert state.computations[C].session is FORMER


def test_wrong_token_gets_nothing_and_hears_nothing() -> None:
    state, owners = owned()
    assert owners.claim(LATER, C, b"w" * 16, 9) == []
    assert not owners.is_due(C, b"w" * 16, 9) and not owners.is_behind(C, b"w" * 16, 0)
    assert state.computations[C].session is FORMER


def test_fence_outlives_the_computation() -> None:
    state, owners = owned()
    owners.claim(LATER, C, TOKEN, 2)
    state.remove(state.computations[C])
    assert owners.claim(FORMER, C, TOKEN, 1) == [Send(A, Fenced(C, TOKEN, 2))]
    assert owners.claim(FORMER, C, TOKEN, 2) == []


def test_computation_without_a_token_is_not_remembered() -> None:
    _, owners = owned(token=b"")
    assert owners.fenced(C) == Fenced(C, b"", 0)


def test_those_that_changed_least_recently_are_forgotten_where_many_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ownership, "EPOCHS_LIMIT", 2)
    owners = Ownership(NodeState())
    numbers = [ComputationId(bytes([each]) * 8) for each in range(3)]
    for number in (*numbers[:2], numbers[0], numbers[2]):
        owners.note(computation(number=number, token=TOKEN))
    assert [owners.is_behind(number, TOKEN, 0) for number in numbers] == [True, False, True]
