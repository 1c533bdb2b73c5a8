"""What a shared scheduler counts for `/metrics`.

Runs in the scheduler's loop, while the scheduler serves a page. It reads the tables of the rules and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from gdispy.protocol.messages import Ended
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import NODE_STATES, state_of
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage
from gdispy.shared_scheduler.service import SharedScheduler
from gdispy.web.gauges import Gauge, jobs_of, single, states
from gdispy.web.job_metrics import JobMetrics

#: Addresses that were named, or known from before, without a usable node.
UNREACHABLE = "unreachable"


class SchedulerMetrics:
    """The jobs that have arrived and ended since the page is served, and what is here now."""

    role = "scheduler"

    def __init__(self, sharing: SharedScheduler, most_computations: int) -> None:
        self.metrics = JobMetrics(most_computations)
        self._sharing = sharing

    def ended(self, message: Ended) -> None:
        known = self._sharing.submissions(message.computation)
        times = known.times(message.jobs) if known is not None else []
        computation = self._sharing.rules.state.computations.get(message.computation)
        columns = (message.statuses, message.exceptions, message.starts, message.ends)
        name = computation.name if computation is not None else "?"
        self.metrics.count(name, *columns, times, [time.time()] * len(message.jobs))

    def forget(self) -> None:
        """Forget when jobs have arrived that have ended."""
        for number, computation in self._sharing.rules.state.computations.items():
            known = self._sharing.submissions(number)
            if known is not None:
                known.forget_before(next(iter(computation.tasks), None))

    def gauges(self) -> Iterator[Gauge]:
        state, clients = self._sharing.rules.state, self._sharing.clients.values()
        nodes, computations = list(state.nodes.values()), list(state.computations.values())
        rows = [(each.name, len(each.tasks), running_of(each, nodes)) for each in computations]
        yield from jobs_of(self.metrics, ((name, jobs - runs, runs) for name, jobs, runs in rows))
        found = [*map(state_of, nodes), *[UNREACHABLE] * len(self._sharing.rules.unreachable)]
        yield states("nodes", "Nodes by state.", (*NODE_STATES, UNREACHABLE), found)
        text = "Nodes that were lost without having been stopped."
        yield single("nodes_lost_total", text, self._sharing.rules.state.lost_nodes)
        usable = [node for node in nodes if node.stage is NodeStage.ACTIVE]
        yield single("cpus", "CPUs that nodes offer.", sum(node.cpus for node in usable))
        yield single("cpus_busy", "CPUs in use.", sum(node.busy() for node in nodes))
        users = (each for each in clients if each.mailbox.computations)
        found = ["connected" if each.connection is not None else "away" for each in users]
        yield states("clients", "Clients with computations here, by state.", ("connected", "away"), found)
        yield single("computations", "Computations that clients have open here.", len(computations))
        kept = sum(each.mailbox.kept_bytes for each in clients)
        yield single("kept_bytes", "Bytes of jobs that are kept for clients, without results.", kept)
        backlog = sum(each.connection.backlog for each in clients if each.connection is not None)
        yield single("unsent_bytes", "Bytes of results that clients have not taken yet.", backlog)
        yield single("journal_bytes", "Bytes of the journal, without large payloads.", self._sharing.journal_size)


def running_of(computation: Computation, nodes: list[NodeRecord]) -> int:
    """How many jobs of a computation run."""
    known = ((node, node.assignments.get(computation.id)) for node in nodes)
    return sum(each.running_jobs(node.cpus) for node, each in known if each is not None and each.placed)
