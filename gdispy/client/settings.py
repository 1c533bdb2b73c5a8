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
    #: Whether what jobs print is printed here while they run.
    echo: bool = False
    #: The field `logs` of `Prepare`.
    logs: bytes = b""
    #: Whether jobs run in this process (`nodes='inline'`).
    is_inline: bool = False

    def why_single(self, on_job: object, on_status: object, recovery: object) -> str:
        """Why calls cannot be combined in one job, with these callbacks and recovery file, or None; '' if they can."""
        reasons = {
            "it is a program": self.is_program,
            "jobs run in this process": self.is_inline,
            "callback is called for each job": on_job is not None,
            "cluster_status is called for each job": on_status is not None,
            "each job runs in a separate process": self.jobs.isolation,
            "each job runs in a separate directory": self.jobs.job_directory,
            "each job is recorded separately": recovery is not None,
        }
        for reason, holds in reasons.items():  # A generator that is left suspended would swallow a Ctrl-C.
            if holds:
                return reason
        return ""
