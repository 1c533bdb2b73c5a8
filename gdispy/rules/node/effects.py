"""What the node's rules ask of the node that drives them, beside what all rules may ask (`rules/effects.py`).

A shell performs effects in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdispy.protocol.ids import ComputationId, JobId, WorkerId
from gdispy.protocol.messages import Prepare, PutFile
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import record
from gdispy.rules.effects import Effect

if TYPE_CHECKING:
    from gdispy.rules.node.job import Job


@record
class Load(Effect):
    """Put the files that have arrived in place and start a template; answer with `loaded`."""

    prepare: Prepare
    #: Contents by their places in `prepare.files`.
    arrived: dict[int, Bulk]


@record
class FindMissingFiles(Effect):
    """Find out which files of the computation are not there; answer with `looked`."""

    prepare: Prepare


@record
class PutFiles(Effect):
    """Put files into the directory of the computation; answer with `delivered`."""

    prepare: Prepare
    deliver: PutFile


@record
class AnswerFile(Effect):
    """Tell the job in the worker's hand what came of the file that it sent."""

    worker: WorkerId
    error: str


@record
class Unload(Effect):
    """End the template with all below, and remove the files; answer with `unloaded`."""

    computation: ComputationId


@record
class NewWorker(Effect):
    """Fork a worker from the template of the computation."""

    worker: WorkerId
    computation: ComputationId


@record
class AssignJobs(Effect):
    """Put these jobs into the worker's socket."""

    worker: WorkerId
    jobs: list[Job]


@record
class RecallJobs(Effect):
    """Take all jobs out of the worker's socket again; answer with `took_back`."""

    worker: WorkerId


@record
class Interrupt(Effect):
    """KeyboardInterrupt for the job, if it is the one that runs."""

    worker: WorkerId
    job: JobId
    attempt: int


@record
class Terminate(Effect):
    """SIGTERM to the worker and all that it started."""

    worker: WorkerId


@record
class Kill(Effect):
    """SIGKILL to the worker and all that it started."""

    worker: WorkerId


@record
class Shutdown(Effect):
    """It has done what it was to do, and ends."""
