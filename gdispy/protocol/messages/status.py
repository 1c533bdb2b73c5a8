"""Requests for the status of a computation or a scheduler, and the answers.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
"""

from __future__ import annotations

from dataclasses import field

from gdispy.protocol.field_checks import (
    is_computation,
    is_computation_overview,
    is_count,
    is_flag,
    is_log_positions,
    is_log_rows,
    is_node_list,
    is_node_overview,
    is_number,
    is_running_jobs,
    is_text,
    is_text_column,
    is_usage,
)
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.record import record
from gdispy.protocol.rows import (
    ComputationOverviewRow,
    LogPosition,
    LogRow,
    NodeOverviewRow,
    NodeRow,
    RunningJobRow,
    UsageRow,
)


@record
class StatusRequest(Message):
    """A client requests the status of its computation."""

    tag = 31
    shape = (is_computation, is_count)
    computation: ComputationId
    question: int


@record
class Status(Message):
    """The answer to `StatusRequest`: rows `[name, address, port, cpus, busy, jobs done, seconds of job time, bytes
    sent, bytes received]` of the nodes, the number of waiting jobs, problems, and the versions on the nodes."""

    tag = 32
    row_types = {"nodes": NodeRow}
    shape = (is_computation, is_count, is_node_list, is_count, is_text_column, is_text_column)
    computation: ComputationId
    question: int
    nodes: list[NodeRow]
    queued: int
    problems: list[str]
    #: For people, one for each of `nodes`; empty if the sender does not tell them.
    versions: list[str] = field(default_factory=list)


@record
class Explain(Message):
    """A user wants to know why a job waits, or what it does: of a scheduler, or with `of_node` of the node that has the
    job. Job 0 stands for the computation."""

    tag = 60
    shape = (is_computation, is_count, is_count, is_flag)
    computation: ComputationId
    question: int
    job: JobId
    of_node: bool


@record
class Explained(Message):
    """The answer to `Explain`: keys and values in turn."""

    tag = 61
    shape = (is_computation, is_count, is_text_column)
    computation: ComputationId
    question: int
    facts: list[str]


@record
class OverviewRequest(Message):
    """A peer with the secret of clients requests the status of the scheduler. The answer is `Overview`."""

    tag = 53
    shape = (is_count,)
    question: int


@record
class Overview(Message):
    """The status of a scheduler: nodes `[name, address, port, CPUs, CPUs in use, whether it is connected]`, and
    computations `[client, its address or '' while it is away, computation, waiting jobs, jobs on nodes]`."""

    tag = 54
    row_types = {"nodes": NodeOverviewRow, "computations": ComputationOverviewRow}
    shape = (is_count, is_node_overview, is_computation_overview, is_text_column, is_text_column, is_text_column)
    question: int
    nodes: list[NodeOverviewRow]
    computations: list[ComputationOverviewRow]
    #: Why a node takes no jobs.
    notes: list[str] = field(default_factory=list)
    #: The state of each node, for people; empty if the sender does not know more than whether it is connected.
    states: list[str] = field(default_factory=list)
    #: Of a node: its service hours as in `NodeOrder`, and after how many clients it ends, '' for never.
    limits: list[str] = field(default_factory=list)


@record
class NodeOrder(Message):
    """A visitor has a node `drain` (return the jobs that have not begun, and take no others), `undrain`, offer this
    number of `cpus`, keep service `hours`, or `serve` this number of clients. The answer is `Overview`."""

    tag = 59
    shape = (is_count, is_text, is_count, is_text)
    question: int
    word: str
    #: Of CPUs, or of clients, where 0 is any number.
    number: int
    #: For `hours` only: START STOP or START STOP END, HH:MM each; '' is always.
    text: str = ""


@record
class UsageRequest(Message):
    """A peer with the secret of clients requests the history of use of the last `days` days. The answer is `Usage`."""

    tag = 62
    shape = (is_count, is_count)
    question: int
    days: int


@record
class Usage(Message):
    """The history of use of a scheduler: rows `[day, user, finished, failed, other, CPU seconds]`."""

    tag = 63
    row_types = {"rows": UsageRow}
    shape = (is_count, is_usage)
    question: int
    rows: list[UsageRow]


@record
class RunningJobsRequest(Message):
    """A peer with the secret of clients asks a scheduler for the running jobs, `limit` rows at most, and the scheduler
    asks its nodes. The answer is `RunningJobs`."""

    tag = 64
    shape = (is_count, is_count)
    question: int
    limit: int


@record
class RunningJobs(Message):
    """The running jobs of a scheduler, or those of the asking scheduler on a node; the longest running first."""

    tag = 65
    row_types = {"rows": RunningJobRow}
    shape = (is_count, is_running_jobs, is_count, is_text_column)
    question: int
    rows: list[RunningJobRow]
    #: Jobs that run, too.
    left_out: int
    #: Nodes that have not answered, and why.
    problems: list[str] = field(default_factory=list)


@record
class JobFactsRequest(Message):
    """A peer with the secret of clients asks about a job of any client, `PREFIX:NUMBER`, or, with '', what the
    computations wait for. The answer is `JobFacts`."""

    tag = 66
    shape = (is_count, is_text)
    question: int
    job: str


@record
class JobFacts(Message):
    """The answer to `JobFactsRequest`: keys and values in turn, or why there is none."""

    tag = 67
    shape = (is_count, is_text, is_text_column)
    question: int
    error: str
    facts: list[str]


@record
class LogRequest(Message):
    """A peer with the secret of clients asks a scheduler for what it and its nodes have logged, and the scheduler asks
    its nodes. The answer is `LogEvents`."""

    tag = 68
    row_types = {"positions": LogPosition}
    shape = (is_count, is_number, is_count, is_text, is_log_positions)
    question: int
    #: The age of the oldest records, in seconds; 0 for any.
    seconds: float
    #: Bytes of text at most; more are left out, the oldest first.
    limit: int
    #: Only the nodes with this name or address; '' for all, and the scheduler.
    node: str
    #: The next records of logs that are known already; of others all records are wanted.
    positions: list[LogPosition]


@record
class LogEvents(Message):
    """Records of the logs of daemons, in the order of each of them."""

    tag = 69
    row_types = {"rows": LogRow}
    shape = (is_count, is_text, is_log_rows, is_count, is_text_column)
    question: int
    error: str
    rows: list[LogRow]
    #: Records that were not kept, or not sent because of `limit`.
    left_out: int
    #: Nodes that have not answered, and why.
    problems: list[str] = field(default_factory=list)
