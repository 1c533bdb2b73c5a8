"""The status of a node: as lines for its owner, and as rows for a visitor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gdispy.protocol.rows import ComputationOverviewRow, NodeOverviewRow
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.sessions import LAST_WORK, Sessions
from gdispy.rules.node.state import NodeState


class Work(NamedTuple):
    """A computation on this node."""

    id: bytes
    name: str
    client: str
    #: Whether its scheduler is connected.
    is_here: bool
    running: int
    waiting: int
    done: int
    #: Why it cannot be loaded, or "".
    error: str


class NodeStatus:
    """Answers status requests; changes nothing."""

    def __init__(self, state: NodeState, capacity: Capacity, sessions: Sessions) -> None:
        self._state = state
        self._capacity = capacity
        self._sessions = sessions

    def standing(self, now: float) -> list[str]:
        """The status of this node, in lines."""
        capacity = self._capacity
        lines = [cpu_line(capacity.offered, capacity.wanted, capacity.reasons(), capacity.busy)]
        lines += [computation_line(computation) for computation in self._state.computations.values()]
        lines += [client_line(session, now) for session in self._sessions.all()]
        return [*lines, LAST_WORK] if self._sessions.is_finishing else lines

    def work(self) -> list[Work]:
        """The computations on this node."""
        return [_work(each) for each in self._state.computations.values()]

    def is_idle(self) -> bool:
        """Whether no job runs here, and nothing that is here is still to be sent to a connected scheduler."""
        connected = [each for each in self._state.computations.values() if each.session.peer is not None]
        return not self._capacity.busy and not any(each.queue or each.outcomes.unacked for each in connected)

    def has_returned(self) -> bool:
        """Whether no job that has not begun is here for a connected scheduler."""
        connected = [each for each in self._state.computations.values() if each.session.peer is not None]
        return not any(each.queue or any(len(job.hand) > 1 for job in each.workers.values()) for each in connected)

    def overview(
        self, name: str, host: str, port: int
    ) -> tuple[list[NodeOverviewRow], list[ComputationOverviewRow], list[str]]:
        """The same for a visitor, as in `Overview`: this node, its computations, and why it takes no jobs."""
        here, _ = self._sessions.clients()
        computations = [
            ComputationOverviewRow(
                each.session.name, "", each.prepare.name, len(each.queue), len(each.jobs) - len(each.queue)
            )
            for each in self._state.computations.values()
        ]
        node = NodeOverviewRow(name, host, port, self._capacity.offered, self._capacity.busy, bool(here))
        return [node], computations, self._capacity.reasons()


def _work(computation: Computation) -> Work:
    running = sum(1 for worker in computation.workers.values() if worker.hand)
    session, processes = computation.session, computation.processes
    counts = running, len(computation.jobs) - running, computation.outcomes.done
    names = computation.id, computation.prepare.name, session.name
    return Work(*names, session.peer is not None, *counts, "" if processes.ready else processes.error)


def cpu_line(cpus: int, wanted: int, reasons: Iterable[str], busy: int) -> str:
    """The number of CPUs on offer, and why it is less than wanted."""
    shown = str(cpus) if cpus == wanted else f"{cpus} of {wanted} ({', '.join(reasons)})"
    return f"CPUs: {shown}, busy: {busy}"


def computation_line(computation: Computation) -> str:
    running = sum(1 for worker in computation.workers.values() if worker.hand)
    waiting = len(computation.jobs) - running
    processes, outcomes = computation.processes, computation.outcomes
    state = "" if processes.ready else ", cannot be loaded" if processes.error else ", being loaded"
    counts = f"jobs: {running} running, {waiting} waiting, {outcomes.done} done"
    kept = f", {len(outcomes.unacked)} not collected" if outcomes.unacked else ""
    return f"computation {computation.prepare.name} of {computation.session.name}{state}, {counts}{kept}"


def client_line(session: SchedulerSession, now: float) -> str:
    if session.peer is not None or session.expires is None:
        return f"client {session.name}: {'connected' if session.peer is not None else 'leaving'}"
    minutes = max(0.0, session.expires - now) / 60
    return f"client {session.name}: away; its jobs and results are kept for {minutes:.0f} minutes"
