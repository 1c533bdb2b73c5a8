"""What clients demand of the scheduler: computations, jobs, and how their nodes are to be used.

Pure. The part of the scheduler's rules between `placement.py` and `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import ComputationId, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, CANCELLED, CLOSED
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cancel,
    Message,
    NodeCommand,
    Notice,
    Open,
    Prepare,
    PutFile,
    Recall,
    Release,
    Released,
    Reply,
    Run,
    Status,
    StatusRequest,
    Uploaded,
    UseNode,
)
from gdispy.protocol.texts import TAKEN_OVER
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import not_taken
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import ClientShare, Computation
from gdispy.rules.scheduler.diagnostics import problems, slow_nodes
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.placement import Board
from gdispy.rules.scheduler.turns import FAIR, SETUP_PATIENCE


class Demands(Board):
    """The scheduler's rules, as far as clients are concerned."""

    def __init__(self, policy: str = FAIR, cooperative: bool = True) -> None:
        super().__init__(policy, cooperative)
        #: Clients that wait for a file to be on a node: (computation, question) -> node.
        self._deliveries: dict[tuple[ComputationId, int], NodeRecord] = {}

    def receive_from_client(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        effects: Effects = []
        for message in messages:
            handler = self._CLIENT_HANDLERS.get(type(message))
            if handler is None:
                effects.append(Drop(peer, not_taken(message, "scheduler", "client")))
                break
            try:
                effects += handler(self, peer, message, now)
            except Exception as error:
                effects += self.on_fault(peer, message, error)
                break
        return effects + self._place(now)

    # Computations

    def _on_open(self, peer: Peer, message: Open, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            self._add_computation(peer, message)
            return []
        # It is known: its client wants other nodes than before, perhaps those that it did not want.
        computation.patterns = NodePatterns(message.nodes)
        computation.nodes, computation.asks, computation.watches = message.nodes, message.asks, message.watches
        for node in self._nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None and not assignment.taken:
                assignment.asked = False
        return self._offer_to_all(computation, now)

    def _add_computation(self, peer: Peer, message: Open) -> Computation:
        opened = Computation(message, peer, self._owner(peer), next(self._stamps))
        self._computations[opened.id] = opened
        if opened.exclusive:
            self._exclusive[opened.id] = opened
        return opened

    def _owner(self, peer: Peer) -> ClientShare:
        owner = self._owners.get(peer)
        if owner is None:
            owner = self._owners[peer] = ClientShare(self.weights.get(peer, 1.0))
        return owner

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return []
        computation.prepare = message
        return self._offer_to_all(computation, now)

    def object_to(self, computation: ComputationId, reason: str) -> None:
        """Its nodes must not get what a client is going to have prepared."""
        known = self._computations.get(computation)
        if known is not None:
            known.objection = reason

    def _offer_to_all(self, computation: Computation, now: float) -> Effects:
        effects: Effects = []
        for node in self._nodes.values():
            effects += self._offer(node, computation, now)
        return effects

    def _on_take(self, peer: Peer, message: UseNode, now: float) -> Effects:
        computation, node = self._computations.get(message.computation), self._nodes.get(message.node)
        if computation is None or node is None or computation.closing:
            return []
        assignment = node.assignment_of(computation)
        assignment.asked, assignment.taken = True, message.cpus > 0
        assignment.cpus = message.cpus or NO_LIMIT
        assignment.arguments, assignment.files, assignment.contents = message.arguments, message.files, message.contents
        assignment.error = "" if assignment.taken else "this program does not want it"
        computation.refused.discard(node.instance)
        if not assignment.taken:
            computation.refused.add(node.instance)
            return []
        assignment.closed = False
        self._capacity.note_nodes(computation)
        self._push(node)
        return self._limit(node, computation.id) if assignment.ready else self._offer(node, computation, now)

    def _on_release(self, peer: Peer, message: Release, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return [Send(peer, Released(message.computation))]
        effects: Effects = []
        if computation.closing:
            return []
        computation.closing = True
        self._nothing_waits(computation)
        computation.oversized.clear()
        self._watch_cleanup(computation, now)
        computation.tasks.clear()
        computation.places.clear()
        self._capacity.note_nodes(computation)
        for node in self._nodes.values():
            effects += self._event(computation, node, CLOSED)
            assignment = node.assignments.pop(computation.id, None)
            if assignment is None:
                continue
            node.forget(assignment)
            self._push(node)
            if node.peer is not None:
                computation.releasing.add(node.instance)
                effects.append(Send(node.peer, Release(computation.id)))
        return effects + self._released(computation)

    def _watch_cleanup(self, computation: Computation, now: float) -> None:
        """Cleanup may take as long as it needs, but not silently."""

        def tell(later: float) -> Effects:
            slow = [self._nodes[each] for each in computation.releasing if each in self._nodes]
            self._watch_cleanup(computation, later)
            return [Send(computation.client, Notice(computation.id, slow_nodes(computation, slow)))]

        self._alarms.set(now + SETUP_PATIENCE, lambda: computation.id in self._computations, tell)

    def _released(self, computation: Computation) -> Effects:
        if computation.releasing:
            return []
        del self._computations[computation.id]
        self._inability.forget(computation)
        self._exclusive.pop(computation.id, None)
        if not any(each.owner is computation.owner for each in self._computations.values()):
            self._owners.pop(computation.client, None)
        return [Send(computation.client, Released(computation.id))]

    def _on_ask(self, peer: Peer, message: StatusRequest, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return [Send(peer, Status(message.computation, message.question, [], 0, []))]
        rows = []
        queued = len(computation.tasks)
        for node in self._nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None and node.instance not in computation.refused:
                rows.append(node.row(assignment))
                queued -= rows[-1][4]
        return [
            Send(peer, Status(computation.id, message.question, rows, max(0, queued), self.problems(computation, now)))
        ]

    def is_answered(self, computation: ComputationId) -> bool:
        """Whether not all jobs of a computation are on nodes that are away."""
        known = self._computations.get(computation)
        tasks = known.tasks.values() if known is not None else ()
        return not tasks or any(task.node is None or task.node.peer is not None for task in tasks)

    def problems(self, computation: Computation, now: float) -> list[str]:
        """Why nodes are not used for a computation, a line for each."""
        return problems(computation, self._nodes.values(), self._problems, now)

    # Jobs

    def _on_run(self, peer: Peer, message: Run, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.closing:  # It was released meanwhile, and with it its jobs.
            return []
        if message.options:
            return self._on_run_with_options(computation, message, now)
        tasks, queue = computation.tasks, computation.queue
        for job, arguments in zip(message.jobs, message.arguments, strict=True):
            if computation.absent and computation.fill(job, arguments):
                continue
            task = tasks[job] = Task(job, arguments)
            queue.append(task)
            if computation.given_back:
                computation.take_again(task)
        self._wait(computation, now)
        self._inability.look(computation, now)
        return self._fence(computation) if computation.fenced else []

    def _on_run_with_options(self, computation: Computation, message: Run, now: float) -> Effects:
        stranded: list[Task] = []
        for job, arguments, options in zip(message.jobs, message.arguments, message.options, strict=True):
            if computation.fill(job, arguments):
                continue
            task = computation.tasks[job] = new_task(job, arguments, options)
            computation.take_again(task)
            if task.pinned is not None and task.pinned not in self._nodes:
                stranded.append(task)
            else:
                computation.add(task)
        if computation.wide:  # First of all, or what is too wide would be told as if it held up all others.
            self._capacity.note_jobs(computation)
            self._part_oversized(now)
        self._wait(computation, now)
        self._inability.look(computation, now)
        text = "The node that the job was submitted to is gone.\n"
        effects = self._end(computation, stranded, ABANDONED, text) if stranded else []
        return effects + (self._fence(computation) if computation.fenced else [])

    def _on_cancel(self, peer: Peer, message: Cancel, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        return self._cancel(computation, message.jobs) if computation is not None else []

    def _cancel(self, computation: Computation, jobs: list[JobId]) -> Effects:
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
                effects.append(Send(task.node.peer, Cancel(computation.id, [task.job], [task.attempt])))
        if waiting:
            # What is cancelled is skipped when its turn in the queue comes.
            queued = [task for task in waiting if task.cpus == 1 or not computation.oversized.discard(task)]
            for task in queued:
                if task.cpus > 1:
                    computation.wide.discard(task)
            computation.cancelled += len(queued)
            if queued and computation.cancelled == computation.waiting():
                self._nothing_waits(computation)
            effects += self._end(computation, waiting, CANCELLED, "")
        return effects

    def _fence(self, computation: Computation) -> Effects:
        """Somebody else has taken the computation over: its jobs are no longer this scheduler's."""
        computation.fenced, computation.kept = True, False
        tasks = [task for task in computation.tasks.values() if task.node is not None or not task.cancelled]
        self._nothing_waits(computation)
        computation.oversized.clear()
        computation.places.clear()
        self._capacity.note_nodes(computation)
        for node in self._nodes.values():
            assignment = node.assignments.pop(computation.id, None)
            if assignment is not None:
                node.forget(assignment)
                self._push(node)
        return self._end(computation, tasks, ABANDONED, TAKEN_OVER) if tasks else []

    def slow_down(self, peer: Peer, is_slow: bool, now: float) -> Effects:
        """A client does not take its results as fast as they come, or does again: its jobs wait meanwhile."""
        if not is_slow:
            self._slow.discard(peer)
            return self._place(now)
        self._slow.add(peer)
        effects: Effects = []
        for computation in self._computations.values():
            if computation.client == peer:
                effects += self._recall_all(computation)
        return effects

    def _recall_all(self, computation: Computation) -> Effects:
        """UseNode back what has not begun."""
        effects: Effects = []
        for node in self._nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None and assignment.placed and not assignment.recalling and node.peer is not None:
                assignment.recalling = True
                effects.append(Send(node.peer, Recall(computation.id, len(assignment.placed))))
        return effects

    def hand_over(self, computation: ComputationId, peer: Peer) -> None:
        """Another client has this computation from now on."""
        known = self._computations.get(computation)
        if known is None:
            return
        former, owner = known.owner, self._owner(peer)
        known.client, known.owner = peer, owner
        for node in self._nodes.values():
            assignment = node.assignments.get(computation)
            if assignment is not None:
                assignment.owner = owner
                former.load -= assignment.load
                owner.load += assignment.load
        if former.waiting.pop(computation, None) is not None:
            owner.waiting[computation] = known
            self._hungry[id(owner)] = owner
            if not former.waiting:
                self._hungry.pop(id(former), None)
        self._owners = {
            client: each
            for client, each in self._owners.items()
            if any(other.owner is each for other in self._computations.values())
        }

    # Single nodes

    def _on_order(self, peer: Peer, message: NodeCommand, now: float) -> Effects:
        computation, node = self._computations.get(message.computation), self._nodes.get(message.node)
        assignment = node.assignments.get(message.computation) if node is not None else None
        if computation is None or node is None or assignment is None:
            return [Send(peer, Reply(message.computation, message.question, "there is no such node", -1.0, []))]
        effects: Effects = []
        value = 0.0
        if message.word == "deallocate":
            assignment.closed = True
        elif message.word == "allocate":
            assignment.closed = assignment.asked = False
            # One that is to be left is not, or, where it was told so already, is set up again.
            assignment.leaving = "resetup" if assignment.released else ""
            effects += self._offer(node, computation, now)
        elif message.word in ("close", "resetup"):
            assignment.leaving = message.word
            if message.value:
                effects += self._cancel(computation, list(assignment.placed))
            effects += self._leave(node, computation, assignment)
        elif message.word == "cpus" and not self._cooperative and not computation.exclusive:
            error = "the scheduler shares its nodes, and lets nobody change their CPUs (--cooperative does)"
            return [Send(peer, Reply(message.computation, message.question, error, -1.0, []))]
        elif message.word == "cpus":
            effects += self._allow(node, int(message.value), now)
            value = float(node.cpus)
        elif message.word != "jobs":
            return [Send(peer, Reply(message.computation, message.question, "there is no such order", -1.0, []))]
        self._capacity.note_nodes(computation)
        self._push(node)
        self._look_again(now)
        jobs = list(assignment.placed) if message.word == "jobs" else []
        return [*effects, Send(peer, Reply(message.computation, message.question, "", value, jobs))]

    def _allow(self, node: NodeRecord, cpus: int, now: float) -> Effects:
        """Use so many CPUs of a node at most; negative: all but so many."""
        node.allowed = cpus if cpus >= 0 else max(0, node.offered + cpus)
        effects: Effects = []
        for number, assignment in node.assignments.items():
            if assignment.ready:
                effects += self._limit(node, number)
        return effects + self._count_cpus(node, now)

    def _count_cpus(self, node: NodeRecord, now: float) -> Effects:
        """Another number of CPUs of a node may be used than before."""
        node.cpus = min(node.offered, node.allowed)
        self._note_changed(node)
        self._push(node)
        self._look_again(now)
        effects: Effects = []
        for number, assignment in node.assignments.items():
            effects += self._recall(node, self._computations[number])
            if assignment.ready and node.cpus:
                self._usable(self._computations[number])
        self._look_again(now)
        for computation in self._computations.values():
            known = node.assignments.get(computation.id)
            if computation.asks and (known is None or not known.asked):  # It was not offered while it took no jobs.
                effects += self._offer(node, computation, now)
        return effects

    def _usable(self, computation: Computation) -> None:
        """There is a node for it: if it must wait again, the user hears of it again."""
        if not self._is_usable(computation):
            return
        computation.waiting_since = None

    def _leave(self, node: NodeRecord, computation: Computation, assignment: Assignment) -> Effects:
        """Release a computation on one node, once no job is left there."""
        if assignment.placed or node.peer is None or assignment.released:
            return []
        self._note_ready(node, computation, assignment, False)
        assignment.released = True
        return [Send(node.peer, Release(computation.id))]

    def _on_deliver(self, peer: Peer, message: PutFile, now: float) -> Effects:
        node = self._nodes.get(message.node)
        if node is None or node.peer is None or not node.is_ready(message.computation):
            error = "the node is not there, or has not loaded the computation"
            return [Send(peer, Reply(message.computation, message.question, error, -1.0, []))]
        self._deliveries[message.computation, message.question] = node
        return [Send(node.peer, message)]

    def _on_uploaded(self, peer: Peer, message: Uploaded, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        task = computation.tasks.get(message.job) if computation is not None else None
        if task is None or task.node is None or task.node.peer is None or task.attempt != message.attempt:
            return []
        return [Send(task.node.peer, message)]

    _CLIENT_HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Open: _on_open,
        Prepare: _on_prepare,
        UseNode: _on_take,
        Run: _on_run,
        Cancel: _on_cancel,
        Release: _on_release,
        StatusRequest: _on_ask,
        NodeCommand: _on_order,
        PutFile: _on_deliver,
        Uploaded: _on_uploaded,
    }
