"""How a scheduler takes up what a former life of it, or of its client, has left: on paper, and on nodes.

Pure. The part of the scheduler's rules between `client_requests.py` and `dispatch.py`.

Invariants:
1. A job that a node may have begun is placed on that node again, at least on paper: it comes back with what it
   holds, or it is lost, as any node is.
2. What a node says that it holds goes before what the journal says: the journal's last words may be missing.
"""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, CANCELLED
from gdispy.protocol.messages import Hello, Prepare, Release
from gdispy.protocol.payload import ABSENT
from gdispy.rules.effects import Effects
from gdispy.rules.history.facts import Met
from gdispy.rules.history.replay import ComputationHistory, Job
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.client_requests import Demands
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.turns import FAIR


class Restoring(Demands):
    """The scheduler's rules, as far as former lives are concerned."""

    def __init__(self, lease: float, policy: str = FAIR, cooperative: bool = True) -> None:
        super().__init__(policy, cooperative)
        #: Seconds from a node's last sign of life until it counts as lost.
        self._lease = lease
        #: Nodes that are away and may come back, by where they were.
        self._away: dict[str, dict[Instance, NodeRecord]] = {}
        #: Whether provisional results are remembered, too, until clients have seen them.
        self.keeps_progress = False

    def claims(self) -> list[list[Any]]:
        """The computations that nodes are to take for this scheduler's, as in `Hello`."""
        return [[each.id, each.token, each.epoch] for each in self._computations.values() if each.kept]

    def restore(self, peer: Peer, story: ComputationHistory, prepare: Prepare | None, now: float) -> Effects:
        """UseNode up a computation with its jobs that have not ended."""
        computation = self._add_computation(peer, story.open)
        computation.prepare = prepare
        for met in story.nodes.values():
            node = self._nodes.get(met.node) or self._expect(met, now)
            node.assignments[computation.id] = Assignment(computation.owner)
            node.assignments[computation.id].met = True
        effects: Effects = []
        for number, job in story.unfinished().items():
            effects += self._restore_job(computation, number, job)
        if story.rebooted and story.nodes:
            self._hold(computation, now)
        self._wait(computation, now)
        return effects + self._place(now)

    def discard(self, computation_id: ComputationId) -> Effects:
        """Forget a computation, whatever of it is there: it could not be taken up, or not be gone on with."""
        computation = self._computations.pop(computation_id, None)
        if computation is None:
            return []
        self._nothing_waits(computation)
        self._exclusive.pop(computation_id, None)
        self._inability.forget(computation)
        computation.closing = True
        effects: Effects = []
        for node in self._nodes.values():
            assignment = node.assignments.pop(computation_id, None)
            if assignment is not None:
                node.forget(assignment)
                self._push(node)
                if node.peer is not None:
                    effects.append(self._to(node, Release(computation_id)))
        return effects

    def _hold(self, computation: Computation, now: float) -> None:
        """Place nothing for as long as its nodes may come back."""
        computation.held = True

        def release(later: float) -> Effects:
            computation.held = False
            return []

        self._alarms.set(now + self._lease, lambda: computation.held, release)

    def _release_held(self) -> None:
        """All nodes that were expected have said what they hold: nothing is unknown any more."""
        held = [each for each in self._computations.values() if each.held]
        if held and not any(node.peer is None or not node.greeted for node in self._nodes.values()):
            for computation in held:
                computation.held = False

    def _expect(self, met: Met, now: float) -> NodeRecord:
        """A node that should come back soon."""
        about = (met.node, met.name, "", met.python, met.platform, met.cpus, "", 0.0)
        node = self._nodes[met.node] = NodeRecord(Hello("node", *about), met.names, met.port)
        self._await(node, now)
        return node

    def _await(self, node: NodeRecord, now: float) -> None:
        """A node is away; it may come back within the lease."""
        node.lost_at = now + self._lease
        self._away.setdefault(node.place, {})[node.instance] = node
        self._watch_absence(node)

    def _is_back(self, node: NodeRecord) -> None:
        """A node that may have been away is not expected any more."""
        others = self._away.get(node.place)
        if others is not None:
            others.pop(node.instance, None)
            if not others:
                del self._away[node.place]

    def _restore_job(self, computation: Computation, number: JobId, job: Job) -> Effects:
        task = computation.tasks[number] = new_task(number, job.arguments, job.options)
        task.attempt, task.cancelled, task.losses = job.attempt, job.cancelled, job.losses
        node = self._nodes.get(job.node) if job.node is not None else None
        assignment = node.assignments.get(computation.id) if node is not None else None
        if node is not None and assignment is not None:
            node.put(assignment, task)
            assignment.inherit(number, task.attempt)
            if task.arguments is ABSENT:
                computation.absent.add(number)
            return []
        if job.node is not None:  # The node was given up, and then the job's outcome was not written.
            task.attempt, task.losses = task.attempt + 1, task.losses + 1
        if task.arguments is ABSENT and job.node is None:
            return self._give_back(computation, [task])  # Its client says again, too, whether it is cancelled.
        if job.cancelled:
            return self._end(computation, [task], CANCELLED, "")
        lost = job.node is not None and not computation.reentrant
        if lost or (task.pinned is not None and task.pinned not in self._nodes):
            return self._end(computation, [task], ABANDONED, "Nothing is known any more of the node of the job.\n")
        if task.arguments is ABSENT:
            return self._give_back(computation, [task])
        computation.add(task)
        return []

    def _inherit(self, node: NodeRecord, computation: Computation, jobs: list[JobId], attempts: list[int]) -> Effects:
        """A node holds these jobs: if they are here as jobs of a node that is away, or of none, they are this one's."""
        found: list[JobId] = []
        for job, attempt in zip(jobs, attempts, strict=True):
            task = computation.tasks.get(job)
            if task is None and job in computation.given_back:
                self._inherit_absent(node, computation, job, attempt)
                found.append(job)
                continue
            if task is None or task.node is node or attempt < task.attempt:
                continue
            assignment = node.assignment_of(computation)
            if task.node is None:
                task = self._take_out(computation, task)
            elif task.node.peer is None:
                task.node.remove(task.node.assignments[computation.id], job)
            else:
                continue
            task.attempt = attempt
            node.put(assignment, task)
            assignment.inherit(job, attempt)
            found.append(job)
        if not found or not computation.kept:
            return []
        # Or the next life would give their next placement a number that was given before.
        placed = node.assignments[computation.id].placed
        return [self._note_placed(node, computation.id, found, [placed[job].attempt for job in found])]

    def _inherit_absent(self, node: NodeRecord, computation: Computation, job: JobId, attempt: int) -> None:
        """The same of a job that is not even here: the journal's last words, that it was placed, are missing."""
        task = Task(job, ABSENT)
        computation.take_again(task)
        task.attempt = attempt
        computation.tasks[job] = task
        computation.absent.add(job)
        assignment = node.assignment_of(computation)
        node.put(assignment, task)
        assignment.inherit(job, attempt)

    def _watch_absence(self, node: NodeRecord) -> None:
        """A node that does not come back is lost."""
        moment = node.lost_at
        assert moment is not None
        why = f"nothing was heard of it for {self._lease:.0f} s"
        self._alarms.set(
            moment,
            lambda: node.lost_at == moment and self._nodes.get(node.instance) is node,
            lambda now: self._lose(node, now, why),
        )

    def _lose(self, node: NodeRecord, now: float, why: str) -> Effects:
        raise NotImplementedError
