"""What a program counts for `/metrics` of its page.

Runs in the hub, while the page is served.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gdispy.protocol.messages import Ended
from gdispy.web.gauges import Gauge, jobs_of, single, states
from gdispy.web.job_metrics import JobMetrics

if TYPE_CHECKING:
    from gdispy.client.page import ClusterWatch

#: The states of a node of a cluster.
NODE_STATES = ("ready", "closed")


class ProgramMetrics:
    """The jobs of the clusters on a page that have ended since the page is served, and what there is now."""

    role = "program"

    def __init__(self, watches: Callable[[], Sequence[ClusterWatch]]) -> None:
        self.metrics = JobMetrics()
        self._watches = watches

    def count(self, name: str, ended: Ended, picks: list[int] | None, submitted: Sequence[float]) -> None:
        """Jobs of a cluster have ended; `picks` are their indices in the message, None for all."""
        columns: list[list[Any]] = [ended.statuses, ended.exceptions, ended.starts, ended.ends]
        if picks is not None:
            columns = [[column[place] for place in picks] for column in columns]
        statuses, exceptions, starts, ends = columns
        if statuses:
            seen = [time.time()] * len(statuses)
            self.metrics.count(name, statuses, exceptions, starts, ends, submitted, seen)

    def gauges(self) -> Iterator[Gauge]:
        watches = self._watches()
        counts = [(each, each.engine.count.pending, each.running()) for each in watches]
        yield from jobs_of(self.metrics, ((each.engine.name, jobs - runs, runs) for each, jobs, runs in counts))
        nodes: dict[bytes, tuple[str, int]] = {}
        moved: Counter[tuple[str, ...]] = Counter()
        for watch in watches:
            ready, closed = watch.engine.nodes.ready(), watch.engine.nodes.closed()
            nodes.update((instance, ("closed", 0)) for instance in closed if instance not in nodes)
            if watch.is_open:
                nodes.update((instance, ("ready", node.cpus)) for instance, node in ready.items())
            for node in (*ready.values(), *closed.values()):
                moved["sent",] += node.tx
                moved["received",] += node.rx
        yield states("nodes", "Nodes by state.", NODE_STATES, (state for state, _ in nodes.values()))
        yield single("cpus", "CPUs of the nodes that are used.", sum(cpus for _, cpus in nodes.values()))
        yield single("cpus_busy", "CPUs in use.", sum(runs for _, _, runs in counts))
        yield single("computations", "Clusters that are open.", sum(watch.is_open for watch in watches))
        text = "Bytes of arguments that were sent to nodes in use, and of results that were received from them."
        yield Gauge("payload_bytes", text, ("direction",), dict(moved))
