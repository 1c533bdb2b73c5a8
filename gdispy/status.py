"""How a cluster stands: the records and the table that users see.

Floor 2. Made by `cluster.py` from what the scheduler answers.
"""

from __future__ import annotations

import time
from collections import namedtuple
from typing import Any, NamedTuple

from gdispy.core.messages import Overview
from gdispy.core.patterns import join


class DispyNodeAvailInfo(NamedTuple):
    """What is free on a node: percent of its CPUs, bytes of memory, bytes of disk where computations live,
    percent of swap."""

    cpu: float
    memory: int
    disk: int
    swap: float

    @classmethod
    def of(cls, free: list[float]) -> DispyNodeAvailInfo | None:
        """The record of what a node has said; None where it has said nothing, having no psutil."""
        return cls(free[0], int(free[1]), int(free[2]), free[3]) if free else None


class DispyNode:
    """A node as one cluster sees it: what it is, and what it has done for this cluster."""

    #: What a `cluster_status` function is told of a node: it is set up; it is closed, or lost; what is free there.
    Initialized = 4
    Closed = 16
    AvailInfo = 17

    def __init__(self, row: list[Any]) -> None:
        #: What is free there, as far as it has said.
        self.avail_info: DispyNodeAvailInfo | None = None
        self.update(row)

    def update(self, row: list[Any]) -> None:
        """Take what the scheduler says of the node."""
        self.name: str = row[0]
        self.ip_addr: str = row[1]
        self.port: int = row[2]
        #: CPUs in use for this cluster, and how many the node offers.
        self.cpus: int = row[3]
        self.avail_cpus: int = row[3]
        #: Jobs that run there now, and that have ended there.
        self.busy: int = row[4]
        self.jobs_done: int = row[5]
        #: Seconds that jobs took there.
        self.cpu_time: float = row[6]
        #: Bytes of arguments sent to it, and of results received.
        self.tx: int = row[7]
        self.rx: int = row[8]
        self.update_time = time.time()

    def __repr__(self) -> str:
        return f"<DispyNode {self.name} {join(self.ip_addr, self.port)}>"


class ClusterStatus(namedtuple("ClusterStatus", ["nodes", "jobs_pending"])):
    """`nodes`, a list of DispyNode; `jobs_pending`; and `problems`, what keeps nodes from being used.

    `is_hopeless` tells that no node can be expected any more: all were named, and all have refused for good.
    """

    problems: list[str]
    is_hopeless: bool

    def __new__(
        cls, nodes: list[DispyNode], jobs_pending: int, problems: list[str], is_hopeless: bool = False
    ) -> ClusterStatus:
        self = super().__new__(cls, nodes, jobs_pending)
        self.problems = problems
        self.is_hopeless = is_hopeless
        return self


def table(status: ClusterStatus, wall_time: float) -> str:
    """The nodes and their work as text; `wall_time` in seconds."""
    lines = [
        "",
        f"{'Node':>30} | {'CPUs':>5} | {'Jobs':>8} | {'Sec/Job':>9} | {'Node Time Sec':>13}"
        f" | {'Sent':>8} | {'Rcvd':>8}",
        "-" * 99,
    ]
    for node in sorted(status.nodes, key=lambda node: (node.ip_addr, node.port)):
        each = node.cpu_time / node.jobs_done if node.jobs_done else 0.0
        name = f"{join(node.ip_addr, node.port)} ({node.name[:12]})"
        counts = f"{node.cpus:>5} | {node.jobs_done:>8} | {each:>9.4f} | {node.cpu_time:>13.3f}"
        lines.append(f"{name:>30} | {counts} | {size(node.tx):>8} | {size(node.rx):>8}")
    lines.append("")
    if status.jobs_pending:
        lines.append(f"Jobs pending: {status.jobs_pending}")
    total = sum(node.cpu_time for node in status.nodes)
    speedup = total / wall_time if wall_time > 0 else 0.0
    lines.append(f"Total job time: {total:.3f} sec, wall time: {wall_time:.3f} sec, speedup: {speedup:.3f}")
    lines += [f"Problem: {problem}" for problem in status.problems]
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes for people: 512 B, 1.5 K, 3.2 M."""
    for unit in ("B", "K", "M", "G"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} T"


def overview_lines(overview: Overview) -> list[str]:
    """How a scheduler stands, as a table for people."""
    lines = [f"{'Node':>30} | {'CPUs':>5} | {'In use':>6} | State"]
    for name, address, port, cpus, load, connected in overview.nodes:
        place = f"{join(address, port)} ({name[:12]})"
        lines.append(f"{place:>30} | {cpus:>5} | {load:>6} | {'connected' if connected else 'away'}")
    lines += ["", f"{'Client':>30} | {'Computation':>20} | {'Waiting':>9} | {'On nodes':>8}"]
    for client, address, name, waiting, running in overview.computations:
        who = f"{client[:15]} ({address or 'away'})"
        lines.append(f"{who:>30} | {name[:20]:>20} | {waiting:>9} | {running:>8}")
    return lines
