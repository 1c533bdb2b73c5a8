"""What the rules ask of the shell that drives them.

Floor 1. Rules return lists of these; a shell performs them in order. A shell knows only its own
role's effects, and `Send`, which all share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NewType

from gdispy.core.messages import ComputationId, Ended, JobId, Message, Prepare, Progress, Standing, Started

if TYPE_CHECKING:
    from gdispy.core.holding import Job

#: Names one connection, or one end of a pair; a new one for each.
Peer = NewType("Peer", int)
#: Names one worker process of a node; never used again.
WorkerId = NewType("WorkerId", int)


class Effect:
    """Base of all effects."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Send(Effect):
    """Any role: send to a peer; nothing happens where it is gone."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Drop(Effect):
    """Any role: close the connection, telling the peer why."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Resolve(Effect):
    """Client: these jobs of the message have ended; `picks` are places in its columns, None is all."""

    ended: Ended
    picks: list[int] | None


@dataclass(frozen=True, slots=True)
class Show(Effect):
    """Client: these jobs run."""

    started: Started


@dataclass(frozen=True, slots=True)
class Provide(Effect):
    """Client: a provisional result."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Tell(Effect):
    """Client: the user must hear this."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer(Effect):
    """Client: the answer to a question of the user."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Closed(Effect):
    """Client: nothing of the computation is left on any node."""

    computation: ComputationId


@dataclass(frozen=True, slots=True)
class Load(Effect):
    """Node: put the files in place and start a template; answer with `loaded`."""

    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Unload(Effect):
    """Node: end the template with all below, and remove the files; answer with `unloaded`."""

    computation: ComputationId


@dataclass(frozen=True, slots=True)
class NewWorker(Effect):
    """Node: fork a worker from the template of the computation."""

    worker: WorkerId
    computation: ComputationId


@dataclass(frozen=True, slots=True)
class Hand(Effect):
    """Node: put these jobs into the worker's socket."""

    worker: WorkerId
    jobs: list[Job]


@dataclass(frozen=True, slots=True)
class TakeBack(Effect):
    """Node: take all jobs out of the worker's socket again; answer with `took_back`."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Interrupt(Effect):
    """Node: KeyboardInterrupt for the job, if it is the one that runs."""

    worker: WorkerId
    job: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class Terminate(Effect):
    """Node: SIGTERM to the worker and all that it started."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class End(Effect):
    """Node: SIGKILL to the worker and all that it started."""

    worker: WorkerId


Effects = list[Any]
