"""Limits for one client of a shared scheduler, so that it leaves room for other clients.

Pure. Jobs and computations beyond the limits are refused, each with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Approximate number of bytes of a job without its arguments.
JOB_BYTES = 500
#: Arguments of at least this number of bytes are counted for each job.
LARGE = 256
#: Nodes that one client may name by address in all its computations, since each is searched for. A pattern with
#: wildcards may match any number.
ADDRESSES = 1024
#: Patterns of one computation, addresses included.
PATTERNS = 4096


@dataclass(frozen=True)
class Quotas:
    """Limits for one client; 0 means unlimited."""

    #: Bytes of arguments of jobs that have not ended, of the contents of computations, and of names of jobs; and of
    #: outcomes that the client has not collected, beyond which none of its jobs is started.
    bytes: int = 0
    #: Jobs that have not ended, or whose outcomes were not collected.
    jobs: int = 0
    #: Computations that were not released.
    computations: int = 0


def objection(nodes: list[str], others: set[str]) -> str:
    """Why a computation with these patterns is not accepted from a client that names the nodes `others` already, or
    ''."""
    named = others.union(each for each in nodes if "*" not in each)
    if len(named) > max(ADDRESSES, len(others)):
        return (
            f"the client names {len(named):,} nodes, and this scheduler accepts at most {ADDRESSES:,} per client: "
            "use patterns with *, which stand for all nodes that the scheduler knows"
        )
    if len(nodes) > PATTERNS:
        return f"`nodes` has {len(nodes):,} elements, and this scheduler accepts {PATTERNS:,}: use fewer patterns"
    return ""
