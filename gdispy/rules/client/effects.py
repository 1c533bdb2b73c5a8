"""What the client's rules ask of the cluster that drives them, beside what all rules may ask (`rules/effects.py`).

Pure. A shell performs effects in their order.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Ended, Event, NodeFound, Progress, Reply, Started, Status, Upload
from gdispy.protocol.record import record
from gdispy.rules.effects import Effect


@record
class Resolve(Effect):
    """These jobs of the message have ended; `picks` are places in its columns, None is all."""

    ended: Ended
    picks: list[int] | None


@record
class JobsStarted(Effect):
    """These jobs run."""

    started: Started


@record
class ProvisionalResult(Effect):
    """A provisional result."""

    progress: Progress


@record
class Notify(Effect):
    """The user must hear this."""

    text: str


@record
class Answer(Effect):
    """The answer to a question of the user."""

    answer: Status | Reply


@record
class LateResult(Effect):
    """These jobs of the message had ended before, perhaps since their node had been given up."""

    ended: Ended
    picks: list[int]


@record
class TakenOver(Effect):
    """Another process has the computation now, with all that is remembered of it."""


@record
class ChooseNode(Effect):
    """Shall this node be used? Answer with `UseNode`."""

    appeared: NodeFound


@record
class NodeEvent(Effect):
    """Something has happened to a node."""

    event: Event


@record
class SaveFile(Effect):
    """A job sends a file. Put it in its place and answer with `Uploaded`."""

    upload: Upload


@record
class ComputationClosed(Effect):
    """Nothing of the computation is left on any node."""

    computation: ComputationId
