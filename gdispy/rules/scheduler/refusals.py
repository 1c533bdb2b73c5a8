"""Computations that nodes have said they cannot run, and when their jobs are to end instead of waiting.

Pure.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Notice
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import inability
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns

#: Seconds that jobs wait when all nodes that were found cannot run them: for another one that may come, where `nodes`
#: has patterns, and else for what the user may do about it when told of the first.
NODE_PATIENCE = 10.0
NAMED_PATIENCE = 1.0


class Inability:
    """Looks, some time after a node has said so, whether all have that could run a computation."""

    def __init__(self, state: SchedulerState, turns: Turns) -> None:
        self._state = state
        self._turns = turns
        #: When a node last said of a computation that it cannot run it; and those that a timer is set for.
        self._said: dict[ComputationId, float] = {}
        self._watched: set[ComputationId] = set()

    def note(self, computation: Computation, assignment: Assignment, now: float) -> None:
        """A node has said that it cannot run a computation."""
        assignment.is_unable = True
        self._said[computation.id] = now
        self.look(computation, now)

    def forget(self, computation: Computation) -> None:
        """It is over."""
        self._said.pop(computation.id, None)
        self._watched.discard(computation.id)

    def look(self, computation: Computation, now: float) -> None:
        """Jobs wait: see whether they should, when it is time."""
        said = self._said.get(computation.id)
        if said is None or computation.id in self._watched or computation.open.waits:
            return
        self._watched.add(computation.id)
        moment = max(now, said + patience(computation))
        self._state.timers.set(moment, lambda: computation.id in self._said, lambda now: self._judge(computation, now))

    def _judge(self, computation: Computation, now: float) -> Effects:
        self._watched.discard(computation.id)
        if self._said[computation.id] + patience(computation) > now:
            self.look(computation, now)  # Another one has said so meanwhile.
            return []
        reason = inability(computation, self._state.nodes.values())
        return self._end(computation, reason) if reason else []

    def _end(self, computation: Computation, reason: str) -> Effects:
        """No node can run a computation, and all have said so: its jobs do not wait."""
        tasks = [task for task in computation.tasks.values() if task.node is None and not task.cancelled]
        if not tasks or computation.is_over:
            return []
        self._turns.nothing_waits(computation)
        computation.backlog.oversized.clear()
        name = computation.prepare.name if computation.prepare is not None else "?"
        told = Notice(computation.id, f"{name}: no node can run it; its jobs are terminated: {reason.rstrip()}")
        return [Send(computation.client, told), *end_jobs(computation, tasks, TERMINATED, reason)]


def patience(computation: Computation) -> float:
    """Seconds that jobs wait which no node can run."""
    return NODE_PATIENCE if any("*" in pattern for pattern in computation.open.nodes) else NAMED_PATIENCE
