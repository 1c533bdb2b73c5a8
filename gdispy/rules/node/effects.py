"""The effects of the node's rules, in addition to those of all rules (`rules/effects.py`).

The shell performs effects in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdispy.protocol.ids import ComputationId, JobId, Peer, WorkerId
from gdispy.protocol.messages import LogRequest, Prepare, PutFile
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import record
from gdispy.protocol.rows import RunningJobRow
from gdispy.rules.effects import Effect

if TYPE_CHECKING:
    from gdispy.rules.node.job import Job


@record
class Load(Effect):
    """Put the received files in place and start a template; answer with `loaded`."""

    prepare: Prepare
    #: Contents by their indexes in `prepare.files`.
    arrived: dict[int, Bulk]


@record
class FindMissingFiles(Effect):
    """Find out which files of the computation are missing; answer with `looked`."""

    prepare: Prepare


@record
class PutFiles(Effect):
    """Put files into the computation's directory; answer with `delivered`."""

    prepare: Prepare
    deliver: PutFile


@record
class AnswerFile(Effect):
    """Report to a job in the worker's hand the result of sending its file."""

    worker: WorkerId
    job: JobId
    attempt: int
    #: As in `Upload`.
    number: int
    error: str


@record
class Unload(Effect):
    """End the template and all its descendants, and remove the files; answer with `unloaded`."""

    computation: ComputationId


@record
class NewWorker(Effect):
    """Fork a worker from the computation's template."""

    worker: WorkerId
    computation: ComputationId


@record
class AssignJobs(Effect):
    """Put these jobs into the worker's socket."""

    worker: WorkerId
    jobs: list[Job]


@record
class RecallJobs(Effect):
    """Take all jobs back out of the worker's socket; answer with `took_back`."""

    worker: WorkerId


@record
class FollowJob(Effect):
    """Report with `printed` what the job in the worker's hand prints from now on, until it ends."""

    worker: WorkerId
    job: JobId
    attempt: int


@record
class LookAt(Effect):
    """Find out what the job in the worker's hand does; answer with `seen`."""

    worker: WorkerId
    question: int
    #: What is known already, as in `Explained`.
    facts: list[str]


@record
class ListJobs(Effect):
    """Find out what the jobs in the workers' hands use, and send the rows."""

    peer: Peer
    question: int
    rows: list[tuple[WorkerId, RunningJobRow]]
    #: As in `RunningJobs`.
    left_out: int


@record
class ShowLog(Effect):
    """Send records of the log of this node."""

    peer: Peer
    request: LogRequest


@record
class Interrupt(Effect):
    """Raise KeyboardInterrupt in the job, if it is the running one."""

    worker: WorkerId
    job: JobId
    attempt: int


@record
class Terminate(Effect):
    """SIGTERM to the worker and all processes that it started."""

    worker: WorkerId


@record
class Kill(Effect):
    """SIGKILL to the worker and all processes that it started."""

    worker: WorkerId


@record
class Shutdown(Effect):
    """The node has completed its work, and ends."""
