"""Reports of nodes to the scheduler: loaded computations, the progress and ends of jobs, and offered CPUs.

Pure. Invariant: a report of an older attempt of a job is acknowledged and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import JobId, Peer
from gdispy.protocol.job_status import AVAILABLE, INITIALIZED
from gdispy.protocol.message import picked
from gdispy.protocol.messages import (
    Availability,
    Cpus,
    Ended,
    Explained,
    Fenced,
    FileContents,
    Inventory,
    Message,
    MissingFiles,
    Notice,
    Prepared,
    Printed,
    Progress,
    Released,
    Reply,
    Returned,
    Started,
    Upload,
)
from gdispy.protocol.payload import bulk_size
from gdispy.protocol.texts import REFUSED
from gdispy.rules.effects import Drop, Effects, Send, WriteFacts
from gdispy.rules.faults import OnFault, not_taken
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage
from gdispy.rules.scheduler.diagnostics import noted
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_endings import report_ended
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import Membership
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage, receipts_to, to_node
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.reconciliation import Reconciliation
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns

ALL_OF_THEM = 1 << 40  #: Count of provisional results with which a node may forget all of an obsolete attempt.
#: Seconds after which outcomes are acknowledged to a node if no other message is sent to it.
RECEIPT_AFTER = 0.1
#: Maximum number of messages of a node that may arrive before its inventory: its connection lets them overtake it.
EARLY_LIMIT = 4096


OnUse = Callable[[Peer, Ended, dict[JobId, int]], None]


class NodeReports:
    """Handlers of the messages of nodes."""

    def __init__(
        self,
        state: SchedulerState,
        turns: Turns,
        inability: Inability,
        placement: Placement,
        provisioning: Provisioning,
        lifecycle: JobLifecycle,
        membership: Membership,
        reconciliation: Reconciliation,
    ) -> None:
        self._state = state
        self._turns = turns
        self._inability = inability
        self._placement = placement
        self._provisioning = provisioning
        self._lifecycle = lifecycle
        self._membership = membership
        self._reconciliation = reconciliation
        #: Whether provisional results are also kept in the journal until clients have seen them.
        self.keeps_progress = False
        #: Called with the client, the ends of its jobs, and the CPUs of those that have several.
        self.on_use: OnUse | None = None

    def receive(self, peer: Peer, messages: list[Message], now: float, on_fault: OnFault) -> Effects:
        effects: Effects = []
        for message in messages:
            node = self._membership.at(peer)
            if node is None:
                return effects
            if type(message) not in self.HANDLERS:
                effects.append(Drop(peer, not_taken(message, "scheduler", "node")))
                break
            try:
                effects += self._take(node, message, now)
            except Exception as error:
                effects += on_fault(peer, message, error)
                break
        return effects + self._placement.place(now)

    def _take(self, node: NodeRecord, message: Message, now: float) -> Effects:
        if node.stage is not NodeStage.ACTIVE and not isinstance(message, Inventory):
            if len(node.early) >= EARLY_LIMIT:
                raise ProtocolError(f"{len(node.early)} messages have arrived before the inventory of the node")
            node.early.append(message)  # The message has overtaken the inventory, which may be long.
            return []
        effects: Effects = self.HANDLERS[type(message)](self, node, message, now)
        while node.early and node.stage is NodeStage.ACTIVE:
            early = node.early.pop(0)
            effects += self.HANDLERS[type(early)](self, node, early, now)
        return effects

    def _on_inventory(self, node: NodeRecord, message: Inventory, now: float) -> Effects:
        return self._reconciliation.on_inventory(node, message, now)

    # CPUs that nodes offer

    def _on_availability(self, node: NodeRecord, message: Availability, now: float) -> Effects:
        node.free = message.free
        effects: Effects = []
        for computation in self._state.computations.values():
            if computation.open.watches and node.is_ready(computation.id):
                effects += self._provisioning.event(computation, node, AVAILABLE)
        return effects

    def _on_cpus(self, node: NodeRecord, message: Cpus, now: float) -> Effects:
        """The node has changed the number of CPUs that it offers; 0: not accepting jobs at present."""
        node.offer.change(message.cpus, message.reason)
        return self._provisioning.count_cpus(node, now)

    # Computations on nodes

    def _on_missing_files(self, node: NodeRecord, message: MissingFiles, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        computation = self._state.computations.get(message.computation)
        if assignment is None or computation is None or computation.prepare is None:
            return []
        contents = [
            *computation.prepare.contents,
            *(assignment.special.contents if assignment.special is not None else ()),
        ]
        if any(place >= len(contents) for place in message.places):
            return [Drop(node.peer, f"{REFUSED}it requests files that do not exist")] if node.peer is not None else []
        found = [contents[place] for place in message.places]
        return [to_node(node, FileContents(message.computation, message.places, found))]

    def _on_prepared(self, node: NodeRecord, message: Prepared, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None or assignment.stage is AssignmentStage.RELEASING:
            # The node sent this before it received the request to leave.
            return []
        if assignment.stage is AssignmentStage.IDLE and not assignment.error:
            return []  # The node was given up and has returned: this concerns its former assignment.
        computation = self._state.computations[message.computation]
        self._provisioning.note_ready(node, computation, assignment, not message.error)
        assignment.error, assignment.told, assignment.is_unable = message.error, False, False
        if message.error and not message.for_now:
            self._inability.note(computation, assignment, now)
        effects: Effects = []
        if message.note and message.note != assignment.note:
            effects.append(Send(computation.client, Notice(computation.id, noted(computation, node, message.note))))
        assignment.note = message.note
        self._placement.push(node)
        if message.error:
            return effects
        self._turns.note_usable(computation)
        limit = self._provisioning.limit(node, computation.id)
        return [*effects, *limit, *self._provisioning.event(computation, node, INITIALIZED)]

    def _on_released(self, node: NodeRecord, message: Released, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None:
            return []
        if node.instance in computation.releasing:
            return self._provisioning.confirm_release(node, computation)
        assignment = node.assignments.get(computation.id)
        if assignment is None or assignment.stage is not AssignmentStage.RELEASING:
            return []
        left = self._provisioning.left(computation, node, assignment)
        return left + self._provisioning.offer(node, computation, now)

    def _on_fenced(self, node: NodeRecord, message: Fenced, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None or not computation.kept:
            return []
        if message.token != computation.open.token or message.epoch < computation.open.epoch:
            return []  # The node does not have the computation, or the report is outdated.
        return [*self._lifecycle.fence(computation), Send(computation.client, Fenced(message.computation))]

    def _on_reply(self, node: NodeRecord, message: Reply, now: float) -> Effects:
        """A file is stored on the node, or could not be stored."""
        computation = self._state.computations.get(message.computation)
        known = self._state.deliveries.pop((message.computation, message.question), None)
        return [Send(computation.client, message)] if computation is not None and known is not None else []

    def _on_explained(self, node: NodeRecord, message: Explained, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        known = self._state.deliveries.pop((message.computation, message.question), None)
        return [Send(computation.client, message)] if computation is not None and known is node else []

    # Jobs on nodes

    def _on_ended(self, node: NodeRecord, message: Ended, now: float) -> Effects:
        if node.receipts.note_ended(message, now + RECEIPT_AFTER):
            self._watch_receipts(node)
        effects = self._lifecycle.report_late(node, message)
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return effects
        computation = self._state.computations[message.computation]
        widths = _widths(assignment) if self.on_use is not None else {}
        fresh = _take_ended(node, assignment, computation.tasks, message)
        if not fresh:
            return effects
        if computation.withdrawn:
            computation.withdrawn.difference_update(message.jobs)
        self._membership.note_end(node)
        assignment.count(message, len(fresh))
        if assignment.depth > node.deepest:
            self._placement.note_depth(node, assignment.depth)
        self._turns.freed(computation.owner)
        if len(fresh) < len(message.jobs):
            message = picked(message, fresh)
        if self.on_use is not None:
            self.on_use(computation.client, message, widths)
        if assignment.shown.inherited:
            message = _without_owed(message, assignment)
        self._placement.push(node)
        effects += report_ended(computation, message.at(node.names[0], node.instance))
        if assignment.use.is_leaving:
            effects += self._provisioning.leave(node, computation, assignment)
        if assignment.load == 0 and node.free_for(assignment) > 0:
            effects += self._placement.recall_for(node, computation)
        return effects

    def _on_started(self, node: NodeRecord, message: Started, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None or not all(job in assignment.placed for job in message.jobs):
            return []
        assignment.note_running(message.jobs)
        client = self._state.computations[message.computation].client
        return [Send(client, replace(message, address=node.names[0], node=node.instance))]

    def _on_progress(self, node: NodeRecord, message: Progress, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return []
        task = assignment.placed.get(message.job)
        is_owed = (message.job, message.attempt) in assignment.shown.owed
        if not is_owed and (task is None or task.attempt != message.attempt):
            if node.receipts.note_progress(message, ALL_OF_THEM, now + RECEIPT_AFTER):
                self._watch_receipts(node)
            return []
        count = assignment.note_shown(message.job, message.attempt, message.index)
        if node.receipts.note_progress(message, count, now + RECEIPT_AFTER):
            self._watch_receipts(node)
        assignment.received += bulk_size(message.value)
        told = replace(message, address=node.names[0], node=node.instance)
        effects: Effects = [WriteFacts(message.computation, [told])] if self.keeps_progress else []
        return [*effects, Send(self._state.computations[message.computation].client, told)]

    def _on_printed(self, node: NodeRecord, message: Printed, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        task = assignment.placed.get(message.job) if assignment is not None else None
        if task is None or task.attempt != message.attempt:
            return []
        client = self._state.computations[message.computation].client
        return [Send(client, replace(message, node=node.instance))]

    def _on_returned(self, node: NodeRecord, message: Returned, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return []
        assignment.recalling = False
        # Each job once, even if the message contains it repeatedly.
        returned = {
            job: assignment.placed[job]
            for job, attempt in zip(message.jobs, message.attempts, strict=True)
            if job in assignment.placed and assignment.placed[job].attempt == attempt
        }
        computation = self._state.computations[message.computation]
        effects = self._lifecycle.requeue(node, computation, list(returned.values()), now)
        if not assignment.use.is_leaving:
            return effects
        return effects + self._provisioning.leave(node, computation, assignment)

    def _on_upload(self, node: NodeRecord, message: Upload, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        task = assignment.placed.get(message.job) if assignment is not None else None
        if task is None or task.attempt != message.attempt:
            return []
        return [Send(self._state.computations[message.computation].client, message)]

    def _watch_receipts(self, node: NodeRecord) -> None:
        """Arrived reports are acknowledged to the node after a short time, or earlier with other messages."""
        moment = node.receipts.due_at
        assert moment is not None
        self._state.timers.set(
            moment,
            lambda: node.receipts.due_at == moment and node.peer is not None and node.instance in self._state.nodes,
            lambda now: receipts_to(node),
        )

    HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Inventory: _on_inventory,
        Prepared: _on_prepared,
        Ended: _on_ended,
        Started: _on_started,
        Progress: _on_progress,
        Printed: _on_printed,
        Returned: _on_returned,
        Released: _on_released,
        Availability: _on_availability,
        Cpus: _on_cpus,
        MissingFiles: _on_missing_files,
        Reply: _on_reply,
        Explained: _on_explained,
        Upload: _on_upload,
        Fenced: _on_fenced,
    }


def _take_ended(node: NodeRecord, assignment: Assignment, tasks: dict[JobId, Task], message: Ended) -> list[int]:
    """Remove jobs that have ended from their node; returns the indices in the message of those with the valid
    attempt."""
    placed = assignment.placed
    fresh: list[int] = []
    for place, (job, attempt) in enumerate(zip(message.jobs, message.attempts, strict=True)):
        task = placed.get(job)
        if task is None or task.attempt != attempt:
            continue
        node.remove(assignment, job)
        del tasks[job]
        if message.progress[place]:
            assignment.note_end(job, attempt, message.progress[place])
        fresh.append(place)
    return fresh


def _widths(assignment: Assignment) -> dict[JobId, int]:
    """The CPUs of jobs on the node that have several; of many jobs, which have one each, none is looked at."""
    if assignment.load <= len(assignment.placed):
        return {}
    return {job: task.cpus for job, task in assignment.placed.items() if task.cpus > 1}


def _without_owed(message: Ended, assignment: Assignment) -> Ended:
    """Jobs of a previous run do not wait for provisional results that may never arrive again."""
    inherited = assignment.shown.inherited
    keys = zip(message.jobs, message.attempts, message.progress, strict=True)
    progress = [0 if (job, attempt) in inherited else count for job, attempt, count in keys]
    return replace(message, progress=progress)
