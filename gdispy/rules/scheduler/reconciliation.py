"""Restores the state that a previous run of the scheduler, client or connection has left in journals and on nodes.

Pure. Invariants:
1. A job that a node may have begun is placed on that node again, at least in the tables: it is confirmed by the node's
   inventory, or lost with the node.
2. A node's inventory takes precedence over the journal: the journal's last entries may be missing.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, CANCELLED
from gdispy.protocol.messages import Cancel, Inventory, OutcomesAcked, Prepare, Release
from gdispy.protocol.payload import ABSENT
from gdispy.protocol.rows import Claim
from gdispy.protocol.texts import LOST_UNKNOWN
from gdispy.rules.effects import Effects
from gdispy.rules.history.replay import ComputationHistory, Job
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import Membership
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage, to_node
from gdispy.rules.scheduler.placement import Placement, placed_facts
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs

#: Jobs and attempts that a node holds, by computation.
Held = dict[ComputationId, tuple[list[JobId], list[int]]]


class Reconciliation:
    """Compares the scheduler's state with journals and with the inventories of nodes."""

    def __init__(
        self,
        state: SchedulerState,
        reminders: Reminders,
        turns: Turns,
        wide_jobs: WideJobs,
        placement: Placement,
        provisioning: Provisioning,
        lifecycle: JobLifecycle,
        membership: Membership,
    ) -> None:
        self._state = state
        self._reminders = reminders
        self._turns = turns
        self._wide_jobs = wide_jobs
        self._placement = placement
        self._provisioning = provisioning
        self._lifecycle = lifecycle
        self._membership = membership

    # Journals

    def claims(self) -> list[Claim]:
        """The computations that nodes must treat as this scheduler's, as in `Hello`."""
        return [
            Claim(each.id, each.open.token, each.open.epoch) for each in self._state.computations.values() if each.kept
        ]

    def restore(self, peer: Peer, history: ComputationHistory, prepare: Prepare | None, now: float) -> Effects:
        """Restore a computation with its jobs that have not ended."""
        computation = self._turns.open(history.open, peer)
        computation.prepare = prepare
        for met in history.nodes.values():
            node = self._state.nodes.get(met.node) or self._membership.expect(met, now)
            node.assignments[computation.id] = Assignment(computation.owner)
            node.assignments[computation.id].met = True
        effects: Effects = []
        for number, job in history.unfinished().items():
            effects += self._restore_job(computation, number, job)
        if history.rebooted and history.nodes:
            self._hold(computation, now)
        self._turns.wait(computation, now)
        return effects + self._placement.place(now)

    def _hold(self, computation: Computation, now: float) -> None:
        """Place no jobs of a computation as long as its nodes may return."""
        computation.held = True

        def release(later: float) -> Effects:
            computation.held = False
            return []

        self._state.timers.set(now + self._membership.lease, lambda: computation.held, release)

    def _release_held(self) -> None:
        """All expected nodes have reported their inventories: all jobs on nodes are known."""
        held = [each for each in self._state.computations.values() if each.held]
        if held and all(node.stage is NodeStage.ACTIVE for node in self._state.nodes.values()):
            for computation in held:
                computation.held = False

    def _restore_job(self, computation: Computation, number: JobId, job: Job) -> Effects:
        task = computation.tasks[number] = new_task(number, job.arguments, job.options)
        task.attempt, task.cancelled, task.losses = job.attempt, job.cancelled, job.losses
        node = self._state.nodes.get(job.node) if job.node is not None else None
        assignment = node.assignments.get(computation.id) if node is not None else None
        if node is not None and assignment is not None:
            node.put(assignment, task)
            assignment.inherit(number, task.attempt)
            if task.arguments is ABSENT:
                computation.absent.add(number)
            return []
        if job.node is not None:  # The node was given up, and the job's outcome was not written after that.
            task.attempt, task.losses = task.attempt + 1, task.losses + 1
        if task.arguments is ABSENT and job.node is None:
            # Its client also repeats a cancellation.
            return self._lifecycle.give_back(computation, [task])
        if job.cancelled:
            return end_jobs(computation, [task], CANCELLED, "")
        lost = job.node is not None and not computation.reentrant
        if lost or (task.pinned is not None and task.pinned not in self._state.nodes):
            return end_jobs(computation, [task], ABANDONED, f"The node {LOST_UNKNOWN}.\n")
        if task.arguments is ABSENT:
            return self._lifecycle.give_back(computation, [task])
        computation.backlog.add(task)
        return []

    # Nodes

    def on_inventory(self, node: NodeRecord, message: Inventory, now: float) -> Effects:
        """Compare a node's inventory with the jobs that are placed on it, after a connection is made."""
        node.move(NodeStage.ACTIVE)
        self._wide_jobs.note_node(node)
        self._reminders.problem(node.place, "")
        held: Held = message.held()
        effects: Effects = []
        for computation_id, (jobs, attempts) in held.items():
            if computation_id in self._state.computations:
                effects += self._inherit(node, self._state.computations[computation_id], jobs, attempts)
        for instance in node.formers:
            former = self._state.nodes.get(instance)
            # A node that has returned meanwhile, from another address, is not a previous run of this node.
            if former is not None and former.stage is NodeStage.AWAY:
                effects += self._membership.lose(former, now, "it was started again")
        node.formers = []
        effects += self._reject_unknown(node, held)
        for computation_id, assignment in node.assignments.items():
            computation = self._state.computations[computation_id]
            effects += self._requeue_missing(node, computation, assignment, held, now)
            effects += self._resume(node, computation, assignment, computation_id in held)
            effects += _cancel_again(node, computation_id, assignment)
        effects += self._provisioning.offer_all(node, now)
        self._release_held()
        self._placement.push(node)
        return effects

    def _reject_unknown(self, node: NodeRecord, held: Held) -> Effects:
        """Let the node forget computations and attempts that are obsolete."""
        effects: Effects = []
        for computation_id, (jobs, attempts) in held.items():
            assignment = node.assignments.get(computation_id)
            computation = self._state.computations.get(computation_id)
            if assignment is None and computation is not None and not jobs and not computation.is_over:
                # The node has it from a previous run.
                assignment = node.assignments[computation_id] = Assignment(computation.owner)
            if assignment is None:
                effects.append(to_node(node, Release(computation_id)))
                continue
            stale = [
                (job, attempt)
                for job, attempt in zip(jobs, attempts, strict=True)
                if job not in assignment.placed or assignment.placed[job].attempt != attempt
            ]
            if stale:
                # With receipts, or on a bad link the node would send everything again each time, without progress.
                columns = tuple(map(list, zip(*stale, strict=True)))
                effects += [to_node(node, kind(computation_id, *columns)) for kind in (OutcomesAcked, Cancel)]
        return effects

    def _requeue_missing(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, held: Held, now: float
    ) -> Effects:
        """Queue jobs again that have not arrived at the node."""
        jobs, attempts = held.get(computation.id, ([], []))
        known = set(zip(jobs, attempts, strict=True))
        missing = [task for task in assignment.placed.values() if (task.job, task.attempt) not in known]
        effects = self._lifecycle.requeue(node, computation, missing, now)
        assignment.recalling = False
        return effects

    def _resume(self, node: NodeRecord, computation: Computation, assignment: Assignment, is_there: bool) -> Effects:
        """Continue a computation on a node that has returned: use the node, or leave it."""
        if not is_there:
            self._provisioning.note_ready(node, computation, assignment, False)
            if assignment.use.is_leaving and not assignment.placed:
                return self._provisioning.left(computation, node, assignment)
        elif assignment.stage is AssignmentStage.READY:
            self._turns.note_usable(computation)
            effects = self._provisioning.limit(node, computation.id)
            if assignment.use.is_leaving:  # The release was requested while the node was away.
                effects += self._provisioning.leave(node, computation, assignment)
            return effects
        elif assignment.use.is_leaving:
            if assignment.stage is AssignmentStage.RELEASING:  # The request may be lost: it is repeated.
                assignment.move(AssignmentStage.IDLE)
            return self._provisioning.leave(node, computation, assignment)
        return []

    def _inherit(self, node: NodeRecord, computation: Computation, jobs: list[JobId], attempts: list[int]) -> Effects:
        """A node holds these jobs: those that are recorded for a node that is away, or for none, are assigned to it."""
        found: list[JobId] = []
        for job, attempt in zip(jobs, attempts, strict=True):
            task = computation.tasks.get(job)
            if task is None and job in computation.given_back:
                _inherit_absent(node, computation, job, attempt)
                found.append(job)
            elif task is not None and self._inherit_known(node, computation, task, attempt):
                found.append(job)
        if not found or not computation.kept:
            return []
        # Otherwise the next run would use an attempt number again for their next placement.
        placed = node.assignments[computation.id].placed
        return [placed_facts(node, computation.id, found, [placed[job].attempt for job in found])]

    def _inherit_known(self, node: NodeRecord, computation: Computation, task: Task, attempt: int) -> bool:
        """Place a job on the node that holds it; returns whether it was not placed there before."""
        if task.node is node or attempt < task.attempt:
            return False
        assignment = node.assignment_of(computation)
        if task.node is None:
            task = self._turns.take_out(computation, task)
        elif task.node.peer is None:
            task.node.remove(task.node.assignments[computation.id], task.job)
        else:
            return False
        task.attempt = attempt
        node.put(assignment, task)
        assignment.inherit(task.job, attempt)
        return True


def _inherit_absent(node: NodeRecord, computation: Computation, job: JobId, attempt: int) -> None:
    """Place a job that is unknown here: the journal's last entry, that it was placed, is missing."""
    task = Task(job, ABSENT)
    computation.take_again(task)
    task.attempt = attempt
    computation.tasks[job] = task
    computation.absent.add(job)
    assignment = node.assignment_of(computation)
    node.put(assignment, task)
    assignment.inherit(job, attempt)


def _cancel_again(node: NodeRecord, computation: ComputationId, assignment: Assignment) -> Effects:
    """Repeat cancellations that the node may not have received."""
    cancelled = [task for task in assignment.placed.values() if task.cancelled]
    if not cancelled:
        return []
    numbers = [task.job for task in cancelled], [task.attempt for task in cancelled]
    return [to_node(node, Cancel(computation, *numbers))]
