"""Which scheduler owns a computation, if several can prove ownership.

Applies to computations with a token.

Invariant: a computation belongs to one session: the last that claimed it, with the greatest epoch.
"""

from __future__ import annotations

from typing import NamedTuple

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Fenced, Message
from gdispy.rules.effects import Effects, Send
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.state import NodeState

#: Limit of removed computations of which the epoch is remembered.
EPOCHS_LIMIT = 4096


class Title(NamedTuple):
    """How often a computation was taken over, and the token that proves ownership."""

    epoch: int
    token: bytes


class Ownership:
    """Takes computations over, and fences the previous owners."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        #: Those of removed computations included.
        self._titles: dict[ComputationId, Title] = {}

    def note(self, computation: Computation) -> None:
        """Remember the owner, for longer than the computation is here."""
        if computation.has_token:
            self._titles.pop(computation.id, None)
            self._titles[computation.id] = Title(computation.epoch, computation.prepare.token)
            if len(self._titles) > EPOCHS_LIMIT:
                del self._titles[next(iter(self._titles))]

    def is_due(self, computation: ComputationId, token: bytes, epoch: int) -> bool:
        """Whether a scheduler with this token and epoch may have the computation."""
        known = self._state.computations.get(computation)
        return known is not None and known.prepare.token == token and epoch >= known.epoch

    def is_behind(self, computation: ComputationId, token: bytes, epoch: int) -> bool:
        """Whether the computation was taken over since a scheduler with this token and epoch owned it."""
        title = self._titles.get(computation)
        return title is not None and title.epoch > epoch and title.token == token

    def fenced(self, computation: ComputationId) -> Message:
        """The message for a fenced scheduler. Its token proves that the node did not invent it."""
        title = self._titles.get(computation, Title(0, b""))
        return Fenced(computation, title.token, title.epoch)

    def claim(self, session: SchedulerSession, computation: ComputationId, token: bytes, epoch: int) -> Effects:
        """Assign a claimed computation to a scheduler, and notify the previous owner, or a claimant that is fenced."""
        known = self._state.computations.get(computation)
        if known is not None:
            is_news = known.session is not session or known.epoch != epoch
            return self._take_over(session, known, token, epoch) if is_news else []
        return self._fence(session, computation) if self.is_behind(computation, token, epoch) else []

    def _take_over(self, session: SchedulerSession, known: Computation, token: bytes, epoch: int) -> Effects:
        former = known.session
        if not self.is_due(known.id, token, epoch) or (former is not session and epoch == known.epoch):
            return self._fence(session, known.id) if known.prepare.token == token else []
        known.session, known.epoch = session, epoch
        self.note(known)
        return self._fence(former, known.id) if former is not session and former.peer is not None else []

    def _fence(self, session: SchedulerSession, computation: ComputationId) -> Effects:
        return [Send(session.connected(), self.fenced(computation))]
