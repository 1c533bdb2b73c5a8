"""The settings of a cluster: its checked parameters. Read in any thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdispy.client.packaging import ComputationOptions
from gdispy.client.scheduler_pool import SchedulerKey


@dataclass(frozen=True)
class ClusterSettings:
    """The settings that do not change during the life of a cluster."""

    #: The scheduler that it uses.
    key: SchedulerKey
    #: The default port of nodes.
    node_port: int
    #: Whether the computation is a program, not a function.
    is_program: bool
    #: How jobs run on a node.
    jobs: ComputationOptions = field(default_factory=ComputationOptions)
    #: Whether a function is called on each node after the last job.
    has_cleanup: bool = False
    #: Whether jobs of a lost node run again.
    reentrant: bool = False
    #: Whether the computation uses the nodes of a shared scheduler alone.
    exclusive: bool = False
    #: Whether jobs that no node can run wait for another node.
    waits_for_nodes: bool = False
    #: The encoding of results, as in `Prepare`.
    results: str = ""
    #: Whether files that jobs send replace others.
    overwrites: bool = False
