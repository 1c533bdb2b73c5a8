"""The end of each turn: jobs go to workers, or back to their schedulers, and outcomes to their schedulers."""

from __future__ import annotations

from gdispy.rules.effects import Effects
from gdispy.rules.node.assigner import Assigner
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.effects import RecallJobs
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.state import NodeState


class Turn:
    """The consequences of all changes of a turn.

    Invariant: while no CPU is used, waiting jobs are returned to their scheduler.
    """

    def __init__(
        self, state: NodeState, capacity: Capacity, outcomes: Outcomes, jobs: JobTable, assigner: Assigner
    ) -> None:
        self._state = state
        self._capacity = capacity
        self._outcomes = outcomes
        self._jobs = jobs
        self._assigner = assigner

    def end(self, now: float) -> Effects:
        effects = self._assigner.assign(now) if self._capacity.cpus else self._jobs.give_back()
        self._capacity.lower_ceiling()
        return effects + self._outcomes.flush(now)

    def adjust_cpus(self, now: float) -> Effects:
        """Use as many CPUs as are offered and allowed now; running jobs continue. A change ends a separate turn."""
        change = self._capacity.adjust()
        effects = self._recall_all() if change < 0 else []
        return effects + self.end(now) if change else []

    def _recall_all(self) -> Effects:
        """Recall the jobs that workers have in hand; if some CPUs remain in use, their first jobs stay there."""
        least = 1 if self._capacity.cpus else 0
        workers = [each for each in self._state.workers.values() if len(each.hand) > least and not each.is_ending]
        return [RecallJobs(worker.number) for worker in workers]
