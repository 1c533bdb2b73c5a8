"""Jobs that ask for more CPUs than any node of their computation has: they do not hold up the others.

Pure. Used by the scheduler's rules (`placement.py`).

A job of one CPU is never looked at here. Those of several are known by their CPUs (`ByCpus`), so when the nodes of a
computation change, or such jobs come, those that are too wide are found without looking at any other: they are
taken out of their queue, and back into it when a node has as many CPUs, or when there is no node at all any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gdispy.protocol.ids import ComputationId, Instance
from gdispy.rules.effects import Effects
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import insufficiency
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.refusals import patience
from gdispy.rules.timers import Timers

#: The capacity of a computation is to be counted again.
UNKNOWN = -1


class Capacity:
    """How many CPUs a job of a computation can have on one node, and which jobs ask for more."""

    def __init__(
        self,
        nodes: Mapping[Instance, NodeRecord],
        alarms: Timers,
        end: Callable[[Computation, list[Task], str], Effects],
        watch: Callable[[Computation, float], None],
    ) -> None:
        self._nodes = nodes
        self._alarms = alarms
        #: Ends jobs that wait, with this text; and has the user hear of jobs that are too wide since this moment.
        self._end = end
        self._watch = watch
        #: Computations whose nodes have changed, or that have got jobs of several CPUs.
        self._changed: dict[ComputationId, Computation] = {}

    def note_jobs(self, computation: Computation) -> None:
        """Jobs of several CPUs have come into its queues."""
        self._changed[computation.id] = computation

    def note_nodes(self, computation: Computation) -> None:
        """What its nodes have for it has changed."""
        computation.capacity = UNKNOWN
        if computation.wide or computation.oversized:
            self._changed[computation.id] = computation

    def take_changed(self) -> list[Computation]:
        """Those to be looked at, once."""
        if not self._changed:
            return []
        changed = [each for each in self._changed.values() if not each.is_over]
        self._changed.clear()
        return changed

    def count(self, computation: Computation) -> int:
        """The CPUs that a job can have on the largest node that can be used at present; 0 where there is none."""
        nodes = (self._nodes.get(instance) for instance in computation.places)
        return max((node.most_for(computation.id) for node in nodes if node is not None), default=0)

    def too_wide(self, computation: Computation) -> list[Task]:
        """Jobs in its queues that no node has enough CPUs for."""
        return computation.wide.pop_where(lambda node, cpus: 0 < self._most(computation, node) < cpus)

    def fitting(self, computation: Computation) -> list[Task]:
        """Jobs taken out before that a node has enough CPUs for now, or that must wait for a node like all others."""
        return computation.oversized.pop_where(lambda node, cpus: not 0 < self._most(computation, node) < cpus)

    def _most(self, computation: Computation, instance: Instance | None) -> int:
        if instance is not None:
            node = self._nodes.get(instance)
            return node.most_for(computation.id) if node is not None else 0
        if computation.capacity == UNKNOWN:
            computation.capacity = self.count(computation)
        return computation.capacity

    def set_aside(self, computation: Computation, tasks: list[Task], now: float) -> None:
        """These were taken out of their queue."""
        if not computation.oversized:
            computation.oversized_since = now
            self._watch(computation, now)
        for task in tasks:
            computation.oversized.add(task)

    def judge_later(self, computation: Computation, now: float, again: bool) -> None:
        """See whether they should wait at all, when it is time; `again` where the nodes have changed meanwhile."""
        if computation.waits or (computation.judged_at is not None and not again):
            return
        moment = computation.judged_at = now + patience(computation)
        self._alarms.set(
            moment,
            lambda: computation.judged_at == moment and not computation.is_over,
            lambda now: self._judge(computation),
        )

    def _judge(self, computation: Computation) -> Effects:
        computation.judged_at = None
        effects: Effects = []
        for node, cpus in computation.oversized.wishes():
            reason = insufficiency(computation, self._nodes.values(), node, cpus)
            if reason:
                effects += self._end(computation, computation.oversized.pop(node, cpus), reason)
        return effects
