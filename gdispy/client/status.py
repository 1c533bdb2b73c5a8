"""The status of a cluster: the public records and the table."""

from __future__ import annotations

import time
from collections import namedtuple
from collections.abc import Iterator

from gdispy.client import notebook_views
from gdispy.client.tables import count, format_table
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable, printable_lines
from gdispy.protocol.messages import Ended
from gdispy.protocol.payload import total_size
from gdispy.protocol.rows import NodeRow


class DispyNodeAvailInfo:
    """Free resources of a node: percent of its CPU time, bytes of memory, bytes on the disk of its computations,
    percent of swap."""

    _fields = ("cpu", "memory", "disk", "swap")

    def __init__(self, cpu: float, memory: int, disk: int, swap: float) -> None:
        self.cpu = cpu
        self.memory = memory
        self.disk = disk
        self.swap = swap

    @classmethod
    def of(cls, free: list[float]) -> DispyNodeAvailInfo | None:
        """The record for the report of a node; None if it is empty, because psutil is not installed there."""
        return cls(free[0], int(free[1]), int(free[2]), free[3]) if free else None

    def __iter__(self) -> Iterator[float]:
        return iter((self.cpu, self.memory, self.disk, self.swap))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispyNodeAvailInfo) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"DispyNodeAvailInfo({shown})"


class _WithCounts:
    """Keeps a cluster's own counts for a node out of its `__dict__`, which programs display."""

    __slots__ = ("_counted",)


class DispyNode(_WithCounts):
    """A node as seen by one cluster, with its work for that cluster.

    There is one object per node during the life of the cluster, and its numbers are current: the hub counts the jobs
    that start and end there, and takes the reports of the scheduler.
    """

    #: Status of a node for a `cluster_status` function: it is set up; it is closed or lost; it has reported free
    #: resources.
    Initialized = 4
    Closed = 16
    AvailInfo = 17

    def __init__(self, ip_addr: str, name: str, cpus: int) -> None:
        self.ip_addr = ip_addr
        self.name = name
        #: CPUs in use for this cluster, and CPUs that the node offers.
        self.cpus = cpus
        self.avail_cpus = cpus
        self.port: int | None = None
        #: Of gdispy and Python there, and the system, as a text; '' until they are known.
        self.versions = ""
        #: The last report of free resources.
        self.avail_info: DispyNodeAvailInfo | None = None
        #: Jobs that are running there, and jobs that have ended there.
        self.busy = 0
        self.jobs_done = 0
        #: Total run time of jobs there, in seconds.
        self.cpu_time = 0.0
        #: Bytes of arguments sent to it, and of results received.
        self.tx = 0
        self.rx = 0
        self.update_time = time.time()
        #: Counted by the hub; the scheduler may count the same jobs a little earlier.
        self._counted = _Counted()

    @classmethod
    def of(cls, row: NodeRow) -> DispyNode:
        """A node from a row of `Status`."""
        node = cls(row.address, row.name, row.cpus)
        node.update(row)
        return node

    def update(self, row: NodeRow) -> None:
        """Apply a report of the scheduler."""
        self.name, self.ip_addr, self.port = row.name, row.address, row.port
        self.cpus = self.avail_cpus = row.cpus
        # Jobs that the scheduler has sent there, of which those that have started are counted here, too.
        counted = self._counted
        counted.reported, counted.running = row.busy, min(counted.running, row.busy)
        self.busy = row.busy
        self.jobs_done, self.cpu_time = max(self.jobs_done, row.done), max(self.cpu_time, row.seconds)
        self.tx, self.rx = max(self.tx, row.sent), max(self.rx, row.received)
        self.update_time = time.time()

    def began(self, size: int) -> None:
        """A job with arguments of `size` bytes has started there."""
        self._counted.running += 1
        self.busy = max(self._counted.running, self._counted.reported)
        self._counted.tx += size
        self.tx = max(self.tx, self._counted.tx)

    def received(self, size: int) -> None:
        """A provisional result of `size` bytes has arrived from there."""
        self._counted.rx += size
        self.rx = max(self.rx, self._counted.rx)

    def finished(self, ended: Ended, picks: list[int] | None, seen: int, sent: int) -> None:
        """The jobs at the indices `picks` have ended there: `seen` of them were known to be running, and `sent` is the
        size of the arguments of the others."""
        counted = self._counted
        if picks is None:
            jobs, seconds = len(ended.jobs), sum(ended.ends) - sum(ended.starts)
            size = total_size(ended.results)
        else:
            jobs, seconds = len(picks), sum(ended.ends[place] - ended.starts[place] for place in picks)
            size = total_size([ended.results[place] for place in picks])
        counted.jobs += jobs
        counted.seconds += max(0.0, seconds)
        counted.tx += sent
        counted.rx += size
        counted.running, counted.reported = max(0, counted.running - seen), max(0, counted.reported - seen)
        self.busy = max(counted.running, counted.reported)
        self.jobs_done, self.cpu_time = max(self.jobs_done, counted.jobs), max(self.cpu_time, counted.seconds)
        self.tx, self.rx = max(self.tx, counted.tx), max(self.rx, counted.rx)
        self.update_time = time.time()

    def closed(self) -> None:
        """It is closed or lost: nothing runs there."""
        self.busy = self._counted.running = self._counted.reported = 0

    def __repr__(self) -> str:
        return printable(f"<DispyNode {self.name} {Address(self.ip_addr, self.port)}>")


class _Counted:
    """A cluster's own counts for a node, and the jobs there according to its scheduler, which may know of a job before
    it starts."""

    __slots__ = ("jobs", "reported", "running", "rx", "seconds", "tx")

    def __init__(self) -> None:
        self.jobs = self.tx = self.rx = self.running = self.reported = 0
        self.seconds = 0.0


class ClusterStatus(namedtuple("ClusterStatus", ["nodes", "jobs_pending"])):
    """`nodes`, a list of DispyNode; `jobs_pending`; and `problems`, the reasons why nodes are not used.

    `is_hopeless` tells that no further node can be expected: all were named explicitly, and all have refused
    permanently.
    """

    problems: list[str]
    is_hopeless: bool

    def __new__(
        cls, nodes: list[DispyNode], jobs_pending: int, problems: list[str], is_hopeless: bool = False
    ) -> ClusterStatus:
        self = super().__new__(cls, nodes, jobs_pending)
        self.problems = [*map(printable_lines, problems)]  # Nodes say what is in them.
        self.is_hopeless = is_hopeless
        return self

    def __repr__(self) -> str:
        cpus = sum(node.cpus for node in self.nodes)
        nodes, jobs = count(len(self.nodes), "node"), count(self.jobs_pending, "job")
        problems = "".join(f"; {problem}" for problem in self.problems[:1])
        return f"<ClusterStatus: {nodes} with {count(cpus, 'CPU')}, {jobs} pending{problems}>"

    def _repr_html_(self) -> str:
        return notebook_views.status_html(self)


#: Characters of the columns of the table of nodes.
_WIDTHS = (30, 5, 8, 9, 13, 8, 8)


def table(status: ClusterStatus, wall_time: float) -> str:
    """A table of the nodes and their work; `wall_time` in seconds."""
    rows = [("Node", "CPUs", "Jobs", "Sec/Job", "Node Time Sec", "Sent", "Rcvd")]
    for node in sorted(status.nodes, key=lambda node: (node.ip_addr, node.port)):
        each = node.cpu_time / node.jobs_done if node.jobs_done else 0.0
        name = f"{printable(str(Address(node.ip_addr, node.port)))} ({printable(node.name[:12])})"
        times = (f"{each:.4f}", f"{node.cpu_time:.3f}")
        rows.append((name, str(node.cpus), str(node.jobs_done), *times, size(node.tx), size(node.rx)))
    head, *found = format_table(rows, " | ", _WIDTHS)
    lines = ["", head, "-" * 99, *found]
    lines.append("")
    if status.jobs_pending:
        lines.append(f"Jobs pending: {status.jobs_pending}")
    total = sum(node.cpu_time for node in status.nodes)
    speedup = total / wall_time if wall_time > 0 else 0.0
    lines.append(f"Total job time: {total:.3f} sec, wall time: {wall_time:.3f} sec, speedup: {speedup:.3f}")
    lines += [f"Problem: {problem}" for problem in status.problems]
    return "\n".join(lines)


def size(number: float) -> str:
    """A human-readable size: 512 B, 1.5 K, 3.2 M."""
    for unit in ("B", "K", "M", "G"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} T"
