"""Which job goes to which node: the queues, the nodes that have room, and what is to be sent to them.

Floor 1: pure. The lowest part of the scheduler's rules; `demands.py` adds what clients say, `dispatch.py`
what nodes say.

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
from itertools import count
from typing import Any

from gdispy.core.alarms import Alarms
from gdispy.core.effects import Effects, Peer, Record, Send
from gdispy.core.facts import Met, Placed, Unplaced
from gdispy.core.inability import Inability
from gdispy.core.messages import (
    NO_LIMIT,
    Appeared,
    ComputationId,
    Ended,
    Event,
    Instance,
    JobId,
    Limit,
    Message,
    Recall,
    Run,
    Trouble,
    Wanted,
)
from gdispy.core.patterns import matches
from gdispy.core.payloads import ABSENT
from gdispy.core.placing import Columns, Computation, Node, Owner, Share, Task, ended_by_scheduler, in_portions
from gdispy.core.queues import JobQueue
from gdispy.core.statuses import CANCELLED, TERMINATED
from gdispy.core.troubles import slow_nodes, trouble
from gdispy.errors import InternalError

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

#: Nodes that have changed in one turn up to which a stuck computation looks at them one by one.
FEW = 64

#: What an `Event` can be, by the numbers of `DispyNode`.
INITIALIZED, CLOSED, AVAILABLE = 4, 16, 17


class Board:
    """Computations, nodes, and the placing of jobs."""

    def __init__(self, policy: str = FAIR, cooperative: bool = True) -> None:
        self._policy = policy
        #: Whether clients may say how many CPUs of a node are used by all.
        self._cooperative = cooperative
        self._owners: dict[Peer, Owner] = {}
        #: Clients that do not take their results as fast as those come.
        self._slow: set[Peer] = set()
        #: How large the parts of clients are; those that are not named have 1.
        self.weights: dict[Peer, float] = {}
        self._computations: dict[ComputationId, Computation] = {}
        self._nodes: dict[Instance, Node] = {}
        self._by_peer: dict[Peer, Node] = {}
        #: Computations with jobs that wait; and whose turn it is, as (urgency, stamp, computation), stale where
        #: stamps differ.
        self._waiting: dict[ComputationId, Computation] = {}
        self._turns: list[tuple[tuple[float, int], int, Computation]] = []
        #: Nodes that can take jobs, as (load for each CPU, stamp, node); stale where stamps differ.
        self._heap: list[tuple[float, int, Node]] = []
        #: Which these are.
        self._roomy: set[Instance] = set()
        #: Nodes that came into the heap since jobs were last placed.
        self._fresh: list[Node] = []
        #: Nodes on which jobs were ever sent ahead.
        self._deep: dict[Instance, Node] = {}
        self._stamps = count()
        self._alarms = Alarms()
        #: Clients with computations that wait; computations of those that have jobs for single nodes; and those that
        #: want all nodes to themselves.
        self._hungry: dict[int, Owner] = {}
        self._pinning: dict[ComputationId, Computation] = {}
        self._exclusive: dict[ComputationId, Computation] = {}
        #: What keeps addresses from being nodes, as the shell found it.
        self._problems: dict[str, str] = {}
        #: Whether clients can have a node of their own on their machine.
        self.has_local_nodes = True
        self._inability = Inability(self._nodes, self._alarms, self._end_unable)
        self._outgoing: dict[tuple[Instance, ComputationId], Columns] = {}

    # What goes out

    def _to(self, node: Node, message: Message) -> Send:
        if node.peer is None:
            raise InternalError("a node that is away is spoken to")
        return Send(node.peer, message)

    def _event(self, computation: Computation, node: Node, what: int) -> Effects:
        """Tell a client that wants to hear of it what has happened to a node."""
        share = node.shares.get(computation.id)
        if share is None or share.error or (what == AVAILABLE and not computation.watches):
            return []
        row = node.row(share)
        return [Send(computation.client, Event(computation.id, what, node.instance, [row], node.free))]

    def _limit(self, node: Node, computation: ComputationId) -> Effects:
        """Say how many CPUs may be used: the node then has jobs ahead of it without running too many of them."""
        share = node.shares[computation]
        return [self._to(node, Limit(computation, share.cpus, node.allowed))] if node.peer is not None else []

    def _receipts(self, node: Node) -> Effects:
        return [self._to(node, message) for message in node.take_receipts()]

    # Which nodes a computation may use

    def _offer(self, node: Node, computation: Computation, now: float) -> Effects:
        """Have a connected node prepare a computation, where it may be used and is not yet."""
        prepare = computation.prepare
        if prepare is None or computation.is_over or node.peer is None or not node.greeted:
            return []
        share = node.share_of(computation)
        if share.ready or share.leaving or share.closed:
            return []
        share.error, share.is_unable = self._objection(node, computation, share), False
        if share.error:
            if node.instance not in computation.refused:
                self._inability.note(computation, share, now)
            return []
        if computation.asks and not share.taken:
            if share.asked or not node.cpus:  # When it takes jobs again, it is offered again.
                return []
            share.asked = True
            question = (node.instance, node.names, node.port, node.cpus, node.platform, node.free)
            return [Send(computation.client, Appeared(computation.id, *question))]
        if share.prepared_at is None:
            share.prepared_at = now
            self._watch_setup(node, computation, share)
        return [Send(node.peer, share.special(prepare))]

    def _watch_setup(self, node: Node, computation: Computation, share: Share) -> None:
        """Setup may take as long as it needs, but not silently."""
        since = share.prepared_at
        assert since is not None

        def tell(now: float) -> Effects:
            share.told = True
            return [Send(computation.client, Trouble(computation.id, slow_nodes(computation, [node])))]

        def lasts() -> bool:
            return share.prepared_at == since and not share.told and node.instance in self._nodes

        self._alarms.set(since + SETUP_PATIENCE, lasts, tell)

    def _note_ready(self, node: Node, computation: Computation, share: Share, ready: bool) -> None:
        """A node has loaded a computation, or has it no more."""
        share.ready, share.prepared_at = ready, None
        (computation.places.add if ready else computation.places.discard)(node.instance)

    def _objection(self, node: Node, computation: Computation, share: Share) -> str:
        prepare = computation.prepare
        assert prepare is not None
        if computation.objection:
            return computation.objection
        if not computation.asks and not matches(computation.nodes, node.names, node.port):
            computation.refused.add(node.instance)
            return "it is there, but `nodes` does not name it"
        computation.refused.discard(node.instance)
        if prepare.python not in ("", node.python) and not prepare.source:
            return f"it runs Python {node.python}, and the function was made by Python {prepare.python}"
        return share.error if computation.asks and share.asked and not share.taken else ""

    def refuses(self, peer: Peer, computation: ComputationId) -> bool:
        """Whether a node that is connected cannot run a computation, and will not, as long as nothing changes there."""
        node = self._by_peer.get(peer)
        share = node.shares.get(computation) if node is not None else None
        return share is not None and bool(share.error)

    def _end_unable(self, computation: Computation, reason: str) -> Effects:
        """No node can run a computation, and all have said so: its jobs do not wait."""
        tasks = [task for task in computation.tasks.values() if task.node is None and not task.cancelled]
        if not tasks or computation.is_over:
            return []
        self._nothing_waits(computation)
        name = computation.prepare.name if computation.prepare is not None else "?"
        told = Trouble(computation.id, f"{name}: no node can run it, so its jobs end: {reason.rstrip()}")
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

        def set_alarm(moment: float, pause: float) -> None:
            def tell(now: float) -> Effects:
                set_alarm(now + pause, min(PAUSE_GROWTH * pause, LONGEST_PAUSE))
                text = trouble(computation, self._nodes.values(), self._problems, self.has_local_nodes)
                return [Send(computation.client, Trouble(computation.id, text))]

            self._alarms.set(moment, lasts, tell)

        set_alarm(since + PATIENCE, PAUSE_GROWTH * PATIENCE)

    def _is_usable(self, computation: Computation) -> bool:
        """Whether some node could run the next job, if it were free."""
        head = computation.queue.head()
        wanted = head.cpus if head is not None else 1
        for node in self._nodes.values():
            share = node.shares.get(computation.id)
            if share is None or not share.ready or share.closed or share.leaving or node.peer is None:
                continue
            if min(node.cpus, share.cpus) >= wanted:
                return True
        return False

    def _look_again(self, now: float) -> None:
        """Nodes have changed: what waits may have none left."""
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

    def _freed(self, owner: Owner) -> None:
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

    def _requeue(self, node: Node, computation: Computation, tasks: list[Task], now: float) -> Effects:
        """Put jobs that have not begun at the front of their queue again."""
        if not tasks:
            return []
        share = node.shares[computation.id]
        cancelled: list[Task] = []
        absent: list[Task] = []
        effects: Effects = []
        if computation.kept:
            numbers, attempts = [task.job for task in tasks], [task.attempt + 1 for task in tasks]
            losses = [task.losses for task in tasks]
            effects.append(Record(computation.id, [Unplaced(computation.id, numbers, attempts, losses)]))
        for task in reversed(tasks):
            node.remove(share, task.job)
            task.attempt += 1
            if task.cancelled:
                cancelled.append(task)
            elif task.arguments is ABSENT:
                absent.append(task)
            else:
                computation.add(task, first=True)
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
        return [Send(computation.client, Wanted(computation.id, [task.job for task in tasks], True))]

    def _end(self, computation: Computation, tasks: list[Task], status: int, text: str, address: str = "") -> Effects:
        """Report the end of jobs that no node will report."""
        for task in tasks:
            del computation.tasks[task.job]
        return self._tell_end(computation, ended_by_scheduler(computation.id, tasks, status, text, address))

    def _tell_end(self, computation: Computation, ended: Ended) -> Effects:
        """Jobs have ended: what the client is told is remembered first."""
        effects: Effects = [Record(computation.id, [ended])] if computation.kept else []
        return [*effects, Send(computation.client, ended)]

    # Placing

    def _push(self, node: Node) -> None:
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

    def _note_placed(self, node: Node, computation: ComputationId, jobs: list[JobId], attempts: list[int]) -> Record:
        facts: list[Message] = [Placed(computation, node.instance, jobs, attempts)]
        share = node.shares[computation]
        if not share.met:
            share.met = True
            about = (node.names[:-1], node.port, node.python, node.platform, node.offered)
            facts.insert(0, Met(computation, node.instance, node.name, *about))
        return Record(computation, facts)

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
        passed: list[tuple[float, int, Node]] = []
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
            share = node.shares.get(computation.id) if node is not None else None
            room = node.room_for(share) if node is not None and share is not None else 0
            if node is not None and share is not None and room > 0:
                self._fill(node, share, computation, queue, room)
                self._push(node)
            if not queue:
                del computation.pinned[instance]

    def _give(self, node: Node, computation: Computation, candidates: int) -> bool:
        """Place jobs on a node: to its free CPUs first, then ahead of them, a fair part of the queue."""
        share = node.shares.get(computation.id)
        room = 0 if share is None else node.room_for(share)
        if share is None or room <= 0:
            return False
        queue = computation.queue
        free = node.free_for(share)
        room = min(free, room) if free > 0 else self._room_ahead(node, share, computation, room)
        if not room:
            return False
        if len(self._waiting) > 1:  # Others have a part in it.
            room = -(-room // len(self._hungry)) if not self.weights else self._part(computation, room)
        amount = min(room, -(-len(queue) // candidates))
        if not self._fill(node, share, computation, queue, amount):
            return False
        self._push(node)
        return True

    def _room_ahead(self, node: Node, share: Share, computation: Computation, room: int) -> int:
        """What of the room on a node without a free CPU is for this computation."""
        if self._policy == EARLIEST and self._is_behind(computation):
            return 0  # What is free it may have, but nothing is put beside what an earlier one has ahead.
        if len(computation.places) < 2:
            return room
        fair = share.fair_load(min(node.cpus, share.cpus), -(-len(computation.tasks) // len(computation.places)))
        left = fair - share.load
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

    def _fill(self, node: Node, share: Share, computation: Computation, queue: JobQueue, amount: int) -> bool:
        """Take up to so many CPUs' worth of jobs from a queue; whether anything was taken out."""
        columns = self._outgoing.setdefault((node.instance, computation.id), ([], [], [], []))
        jobs, attempts, arguments, options = columns
        limit, taken = node.load + amount, False
        while node.load < limit and (node.load < node.cpus or not node.is_full_of_bytes()):
            task = queue.head()
            if task is None or (task.cpus > 1 and not task.cancelled and not node.has_room_for(share, task)):
                break
            queue.popleft()
            taken = True
            if task.cancelled:
                computation.cancelled -= 1
                continue
            node.put(share, task)
            jobs.append(task.job)
            attempts.append(task.attempt)
            arguments.append(task.arguments)
            options.append(task.needs)
        if not jobs:
            del self._outgoing[node.instance, computation.id]
        return taken

    def _recall_for(self, idle: Node, computation: Computation) -> Effects:
        """Nothing is left for a node to do: take what it has room for, and has not begun, from the fullest."""
        if computation.queue or len(self._nodes) == 1:
            return []
        room = idle.room_for(idle.shares[computation.id])
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

    def _recall(self, node: Node, computation: Computation, room: int = NO_LIMIT) -> Effects:
        """Ask for half of what has not begun there, and for no more than there is room for elsewhere: what is too much
        would go back."""
        excess = node.excess(computation.id)
        if excess <= 0 or node.peer is None or node.shares[computation.id].recalling:
            return []
        node.shares[computation.id].recalling = True
        return [self._to(node, Recall(computation.id, min(room, max(1, excess // 2))))]

    def check(self) -> None:
        """Raise InternalError where an invariant does not hold; for tests."""
        for computation in self._computations.values():
            waiting = computation.all_waiting()
            places = [task.job for task in waiting if not task.cancelled]
            for node in self._nodes.values():
                share = node.shares.get(computation.id)
                places += list(share.placed) if share is not None else []
            if sorted(places) != sorted(computation.tasks):
                raise InternalError("a job is in no place, or in two")
            if computation.places != {each.instance for each in self._nodes.values() if each.is_ready(computation.id)}:
                raise InternalError("a node has loaded a computation and is not counted, or the other way round")
            if any(not task.cancelled for task in waiting) and computation.id not in self._waiting:
                raise InternalError("jobs wait where nobody looks")
        if {id(each.owner) for each in self._waiting.values()} != self._hungry.keys():
            raise InternalError("a client waits and is not counted, or the other way round")
        for owner in self._owners.values():
            shares = [share for node in self._nodes.values() for share in node.shares.values() if share.owner is owner]
            if owner.load != sum(share.load for share in shares):
                raise InternalError("the load of a client is not what is placed of it")
        for node in self._nodes.values():
            placed: list[Any] = [task for share in node.shares.values() for task in share.placed.values()]
            if node.load != sum(task.cpus for task in placed) or node.bulk != sum(task.size for task in placed):
                raise InternalError("the load of a node is not what is placed on it")
            if node.sharers != sum(bool(share.load) for share in node.shares.values()):
                raise InternalError("the computations that have jobs on a node are not counted")
