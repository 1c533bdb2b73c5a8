"""What two peers say first on a connection: who they are, and what a node holds.

Pure. docs/protocol.md says who sends each message, when, and what its receiver does; a test holds it to this file.
"""

from __future__ import annotations

from dataclasses import field

from gdispy.protocol.field_checks import (
    is_claim_list,
    is_column_list,
    is_computation_column,
    is_count,
    is_cpus,
    is_instance,
    is_number,
    is_proof,
    is_short_text,
)
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.message import Message
from gdispy.protocol.record import record
from gdispy.protocol.rows import Claim


@record
class Hello(Message):
    """First message each way: who speaks. `cpus` is 0 for who runs no jobs; `address` is '' or where
    the sender wants to be reached."""

    tag = 1
    row_types = {"claims": Claim}
    shape = (
        is_short_text,
        is_instance,
        *[is_short_text] * 4,
        is_cpus,
        is_short_text,
        is_number,
        is_claim_list,
        is_count,
        is_proof,
    )
    role: str
    instance: Instance
    name: str
    version: str
    python: str
    platform: str
    cpus: int
    address: str
    #: Seconds between two signs of life that the sender will give; 0 leaves it to the receiver.
    pulse: float
    #: Rows `[computation, token, epoch]`: these are the sender's from now on, whoever brought them.
    claims: list[Claim] = field(default_factory=list)
    #: How many lives of the sender a journal remembers; who was met in a later one is not met again.
    epoch: int = 0
    #: That the instance is the sender's own; see `identity.py`.
    proof: bytes = b""


@record
class Inventory(Message):
    """A node's first word to its scheduler: the jobs it holds, begun, waiting or ended."""

    tag = 3
    is_first = True
    shape = (is_computation_column, is_column_list, is_column_list, is_column_list)
    columns = ("computations", "jobs", "attempts")
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    attempts: list[list[int]]
    #: Which of those jobs have ended; told to a recoverer only, which then knows what will come.
    ended: list[list[JobId]] = field(default_factory=list)

    def held(self) -> dict[ComputationId, tuple[list[JobId], list[int]]]:
        """Jobs and attempts of each computation; one with more jobs than a row can hold has several rows."""
        found: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        for computation, jobs, attempts in zip(self.computations, self.jobs, self.attempts, strict=True):
            known = found.get(computation, ([], []))
            found[computation] = ([*known[0], *jobs], [*known[1], *attempts])
        return found

    def problem(self) -> str:
        is_even = list(map(len, self.jobs)) == list(map(len, self.attempts))
        is_even = is_even and len(self.ended) in (0, len(self.jobs))
        return "" if is_even else "the columns within Inventory differ in length"
