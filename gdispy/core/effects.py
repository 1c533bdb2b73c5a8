"""What the rules ask of the shell that drives them.

Floor 1. Rules return lists of these; a shell performs them in order. A shell knows only its own
role's effects, and `Send`, which all share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NewType

from gdispy.core.messages import (
    Appeared,
    ComputationId,
    Deliver,
    Ended,
    Event,
    JobId,
    Message,
    Prepare,
    Progress,
    Reply,
    Standing,
    Started,
    Upload,
)
from gdispy.core.payloads import Bulk
from gdispy.core.record import Fields, record

if TYPE_CHECKING:
    from gdispy.core.holding import Job

#: Names one connection, or one end of a pair; a new one for each.
Peer = NewType("Peer", int)
#: Names one worker process of a node; never used again.
WorkerId = NewType("WorkerId", int)


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
class Record(Effect):
    """Scheduler, node: write this into the journal of the computation, before what follows is done."""

    computation: ComputationId
    facts: list[Message]


@record
class Resolve(Effect):
    """Client: these jobs of the message have ended; `picks` are places in its columns, None is all."""

    ended: Ended
    picks: list[int] | None


@record
class Show(Effect):
    """Client: these jobs run."""

    started: Started


@record
class Provide(Effect):
    """Client: a provisional result."""

    progress: Progress


@record
class Tell(Effect):
    """Client: the user must hear this."""

    text: str


@record
class Answer(Effect):
    """Client: the answer to a question of the user."""

    answer: Standing | Reply


@record
class Late(Effect):
    """Client: these jobs of the message had ended before, perhaps since their node had been given up."""

    ended: Ended
    picks: list[int]


@record
class Lost(Effect):
    """Client: another process has the computation now, with all that is remembered of it."""


@record
class Decide(Effect):
    """Client: shall this node be used? Answer with `Take`."""

    appeared: Appeared


@record
class Happen(Effect):
    """Client: something has happened to a node."""

    event: Event


@record
class Store(Effect):
    """Client: a job sends a file. Put it in its place and answer with `Uploaded`."""

    upload: Upload


@record
class Closed(Effect):
    """Client: nothing of the computation is left on any node."""

    computation: ComputationId


@record
class Load(Effect):
    """Node: put the files that have arrived in place and start a template; answer with `loaded`."""

    prepare: Prepare
    #: Contents by their places in `prepare.files`.
    arrived: dict[int, Bulk]


@record
class Look(Effect):
    """Node: find out which files of the computation are not there; answer with `looked`."""

    prepare: Prepare


@record
class Place(Effect):
    """Node: put files into the directory of the computation; answer with `delivered`."""

    prepare: Prepare
    deliver: Deliver


@record
class AnswerFile(Effect):
    """Node: tell the job in the worker's hand what came of the file that it sent."""

    worker: WorkerId
    error: str


@record
class Unload(Effect):
    """Node: end the template with all below, and remove the files; answer with `unloaded`."""

    computation: ComputationId


@record
class NewWorker(Effect):
    """Node: fork a worker from the template of the computation."""

    worker: WorkerId
    computation: ComputationId


@record
class Hand(Effect):
    """Node: put these jobs into the worker's socket."""

    worker: WorkerId
    jobs: list[Job]


@record
class TakeBack(Effect):
    """Node: take all jobs out of the worker's socket again; answer with `took_back`."""

    worker: WorkerId


@record
class Interrupt(Effect):
    """Node: KeyboardInterrupt for the job, if it is the one that runs."""

    worker: WorkerId
    job: JobId
    attempt: int


@record
class Terminate(Effect):
    """Node: SIGTERM to the worker and all that it started."""

    worker: WorkerId


@record
class End(Effect):
    """Node: SIGKILL to the worker and all that it started."""

    worker: WorkerId


@record
class Leave(Effect):
    """Node: it has done what it was to do, and ends."""


Effects = list[Any]
