"""Which job goes to which node: the queues, the nodes that have room, and what is to be sent to them.

Pure. The part of the scheduler's rules above `turns.py`; `client_requests.py` adds what clients say,
`dispatch.py` what nodes say.

Invariants:
1. A job that has not ended is in a queue of its computation or placed on exactly one node.
2. Work per decision does not grow with the number of queued jobs, nor with that of nodes: queues are taken from at
   their ends, nodes that can take a job wait in a heap by load, and a computation that none of them can take is
   looked at again with the nodes only that have changed since (`Computation.stuck`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.job_status import CANCELLED
from gdispy.protocol.messages import NO_LIMIT, Message, Recall, ResendRequest, Run
from gdispy.protocol.payload import ABSENT, bulk_size, options_size
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Met, Placed, Unplaced
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Columns, Task
from gdispy.rules.scheduler.job_queue import JobQueue
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.turns import EARLIEST, STALE_LIMIT, Waiting
from gdispy.rules.scheduler.wide_jobs import UNKNOWN

#: Bytes of arguments in one message, where it is more than one job's.
PORTION_BYTES = 1024 * 1024
#: Nodes that have changed in one turn up to which a stuck computation looks at them one by one.
FEW = 64


class Board(Waiting):
    """The placing of jobs."""

    def _requeue(self, node: NodeRecord, computation: Computation, tasks: list[Task], now: float) -> Effects:
        """Put jobs that have not begun at the front of their queue again."""
        if not tasks:
            return []
        assignment = node.assignments[computation.id]
        cancelled: list[Task] = []
        absent: list[Task] = []
        effects: Effects = []
        if computation.kept:
            numbers, attempts = [task.job for task in tasks], [task.attempt + 1 for task in tasks]
            losses = [task.losses for task in tasks]
            effects.append(WriteFacts(computation.id, [Unplaced(computation.id, numbers, attempts, losses)]))
        for task in reversed(tasks):
            node.remove(assignment, task.job)
            task.attempt += 1
            if task.cancelled:
                cancelled.append(task)
            elif task.arguments is ABSENT:
                absent.append(task)
            else:
                computation.add(task, first=True)
        if computation.wide:
            self._capacity.note_jobs(computation)
        self._push(node)
        self._freed(computation.owner)
        self._wait(computation, now)
        effects += self._give_back(computation, absent) if absent else []
        return effects + (self._end(computation, cancelled, CANCELLED, "") if cancelled else [])

    def _give_back(self, computation: Computation, tasks: list[Task]) -> Effects:
        """Jobs that their client has to say again: only a former life of the scheduler knew their arguments."""
        for task in tasks:
            del computation.tasks[task.job]
            computation.absent.discard(task.job)
            computation.given_back[task.job] = task.attempt, task.losses
        return [Send(computation.client, ResendRequest(computation.id, [task.job for task in tasks], True))]

    # Placing

    def _push(self, node: NodeRecord) -> None:
        """Put a node into the heap, or out of it, after its load or its use has changed."""
        node.stamp = next(self._stamps)
        if not node.has_room():
            self._roomy.discard(node.instance)
            return
        self._roomy.add(node.instance)
        self._fresh.append(node)
        heapq.heappush(self._heap, (node.load / node.cpus, node.stamp, node))
        if len(self._heap) > 2 * len(self._nodes) + STALE_LIMIT:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].stamp]
            heapq.heapify(self._heap)

    def _place(self, now: float) -> Effects:
        self._part_oversized(now)
        if not self._waiting:
            self._fresh.clear()
            return []
        self._place_pinned()
        put_off: list[Computation] = []
        while self._heap:
            computation = self._next()
            if computation is None:
                break
            if not self._may_run(computation):
                computation.stuck = 0  # What changes meanwhile is not looked at for it.
                put_off.append(computation)
                continue
            if not self._serve(computation):
                put_off.append(computation)
                continue
            computation.served = next(self._stamps)
            if computation.waiting():
                self._queue(computation)
            else:
                self._stop_waiting(computation)
        for computation in put_off:
            self._queue(computation)
        self._fresh.clear()
        effects: Effects = []
        for (instance, computation_id), columns in self._outgoing.items():
            node = self._nodes[instance]
            if node.has_many_receipts():
                effects += self._receipts(node)
            if self._computations[computation_id].kept:
                effects.append(self._note_placed(node, computation_id, *columns[:2]))
            effects += [self._to(node, Run(computation_id, *part)) for part in in_portions(columns)]
        self._outgoing.clear()
        return effects

    def _note_placed(
        self, node: NodeRecord, computation: ComputationId, jobs: list[JobId], attempts: list[int]
    ) -> WriteFacts:
        facts: list[Message] = [Placed(computation, node.instance, jobs, attempts)]
        assignment = node.assignments[computation]
        if not assignment.met:
            assignment.met = True
            about = (node.names[:-1], node.port, node.python, node.platform, node.offered)
            facts.insert(0, Met(computation, node.instance, node.name, *about))
        return WriteFacts(computation, facts)

    def _serve(self, computation: Computation) -> bool:
        """Place some jobs, or drop what was cancelled; whether that could be done."""
        queue = computation.queue
        head, dropped = queue.head(), False
        while head is not None and head.cancelled:
            queue.popleft()
            computation.cancelled -= 1
            head, dropped = queue.head(), True
        if head is None:
            return dropped
        # Where nodes had no room for its next job, they have none for one that needs as many CPUs or more.
        wanted = head.cpus
        if 0 < computation.stuck <= wanted and len(self._fresh) <= FEW:
            return any(self._give(node, computation, len(self._fresh)) for node in self._fresh)
        computation.stuck = 0 if self._serve_least_loaded(computation) else wanted
        return not computation.stuck

    def _serve_least_loaded(self, computation: Computation) -> bool:
        """Place some jobs on the least loaded node that takes any; whether there was one."""
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
        """Jobs for one node only; they come first there."""
        for computation in list(self._pinning.values()):
            if self._may_run(computation):
                self._serve_pinned(computation)
            if not computation.pinned:
                self._pinning.pop(computation.id, None)
            if not computation.waiting():
                self._stop_waiting(computation)

    def _serve_pinned(self, computation: Computation) -> None:
        for instance, queue in list(computation.pinned.items()):
            node = self._nodes.get(instance)
            assignment = node.assignments.get(computation.id) if node is not None else None
            room = node.room_for(assignment) if node is not None and assignment is not None else 0
            if node is not None and assignment is not None and room > 0:
                self._fill(node, assignment, computation, queue, room)
                self._push(node)
            if not queue:
                del computation.pinned[instance]

    def _give(self, node: NodeRecord, computation: Computation, candidates: int) -> bool:
        """Place jobs on a node: to its free CPUs first, then ahead of them, a fair part of the queue."""
        assignment = node.assignments.get(computation.id)
        room = 0 if assignment is None else node.room_for(assignment)
        if assignment is None or room <= 0:
            return False
        queue = computation.queue
        free = node.free_for(assignment)
        room = min(free, room) if free > 0 else self._room_ahead(node, assignment, computation, room)
        if not room:
            return False
        if len(self._waiting) > 1:  # Others have a part in it.
            room = -(-room // len(self._hungry)) if not self.weights else self._part(computation, room)
        amount = min(room, -(-len(queue) // candidates))
        if not self._fill(node, assignment, computation, queue, amount):
            return False
        self._push(node)
        return True

    def _room_ahead(self, node: NodeRecord, assignment: Assignment, computation: Computation, room: int) -> int:
        """What of the room on a node without a free CPU is for this computation."""
        if self._policy == EARLIEST and self._is_behind(computation):
            return 0  # What is free it may have, but nothing is put beside what an earlier one has ahead.
        if len(computation.places) < 2:
            return room
        fair = assignment.fair_load(
            min(node.cpus, assignment.cpus), -(-len(computation.tasks) // len(computation.places))
        )
        left = fair - assignment.load
        if left >= room:
            return room
        return left if 2 * left >= fair else 0  # In portions, as in `room_for`.

    def _is_behind(self, computation: Computation) -> bool:
        """Whether a computation waits that was opened earlier."""
        return any(each.opened < computation.opened and self._may_run(each) for each in self._waiting.values())

    def _part(self, computation: Computation, room: int) -> int:
        """The part of a client, where not all are of one size."""
        total = sum(owner.weight for owner in self._hungry.values())
        return max(1, math.ceil(room * computation.owner.weight / total))

    def _fill(
        self, node: NodeRecord, assignment: Assignment, computation: Computation, queue: JobQueue, amount: int
    ) -> bool:
        """UseNode up to so many CPUs' worth of jobs from a queue; whether anything was taken out."""
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
                computation.cancelled -= 1
                continue
            if task.cpus > 1:
                computation.wide.discard(task)
            node.put(assignment, task)
            jobs.append(task.job)
            attempts.append(task.attempt)
            arguments.append(task.arguments)
            options.append(task.needs)
        if not jobs:
            del self._outgoing[node.instance, computation.id]
        return taken

    def _recall_for(self, idle: NodeRecord, computation: Computation) -> Effects:
        """Nothing is left for a node to do: take what it has room for, and has not begun, from the fullest."""
        if computation.queue or len(self._nodes) == 1:
            return []
        room = idle.room_for(idle.assignments[computation.id])
        if room <= 0:
            return []
        # Not all of them, or an installation of ten thousand nodes would do nothing else; others have their turn next.
        some = list(itertools.islice(self._deep.items(), FEW))
        for instance, node in some:
            del self._deep[instance]
            if self._nodes.get(instance) is node:
                self._deep[instance] = node
        fullest = max(
            (node for _, node in some if node.peer is not None and node is not idle and node.instance in self._nodes),
            key=lambda node: node.excess(computation.id),
            default=None,
        )
        return self._recall(fullest, computation, room) if fullest is not None else []

    def _recall(self, node: NodeRecord, computation: Computation, room: int = NO_LIMIT) -> Effects:
        """StatusRequest for half of what has not begun there, and for no more than there is room for elsewhere: what is
        too much would go back."""
        excess = node.excess(computation.id)
        if excess <= 0 or node.peer is None or node.assignments[computation.id].recalling:
            return []
        node.assignments[computation.id].recalling = True
        return [self._to(node, Recall(computation.id, min(room, max(1, excess // 2))))]

    def check(self) -> None:
        """Raise InternalError where an invariant does not hold; for tests."""
        for computation in self._computations.values():
            waiting = computation.all_waiting()
            places = [task.job for task in (*waiting, *computation.oversized) if not task.cancelled]
            for node in self._nodes.values():
                assignment = node.assignments.get(computation.id)
                places += list(assignment.placed) if assignment is not None else []
            if sorted(places) != sorted(computation.tasks):
                raise InternalError("a job is in no place, or in two")
            if computation.places != {each.instance for each in self._nodes.values() if each.is_ready(computation.id)}:
                raise InternalError("a node has loaded a computation and is not counted, or the other way round")
            if any(not task.cancelled for task in waiting) and computation.id not in self._waiting:
                raise InternalError("jobs wait where nobody looks")
            if {id(each) for each in computation.wide} != {
                id(each) for each in waiting if each.cpus > 1 and not each.cancelled
            }:
                raise InternalError("a job of several CPUs is not known as such, or another one is")
            if computation.capacity not in (UNKNOWN, self._capacity.count(computation)):
                raise InternalError("the CPUs that a job can have are others than were counted")
        if {id(each.owner) for each in self._waiting.values()} != self._hungry.keys():
            raise InternalError("a client waits and is not counted, or the other way round")
        for owner in self._owners.values():
            assignments = [
                assignment
                for node in self._nodes.values()
                for assignment in node.assignments.values()
                if assignment.owner is owner
            ]
            if owner.load != sum(assignment.load for assignment in assignments):
                raise InternalError("the load of a client is not what is placed of it")
        for node in self._nodes.values():
            placed: list[Any] = [
                task for assignment in node.assignments.values() for task in assignment.placed.values()
            ]
            if node.load != sum(task.cpus for task in placed) or node.bulk != sum(task.size for task in placed):
                raise InternalError("the load of a node is not what is placed on it")
            if node.sharers != sum(bool(assignment.load) for assignment in node.assignments.values()):
                raise InternalError("the computations that have jobs on a node are not counted")


def in_portions(columns: Columns) -> list[Columns]:
    """Jobs in as many messages as keep the payloads of each small: a message arrives when they all have."""
    jobs, attempts, arguments, options = columns
    if not any(options):
        columns = jobs, attempts, arguments, []
        if set(map(type, arguments)) == {bytes}:
            return [columns]
    found: list[Any] = []
    begin = size = 0
    for place, value in enumerate(arguments):
        own = bulk_size(value) + options_size(options[place])
        if size and size + own > PORTION_BYTES:
            found.append(tuple(column[begin:place] for column in columns))
            begin, size = place, 0
        size += own
    return [*found, tuple(column[begin:] for column in columns)]
