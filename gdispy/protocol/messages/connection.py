"""The first messages on a connection: the identity of the peers, and the inventory of a node.

Pure. docs/protocol.md describes the sender, the time and the receiver's reaction; a test compares it with this file.
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
    """First message in each direction: the identity of the sender. `cpus` is 0 for a peer that runs no jobs; `address`
    is '' or the address at which the sender wants to be reached."""

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
    #: Seconds between two heartbeats of the sender; 0 leaves the choice to the receiver.
    pulse: float
    #: Rows `[computation, token, epoch]`: the sender owns these from now on, also if others opened them.
    claims: list[Claim] = field(default_factory=list)
    #: Number of runs of the sender, according to its journal; a smaller number than before is stale.
    epoch: int = 0
    #: The proof that the instance belongs to the sender; see `identity.py`.
    proof: bytes = b""


@record
class Inventory(Message):
    """The first message of a node to its scheduler: the jobs that it holds, waiting, running or ended."""

    tag = 3
    is_first = True
    shape = (is_computation_column, is_column_list, is_column_list, is_column_list)
    columns = ("computations", "jobs", "attempts")
    computations: list[ComputationId]
    jobs: list[list[JobId]]
    attempts: list[list[int]]
    #: Which of those jobs have ended; only for a recoverer, which then knows which outcomes will follow.
    ended: list[list[JobId]] = field(default_factory=list)

    def held(self) -> dict[ComputationId, tuple[list[JobId], list[int]]]:
        """Jobs and attempts of each computation; a computation with more jobs than a row can hold has several rows."""
        found: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        for computation, jobs, attempts in zip(self.computations, self.jobs, self.attempts, strict=True):
            known = found.get(computation, ([], []))
            found[computation] = ([*known[0], *jobs], [*known[1], *attempts])
        return found

    def problem(self) -> str:
        is_even = list(map(len, self.jobs)) == list(map(len, self.attempts))
        is_even = is_even and len(self.ended) in (0, len(self.jobs))
        return "" if is_even else "the columns within Inventory differ in length"
