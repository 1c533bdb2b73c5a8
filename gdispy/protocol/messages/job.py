"""Messages about jobs. They are organised in columns: the same index in each column belongs to one job.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from gdispy.protocol.field_checks import (
    is_bulk,
    is_bulk_column,
    is_computation,
    is_content_column,
    is_count,
    is_count_column,
    is_file_list,
    is_left_out_column,
    is_node_name,
    is_number,
    is_option_column,
    is_status_column,
    is_text,
    is_text_column,
    is_time_column,
)
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import fields, record
from gdispy.protocol.rows import FileFields, JobOptions


@record
class Run(Message):
    """Run these jobs: from a client to a scheduler, and from a scheduler to a node."""

    tag = 12
    shape = (is_computation, is_count_column, is_count_column, is_bulk_column, is_option_column)
    row_types = {"options": JobOptions}
    columns = ("jobs", "attempts", "arguments")
    parts = (*columns, "options")
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    arguments: list[Bulk]
    #: Empty if no job has options, else None or `[node, priority, seconds, cpus, bytes of memory, names, files,
    #: contents]` for each: the required node, the priority, limits (0: none), and additional dependencies: pickled
    #: names, and files that exist as long as it runs.
    options: list[JobOptions | None] = field(default_factory=list)

    def problem(self) -> str:
        is_even = not self.options or len(self.options) == len(self.jobs)
        return "" if is_even else "Run has options for some of its jobs only"


@record
class Cancel(Message):
    """End these jobs, waiting or running."""

    tag = 13
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class Withdraw(Message):
    """End these jobs if they have not begun. The answer of a scheduler is `Reply`, with the jobs that were on no node;
    a node does not answer."""

    tag = 42
    shape = (is_computation, is_count, is_count_column)
    computation: ComputationId
    question: int
    jobs: list[JobId]


@record
class SetPriority(Message):
    """Give a job another priority, if it waits. The answer is `Reply`, with an error if it does not wait any more; none
    to question 0."""

    tag = 70
    shape = (is_computation, is_count, is_count, is_number)
    computation: ComputationId
    question: int
    job: JobId
    priority: float


@record
class Recall(Message):
    """Return up to `count` jobs that have not started."""

    tag = 14
    shape = (is_computation, is_count)
    computation: ComputationId
    count: int


@record
class Returned(Message):
    """These jobs have not started here and will not."""

    tag = 15
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class Started(Message):
    """These jobs have started, at these times (seconds since the epoch, by the node's clock)."""

    tag = 16
    shape = (is_computation, is_count_column, is_count_column, is_time_column, is_text, is_node_name)
    columns = ("jobs", "attempts", "times")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    times: list[float]
    #: The node's address as seen by the client, and the node; filled in by the scheduler.
    address: str
    node: bytes = b""


@record
class Progress(Message):
    """A provisional result, the `index`-th of its job from 0."""

    tag = 17
    shape = (is_computation, is_count, is_count, is_count, is_bulk, is_text, is_node_name)
    computation: ComputationId
    job: JobId
    attempt: int
    index: int
    value: Bulk
    address: str
    node: bytes = b""


@record
class Follow(Message):
    """Report what these jobs print while they run, with `Printed`."""

    tag = 43
    shape = (is_computation, is_count_column)
    computation: ComputationId
    jobs: list[JobId]


@record
class Printed(Message):
    """What a running job has printed to `stream` (1: standard output, 2: standard error), from byte `offset` of it. It
    is sent once and may be lost, or leave out what was printed too fast; `Ended` has all that is kept of the output."""

    tag = 44
    shape = (is_computation, is_count, is_count, is_count, is_count, is_bulk, is_node_name)
    computation: ComputationId
    job: JobId
    attempt: int
    stream: int
    offset: int
    content: Bulk
    #: The node; filled in by the scheduler.
    node: bytes = b""


@record
class Ended(Message):
    """The outcomes of these jobs. The receiver answers `OutcomesAcked`, also for repeated outcomes."""

    tag = 18
    shape = (
        is_computation,
        *[is_count_column] * 2,
        is_status_column,
        is_bulk_column,
        *[is_content_column] * 2,
        is_text_column,
        *[is_time_column] * 2,
        is_count_column,
        is_left_out_column,
        is_text,
        is_node_name,
    )
    columns = (
        *("jobs", "attempts", "statuses", "results", "outputs", "errors", "exceptions"),
        *("starts", "ends", "progress", "truncated"),
    )
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    #: Final statuses, by the numbers of `DispyJob`.
    statuses: list[int]
    results: list[Bulk]
    outputs: list[Bulk]
    errors: list[Bulk]
    exceptions: list[str]
    starts: list[float]
    ends: list[float]
    #: The number of provisional results of each job; they may arrive after this message.
    progress: list[int]
    #: The number of bytes dropped from each job's output, or False.
    truncated: list[int]
    address: str
    node: bytes = b""

    def at(self, address: str, node: bytes) -> Ended:
        """The same, sent to this node."""
        values = [*fields(self)[:-2], address, node]
        return Ended(*values)


@record
class OutcomesAcked(Message):
    """The outcomes of these jobs are stored; forget them."""

    tag = 19
    shape = (is_computation, is_count_column, is_count_column)
    columns = ("jobs", "attempts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]


@record
class ProgressAcked(Message):
    """This number of provisional results of these jobs have arrived; forget them."""

    tag = 22
    shape = (is_computation, *[is_count_column] * 3)
    columns = ("jobs", "attempts", "counts")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    attempts: list[int]
    counts: list[int]


@record
class Upload(Message):
    """A job sends a file, its `number`-th from 0, to the client. The answer is `Uploaded`."""

    tag = 39
    shape = (is_computation, is_count, is_count, is_count, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    job: JobId
    attempt: int
    number: int
    files: list[FileFields]
    contents: list[Bulk]

    def problem(self) -> str:
        return "" if len(self.files) == 1 else "Upload brings one file"


@record
class Uploaded(Message):
    """The client has stored the file, or cannot: `error` is the reason."""

    tag = 40
    shape = (is_computation, is_count, is_count, is_count, is_text)
    computation: ComputationId
    job: JobId
    attempt: int
    number: int
    error: str


def ended_without_node(
    computation: ComputationId,
    jobs: Sequence[JobId],
    status: int,
    text: str,
    address: str = "",
    attempts: Sequence[int] | None = None,
) -> Ended:
    """The message about the end of jobs that no node reports: each with the same status and `text`, without a result.
    `attempts` are those of the jobs, by default 1."""
    size = len(jobs)
    return Ended(
        computation=computation,
        jobs=list(jobs),
        attempts=[1] * size if attempts is None else list(attempts),
        statuses=[status] * size,
        results=[b""] * size,
        outputs=[b""] * size,
        errors=[b""] * size,
        exceptions=[text] * size,
        starts=[0.0] * size,
        ends=[0.0] * size,
        progress=[0] * size,
        truncated=[False] * size,
        address=address,
    )
