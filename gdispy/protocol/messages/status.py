"""Questions about the state of a computation or a scheduler, and the answers.

Pure. docs/protocol.md says who sends each message, when, and what its receiver does; a test holds it to this file.
"""

from __future__ import annotations

from gdispy.protocol.field_checks import (
    is_computation,
    is_computation_overview,
    is_count,
    is_node_list,
    is_node_overview,
    is_text_column,
)
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.message import Message
from gdispy.protocol.record import record
from gdispy.protocol.rows import ComputationOverviewRow, NodeOverviewRow, NodeRow


@record
class StatusRequest(Message):
    """A client asks how its computation stands."""

    tag = 31
    shape = (is_computation, is_count)
    computation: ComputationId
    question: int


@record
class Status(Message):
    """The answer to `StatusRequest`: rows `[name, address, port, cpus, busy, jobs done, seconds of job time,
    bytes sent, bytes received]` of the nodes, the count of waiting jobs, and what is wrong."""

    tag = 32
    row_types = {"nodes": NodeRow}
    shape = (is_computation, is_count, is_node_list, is_count, is_text_column)
    computation: ComputationId
    question: int
    nodes: list[NodeRow]
    queued: int
    problems: list[str]


@record
class OverviewRequest(Message):
    """Somebody with the secret of clients asks how the scheduler stands. The answer is `Overview`."""

    tag = 53
    shape = (is_count,)
    question: int


@record
class Overview(Message):
    """How a scheduler stands: nodes `[name, address, port, CPUs, CPUs in use, whether it is connected]`, and
    computations `[client, its address or '' while it is away, computation, jobs that wait, jobs on nodes]`."""

    tag = 54
    row_types = {"nodes": NodeOverviewRow, "computations": ComputationOverviewRow}
    shape = (is_count, is_node_overview, is_computation_overview)
    question: int
    nodes: list[NodeOverviewRow]
    computations: list[ComputationOverviewRow]
