"""What computations, jobs, processes and connections are named by. Pure."""

from __future__ import annotations

from typing import NewType

#: Sixteen random bytes: one life of one process.
Instance = NewType("Instance", bytes)
#: Eight random bytes: one computation of one client.
ComputationId = NewType("ComputationId", bytes)
#: Counts from 1 in each process of a client, so that it is new in each computation.
JobId = NewType("JobId", int)
#: Names one connection, or one end of a pair; a new one for each.
Peer = NewType("Peer", int)
#: Names one worker process of a node; never used again.
WorkerId = NewType("WorkerId", int)
