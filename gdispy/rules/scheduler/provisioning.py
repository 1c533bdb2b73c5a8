"""Which computations a node loads, with how many CPUs, and how it leaves them.

Pure. Invariants:
1. A node is requested to prepare a computation only when it is connected and has reported its inventory.
2. A node is requested to release a computation once for each time that it has loaded it, and only when no job is left
   there.
3. A computation is closed when all nodes that were requested to release it have confirmed that, or are lost.
"""

from __future__ import annotations

from dataclasses import replace

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.job_status import AVAILABLE, CLOSED
from gdispy.protocol.messages import Event, Limit, NodeFound, Release, Released
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage, Consent, Use
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage, to_node
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs


class Provisioning:
    """The assignments of computations to nodes."""

    def __init__(
        self,
        state: SchedulerState,
        reminders: Reminders,
        turns: Turns,
        wide_jobs: WideJobs,
        inability: Inability,
        placement: Placement,
    ) -> None:
        self._state = state
        self._reminders = reminders
        self._turns = turns
        self._wide_jobs = wide_jobs
        self._inability = inability
        self._placement = placement

    # Offering computations to nodes

    def offer_to_all(self, computation: Computation, now: float) -> Effects:
        effects: Effects = []
        for node in self._state.nodes.values():
            effects += self.offer(node, computation, now)
        return effects

    def offer_all(self, node: NodeRecord, now: float) -> Effects:
        effects: Effects = []
        for computation in self._state.computations.values():
            effects += self.offer(node, computation, now)
        return effects

    def offer(self, node: NodeRecord, computation: Computation, now: float) -> Effects:
        """Let a connected node prepare a computation, if it may be used and is not used yet."""
        prepare = computation.prepare
        if prepare is None or computation.is_over or node.peer is None or node.stage is not NodeStage.ACTIVE:
            return []
        assignment = node.assignment_of(computation)
        if assignment.stage is AssignmentStage.READY or assignment.use is not Use.OPEN:
            return []
        assignment.error, assignment.is_unable = _objection(node, computation, assignment), False
        if assignment.error:
            if node.instance not in computation.refused:
                self._inability.note(computation, assignment, now)
            self._wide_jobs.note_nodes(computation)
            return []
        if computation.open.asks and assignment.consent is not Consent.ACCEPTED:
            return _ask(node, computation, assignment)
        if assignment.stage is not AssignmentStage.LOADING:
            assignment.begin_loading(now)
            self._reminders.watch_setup(node, computation, assignment)
        if prepare.python == node.python and prepare.source:  # For other versions of Python; may be large.
            prepare = replace(prepare, source=b"")
        return [Send(node.peer, assignment.prepare(prepare))]

    def object_to(self, computation: Computation, reason: str) -> None:
        """The computation that a client is about to prepare must not be sent to nodes, for this reason."""
        computation.objection = reason

    # Computations loaded by nodes

    def note_ready(self, node: NodeRecord, computation: Computation, assignment: Assignment, ready: bool) -> None:
        """A node has loaded a computation, or no longer has it."""
        assignment.move(AssignmentStage.READY if ready else AssignmentStage.IDLE)
        (computation.places.add if ready else computation.places.discard)(node.instance)
        self._wide_jobs.note_nodes(computation)

    def event(self, computation: Computation, node: NodeRecord, what: int) -> Effects:
        """Report an event of a node to a client that watches nodes."""
        assignment = node.assignments.get(computation.id)
        if assignment is None or assignment.error or (what == AVAILABLE and not computation.open.watches):
            return []
        row = node.row(assignment)
        return [Send(computation.client, Event(computation.id, what, node.instance, [row], node.free))]

    # CPUs

    def limit(self, node: NodeRecord, computation: ComputationId) -> Effects:
        """Send the number of CPUs that may be used: then jobs can be sent ahead and the node does not run too many."""
        if node.peer is None:
            return []
        assignment = node.assignments[computation]
        return [to_node(node, Limit(computation, assignment.cpus, node.offer.allowed))]

    def allow(self, node: NodeRecord, cpus: int, now: float) -> Effects:
        """Use `cpus` CPUs of a node at most; negative: all but that number."""
        node.offer.allow(cpus)
        effects: Effects = []
        for number, assignment in node.assignments.items():
            if assignment.stage is AssignmentStage.READY:
                effects += self.limit(node, number)
        return effects + self.count_cpus(node, now)

    def count_cpus(self, node: NodeRecord, now: float) -> Effects:
        """The number of usable CPUs of a node may have changed."""
        node.cpus = node.offer.usable()
        self._wide_jobs.note_node(node)
        self._placement.push(node)
        self._wide_jobs.review(now)
        effects: Effects = []
        for number, assignment in node.assignments.items():
            effects += self._placement.recall(node, self._state.computations[number])
            if assignment.stage is AssignmentStage.READY and node.cpus:
                self._turns.note_usable(self._state.computations[number])
        self._wide_jobs.review(now)
        for computation in self._state.computations.values():
            known = node.assignments.get(computation.id)
            # It was not offered while the node accepted no jobs.
            if computation.open.asks and (known is None or known.consent is Consent.UNASKED):
                effects += self.offer(node, computation, now)
        return effects

    # Leaving

    def leave(self, node: NodeRecord, computation: Computation, assignment: Assignment) -> Effects:
        """Release a computation on one node, once no job is left there."""
        if assignment.placed or node.peer is None or assignment.stage is AssignmentStage.RELEASING:
            return []
        self.note_ready(node, computation, assignment, False)
        assignment.move(AssignmentStage.RELEASING)
        return [Send(node.peer, Release(computation.id))]

    def left(self, computation: Computation, node: NodeRecord, assignment: Assignment) -> Effects:
        """A node has left the computation, for good or to be set up again."""
        effects = self.event(computation, node, CLOSED)
        assignment.left()
        self._wide_jobs.note_nodes(computation)
        return effects

    def withdraw(self, node: NodeRecord, computation: Computation) -> bool:
        """Forget a node's assignment of a computation, jobs included; returns whether there was one."""
        assignment = node.assignments.pop(computation.id, None)
        if assignment is None:
            return False
        node.forget(assignment)
        self._placement.push(node)
        return True

    def release(self, computation: Computation, now: float) -> Effects:
        """A client has released a computation: all nodes must leave it."""
        computation.closing = True
        self._turns.nothing_waits(computation)
        computation.backlog.oversized.clear()
        self._reminders.watch_cleanup(computation, now)
        computation.tasks.clear()
        computation.places.clear()
        self._wide_jobs.note_nodes(computation)
        effects: Effects = []
        for node in self._state.nodes.values():
            effects += self.event(computation, node, CLOSED)
            if self.withdraw(node, computation) and node.peer is not None:
                computation.releasing.add(node.instance)
                effects.append(Send(node.peer, Release(computation.id)))
        return effects + self._close(computation)

    def confirm_release(self, node: NodeRecord, computation: Computation) -> Effects:
        """A node that was requested to release a computation has done so, or is lost."""
        computation.releasing.discard(node.instance)
        return self._close(computation)

    def _close(self, computation: Computation) -> Effects:
        if computation.releasing:
            return []
        self._turns.close(computation)
        self._inability.forget(computation)
        self._turns.forget_client(computation)
        return [Send(computation.client, Released(computation.id))]

    def discard(self, computation: Computation) -> Effects:
        """Forget a computation immediately, without a report to its client."""
        self._turns.nothing_waits(computation)
        self._turns.close(computation)
        self._inability.forget(computation)
        computation.closing = True
        effects: Effects = []
        for node in self._state.nodes.values():
            if self.withdraw(node, computation) and node.peer is not None:
                effects.append(to_node(node, Release(computation.id)))
        return effects

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        nodes = self._state.nodes.values()
        for computation in self._state.computations.values():
            if computation.places != {each.instance for each in nodes if each.is_ready(computation.id)}:
                raise InternalError("a node has loaded a computation and is not counted, or the other way round")


def _ask(node: NodeRecord, computation: Computation, assignment: Assignment) -> Effects:
    """Ask a client that decides about each node whether this one may be used."""
    # When a node without CPUs accepts jobs again, it is offered again.
    if assignment.consent is not Consent.UNASKED or not node.cpus:
        return []
    assignment.consent = Consent.ASKED
    question = (node.instance, node.names, node.port, node.cpus, node.platform, node.free)
    return [Send(computation.client, NodeFound(computation.id, *question))]


def _objection(node: NodeRecord, computation: Computation, assignment: Assignment) -> str:
    """Why a computation is not sent to a node, or ''."""
    prepare = computation.prepare
    assert prepare is not None
    if computation.objection:
        return computation.objection
    if not computation.open.asks and not computation.patterns.match(node.names, node.port):
        computation.refused.add(node.instance)
        return "found, but not matched by `nodes`"
    computation.refused.discard(node.instance)
    if prepare.python not in ("", node.python) and not prepare.source:
        return f"it runs Python {node.python}, but the function was compiled by Python {prepare.python}"
    is_unaccepted = assignment.consent in (Consent.ASKED, Consent.DECLINED)
    return assignment.error if computation.open.asks and is_unaccepted else ""
