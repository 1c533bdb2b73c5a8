"""Outcomes of jobs as rows, and the messages that report them to a scheduler."""

from __future__ import annotations

from typing import Any, NamedTuple

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Ended
from gdispy.protocol.payload import Bulk, Payload, bulk_size

#: Maximum bytes, payloads aside, and maximum number of jobs in one message about outcomes.
MESSAGE_BYTES = 256 * 1024
MESSAGE_JOBS = 4096

#: An outcome as processes report it: the columns of `Ended`, in their order.
Row = tuple[Any, ...]


class Outcome(NamedTuple):
    """How an attempt of a job ended: one job's entries in the columns of `Ended`, in their order."""

    job: JobId
    attempt: int
    status: int
    result: Bulk
    stdout: Bulk
    stderr: Bulk
    exception: str
    #: Seconds since the epoch.
    start: float
    end: float
    #: How many provisional results it has sent.
    progress: int
    #: Bytes of output that were dropped, or whether any were.
    truncated: int

    def release(self) -> None:
        """Release the memory of its payloads."""
        if type(self.result) is type(self.stdout) is type(self.stderr) is bytes:
            return  # It has none, as almost all.
        for value in (self.result, self.stdout, self.stderr):
            if isinstance(value, Payload):
                value.release()

    def size(self) -> int:
        """Its approximate size in bytes, with payloads: a message is complete when all of them have arrived."""
        return sum(map(bulk_size, (self.result, self.stdout, self.stderr))) + 4 * len(self.exception) + 64


class Printout(NamedTuple):
    """What a job has printed whose worker has exited: both streams, and the number of bytes that were dropped."""

    stdout: Bulk = b""
    stderr: Bulk = b""
    left_out: int = 0

    def release(self) -> None:
        for value in (self.stdout, self.stderr):
            if isinstance(value, Payload):
                value.release()


NOTHING_PRINTED = Printout()


def ended_message(computation: ComputationId, outcomes: list[Outcome]) -> Ended:
    """The message about these outcomes."""
    columns: list[Any] = [computation, *map(list, zip(*outcomes, strict=True)), ""]
    return Ended(*columns)


def portions(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Divide outcomes into lists, each of which makes a message of a size that the other side accepts."""
    if not outcomes or _fit(outcomes):
        return [outcomes] if outcomes else []
    found: list[list[Outcome]] = []
    room = 0
    for outcome in outcomes:
        size = outcome.size()
        if not found or size > room or len(found[-1]) >= MESSAGE_JOBS:
            found.append([])
            room = MESSAGE_BYTES
        found[-1].append(outcome)
        room -= size
    return found


def _fit(outcomes: list[Outcome]) -> bool:
    """Whether outcomes fit into one message; computed by columns, which is fast for many short ones."""
    columns: Any = Outcome._make(zip(*outcomes, strict=True))
    size = 64 * len(outcomes) + 4 * sum(map(len, columns.exception))
    for column in (columns.result, columns.stdout, columns.stderr):
        if set(map(type, column)) != {bytes}:
            return False
        size += sum(map(len, column))
    return len(outcomes) <= MESSAGE_JOBS and size <= MESSAGE_BYTES
