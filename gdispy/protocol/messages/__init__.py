"""The messages between peers, by topic.

Pure. A message is a record (`record.py`) with a `tag`; on the wire it is the msgpack array `[tag, field, ...]`. Its
`shape` has the checks of its fields; `wire.py` applies them once, on arrival, and all other code relies on them.
docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this package.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId as ComputationId
from gdispy.protocol.ids import Instance as Instance
from gdispy.protocol.ids import JobId as JobId
from gdispy.protocol.message import Message as Message
from gdispy.protocol.message import read_values
from gdispy.protocol.messages.computation import OUTPUT_LIMIT as OUTPUT_LIMIT
from gdispy.protocol.messages.computation import UNLIMITED as UNLIMITED
from gdispy.protocol.messages.computation import FileContents as FileContents
from gdispy.protocol.messages.computation import MissingFiles as MissingFiles
from gdispy.protocol.messages.computation import Notice as Notice
from gdispy.protocol.messages.computation import Open as Open
from gdispy.protocol.messages.computation import Prepare as Prepare
from gdispy.protocol.messages.computation import Prepared as Prepared
from gdispy.protocol.messages.computation import Release as Release
from gdispy.protocol.messages.computation import Released as Released
from gdispy.protocol.messages.connection import Hello as Hello
from gdispy.protocol.messages.connection import Inventory as Inventory
from gdispy.protocol.messages.job import Cancel as Cancel
from gdispy.protocol.messages.job import Ended as Ended
from gdispy.protocol.messages.job import Follow as Follow
from gdispy.protocol.messages.job import OutcomesAcked as OutcomesAcked
from gdispy.protocol.messages.job import Printed as Printed
from gdispy.protocol.messages.job import Progress as Progress
from gdispy.protocol.messages.job import ProgressAcked as ProgressAcked
from gdispy.protocol.messages.job import Recall as Recall
from gdispy.protocol.messages.job import Returned as Returned
from gdispy.protocol.messages.job import Run as Run
from gdispy.protocol.messages.job import SetPriority as SetPriority
from gdispy.protocol.messages.job import Started as Started
from gdispy.protocol.messages.job import Upload as Upload
from gdispy.protocol.messages.job import Uploaded as Uploaded
from gdispy.protocol.messages.job import Withdraw as Withdraw
from gdispy.protocol.messages.job import ended_without_node as ended_without_node
from gdispy.protocol.messages.node_use import NO_LIMIT as NO_LIMIT
from gdispy.protocol.messages.node_use import Availability as Availability
from gdispy.protocol.messages.node_use import Cpus as Cpus
from gdispy.protocol.messages.node_use import Event as Event
from gdispy.protocol.messages.node_use import Limit as Limit
from gdispy.protocol.messages.node_use import NodeCommand as NodeCommand
from gdispy.protocol.messages.node_use import NodeFound as NodeFound
from gdispy.protocol.messages.node_use import PutFile as PutFile
from gdispy.protocol.messages.node_use import Reply as Reply
from gdispy.protocol.messages.node_use import UseNode as UseNode
from gdispy.protocol.messages.reconnection import Accepted as Accepted
from gdispy.protocol.messages.reconnection import Fenced as Fenced
from gdispy.protocol.messages.reconnection import JobNames as JobNames
from gdispy.protocol.messages.reconnection import ResendRequest as ResendRequest
from gdispy.protocol.messages.reconnection import Resume as Resume
from gdispy.protocol.messages.reconnection import Unknown as Unknown
from gdispy.protocol.messages.status import Explain as Explain
from gdispy.protocol.messages.status import Explained as Explained
from gdispy.protocol.messages.status import JobFacts as JobFacts
from gdispy.protocol.messages.status import JobFactsRequest as JobFactsRequest
from gdispy.protocol.messages.status import LogEvents as LogEvents
from gdispy.protocol.messages.status import LogRequest as LogRequest
from gdispy.protocol.messages.status import NodeOrder as NodeOrder
from gdispy.protocol.messages.status import Overview as Overview
from gdispy.protocol.messages.status import OverviewRequest as OverviewRequest
from gdispy.protocol.messages.status import RunningJobs as RunningJobs
from gdispy.protocol.messages.status import RunningJobsRequest as RunningJobsRequest
from gdispy.protocol.messages.status import Status as Status
from gdispy.protocol.messages.status import StatusRequest as StatusRequest
from gdispy.protocol.messages.status import Usage as Usage
from gdispy.protocol.messages.status import UsageRequest as UsageRequest

ALL: tuple[type[Message], ...] = (
    *(Hello, Inventory),
    *(Prepare, Prepared, Run, Cancel, Recall, Returned, Started, Progress, Ended, OutcomesAcked),
    *(
        ProgressAcked,
        Release,
        Released,
        Open,
        StatusRequest,
        Status,
        Notice,
        Cpus,
        Limit,
        Availability,
        MissingFiles,
        FileContents,
    ),
    *(
        NodeFound,
        UseNode,
        NodeCommand,
        Reply,
        PutFile,
        Upload,
        Uploaded,
        Event,
        Resume,
        Accepted,
        Unknown,
        OverviewRequest,
        Overview,
    ),
    *(ResendRequest, Fenced, JobNames, Withdraw, Follow, Printed, NodeOrder, Explain, Explained, UsageRequest, Usage),
    *(RunningJobsRequest, RunningJobs, JobFactsRequest, JobFacts, LogRequest, LogEvents, SetPriority),
)
BY_TAG: dict[int, type[Message]] = {kind.tag: kind for kind in ALL}


def from_values(values: object) -> Message:
    """The message in an array that arrived. Raises ProtocolError for anything else."""
    return read_values(values, BY_TAG)
