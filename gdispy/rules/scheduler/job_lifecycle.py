"""Changes of single jobs other than placement: return from nodes, cancellation, takeover.

Pure. Invariants:
1. Each placement of a job has a different attempt number: a returned job gets the next one.
2. A waiting job that is cancelled ends immediately; a job on a node ends when the node reports its end.
"""

from __future__ import annotations

from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.job_status import ABANDONED, CANCELLED
from gdispy.protocol.message import picked
from gdispy.protocol.messages import Cancel, Ended, ResendRequest, Withdraw
from gdispy.protocol.payload import ABSENT
from gdispy.protocol.texts import TAKEN_OVER
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Unplaced
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.node_record import NodeRecord, to_node
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs


class JobLifecycle:
    """Jobs from their submission to their end."""

    def __init__(
        self,
        state: SchedulerState,
        turns: Turns,
        wide_jobs: WideJobs,
        placement: Placement,
        provisioning: Provisioning,
    ) -> None:
        self._state = state
        self._turns = turns
        self._wide_jobs = wide_jobs
        self._placement = placement
        self._provisioning = provisioning

    def requeue(self, node: NodeRecord, computation: Computation, tasks: list[Task], now: float) -> Effects:
        """Return jobs that have not begun to the front of their queue."""
        if not tasks:
            return []
        assignment = node.assignments[computation.id]
        cancelled: list[Task] = []
        absent: list[Task] = []
        effects: Effects = [_unplaced(computation, tasks)] if computation.kept else []
        for task in reversed(tasks):
            node.remove(assignment, task.job)
            task.attempt += 1
            if task.cancelled or task.job in computation.withdrawn:
                computation.withdrawn.discard(task.job)
                cancelled.append(task)
            elif task.arguments is ABSENT:
                absent.append(task)
            else:
                computation.backlog.add(task, first=True)
        if computation.backlog.wide:
            self._wide_jobs.note_jobs(computation)
        self._placement.push(node)
        self._turns.freed(computation.owner)
        self._turns.wait(computation, now)
        effects += self.give_back(computation, absent) if absent else []
        return effects + (end_jobs(computation, cancelled, CANCELLED, "") if cancelled else [])

    def give_back(self, computation: Computation, tasks: list[Task]) -> Effects:
        """Request jobs from the client again: only a previous run of the scheduler had their arguments."""
        for task in tasks:
            del computation.tasks[task.job]
            computation.absent.discard(task.job)
            computation.given_back[task.job] = task.attempt, task.losses
        return [Send(computation.client, ResendRequest(computation.id, [task.job for task in tasks], True))]

    def cancel(self, computation: Computation, jobs: list[JobId]) -> Effects:
        """Cancel jobs, whether they wait or are on nodes."""
        effects: Effects = []
        waiting: list[Task] = []
        for job in jobs:
            task = computation.tasks.get(job)
            if task is None or task.cancelled:
                continue
            task.cancelled = True
            if task.node is None:
                waiting.append(task)
            elif task.node.peer is not None:
                effects.append(to_node(task.node, Cancel(computation.id, [task.job], [task.attempt])))
        return effects + self._cancel_waiting(computation, waiting) if waiting else effects

    def withdraw(self, computation: Computation, jobs: list[JobId]) -> tuple[Effects, list[JobId]]:
        """Cancel the jobs that wait, and have nodes end those that have not begun there. Returns also the numbers of
        the jobs that waited."""
        tasks = [task for job in jobs if (task := computation.tasks.get(job)) is not None and not task.cancelled]
        waiting = [task.job for task in tasks if task.node is None]
        placed: dict[Instance, list[JobId]] = {}
        for task in tasks:
            if task.node is not None:
                computation.withdrawn.add(task.job)  # It may be on its way back.
                if task.node.peer is not None:
                    placed.setdefault(task.node.instance, []).append(task.job)
        effects: Effects = [
            to_node(self._state.nodes[instance], Withdraw(computation.id, 0, part)) for instance, part in placed.items()
        ]
        return effects + (self.cancel(computation, waiting) if waiting else []), waiting

    def prioritize(self, computation: Computation, job: JobId, priority: float, now: float) -> str:
        """Give a job another priority; returns why that is not possible, or ''."""
        task = computation.tasks.get(job)
        if task is None:
            return f"there is no job {job} that waits or runs"
        if task.cancelled:
            return f"job {job} was cancelled before"
        if task.node is not None:
            return f"job {job} is on a node: the priority decides about jobs that wait for one"
        self._turns.set_priority(computation, task, priority)
        self._turns.wait(computation, now)
        return ""

    def _cancel_waiting(self, computation: Computation, tasks: list[Task]) -> Effects:
        """Cancelled jobs are skipped when they reach the head of the queue."""
        queued = [task for task in tasks if task.cpus == 1 or not computation.backlog.oversized.discard(task)]
        for task in queued:
            computation.backlog.cancel(task)
        if queued and computation.backlog.cancelled == len(computation.backlog):
            self._turns.nothing_waits(computation)
        return end_jobs(computation, tasks, CANCELLED, "")

    def fence(self, computation: Computation) -> Effects:
        """Another scheduler has taken the computation over: its jobs no longer belong to this scheduler."""
        computation.fenced, computation.kept = True, False
        tasks = [task for task in computation.tasks.values() if task.node is not None or not task.cancelled]
        self._turns.nothing_waits(computation)
        computation.backlog.oversized.clear()
        computation.places.clear()
        self._wide_jobs.note_nodes(computation)
        for node in self._state.nodes.values():
            self._provisioning.withdraw(node, computation)
        return end_jobs(computation, tasks, ABANDONED, TAKEN_OVER) if tasks else []

    def report_late(self, node: NodeRecord, message: Ended) -> Effects:
        """Results of jobs that were given up because their node was away for too long: their clients may use them."""
        computation = self._state.computations.get(message.computation)
        if computation is None or computation.is_over or not node.returned:
            return []
        tasks = computation.tasks
        places = [place for place, job in enumerate(message.jobs) if job not in tasks]
        return [Send(computation.client, picked(message, places).at(node.names[0], node.instance))] if places else []


def _unplaced(computation: Computation, tasks: list[Task]) -> WriteFacts:
    numbers, attempts = [task.job for task in tasks], [task.attempt + 1 for task in tasks]
    losses = [task.losses for task in tasks]
    return WriteFacts(computation.id, [Unplaced(computation.id, numbers, attempts, losses)])
