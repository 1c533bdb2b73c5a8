"""Which computations wait for nodes, and which of them is served next.

Pure. Invariants:
1. A computation that has queued jobs that are not cancelled is among those that wait.
2. A client is among those that wait as long as one of its computations is.
3. Work per decision does not grow with the number of computations: they wait in a heap by urgency, whose stale entries
   are skipped when they reach the top.
"""

from __future__ import annotations

import heapq
import math

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, Peer
from gdispy.protocol.messages import Open
from gdispy.protocol.rows import JobOptions
from gdispy.rules.scheduler.assignment import AssignmentStage, Use
from gdispy.rules.scheduler.computation import ClientShare, Computation
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState

#: Served first: a computation of the client with the smallest load, the computation opened first, or the computation
#: served least recently.
FAIR, EARLIEST, ROUND_ROBIN = "fair", "earliest", "round robin"

#: Maximum number of stale entries of a heap in excess of the valid ones: a program that submits single jobs in sequence
#: leaves one with each job, which never reaches the top.
STALE_LIMIT = 64


class Turns:
    """Computations that wait, and their clients."""

    def __init__(self, state: SchedulerState, reminders: Reminders, policy: str = FAIR) -> None:
        self._state = state
        self._reminders = reminders
        self.policy = policy
        #: The weights of clients' shares; the default is 1.
        self.weights: dict[Peer, float] = {}
        #: Clients that have computations.
        self._clients: dict[Peer, ClientShare] = {}
        #: Clients that receive their results more slowly than they arrive.
        self._slow: set[Peer] = set()
        #: Computations with jobs that wait.
        self.waiting: dict[ComputationId, Computation] = {}
        #: The order of turns, as (urgency, stamp, computation); stale if stamps differ.
        self._heap: list[tuple[tuple[float, int], int, Computation]] = []
        #: Clients with computations that wait, by their identity.
        self._hungry: dict[int, ClientShare] = {}
        #: Computations that wait and have jobs for single nodes.
        self.pinning: dict[ComputationId, Computation] = {}
        #: Computations that request exclusive use of all nodes.
        self._exclusive: dict[ComputationId, Computation] = {}

    # Computations and clients

    def open(self, message: Open, client: Peer) -> Computation:
        """Open a computation; none of its jobs waits yet."""
        opened = Computation(message, client, self._client(client), next(self._state.numbers))
        self._state.computations[opened.id] = opened
        if message.exclusive:
            self._exclusive[opened.id] = opened
        return opened

    def close(self, computation: Computation) -> None:
        """Close a computation; none of its jobs waits."""
        del self._state.computations[computation.id]
        self._exclusive.pop(computation.id, None)

    def forget_client(self, computation: Computation) -> None:
        """Forget the client of a closed computation, if that was the client's last."""
        if not any(each.owner is computation.owner for each in self._state.computations.values()):
            self._clients.pop(computation.client, None)

    def _client(self, peer: Peer) -> ClientShare:
        found = self._clients.get(peer)
        if found is None:
            found = self._clients[peer] = ClientShare(self.weights.get(peer, 1.0))
        return found

    def set_weight(self, client: Peer, weight: float) -> None:
        """Change the weight of a client's share."""
        self.weights[client] = weight
        owner = self._clients.get(client)
        if owner is not None:
            owner.weight = weight
            for computation in owner.waiting.values():
                self.queue(computation)

    def slow_down(self, client: Peer, is_slow: bool) -> None:
        """A client receives its results more slowly than they arrive, or fast enough again; while slow, its jobs
        wait."""
        if is_slow:
            self._slow.add(client)
        else:
            self._slow.discard(client)

    def hand_over(self, computation: Computation, client: Peer) -> None:
        """Assign this computation to another client; its placed jobs count for that client."""
        former, owner = computation.owner, self._client(client)
        computation.client, computation.owner = client, owner
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None:
                assignment.owner = owner
                former.load -= assignment.load
                owner.load += assignment.load
        if former.waiting.pop(computation.id, None) is not None:
            owner.waiting[computation.id] = computation
            self._hungry[id(owner)] = owner
            if not former.waiting:
                self._hungry.pop(id(former), None)
        owners = {id(each.owner) for each in self._state.computations.values()}
        self._clients = {peer: each for peer, each in self._clients.items() if id(each) in owners}

    # Jobs that wait

    def wait(self, computation: Computation, now: float) -> None:
        """Record that jobs wait, and the time since which no node can run them."""
        if not computation.backlog:
            return
        if computation.id not in self.waiting:
            self.waiting[computation.id] = computation.owner.waiting[computation.id] = computation
            self._hungry[id(computation.owner)] = computation.owner
            self.queue(computation)
        if computation.backlog.pinned:
            self.pinning[computation.id] = computation
        if computation.waiting_since is None and not self.is_usable(computation):
            computation.waiting_since = now
            self._reminders.watch_wait(computation, lambda: self._is_stuck(computation))

    def is_usable(self, computation: Computation) -> bool:
        """Whether some node could run the next job if the node were free."""
        head = computation.backlog.queue.head()
        wanted = head.cpus if head is not None else 1
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is None or assignment.stage is not AssignmentStage.READY or assignment.use is not Use.OPEN:
                continue
            if node.peer is not None and min(node.cpus, assignment.cpus) >= wanted:
                return True
        return False

    def _is_stuck(self, computation: Computation) -> bool:
        """Whether jobs wait that no node can run. The job that no node could run may have left the head of the queue
        since."""
        computation.backlog.pop_cancelled()
        self.note_usable(computation)
        return computation.waiting_since is not None and computation.id in self.waiting

    def note_usable(self, computation: Computation) -> None:
        """A node may have become usable: if jobs must wait again, the user is notified again."""
        if self.is_usable(computation):
            computation.waiting_since = None

    def take_out(self, computation: Computation, task: Task) -> Task:
        """Remove a waiting job from its queue: its cancelled entry is skipped when it reaches the head."""
        if computation.backlog.oversized.discard(task):
            return task
        other = _in_its_place(computation, task, task.options)
        computation.backlog.cancel(task)
        if computation.backlog.cancelled == len(computation.backlog):
            self.nothing_waits(computation)
        return other

    def set_priority(self, computation: Computation, task: Task, priority: float) -> None:
        """Give a waiting job another priority. Among jobs of the same priority it is the last."""
        backlog = computation.backlog
        is_aside = backlog.oversized.discard(task)
        other = _in_its_place(computation, task, (task.options or JobOptions())._replace(priority=priority))
        if is_aside:
            backlog.oversized.add(other)
            return
        backlog.cancel(task)
        task.arguments = b""  # Only the entry remains until it reaches the head.
        backlog.add(other)
        backlog.pop_cancelled()
        self.note_usable(computation)  # Another job may be the next one.

    def nothing_waits(self, computation: Computation) -> None:
        """Empty the queues of a computation."""
        computation.backlog.clear()
        computation.waiting_since = None
        self._stop_waiting(computation)

    def settle(self, computation: Computation) -> None:
        """Jobs were removed from the queues: update whether the computation and its client still wait."""
        if not computation.backlog.pinned:
            self.pinning.pop(computation.id, None)
        if not computation.backlog:
            self._stop_waiting(computation)

    def _stop_waiting(self, computation: Computation) -> None:
        computation.stuck = 0
        self.waiting.pop(computation.id, None)
        self.pinning.pop(computation.id, None)
        computation.owner.waiting.pop(computation.id, None)
        if not computation.owner.waiting:
            self._hungry.pop(id(computation.owner), None)

    # The order of turns

    def take_next(self) -> Computation | None:
        """Remove from the heap and return the computation to serve now."""
        heap = self._heap
        while heap:
            urgency, stamp, computation = heapq.heappop(heap)
            if stamp != computation.turn or computation.id not in self.waiting:
                continue
            if heap and urgency < self._urgency(computation):
                self.queue(computation)  # Its client was served meanwhile, through another computation.
                continue
            return computation
        return None

    def served(self, computation: Computation) -> None:
        """Jobs of the computation that `take_next` returned were placed: it waits for its next turn if jobs remain."""
        computation.served = next(self._state.numbers)
        if computation.backlog:
            self.queue(computation)
        else:
            self._stop_waiting(computation)

    def queue(self, computation: Computation) -> None:
        """Add a waiting computation to the heap, by its present urgency."""
        computation.turn = next(self._state.numbers)
        heapq.heappush(self._heap, (self._urgency(computation), computation.turn, computation))
        if len(self._heap) > 2 * len(self.waiting) + STALE_LIMIT:
            self._heap = [turn for turn in self._heap if turn[1] == turn[2].turn and turn[2].id in self.waiting]
            heapq.heapify(self._heap)

    def freed(self, owner: ClientShare) -> None:
        """A client has fewer jobs on nodes than before: its turn is earlier."""
        if len(self.waiting) > 1:
            for computation in owner.waiting.values():
                self.queue(computation)

    def _urgency(self, computation: Computation) -> tuple[float, int]:
        """The computation with the smallest value is served first."""
        if self.policy == EARLIEST:
            return 0.0, computation.opened
        if self.policy == ROUND_ROBIN:
            return 0.0, computation.served
        return computation.owner.load / computation.owner.weight, computation.served

    def may_run(self, computation: Computation) -> bool:
        """Whether no computation that requests exclusive use of all nodes has precedence."""
        if computation.held or computation.client in self._slow:
            return False
        if not self._exclusive:
            return True
        first = next(iter(self._exclusive.values()))
        if computation is first:
            return next(iter(self._state.computations.values())) is first
        return computation.opened < first.opened

    def obstacle(self, computation: Computation) -> str:
        """Why `may_run` is false."""
        if computation.client in self._slow:
            return "its client, which does not take its results as fast as they arrive"
        first = next(iter(self._exclusive.values()), None)
        if first is None or first is computation:
            return "the computations that were opened before it, since it wants all nodes for itself"
        name = first.name
        return f"the end of {name}, which was opened earlier and has all nodes for itself"

    def shares(self) -> list[ClientShare]:
        """The clients whose jobs wait."""
        return list(self._hungry.values())

    def is_behind(self, computation: Computation) -> bool:
        """Whether a computation waits that was opened earlier and therefore is served first."""
        if self.policy != EARLIEST:
            return False
        return any(each.opened < computation.opened and self.may_run(each) for each in self.waiting.values())

    def part_of(self, computation: Computation, room: int) -> int:
        """A computation's part of the room on a node, shared with all that wait."""
        if len(self.waiting) < 2:
            return room
        if not self.weights:
            return -(-room // len(self._hungry))
        total = sum(owner.weight for owner in self._hungry.values())
        return max(1, math.ceil(room * computation.owner.weight / total))

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        for computation in self._state.computations.values():
            jobs_wait = any(not task.cancelled for task in computation.backlog.jobs())
            if jobs_wait and computation.id not in self.waiting:
                raise InternalError("jobs wait and their computation is not listed as waiting")
        if {id(each.owner) for each in self.waiting.values()} != self._hungry.keys():
            raise InternalError("a client waits and is not counted, or the other way round")
        assignments = [each for node in self._state.nodes.values() for each in node.assignments.values()]
        for owner in self._clients.values():
            if owner.load != sum(each.load for each in assignments if each.owner is owner):
                raise InternalError("the load of a client is not what is placed of it")


def _in_its_place(computation: Computation, task: Task, options: JobOptions | None) -> Task:
    """A new entry for a waiting job, with these options."""
    other = computation.tasks[task.job] = new_task(task.job, task.arguments, options)
    other.attempt, other.losses = task.attempt, task.losses
    return other
