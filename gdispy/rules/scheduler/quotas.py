"""What one client of a shared scheduler may have there at once, so that it leaves room for the others.

Pure. What is beyond the limits is refused job by job, or computation by computation, with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes that a job takes besides its arguments, about.
JOB_BYTES = 500
#: Bytes of arguments from which on they are counted for each job.
LARGE = 256
#: Nodes that one client may name outright, in all its computations: each is looked for. Patterns may name any number.
ADDRESSES = 1024
#: Patterns of one computation, addresses included.
PATTERNS = 4096


@dataclass(frozen=True)
class Quotas:
    """Limits for one client; 0 is none."""

    #: Bytes of arguments of jobs that have not ended, of what computations bring, and of names of jobs; and of outcomes
    #: that the client has not collected, beyond which none of its jobs is begun.
    bytes: int = 0
    #: Jobs that have not ended, or were not collected.
    jobs: int = 0
    #: Computations that were not released.
    computations: int = 0


def objection(nodes: list[str], others: set[str]) -> str:
    """Why a computation with these patterns is not taken from a client that names those nodes already, or ''."""
    named = others.union(each for each in nodes if "*" not in each)
    if len(named) > max(ADDRESSES, len(others)):
        return (
            f"the client names {len(named):,} nodes, and this scheduler accepts at most {ADDRESSES:,} per client: "
            "use patterns with *, which stand for all nodes that the scheduler knows"
        )
    if len(nodes) > PATTERNS:
        return f"`nodes` has {len(nodes):,} elements, and this scheduler accepts {PATTERNS:,}: use fewer patterns"
    return ""
