"""How a cluster is set up: what its parameters say, once they are checked. Read in any thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdispy.client.packaging import ComputationOptions
from gdispy.client.scheduler_pool import SchedulerKey


@dataclass(frozen=True)
class ClusterSettings:
    """What does not change during the life of a cluster."""

    #: Which scheduler it uses.
    key: SchedulerKey
    #: The port of nodes whose addresses name none.
    node_port: int
    #: Whether the computation is a program, and no function.
    is_program: bool
    #: What surrounds each job on a node.
    jobs: ComputationOptions = field(default_factory=ComputationOptions)
    #: Whether a function is called on each node after the last job.
    has_cleanup: bool = False
    #: Whether jobs of a lost node run again.
    reentrant: bool = False
    #: Whether the computation has the nodes of a shared scheduler to itself.
    exclusive: bool = False
    #: Whether jobs that no node can run wait for another node.
    waits_for_nodes: bool = False
    #: How results travel, as in `Prepare`.
    results: str = ""
    #: Whether files that jobs send replace others.
    overwrites: bool = False
