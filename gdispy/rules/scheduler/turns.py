"""Which computations wait, for which nodes, and since when: what is under the placing of jobs.

Pure. The lowest part of the scheduler's rules; `placement.py` adds the placing.

Invariants:
1. A job that asks for more CPUs than any node of its computation has is in no queue, and holds up no other.
2. A user whose jobs wait for something that may never come hears of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, Instance, Peer
from gdispy.protocol.job_status import AVAILABLE, TERMINATED
from gdispy.protocol.messages import Ended, Event, Limit, Message, NodeFound, Notice, ended_without_node
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.faults import OnFault, raise_fault
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import ClientShare, Computation
from gdispy.rules.scheduler.diagnostics import slow_nodes, too_wide, trouble
from gdispy.rules.scheduler.job import Columns, Task, new_task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.wide_jobs import UNKNOWN, Capacity
from gdispy.rules.timers import Timers

#: Who is served first: the client that has least, the computation that was opened first, or the one that was not
#: served for longest.
FAIR, EARLIEST, ROUND_ROBIN = "fair", "earliest", "round robin"

#: Seconds that jobs wait for a node before the user hears why.
PATIENCE = 3.0
#: The same until it is said again: by how much the pauses grow, and their limit.
PAUSE_GROWTH = 10
LONGEST_PAUSE = 3600.0
#: Seconds that a node may take to set a computation up, or to clean up after it, before the user hears of it.
SETUP_PATIENCE = 10.0

#: Entries of a heap that hold no longer, beyond as many as hold: a program that submits one job after the other leaves
#: one with each, which never comes to the top.
STALE_LIMIT = 64


class Waiting:
    """Computations, nodes, and what waits."""

    def __init__(self, policy: str = FAIR, cooperative: bool = True) -> None:
        self._policy = policy
        #: Whether clients may say how many CPUs of a node are used by all.
        self._cooperative = cooperative
        self._owners: dict[Peer, ClientShare] = {}
        #: Clients that do not take their results as fast as those come.
        self._slow: set[Peer] = set()
        #: How large the parts of clients are; those that are not named have 1.
        self.weights: dict[Peer, float] = {}
        self._computations: dict[ComputationId, Computation] = {}
        self._nodes: dict[Instance, NodeRecord] = {}
        self._by_peer: dict[Peer, NodeRecord] = {}
        #: Computations with jobs that wait; and whose turn it is, as (urgency, stamp, computation), stale where
        #: stamps differ.
        self._waiting: dict[ComputationId, Computation] = {}
        self._turns: list[tuple[tuple[float, int], int, Computation]] = []
        #: Nodes that can take jobs, as (load for each CPU, stamp, node); stale where stamps differ.
        self._heap: list[tuple[float, int, NodeRecord]] = []
        #: Which these are.
        self._roomy: set[Instance] = set()
        #: Nodes that came into the heap since jobs were last placed.
        self._fresh: list[NodeRecord] = []
        #: Nodes on which jobs were ever sent ahead.
        self._deep: dict[Instance, NodeRecord] = {}
        self._stamps = count()
        self._alarms = Timers()
        #: Clients with computations that wait; computations of those that have jobs for single nodes; and those that
        #: want all nodes to themselves.
        self._hungry: dict[int, ClientShare] = {}
        self._pinning: dict[ComputationId, Computation] = {}
        self._exclusive: dict[ComputationId, Computation] = {}
        #: What keeps addresses from being nodes, as the shell found it.
        self._problems: dict[str, str] = {}
        #: Whether clients can have a node of their own on their machine.
        self.has_local_nodes = True
        #: What is done about a message that could not be handled.
        self.on_fault: OnFault = raise_fault
        self._inability = Inability(self._nodes, self._alarms, self._end_unable)
        self._capacity = Capacity(self._nodes, self._alarms, self._end_oversized, self._watch_oversized)
        self._outgoing: dict[tuple[Instance, ComputationId], Columns] = {}

    # What goes out

    def _to(self, node: NodeRecord, message: Message) -> Send:
        if node.peer is None:
            raise InternalError("a node that is away is spoken to")
        return Send(node.peer, message)

    def _event(self, computation: Computation, node: NodeRecord, what: int) -> Effects:
        """Tell a client that wants to hear of it what has happened to a node."""
        assignment = node.assignments.get(computation.id)
        if assignment is None or assignment.error or (what == AVAILABLE and not computation.watches):
            return []
        row = node.row(assignment)
        return [Send(computation.client, Event(computation.id, what, node.instance, [row], node.free))]

    def _limit(self, node: NodeRecord, computation: ComputationId) -> Effects:
        """Say how many CPUs may be used: the node then has jobs ahead of it without running too many of them."""
        assignment = node.assignments[computation]
        return [self._to(node, Limit(computation, assignment.cpus, node.allowed))] if node.peer is not None else []

    def _receipts(self, node: NodeRecord) -> Effects:
        return [self._to(node, message) for message in node.take_receipts()]

    # Which nodes a computation may use

    def _offer(self, node: NodeRecord, computation: Computation, now: float) -> Effects:
        """Have a connected node prepare a computation, where it may be used and is not yet."""
        prepare = computation.prepare
        if prepare is None or computation.is_over or node.peer is None or not node.greeted:
            return []
        assignment = node.assignment_of(computation)
        if assignment.ready or assignment.leaving or assignment.closed:
            return []
        assignment.error, assignment.is_unable = self._objection(node, computation, assignment), False
        if assignment.error:
            if node.instance not in computation.refused:
                self._inability.note(computation, assignment, now)
            self._capacity.note_nodes(computation)
            return []
        if computation.asks and not assignment.taken:
            if assignment.asked or not node.cpus:  # When it takes jobs again, it is offered again.
                return []
            assignment.asked = True
            question = (node.instance, node.names, node.port, node.cpus, node.platform, node.free)
            return [Send(computation.client, NodeFound(computation.id, *question))]
        if assignment.prepared_at is None:
            assignment.prepared_at = now
            self._watch_setup(node, computation, assignment)
        if prepare.python == node.python and prepare.source:  # It is for other versions, and may be large.
            prepare = replace(prepare, source=b"")
        return [Send(node.peer, assignment.special(prepare))]

    def _watch_setup(self, node: NodeRecord, computation: Computation, assignment: Assignment) -> None:
        """Setup may take as long as it needs, but not silently."""
        since = assignment.prepared_at
        assert since is not None

        def tell(now: float) -> Effects:
            assignment.told = True
            return [Send(computation.client, Notice(computation.id, slow_nodes(computation, [node])))]

        def lasts() -> bool:
            return assignment.prepared_at == since and not assignment.told and node.instance in self._nodes

        self._alarms.set(since + SETUP_PATIENCE, lasts, tell)

    def _note_ready(self, node: NodeRecord, computation: Computation, assignment: Assignment, ready: bool) -> None:
        """A node has loaded a computation, or has it no more."""
        assignment.ready, assignment.prepared_at = ready, None
        (computation.places.add if ready else computation.places.discard)(node.instance)
        self._capacity.note_nodes(computation)

    def _objection(self, node: NodeRecord, computation: Computation, assignment: Assignment) -> str:
        prepare = computation.prepare
        assert prepare is not None
        if computation.objection:
            return computation.objection
        if not computation.asks and not computation.patterns.match(node.names, node.port):
            computation.refused.add(node.instance)
            return "it is there, but `nodes` does not name it"
        computation.refused.discard(node.instance)
        if prepare.python not in ("", node.python) and not prepare.source:
            return f"it runs Python {node.python}, and the function was made by Python {prepare.python}"
        return assignment.error if computation.asks and assignment.asked and not assignment.taken else ""

    def refuses(self, peer: Peer, computation: ComputationId) -> bool:
        """Whether a node that is connected cannot run a computation, and will not, as long as nothing changes there."""
        node = self._by_peer.get(peer)
        assignment = node.assignments.get(computation) if node is not None else None
        return assignment is not None and bool(assignment.error)

    def _end_unable(self, computation: Computation, reason: str) -> Effects:
        """No node can run a computation, and all have said so: its jobs do not wait."""
        tasks = [task for task in computation.tasks.values() if task.node is None and not task.cancelled]
        if not tasks or computation.is_over:
            return []
        self._nothing_waits(computation)
        computation.oversized.clear()
        name = computation.prepare.name if computation.prepare is not None else "?"
        told = Notice(computation.id, f"{name}: no node can run it, so its jobs end: {reason.rstrip()}")
        return [Send(computation.client, told), *self._end(computation, tasks, TERMINATED, reason)]

    # Jobs of more CPUs than a node has

    def _note_changed(self, node: NodeRecord) -> None:
        """A node is there or not, or has another number of CPUs."""
        for computation_id in node.assignments:
            if computation_id in self._computations:
                self._capacity.note_nodes(self._computations[computation_id])

    def _part_oversized(self, now: float) -> None:
        """UseNode jobs out of their queues that no node has enough CPUs for, and back those that fit now."""
        for computation in self._capacity.take_changed():
            has_other_nodes = computation.capacity == UNKNOWN
            for task in reversed(self._capacity.fitting(computation)):
                computation.add(task, first=True)
            found = [self._take_out(computation, task) for task in self._capacity.too_wide(computation)]
            if found:
                self._capacity.set_aside(computation, found, now)
            if computation.oversized:
                self._capacity.judge_later(computation, now, has_other_nodes)
            if found and self._is_usable(computation):
                computation.waiting_since = None
            self._wait(computation, now)

    def _take_out(self, computation: Computation, task: Task) -> Task:
        """A job that waits, out of its queue: what is left there is skipped when its turn comes."""
        if computation.oversized.discard(task):
            return task
        other = computation.tasks[task.job] = new_task(task.job, task.arguments, task.options)
        other.attempt, other.losses = task.attempt, task.losses
        task.cancelled = True
        computation.wide.discard(task)
        computation.cancelled += 1
        if computation.cancelled == computation.waiting():
            self._nothing_waits(computation)
        return other

    def _watch_oversized(self, computation: Computation, since: float) -> None:
        self._remind(
            computation,
            since,
            lambda: bool(computation.oversized) and computation.oversized_since == since and not computation.is_over,
            lambda now: too_wide(computation, self._nodes.values(), self._problems, now),
        )

    def _end_oversized(self, computation: Computation, tasks: list[Task], reason: str) -> Effects:
        name = computation.prepare.name if computation.prepare is not None else "?"
        jobs = "a job ends" if len(tasks) == 1 else f"{len(tasks)} jobs end"
        told = Notice(computation.id, f"{name}: {jobs} that no node can run: {reason.rstrip()}")
        return [Send(computation.client, told), *self._end(computation, tasks, TERMINATED, reason)]

    # Jobs that wait

    def _wait(self, computation: Computation, now: float) -> None:
        """Note that jobs wait, and since when no node could run them."""
        if not computation.waiting():
            return
        if computation.id not in self._waiting:
            self._waiting[computation.id] = computation.owner.waiting[computation.id] = computation
            self._hungry[id(computation.owner)] = computation.owner
            self._queue(computation)
        if computation.pinned:
            self._pinning[computation.id] = computation
        if computation.waiting_since is None and not self._is_usable(computation):
            computation.waiting_since = now
            self._watch_wait(computation)

    def _watch_wait(self, computation: Computation) -> None:
        """Jobs that wait for a node for too long are reported, and again at growing intervals."""
        since = computation.waiting_since
        assert since is not None

        def lasts() -> bool:
            return computation.waiting_since == since and computation.id in self._waiting

        def text(now: float) -> str:
            return trouble(computation, self._nodes.values(), self._problems, now, self.has_local_nodes)

        self._remind(computation, since, lasts, text)

    def _remind(
        self, computation: Computation, since: float, lasts: Callable[[], bool], text: Callable[[float], str]
    ) -> None:
        """Tell the user what keeps jobs waiting, as long as it lasts."""

        def set_alarm(moment: float, pause: float) -> None:
            def tell(now: float) -> Effects:
                set_alarm(now + pause, min(PAUSE_GROWTH * pause, LONGEST_PAUSE))
                return [Send(computation.client, Notice(computation.id, text(now)))]

            self._alarms.set(moment, lasts, tell)

        set_alarm(since + PATIENCE, PAUSE_GROWTH * PATIENCE)

    def _is_usable(self, computation: Computation) -> bool:
        """Whether some node could run the next job, if it were free."""
        head = computation.queue.head()
        wanted = head.cpus if head is not None else 1
        for node in self._nodes.values():
            assignment = node.assignments.get(computation.id)
            if (
                assignment is None
                or not assignment.ready
                or assignment.closed
                or assignment.leaving
                or node.peer is None
            ):
                continue
            if min(node.cpus, assignment.cpus) >= wanted:
                return True
        return False

    def _look_again(self, now: float) -> None:
        """Nodes have changed: what waits may have none left."""
        self._part_oversized(now)
        for computation in self._waiting.values():
            self._wait(computation, now)

    def _nothing_waits(self, computation: Computation) -> None:
        computation.clear_waiting()
        computation.waiting_since = None
        self._stop_waiting(computation)

    def _stop_waiting(self, computation: Computation) -> None:
        computation.stuck = 0
        self._waiting.pop(computation.id, None)
        self._pinning.pop(computation.id, None)
        computation.owner.waiting.pop(computation.id, None)
        if not computation.owner.waiting:
            self._hungry.pop(id(computation.owner), None)

    # Whose turn it is

    def _urgency(self, computation: Computation) -> tuple[float, int]:
        """Whom to serve first: the smallest."""
        if self._policy == EARLIEST:
            return 0.0, computation.opened
        if self._policy == ROUND_ROBIN:
            return 0.0, computation.served
        return computation.owner.load / computation.owner.weight, computation.served

    def _queue(self, computation: Computation) -> None:
        computation.turn = next(self._stamps)
        heapq.heappush(self._turns, (self._urgency(computation), computation.turn, computation))
        if len(self._turns) > 2 * len(self._waiting) + STALE_LIMIT:
            self._turns = [turn for turn in self._turns if turn[1] == turn[2].turn and turn[2].id in self._waiting]
            heapq.heapify(self._turns)

    def _freed(self, owner: ClientShare) -> None:
        """A client has fewer jobs on nodes than before: its turn comes earlier."""
        if len(self._waiting) > 1:
            for computation in owner.waiting.values():
                self._queue(computation)

    def _next(self) -> Computation | None:
        turns = self._turns
        while turns:
            urgency, stamp, computation = heapq.heappop(turns)
            if stamp != computation.turn or computation.id not in self._waiting:
                continue
            if turns and urgency < self._urgency(computation):
                self._queue(computation)  # It was served meanwhile, through another computation of its client.
                continue
            return computation
        return None

    def _may_run(self, computation: Computation) -> bool:
        """Whether no computation that wants all nodes to itself is in the way."""
        if computation.held or computation.client in self._slow:
            return False
        if not self._exclusive:
            return True
        first = next(iter(self._exclusive.values()))
        if computation is first:
            return next(iter(self._computations.values())) is first
        return computation.opened < first.opened

    # Ends that no node reports

    def _end(self, computation: Computation, tasks: list[Task], status: int, text: str, address: str = "") -> Effects:
        """Report the end of jobs that no node will report."""
        for task in tasks:
            del computation.tasks[task.job]
        jobs, attempts = [task.job for task in tasks], [task.attempt for task in tasks]
        return self._tell_end(computation, ended_without_node(computation.id, jobs, status, text, address, attempts))

    def _tell_end(self, computation: Computation, ended: Ended) -> Effects:
        """Jobs have ended: what the client is told is remembered first."""
        effects: Effects = [WriteFacts(computation.id, [ended])] if computation.kept else []
        return [*effects, Send(computation.client, ended)]
