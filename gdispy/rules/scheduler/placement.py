"""Which job is sent to which node: the nodes that have room, and the jobs to be sent to them.

Pure. Invariants:
1. A job that has not ended is in a queue of its computation or placed on exactly one node.
2. Work per decision does not grow with the number of queued jobs, nor with that of nodes: jobs are taken from the ends
   of queues, nodes that can accept a job are in a heap by load, and a computation that none of them can accept is
   checked again only against nodes that have changed since (`Computation.stuck`).
"""

from __future__ import annotations

import heapq
import itertools

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import NO_LIMIT, Message, Recall, Run
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.protocol.rows import JobOptions, options_size
from gdispy.rules.effects import Effects, WriteFacts
from gdispy.rules.history.facts import Met, Placed
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job_queue import JobQueue
from gdispy.rules.scheduler.node_record import NodeRecord, receipts_to, to_node
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import STALE_LIMIT, Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs

#: Bytes of arguments in one message that contains more than one job.
PORTION_BYTES = 1024 * 1024
#: Number of nodes changed in one turn up to which each is checked separately for a stuck computation.
FEW = 64

#: Jobs, attempts, arguments and options, as in `Run`.
Columns = tuple[list[JobId], list[int], list[Bulk], list[JobOptions | None]]


class Placement:
    """Nodes that have room, and jobs that are about to be sent to them."""

    def __init__(self, state: SchedulerState, turns: Turns, wide_jobs: WideJobs) -> None:
        self._state = state
        self._turns = turns
        self._wide_jobs = wide_jobs
        #: Nodes that can accept jobs, as (load for each CPU, stamp, node); stale if stamps differ.
        self._heap: list[tuple[float, int, NodeRecord]] = []
        #: The nodes with a valid entry in the heap.
        self._roomy: set[Instance] = set()
        #: Nodes that were added to the heap since jobs were last placed.
        self._fresh: list[NodeRecord] = []
        #: Nodes on which jobs were ever sent ahead.
        self._deep: dict[Instance, NodeRecord] = {}
        #: The decisions of `place`, until they are sent.
        self._outgoing: dict[tuple[Instance, ComputationId], Columns] = {}

    # Nodes that have room

    def push(self, node: NodeRecord) -> None:
        """Add a node to the heap, or remove it, after its load or its use has changed."""
        node.stamp = next(self._state.numbers)
        if not node.has_room():
            self._roomy.discard(node.instance)
            return
        self._roomy.add(node.instance)
        self._fresh.append(node)
        heapq.heappush(self._heap, (node.load / node.cpus, node.stamp, node))
        if len(self._heap) > 2 * len(self._state.nodes) + STALE_LIMIT:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].stamp]
            heapq.heapify(self._heap)

    def drop(self, node: NodeRecord) -> None:
        """Jobs are not placed on a node any more."""
        node.stamp = next(self._state.numbers)
        self._roomy.discard(node.instance)

    def note_depth(self, node: NodeRecord, depth: int) -> None:
        """Jobs of some computation may be sent ahead to a node, further than ever before."""
        node.deepest = depth
        self._deep[node.instance] = node

    # Placing

    def place(self, now: float) -> Effects:
        """Place the jobs that can be placed."""
        self._wide_jobs.separate(now)
        turns = self._turns
        if not turns.waiting:
            self._fresh.clear()
            return []
        if turns.pinning:
            self._place_pinned()
        put_off: list[Computation] = []
        while self._heap:
            computation = turns.take_next()
            if computation is None:
                break
            if not turns.may_run(computation):
                computation.stuck = 0  # Nodes that change meanwhile are not checked for it.
                put_off.append(computation)
            elif self._serve(computation):
                turns.served(computation)
            else:
                put_off.append(computation)
        for computation in put_off:
            turns.queue(computation)
        self._fresh.clear()
        return self._send_out()

    def _send_out(self) -> Effects:
        effects: Effects = []
        for (instance, computation_id), columns in self._outgoing.items():
            node = self._state.nodes[instance]
            if node.receipts.are_many():
                effects += receipts_to(node)
            if self._state.computations[computation_id].kept:
                effects.append(placed_facts(node, computation_id, *columns[:2]))
            effects += [to_node(node, Run(computation_id, *part)) for part in in_portions(columns)]
        self._outgoing.clear()
        return effects

    def _serve(self, computation: Computation) -> bool:
        """Place some jobs, or drop cancelled ones; returns whether anything was done."""
        backlog = computation.backlog
        dropped = backlog.cancelled > 0 and backlog.pop_cancelled()
        head = backlog.queue.head()
        if head is None:
            return dropped
        # Nodes without room for its next job have none for a job that needs as many CPUs or more.
        wanted = head.cpus
        if 0 < computation.stuck <= wanted and len(self._fresh) <= FEW:
            return any(self._give(node, computation, len(self._fresh)) for node in self._fresh)
        computation.stuck = 0 if self._serve_least_loaded(computation) else wanted
        return not computation.stuck

    def _serve_least_loaded(self, computation: Computation) -> bool:
        """Place some jobs on the least loaded node that accepts any; returns whether there was one."""
        passed: list[tuple[float, int, NodeRecord]] = []
        served = False
        while self._heap and not served:
            entry = heapq.heappop(self._heap)
            node = entry[2]
            if entry[1] != node.stamp:
                continue
            served = self._give(node, computation, len(self._roomy) - len(passed))
            if not served:
                passed.append(entry)
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return served

    def _place_pinned(self) -> None:
        """Place jobs that may run on one node only; they are first there."""
        for computation in list(self._turns.pinning.values()):
            if self._turns.may_run(computation):
                self._serve_pinned(computation)
            self._turns.settle(computation)

    def _serve_pinned(self, computation: Computation) -> None:
        for instance, queue in list(computation.backlog.pinned.items()):
            node = self._state.nodes.get(instance)
            assignment = node.assignments.get(computation.id) if node is not None else None
            room = node.room_for(assignment) if node is not None and assignment is not None else 0
            if node is not None and assignment is not None and room > 0:
                self._fill(node, assignment, computation, queue, room)
                self.push(node)
            if not queue:
                del computation.backlog.pinned[instance]

    def _give(self, node: NodeRecord, computation: Computation, candidates: int) -> bool:
        """Place jobs on a node: to its free CPUs first, then ahead of them, a fair part of the queue."""
        assignment = node.assignments.get(computation.id)
        room = 0 if assignment is None else node.room_for(assignment)
        if assignment is None or room <= 0:
            return False
        queue = computation.backlog.queue
        free = node.free_for(assignment)
        room = min(free, room) if free > 0 else self._room_ahead(node, assignment, computation, room)
        if not room:
            return False
        room = self._turns.part_of(computation, room)
        amount = min(room, -(-len(queue) // candidates))
        if not self._fill(node, assignment, computation, queue, amount):
            return False
        self.push(node)
        return True

    def _room_ahead(self, node: NodeRecord, assignment: Assignment, computation: Computation, room: int) -> int:
        """This computation's part of the room on a node without a free CPU."""
        if self._turns.is_behind(computation):
            return 0  # It may use free CPUs, but adds no jobs to those that an earlier computation has sent ahead.
        if len(computation.places) < 2:
            return room
        part = -(-len(computation.tasks) // len(computation.places))
        fair = assignment.fair_load(min(node.cpus, assignment.cpus), part)
        left = fair - assignment.load
        if left >= room:
            return room
        return left if 2 * left >= fair else 0  # In portions, as in `room_for`.

    def _fill(
        self, node: NodeRecord, assignment: Assignment, computation: Computation, queue: JobQueue, amount: int
    ) -> bool:
        """Take jobs for up to `amount` CPUs from a queue; returns whether any were removed."""
        columns = self._outgoing.setdefault((node.instance, computation.id), ([], [], [], []))
        jobs, attempts, arguments, options = columns
        limit, taken = node.load + amount, False
        while node.load < limit and (node.load < node.cpus or not node.is_full_of_bytes()):
            task = queue.head()
            if task is None or (task.cpus > 1 and not task.cancelled and not node.has_room_for(assignment, task)):
                break
            queue.popleft()
            taken = True
            if task.cancelled:
                computation.backlog.cancelled -= 1
                continue
            if task.cpus > 1:
                computation.backlog.wide.discard(task)
            node.put(assignment, task)
            jobs.append(task.job)
            attempts.append(task.attempt)
            arguments.append(task.arguments)
            options.append(task.needs)
        if not jobs:
            del self._outgoing[node.instance, computation.id]
        return taken

    # Recalling

    def recall_for(self, idle: NodeRecord, computation: Computation) -> Effects:
        """A node is idle: recall jobs that have not begun from the fullest node, as many as the idle one has room
        for."""
        nodes = self._state.nodes
        if computation.backlog.queue or len(nodes) == 1:
            return []
        room = idle.room_for(idle.assignments[computation.id])
        if room <= 0:
            return []
        # Not all of them, or this would block an installation of ten thousand nodes; the others are checked next time.
        some = list(itertools.islice(self._deep.items(), FEW))
        for instance, node in some:
            del self._deep[instance]
            if nodes.get(instance) is node:
                self._deep[instance] = node
        fullest = max(
            (node for _, node in some if node.peer is not None and node is not idle and node.instance in nodes),
            key=lambda node: node.excess(computation.id),
            default=None,
        )
        return self.recall(fullest, computation, room) if fullest is not None else []

    def recall(self, node: NodeRecord, computation: Computation, room: int = NO_LIMIT) -> Effects:
        """Request half of the jobs that have not begun there, and no more than there is room for elsewhere: further
        ones would be sent to the node again."""
        excess = node.excess(computation.id)
        if excess <= 0 or node.peer is None or node.assignments[computation.id].recalling:
            return []
        node.assignments[computation.id].recalling = True
        return [to_node(node, Recall(computation.id, min(room, max(1, excess // 2))))]

    def recall_all(self, computation: Computation) -> Effects:
        """Recall the jobs that have not begun from all nodes."""
        effects: Effects = []
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None and assignment.placed and not assignment.recalling and node.peer is not None:
                assignment.recalling = True
                effects.append(to_node(node, Recall(computation.id, len(assignment.placed))))
        return effects

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        for computation in self._state.computations.values():
            self._check_places(computation)
        for node in self._state.nodes.values():
            assignments = node.assignments.values()
            placed = [task for each in assignments for task in each.placed.values()]
            if node.load != sum(task.cpus for task in placed) or node.bulk != sum(task.size for task in placed):
                raise InternalError("the load of a node is not what is placed on it")
            if node.sharers != sum(bool(each.load) for each in assignments):
                raise InternalError("the computations that have jobs on a node are not counted")

    def _check_places(self, computation: Computation) -> None:
        waiting = (*computation.backlog.jobs(), *computation.backlog.oversized)
        places = [task.job for task in waiting if not task.cancelled]
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            places += list(assignment.placed) if assignment is not None else []
        if sorted(places) != sorted(computation.tasks):
            raise InternalError("a job is in no place, or in two")


def placed_facts(node: NodeRecord, computation: ComputationId, jobs: list[JobId], attempts: list[int]) -> WriteFacts:
    """Facts that jobs are on a node; including a description of the node if the journal does not contain it."""
    facts: list[Message] = [Placed(computation, node.instance, jobs, attempts)]
    assignment = node.assignments[computation]
    if not assignment.met:
        assignment.met = True
        about = (node.names[:-1], node.port, node.python, node.platform, node.offer.offered)
        facts.insert(0, Met(computation, node.instance, node.name, *about))
    return WriteFacts(computation, facts)


def in_portions(columns: Columns) -> list[Columns]:
    """Divide jobs into messages with small payloads: a message has arrived only when all its payloads have."""
    jobs, attempts, arguments, options = columns
    if not any(options):
        columns = jobs, attempts, arguments, []
        if set(map(type, arguments)) == {bytes}:
            return [columns]
    found: list[Columns] = []
    begin = size = 0
    for place, value in enumerate(arguments):
        own = bulk_size(value) + options_size(options[place])
        if size and size + own > PORTION_BYTES:
            found.append(_rows_between(columns, begin, place))
            begin, size = place, 0
        size += own
    return [*found, _rows_between(columns, begin, len(jobs))]


def _rows_between(columns: Columns, begin: int, end: int) -> Columns:
    jobs, attempts, arguments, options = columns
    return jobs[begin:end], attempts[begin:end], arguments[begin:end], options[begin:end]
