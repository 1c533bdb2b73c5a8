"""Computations that nodes have reported as unable to run there, and the decision to end their jobs instead of waiting.

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

#: Seconds that jobs wait when all nodes that were found cannot run them: if `nodes` has patterns, for another node that
#: may connect; otherwise, for a correction by the user after the first notice.
NODE_PATIENCE = 10.0
NAMED_PATIENCE = 1.0


class Inability:
    """Checks, some time after a node's report, whether all nodes that might run a computation have reported that they
    cannot."""

    def __init__(self, state: SchedulerState, turns: Turns) -> None:
        self._state = state
        self._turns = turns
        #: The time of the last report that a node cannot run the computation; and the computations with a timer.
        self._said: dict[ComputationId, float] = {}
        self._watched: set[ComputationId] = set()

    def note(self, computation: Computation, assignment: Assignment, now: float) -> None:
        """A node has reported that it cannot run a computation."""
        assignment.is_unable = True
        self._said[computation.id] = now
        self.look(computation, now)

    def forget(self, computation: Computation) -> None:
        """The computation has ended."""
        self._said.pop(computation.id, None)
        self._watched.discard(computation.id)

    def look(self, computation: Computation, now: float) -> None:
        """Jobs wait: check in due time whether they should."""
        said = self._said.get(computation.id)
        if said is None or computation.id in self._watched or computation.open.waits:
            return
        self._watched.add(computation.id)
        moment = max(now, said + patience(computation))
        self._state.timers.set(moment, lambda: computation.id in self._said, lambda now: self._judge(computation, now))

    def _judge(self, computation: Computation, now: float) -> Effects:
        self._watched.discard(computation.id)
        if self._said[computation.id] + patience(computation) > now:
            self.look(computation, now)  # Another node has reported it meanwhile.
            return []
        reason = inability(computation, self._state.nodes.values())
        return self._end(computation, reason) if reason else []

    def _end(self, computation: Computation, reason: str) -> Effects:
        """All nodes have reported that they cannot run a computation: its jobs end."""
        tasks = [task for task in computation.tasks.values() if task.node is None and not task.cancelled]
        if not tasks or computation.is_over:
            return []
        self._turns.nothing_waits(computation)
        computation.backlog.oversized.clear()
        name = computation.name
        told = Notice(computation.id, f"{name}: no node can run it; its jobs are terminated: {reason.rstrip()}")
        return [Send(computation.client, told), *end_jobs(computation, tasks, TERMINATED, reason)]


def patience(computation: Computation) -> float:
    """The time in seconds for which jobs wait that no node can run."""
    return NODE_PATIENCE if any("*" in pattern for pattern in computation.open.nodes) else NAMED_PATIENCE
