"""The use of nodes: their CPUs, free resources, selection of nodes, and commands for single nodes.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
"""

from __future__ import annotations

from gdispy.protocol.field_checks import (
    is_availability,
    is_bulk,
    is_computation,
    is_content_column,
    is_count,
    is_count_column,
    is_cpus,
    is_file_list,
    is_instance,
    is_node_list,
    is_number,
    is_text,
    is_text_column,
)
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.job_status import NODE_EVENTS
from gdispy.protocol.message import Message
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import record
from gdispy.protocol.rows import FileFields, NodeRow

#: Number of CPUs that stands for no limit.
NO_LIMIT = 1 << 30


@record
class Cpus(Message):
    """The node offers this number of CPUs from now on; 0: not accepting jobs at present, for this reason."""

    tag = 23
    shape = (is_cpus, is_text)
    cpus: int
    reason: str = ""


@record
class Limit(Message):
    """Jobs of this computation may occupy at most `own` CPUs of the node, and all jobs of this scheduler at most
    `total`."""

    tag = 27
    shape = (is_computation, is_count, is_count)
    computation: ComputationId
    own: int
    total: int


@record
class Availability(Message):
    """Free resources of the node: CPU (percent), memory (bytes), disk (bytes), swap (percent)."""

    tag = 24
    shape = (is_availability,)
    free: list[float]


@record
class NodeFound(Message):
    """A node was found, with these addresses and names: should it be used? The answer is `UseNode`."""

    tag = 34
    shape = (is_computation, is_instance, is_text_column, is_count, is_count, is_text, is_availability)
    computation: ComputationId
    node: Instance
    names: list[str]
    port: int
    cpus: int
    platform: str
    free: list[float]

    def problem(self) -> str:
        return "" if self.names else "NodeFound names no address of the node"


@record
class UseNode(Message):
    """Use this number of CPUs of a node, 0 for none, with these arguments of setup and these additional files."""

    tag = 35
    shape = (is_computation, is_instance, is_count, is_bulk, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    node: Instance
    cpus: int
    arguments: Bulk
    files: list[FileFields]
    contents: list[Bulk]


@record
class NodeCommand(Message):
    """A command for a node: 'deallocate', 'close', 'resetup', 'cpus', 'jobs'. The answer is `Reply`."""

    tag = 36
    shape = (is_computation, is_count, is_text, is_instance, is_number)
    computation: ComputationId
    question: int
    word: str
    node: Instance
    #: The number of CPUs to set; 1 if running jobs should be cancelled, else 0.
    value: float

    def problem(self) -> str:
        return "" if abs(self.value) <= NO_LIMIT else "NodeCommand.value is out of range"


@record
class Reply(Message):
    """The answer to `NodeCommand` or `PutFile`: an error or '', a number, and jobs, if requested."""

    tag = 37
    shape = (is_computation, is_count, is_text, is_number, is_count_column)
    computation: ComputationId
    question: int
    error: str
    value: float
    jobs: list[JobId]


@record
class PutFile(Message):
    """Put a file into the directory of a computation on a node. The answer is `Reply`."""

    tag = 38
    shape = (is_computation, is_count, is_instance, is_file_list, is_content_column)
    columns = ("files", "contents")
    computation: ComputationId
    question: int
    node: Instance
    files: list[FileFields]
    contents: list[Bulk]


@record
class Event(Message):
    """An event of a node: 4 it is set up, 16 it is closed or lost, 17 it has reported free resources."""

    tag = 41
    row_types = {"rows": NodeRow}
    shape = (is_computation, is_count, is_instance, is_node_list, is_availability)
    computation: ComputationId
    what: int
    node: Instance
    #: One row, as in `Status`.
    rows: list[NodeRow]
    free: list[float]

    def problem(self) -> str:
        if self.what not in NODE_EVENTS:
            return "Event.what is no event of a node"
        return "" if len(self.rows) == 1 else "Event has one row"
