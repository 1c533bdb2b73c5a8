"""Two joined ends in memory."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.messages import Message, Release
from gdispy.transport.memory_pair import pair
from tests.unit.builders import C, D


def test_what_goes_into_an_end_is_given_on_at_once() -> None:
    first: list[list[Message]] = []
    second: list[list[Message]] = []
    one, other = pair(first.append, second.append)
    one.send(Release(C))
    other.send(Release(D))
    assert (first, second) == ([[Release(C)]], [[Release(D)]])


def test_ends_know_each_other_and_have_names_of_their_own() -> None:
    one, other = pair(lambda messages: None, lambda messages: None)
    assert one.other is other and other.other is one
    third, _ = pair(lambda messages: None, lambda messages: None)
    assert len({one.peer, other.peer, third.peer}) == 3


def test_client_of_the_own_process_is_never_refused() -> None:
    one, _ = pair(lambda messages: None, lambda messages: None)
    with pytest.raises(InternalError, match="too many"):
        one.drop("too many")
