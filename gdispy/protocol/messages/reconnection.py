"""What a client and a shared scheduler tell each other so that a broken connection loses nothing.

Pure. docs/protocol.md says who sends each message, when, and what its receiver does; a test holds it to this file.
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
    """A client's first word to a scheduler elsewhere: its computations, and their jobs that have not ended."""

    tag = 50
    is_first = True
    shape = (is_computation_column, is_column_list, is_flag)
    columns = ("computations", "jobs")
    parts = columns
    unfinished = ("more",)
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    #: Whether another one follows, with which this one is read together.
    more: bool = False

    def wanted(self) -> dict[ComputationId, list[JobId]]:
        """The jobs of each computation; one with more jobs than a row can hold has several rows."""
        found: dict[ComputationId, list[JobId]] = {}
        for computation, jobs in zip(self.computations, self.jobs, strict=True):
            found[computation] = [*found.get(computation, ()), *jobs]
        return found


@record
class Accepted(Message):
    """The scheduler has these jobs in its hands."""

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
    """The scheduler knows these jobs, but not what they are called with: a former life of it had only heard that.
    With `all_wait` no node has them, and they are lost if nobody says them again."""

    tag = 57
    shape = (is_computation, is_count_column, is_flag)
    parts = ("jobs",)
    computation: ComputationId
    jobs: list[JobId]
    all_wait: bool


@record
class Fenced(Message):
    """Another process has taken this computation over: the receiver has nothing more to do with it."""

    tag = 55
    shape = (is_computation, is_token, is_count)
    computation: ComputationId
    #: From a node: the token that the other has shown, and how often the computation was taken over. Else nothing.
    token: bytes = b""
    epoch: int = 0


@record
class JobNames(Message):
    """What the user calls these jobs, pickled: for who takes the computation over."""

    tag = 56
    shape = (is_computation, is_count_column, is_bulk_column)
    columns = ("jobs", "names")
    parts = columns
    computation: ComputationId
    jobs: list[JobId]
    names: list[Bulk]
