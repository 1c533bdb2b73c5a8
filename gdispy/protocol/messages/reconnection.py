"""Messages between a client and a shared scheduler after a connection loss, so that nothing is lost.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
"""

from __future__ import annotations

from gdispy.protocol.field_checks import (
    is_bulk_column,
    is_column_list,
    is_computation,
    is_computation_column,
    is_count,
    is_count_column,
    is_flag,
    is_token,
)
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.payload import Bulk
from gdispy.protocol.record import record


@record
class Resume(Message):
    """The first message of a client to a remote scheduler: its computations, and their unfinished jobs."""

    tag = 50
    is_first = True
    shape = (is_computation_column, is_column_list, is_flag)
    columns = ("computations", "jobs")
    parts = columns
    unfinished = ("more",)
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    #: Whether another message follows, which belongs to this one.
    more: bool = False

    def wanted(self) -> dict[ComputationId, list[JobId]]:
        """The jobs of each computation; a computation with more jobs than a row can hold has several rows."""
        found: dict[ComputationId, list[JobId]] = {}
        for computation, jobs in zip(self.computations, self.jobs, strict=True):
            found[computation] = [*found.get(computation, ()), *jobs]
        return found


@record
class Accepted(Message):
    """The scheduler has accepted these jobs."""

    tag = 51
    shape = (is_computation, is_count_column)
    parts = ("jobs",)
    computation: ComputationId
    jobs: list[JobId]


@record
class Unknown(Message):
    """The scheduler does not know these jobs of `Resume`; or, with `all`, the computation."""

    tag = 52
    shape = (is_computation, is_count_column, is_flag)
    parts = ("jobs",)
    once = ("all",)
    computation: ComputationId
    jobs: list[JobId]
    all: bool


@record
class ResendRequest(Message):
    """The scheduler knows these jobs, but not their arguments: its journal has only their numbers. With `all_wait` no
    node has them, and they are lost unless they are sent again."""

    tag = 57
    shape = (is_computation, is_count_column, is_flag)
    parts = ("jobs",)
    computation: ComputationId
    jobs: list[JobId]
    all_wait: bool


@record
class Fenced(Message):
    """Another process has taken this computation over: the receiver no longer owns it."""

    tag = 55
    shape = (is_computation, is_token, is_count)
    computation: ComputationId
    #: From a node: the token that the new owner has shown, and how often the computation was taken over. Else empty.
    token: bytes = b""
    epoch: int = 0


@record
class JobNames(Message):
    """The user's ids of these jobs, pickled, for a process that takes the computation over."""

    tag = 56
    shape = (is_computation, is_count_column, is_bulk_column)
    columns = ("jobs", "names")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    names: list[Bulk]
