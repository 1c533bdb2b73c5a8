"""The lists of jobs on the page of a shared scheduler, and its timeline.

Runs in the scheduler's loop. It reads the tables of the rules and of the clients' mailboxes, and changes nothing.

Invariants:
1. A request takes a bounded time, and so does a message about jobs that have ended, however many they are.
2. Nothing of a client is unpickled: jobs are known by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import Ended, Started
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.service import SharedScheduler
from gdispy.web import job_lists
from gdispy.web.ended_jobs import EndedJobs, Origin
from gdispy.web.job_lists import Query
from gdispy.web.request import Request

#: Of the jobs in one message, those that are remembered when they have ended.
AT_ONCE = 64

#: A client's computation with its client, None while it changes hands.
Owned = tuple[Computation, ClientProxy | None]


class SchedulerJobs:
    """The jobs of all clients, as the page lists them."""

    def __init__(self, sharing: SharedScheduler) -> None:
        self._sharing = sharing
        self.past = EndedJobs(self._node_of, AT_ONCE)
        #: Whose the computations are, since `forget`: looked up once for many messages.
        self._origins: dict[ComputationId, Origin] = {}

    def ended(self, message: Ended) -> None:
        number = message.computation
        origin = self._origins.get(number)
        if origin is None:
            computation = self._sharing.rules.state.computations.get(number)
            origin = self._origins[number] = origin_of(computation, owner_of(self._sharing, number))
        self.past.note(message, None, origin)

    def forget(self) -> None:
        """Look up again whose the computations are: clients may take them over."""
        self._origins.clear()

    def _node_of(self, node: bytes) -> tuple[str, int | None] | None:
        known = self._sharing.rules.state.nodes.get(Instance(node))
        return (known.name, known.port) if known is not None else None

    # Lists

    def page(self, request: Request) -> object:
        """Raises Refused."""
        query = Query.of(request)
        if query.kind == "waiting":
            return self._waiting(query)
        if query.kind == "failed":
            return query.answer(list(map(job_lists.failed_row, job_lists.failures(query, self.past.failures))))
        if query.kind == "ended":
            return query.answer(job_lists.ended(query, ((self.past, row) for row in self.past.newest())))
        found = (row for row in self._running(query) if query.fits(_texts_of(row)))
        return query.answer(list(query.page(list(islice(found, job_lists.LOOKED_AT)))))

    def _computations(self) -> list[Owned]:
        owners = owners_of(self._sharing)
        return [(each, owners.get(number)) for number, each in self._sharing.rules.state.computations.items()]

    def _running(self, query: Query) -> Iterator[dict[str, object]]:
        """Those that nodes have reported; short jobs are reported only when they have ended."""
        computations = self._computations()
        for at, number, message in job_lists.running(query, _reported(computations)):
            computation, proxy = computations[at]
            node = _running_at(computation, number, message)
            if node is not None:
                row = _row(computation, proxy, number, "Running", node.name)
                yield {**row, "start": message.times[message.jobs.index(number)]}

    def _waiting(self, query: Query) -> dict[str, object]:
        computations = self._computations()
        reported = _reported(computations)

        def row_of(at: int, number: JobId, task: Task) -> dict[str, object] | None:
            computation, proxy = computations[at]
            message, node = reported[at].get(number), task.node
            if message is not None and _running_at(computation, number, message) is not None:
                return None
            status = "Cancelled" if task.cancelled else "Waiting" if node is None else "Sent"
            row = _row(computation, proxy, number, status, node.name if node is not None else "")
            return {**row, "priority": task.priority} if query.fits(_texts_of(row)) else None

        rows, after = job_lists.waiting(query, [each.tasks for each, _ in computations], row_of)
        return {"kind": query.kind, "jobs": rows, "from": query.begin, "next": after}


def owners_of(sharing: SharedScheduler) -> dict[ComputationId, ClientProxy]:
    """The clients of all computations."""
    return {number: proxy for proxy in sharing.clients.values() for number in proxy.mailbox.computations}


def owner_of(sharing: SharedScheduler, computation: ComputationId) -> ClientProxy | None:
    return next((each for each in sharing.clients.values() if each.mailbox.has(computation)), None)


def origin_of(computation: Computation | None, proxy: ClientProxy | None) -> Origin:
    return Origin(computation.name if computation is not None else "?", proxy.mailbox.name if proxy is not None else "")


def _reported(computations: Sequence[Owned]) -> list[Mapping[JobId, Started]]:
    """The jobs that have started, by computation."""
    return [proxy.mailbox.started(each.id) if proxy is not None else {} for each, proxy in computations]


def _running_at(computation: Computation, number: JobId, started: Started) -> NodeRecord | None:
    """The node that runs a job; None if it has ended there, or was sent to another node since."""
    task = computation.tasks.get(number)
    node = task.node if task is not None else None
    return node if node is not None and node.instance == started.node else None


def _row(
    computation: Computation, proxy: ClientProxy | None, number: JobId, status: str, node: str
) -> dict[str, object]:
    known = {"number": number, "id": str(number), **job_lists.names_of(origin_of(computation, proxy))}
    return {**known, "computation_id": computation.id.hex(), "status": status, "node": node}


def _texts_of(row: dict[str, object]) -> list[str]:
    return [str(row.get(name, "")) for name in ("number", "computation", "client", "node", "status")]
