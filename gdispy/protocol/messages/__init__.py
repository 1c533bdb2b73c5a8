"""The messages that peers send each other, by topic.

Pure. A message is a record (`record.py`) with a `tag`; on the wire it is the msgpack array `[tag, field, ...]`. Its
`shape` says what each field must be; `wire.py` checks it on arrival, once, and above that everything is trusted.
docs/protocol.md says who sends what, when, and what the receiver does; a test holds it to this package.
"""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId as ComputationId
from gdispy.protocol.ids import Instance as Instance
from gdispy.protocol.ids import JobId as JobId
from gdispy.protocol.message import Message as Message
from gdispy.protocol.message import read_values
from gdispy.protocol.messages.computation import OUTPUT_LIMIT as OUTPUT_LIMIT
from gdispy.protocol.messages.computation import UNLIMITED as UNLIMITED
from gdispy.protocol.messages.computation import Contents as Contents
from gdispy.protocol.messages.computation import Lacking as Lacking
from gdispy.protocol.messages.computation import Open as Open
from gdispy.protocol.messages.computation import Prepare as Prepare
from gdispy.protocol.messages.computation import Prepared as Prepared
from gdispy.protocol.messages.computation import Release as Release
from gdispy.protocol.messages.computation import Released as Released
from gdispy.protocol.messages.computation import Trouble as Trouble
from gdispy.protocol.messages.connection import Hello as Hello
from gdispy.protocol.messages.connection import Holding as Holding
from gdispy.protocol.messages.job import Cancel as Cancel
from gdispy.protocol.messages.job import Collected as Collected
from gdispy.protocol.messages.job import Ended as Ended
from gdispy.protocol.messages.job import Progress as Progress
from gdispy.protocol.messages.job import Recall as Recall
from gdispy.protocol.messages.job import Returned as Returned
from gdispy.protocol.messages.job import Run as Run
from gdispy.protocol.messages.job import Seen as Seen
from gdispy.protocol.messages.job import Started as Started
from gdispy.protocol.messages.job import Upload as Upload
from gdispy.protocol.messages.job import Uploaded as Uploaded
from gdispy.protocol.messages.job import ended_without_node as ended_without_node
from gdispy.protocol.messages.node_use import NO_LIMIT as NO_LIMIT
from gdispy.protocol.messages.node_use import Appeared as Appeared
from gdispy.protocol.messages.node_use import Availability as Availability
from gdispy.protocol.messages.node_use import Cpus as Cpus
from gdispy.protocol.messages.node_use import Deliver as Deliver
from gdispy.protocol.messages.node_use import Event as Event
from gdispy.protocol.messages.node_use import Limit as Limit
from gdispy.protocol.messages.node_use import Order as Order
from gdispy.protocol.messages.node_use import Reply as Reply
from gdispy.protocol.messages.node_use import Take as Take
from gdispy.protocol.messages.reconnection import Accepted as Accepted
from gdispy.protocol.messages.reconnection import Fenced as Fenced
from gdispy.protocol.messages.reconnection import Named as Named
from gdispy.protocol.messages.reconnection import Resume as Resume
from gdispy.protocol.messages.reconnection import Unknown as Unknown
from gdispy.protocol.messages.reconnection import Wanted as Wanted
from gdispy.protocol.messages.status import Ask as Ask
from gdispy.protocol.messages.status import Overview as Overview
from gdispy.protocol.messages.status import Standing as Standing
from gdispy.protocol.messages.status import Survey as Survey

ALL: tuple[type[Message], ...] = (
    *(Hello, Holding),
    *(Prepare, Prepared, Run, Cancel, Recall, Returned, Started, Progress, Ended, Collected),
    *(Seen, Release, Released, Open, Ask, Standing, Trouble, Cpus, Limit, Availability, Lacking, Contents),
    *(Appeared, Take, Order, Reply, Deliver, Upload, Uploaded, Event, Resume, Accepted, Unknown, Survey, Overview),
    *(Wanted, Fenced, Named),
)
BY_TAG: dict[int, type[Message]] = {kind.tag: kind for kind in ALL}


def from_values(values: Any) -> Message:
    """The message in an array that arrived. Raises ProtocolError for anything else."""
    return read_values(values, BY_TAG)
