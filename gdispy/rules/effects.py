"""What the rules ask of the shell that drives them.

Rules return lists of these; a shell performs them in order. A shell knows only its own
role's effects, and `Send`, which all share.
"""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId, Peer
from gdispy.protocol.messages import Message
from gdispy.protocol.record import Fields, record


class Effect(Fields):
    """Base of all effects."""

    __slots__ = ()


@record
class Send(Effect):
    """Any role: send to a peer; nothing happens where it is gone."""

    peer: Peer
    message: Message


@record
class Drop(Effect):
    """Any role: close the connection, telling the peer why."""

    peer: Peer
    reason: str


@record
class WriteFacts(Effect):
    """Scheduler, node: write this into the journal of the computation, before what follows is done."""

    computation: ComputationId
    facts: list[Message]


Effects = list[Any]
