"""Identifiers of computations, jobs, processes and connections. Pure."""

from __future__ import annotations

from typing import NewType

#: Sixteen bytes that identify one run of a process.
Instance = NewType("Instance", bytes)
#: Eight random bytes that identify one computation of one client.
ComputationId = NewType("ComputationId", bytes)
#: Counts from 1 in each process of a client, so it is unique in each computation.
JobId = NewType("JobId", int)
#: Identifies a connection, or an end of a memory pair; never reused.
Peer = NewType("Peer", int)
#: Identifies a worker process of a node; never reused.
WorkerId = NewType("WorkerId", int)
