"""Jobs that request more CPUs than any node of their computation has: they do not block other jobs.

Pure. Invariant: a job that requests more CPUs than any node of its computation has is in no queue.

A job of one CPU is never examined here. Jobs of several CPUs are indexed by their CPUs (`ByCpus`), so when the nodes of
a computation change, or such jobs arrive, those that are too wide are found without examining any other: they are
removed from their queue, and returned to it when a node has enough CPUs, or when there is no node at all any more.
"""

from __future__ import annotations

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Notice
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.backlog import UNKNOWN
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import insufficiency
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.refusals import patience
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns


class WideJobs:
    """The number of CPUs that a job of a computation can have on one node, and the jobs that request more."""

    def __init__(self, state: SchedulerState, reminders: Reminders, turns: Turns) -> None:
        self._state = state
        self._reminders = reminders
        self._turns = turns
        #: Computations whose nodes have changed, or to which jobs of several CPUs were added.
        self._changed: dict[ComputationId, Computation] = {}

    def note_jobs(self, computation: Computation) -> None:
        """Jobs of several CPUs were added to a computation's queues."""
        self._changed[computation.id] = computation

    def note_nodes(self, computation: Computation) -> None:
        """The CPUs that nodes have for a computation have changed."""
        computation.backlog.capacity = UNKNOWN
        if computation.backlog.wide or computation.backlog.oversized:
            self._changed[computation.id] = computation

    def note_node(self, node: NodeRecord) -> None:
        """A node was connected or lost, or its number of CPUs has changed."""
        for computation_id in node.assignments:
            if computation_id in self._state.computations:
                self.note_nodes(self._state.computations[computation_id])

    def review(self, now: float) -> None:
        """Nodes have changed: waiting jobs may have no usable node left."""
        self.separate(now)
        for computation in self._turns.waiting.values():
            self._turns.wait(computation, now)

    def separate(self, now: float) -> None:
        """Remove jobs from their queues for which no node has enough CPUs, and return those that fit now."""
        if not self._changed:
            return
        for computation in self._take_changed():
            has_other_nodes = computation.backlog.capacity == UNKNOWN
            for task in reversed(self._fitting(computation)):
                computation.backlog.add(task, first=True)
            found = [self._turns.take_out(computation, task) for task in self._too_wide(computation)]
            if found:
                self._set_aside(computation, found, now)
            if computation.backlog.oversized:
                self._judge_later(computation, now, has_other_nodes)
            if found:
                self._turns.note_usable(computation)
            self._turns.wait(computation, now)

    def _take_changed(self) -> list[Computation]:
        """Remove and return the computations to be examined."""
        changed = [each for each in self._changed.values() if not each.is_over]
        self._changed.clear()
        return changed

    def _count(self, computation: Computation) -> int:
        """The CPUs that a job can have on the largest node that can be used at present; 0 if there is none."""
        nodes = (self._state.nodes.get(instance) for instance in computation.places)
        return max((node.most_for(computation.id) for node in nodes if node is not None), default=0)

    def _too_wide(self, computation: Computation) -> list[Task]:
        """Jobs in the computation's queues for which no node has enough CPUs."""
        return computation.backlog.wide.pop_where(lambda node, cpus: 0 < self._most(computation, node) < cpus)

    def _fitting(self, computation: Computation) -> list[Task]:
        """Removed jobs for which a node has enough CPUs now, or that must wait for a node like all others."""
        return computation.backlog.oversized.pop_where(lambda node, cpus: not 0 < self._most(computation, node) < cpus)

    def _most(self, computation: Computation, instance: Instance | None) -> int:
        if instance is not None:
            node = self._state.nodes.get(instance)
            return node.most_for(computation.id) if node is not None else 0
        if computation.backlog.capacity == UNKNOWN:
            computation.backlog.capacity = self._count(computation)
        return computation.backlog.capacity

    def _set_aside(self, computation: Computation, tasks: list[Task], now: float) -> None:
        """Record jobs that were removed from their queue."""
        if not computation.backlog.oversized:
            computation.backlog.oversized_since = now
            self._reminders.watch_oversized(computation, now)
        for task in tasks:
            computation.backlog.oversized.add(task)

    def _judge_later(self, computation: Computation, now: float, again: bool) -> None:
        """Decide later whether they should wait at all; `again` if the nodes have changed meanwhile."""
        if computation.open.waits or (computation.backlog.judged_at is not None and not again):
            return
        moment = computation.backlog.judged_at = now + patience(computation)
        self._state.timers.set(
            moment,
            lambda: computation.backlog.judged_at == moment and not computation.is_over,
            lambda now: self._judge(computation),
        )

    def _judge(self, computation: Computation) -> Effects:
        computation.backlog.judged_at = None
        effects: Effects = []
        for node, cpus in computation.backlog.oversized.wishes():
            reason = insufficiency(computation, self._state.nodes.values(), node, cpus)
            if reason:
                effects += _end(computation, computation.backlog.oversized.pop(node, cpus), reason)
        return effects

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        for computation in self._state.computations.values():
            waiting = computation.backlog.jobs()
            several = {id(each) for each in waiting if each.cpus > 1 and not each.cancelled}
            if {id(each) for each in computation.backlog.wide} != several:
                raise InternalError("a job of several CPUs is not known as such, or another job is")
            if computation.backlog.capacity not in (UNKNOWN, self._count(computation)):
                raise InternalError("the CPUs that a job can have are others than were counted")


def _end(computation: Computation, tasks: list[Task], reason: str) -> Effects:
    name = computation.name
    jobs, them = ("a job is", "it") if len(tasks) == 1 else (f"{len(tasks)} jobs are", "them")
    told = Notice(computation.id, f"{name}: {jobs} terminated, since no node can run {them}: {reason.rstrip()}")
    return [Send(computation.client, told), *end_jobs(computation, tasks, TERMINATED, reason)]
