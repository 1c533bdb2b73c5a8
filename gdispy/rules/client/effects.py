"""Effects of the client's rules, in addition to those of all rules (`rules/effects.py`).

Pure. The shell performs effects in order.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import (
    Ended,
    Event,
    Explained,
    NodeFound,
    Printed,
    Progress,
    Reply,
    Started,
    Status,
    Upload,
)
from gdispy.protocol.record import record
from gdispy.rules.effects import Effect


@record
class Resolve(Effect):
    """These jobs of the message have ended; `picks` are indices in its columns, None is all."""

    ended: Ended
    picks: list[int] | None


@record
class JobsStarted(Effect):
    """These jobs have started."""

    started: Started


@record
class ProvisionalResult(Effect):
    """A provisional result."""

    progress: Progress


@record
class OutputArrived(Effect):
    """A followed job has printed something."""

    printed: Printed


@record
class Notify(Effect):
    """A text for the user."""

    text: str


@record
class Answer(Effect):
    """The answer to a request of the user."""

    answer: Status | Reply | Explained


@record
class LateResult(Effect):
    """These jobs of the message had ended before, perhaps because their node had been given up."""

    ended: Ended
    picks: list[int]


@record
class TakenOver(Effect):
    """Another process owns the computation now, including its recovery file."""


@record
class ChooseNode(Effect):
    """Asks whether to use this node. The answer is `UseNode`."""

    appeared: NodeFound


@record
class NodeEvent(Effect):
    """An event of a node."""

    event: Event


@record
class SaveFile(Effect):
    """A job sends a file. Store it and answer with `Uploaded`."""

    upload: Upload


@record
class ComputationClosed(Effect):
    """All nodes have released the computation."""

    computation: ComputationId
