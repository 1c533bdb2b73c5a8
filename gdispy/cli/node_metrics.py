"""What a node counts for `/metrics`.

Runs in the node's loop, while the node serves a page.

Invariant: jobs that have ended are counted together, at the latest after `PENDING_LIMIT` of them, since counting each
would slow short jobs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Run
from gdispy.protocol.texts import DRAINING
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.outcome import Outcome
from gdispy.runtime.limited_log import LimitedLog
from gdispy.web.gauges import Gauge, jobs_of, single, states
from gdispy.web.job_metrics import JobMetrics

if TYPE_CHECKING:
    from gdispy.node import Node

logger = logging.getLogger(__name__)

NODE_STATES = ("ready", "draining", "drained", "no_cpus")
#: Ends of jobs that are counted together.
PENDING_LIMIT = 1024


_NONE = Arrivals()


class _End(NamedTuple):
    """The end of a job."""

    job: JobId
    status: int
    exception: str
    start: float
    end: float
    #: When the node has learned of it.
    seen: float


class NodeMetrics:
    """The jobs that have arrived and ended since the page is served, and what is here now."""

    role = "node"

    def __init__(self, node: Node, most_computations: int) -> None:
        self._metrics = JobMetrics(most_computations)
        self._node = node
        self._log = LimitedLog(logger)
        self._arrivals: dict[ComputationId, Arrivals] = {}
        #: Computations, with the ends that are not counted yet.
        self._pending: dict[ComputationId, tuple[Computation, list[_End]]] = {}

    @property
    def metrics(self) -> JobMetrics:
        self.count()
        return self._metrics

    def arrived(self, message: Run) -> None:
        if message.jobs:
            self._arrivals.setdefault(message.computation, Arrivals()).note(min(message.jobs), time.time())

    def ended(self, computation: Computation, outcomes: list[Outcome]) -> None:
        pending = self._pending.get(computation.id)
        if pending is None:
            pending = self._pending[computation.id] = (computation, [])
        now = time.time()
        pending[1].extend(_End(each.job, each.status, each.exception, each.start, each.end, now) for each in outcomes)
        if len(pending[1]) >= PENDING_LIMIT:
            try:
                self.count()
            except Exception as error:  # It must not concern the jobs.
                self._log.log_failure(logging.ERROR, type(error), error, "gdispy: a defect in counting ended jobs")

    def count(self) -> None:
        """Count the jobs that have ended since the last call."""
        pending, self._pending = self._pending, {}
        for number, (computation, ends) in pending.items():
            jobs, statuses, exceptions, starts, ended, seen = map(list, zip(*ends, strict=True))
            arrivals = self._arrivals.get(number, _NONE)
            times = arrivals.times(jobs)
            arrivals.forget_before(next(iter(computation.jobs), None))
            self._metrics.count(computation.prepare.name, statuses, exceptions, starts, ended, times, seen)
        for gone in self._arrivals.keys() - {each.id for each in self._node.overview()[2]}:
            del self._arrivals[gone]

    def gauges(self) -> Iterator[Gauge]:
        row, reasons, work = self._node.overview()
        yield from jobs_of(self.metrics, ((each.name, each.waiting, each.running) for each in work))
        yield states("nodes", "This node, by state.", NODE_STATES, [_state(reasons, row.load)])
        yield single("cpus", "CPUs that this node offers.", row.cpus)
        yield single("cpus_busy", "CPUs in use.", row.load)
        clients = {each.client: each.is_here for each in work}
        found = ("connected" if here else "away" for here in clients.values())
        yield states("clients", "Schedulers and programs with jobs here, by state.", ("connected", "away"), found)
        yield single("computations", "Computations that are loaded here.", len(work))
        yield single("spool_bytes", "Bytes of results on the disk that wait for schedulers.", self._node.spool_size)


def _state(reasons: list[str], busy: int) -> str:
    """One of `NODE_STATES`, as schedulers see it."""
    if not reasons:
        return "ready"
    if DRAINING not in reasons:
        return "no_cpus"
    return "draining" if busy else "drained"
