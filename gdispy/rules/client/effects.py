"""What the client's rules ask of the cluster that drives them, beside what all rules may ask (`rules/effects.py`).

Pure. A shell performs effects in their order.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import Appeared, Ended, Event, Progress, Reply, Standing, Started, Upload
from gdispy.protocol.record import record
from gdispy.rules.effects import Effect


@record
class Resolve(Effect):
    """These jobs of the message have ended; `picks` are places in its columns, None is all."""

    ended: Ended
    picks: list[int] | None


@record
class Show(Effect):
    """These jobs run."""

    started: Started


@record
class Provide(Effect):
    """A provisional result."""

    progress: Progress


@record
class Tell(Effect):
    """The user must hear this."""

    text: str


@record
class Answer(Effect):
    """The answer to a question of the user."""

    answer: Standing | Reply


@record
class Late(Effect):
    """These jobs of the message had ended before, perhaps since their node had been given up."""

    ended: Ended
    picks: list[int]


@record
class Lost(Effect):
    """Another process has the computation now, with all that is remembered of it."""


@record
class Decide(Effect):
    """Shall this node be used? Answer with `Take`."""

    appeared: Appeared


@record
class Happen(Effect):
    """Something has happened to a node."""

    event: Event


@record
class Store(Effect):
    """A job sends a file. Put it in its place and answer with `Uploaded`."""

    upload: Upload


@record
class Closed(Effect):
    """Nothing of the computation is left on any node."""

    computation: ComputationId
