"""The facts of a journal, named in the past tense. Messages are facts too, once they were accepted.

Pure. `journal/file.py` writes facts as the arrays that messages are; `replay.py` reads them.

The journal of a client or scheduler holds `Open`, `Prepare`, `Run`, `Cancel`, `SetPriority` and `Release` as they were
accepted, `Ended` as it was received, `OutcomesAcked` for outcomes that are not needed any more, and the facts below.
"""

from __future__ import annotations

from gdispy.protocol.field_checks import (
    is_computation,
    is_count,
    is_count_column,
    is_instance,
    is_node_name,
    is_option_column,
    is_text,
    is_text_column,
    is_time_column,
)
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.message import Message, read_values
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    JobNames,
    Open,
    OutcomesAcked,
    Prepare,
    Progress,
    ProgressAcked,
    Release,
    Released,
    Run,
    SetPriority,
)
from gdispy.protocol.record import record
from gdispy.protocol.rows import JobOptions


@record
class Began(Message):
    """A process began to keep this journal: its kind ('client', 'scheduler' or 'node'), and the number of its run."""

    tag = 100
    shape = (is_text, is_instance, is_count, is_text, is_text, is_text, is_count)
    kind: str
    instance: Instance
    epoch: int
    version: str
    #: Identifies the time since the machine was started, or ''.
    boot: str
    host: str
    pid: int


@record
class Owned(Message):
    """The owner of a computation: the client that submitted it, the name of the computation or the client, and the
    scheduler that it was submitted to, '' for one within the client."""

    tag = 101
    shape = (is_computation, is_node_name, is_text, is_text)
    computation: ComputationId
    client: bytes
    name: str
    place: str


@record
class Met(Message):
    """A node that was used for the computation, as first connected."""

    tag = 102
    shape = (is_computation, is_instance, is_text, is_text_column, is_count, is_text, is_text, is_count)
    computation: ComputationId
    node: Instance
    name: str
    names: list[str]
    port: int
    python: str
    platform: str
    cpus: int


@record
class Placed(Message):
    """These jobs were about to be sent to a node: from now on they may have begun there."""

    tag = 103
    shape = (is_computation, is_instance, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    node: Instance
    jobs: list[JobId]
    attempts: list[int]


@record
class Unplaced(Message):
    """These jobs are on no node any more and may be placed again; `attempts` are their next ones, `losses` the
    numbers of their nodes that were lost."""

    tag = 104
    shape = (is_computation, is_count_column, is_count_column, is_count_column)
    columns = ("jobs", "attempts", "losses")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    losses: list[int]


@record
class GivenUp(Message):
    """The node counts as lost; if it returns, it is a different node for this computation."""

    tag = 106
    shape = (is_computation, is_instance)
    computation: ComputationId
    node: Instance


@record
class Announced(Message):
    """These jobs were submitted, and their arguments are still at their client; `options` as in `Run`."""

    tag = 107
    shape = (is_computation, is_count_column, is_option_column)
    row_types = {"options": JobOptions}
    parts = ("jobs", "options")
    computation: ComputationId
    jobs: list[JobId]
    options: list[JobOptions | None]


@record
class Told(Message):
    """The user's callback was called for the ends of these jobs."""

    tag = 105
    shape = (is_computation, is_count_column)
    parts = ("jobs",)
    computation: ComputationId
    jobs: list[JobId]


@record
class Submitted(Message):
    """When jobs were submitted, in seconds since the epoch: each time is that of the job with this number and of those
    after it, up to the next entry."""

    tag = 108
    shape = (is_computation, is_count_column, is_time_column)
    columns = ("jobs", "times")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    times: list[float]


KINDS: tuple[type[Message], ...] = (
    *(Began, Owned, Met, Placed, Unplaced, GivenUp, Announced, Told, Submitted),
    *(Open, Prepare, Run, JobNames, Cancel, SetPriority, Release, Released),
    *(Ended, Progress, ProgressAcked, OutcomesAcked),
)
_BY_TAG: dict[int, type[Message]] = {kind.tag: kind for kind in KINDS}


def computation_of(values: object) -> ComputationId | None:
    """The computation that the array of a fact concerns, whatever else is in it; None if it concerns none."""
    if type(values) is not list or len(values) < 2 or values[0] not in _BY_TAG or not is_computation(values[1]):
        return None
    return ComputationId(values[1])


def from_values(values: object) -> Message:
    """The fact in an array that was read. Raises ProtocolError if it is not a fact."""
    return read_values(values, _BY_TAG)
