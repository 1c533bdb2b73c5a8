"""Effects: actions that the rules request from the shell that drives them.

Rules return lists of these; a shell performs them in order. A shell knows only its role's effects, and those that all
roles share.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, Peer
from gdispy.protocol.messages import Message
from gdispy.protocol.record import Fields, record


class Effect(Fields):
    """Base of all effects."""

    __slots__ = ()


@record
class Send(Effect):
    """All roles: send to a peer; no effect if the peer is gone."""

    peer: Peer
    message: Message


@record
class Drop(Effect):
    """All roles: close the connection, with the reason for the peer."""

    peer: Peer
    reason: str


@record
class WriteFacts(Effect):
    """Scheduler, node: write these facts to the journal of the computation, before the following effects."""

    computation: ComputationId
    facts: list[Message]


Effects = list[Effect]
