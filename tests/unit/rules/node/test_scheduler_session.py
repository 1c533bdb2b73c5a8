"""A scheduler that a node works for, while it is connected and while it is away."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.messages import NO_LIMIT
from gdispy.rules.node.scheduler_session import SchedulerSession


def test_messages_come_only_from_a_scheduler_that_is_connected() -> None:
    session = SchedulerSession(Instance(b"s" * 16), "lab")
    with pytest.raises(InternalError, match="a message came from a scheduler that is away"):
        session.connected()
    session.peer = Peer(0)
    assert session.connected() == 0


def test_new_scheduler_may_use_all_cpus_and_has_done_nothing_here() -> None:
    session = SchedulerSession(Instance(b"s" * 16), "lab")
    assert (session.cpus, session.epoch, session.expires) == (NO_LIMIT, 0, None)
    assert not session.was_served and not session.recovers
