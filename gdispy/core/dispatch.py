"""The scheduler's rules: which node runs which job, and why not.

Floor 1: pure. Driven by the pump of `scheduler.py`. Clients are at the other end of pairs or
connections, nodes at the other end of connections; both are named by their `Peer`.

Invariants:
1. A job that has not ended is in its computation's queue or placed on exactly one node.
2. Each placement of a job has its own attempt number; what an older attempt says is acknowledged and
   changes nothing. A job that may have begun is placed again only if its computation is reentrant.
3. Work per decision does not grow with the number of queued jobs: queues are taken from at their
   ends, and nodes that can take a job wait in a heap by load.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from gdispy.core.effects import Drop, Effects, Peer, Send
from gdispy.core.messages import (
    Ask,
    Cancel,
    Collected,
    ComputationId,
    Ended,
    Hello,
    Holding,
    Instance,
    Message,
    Open,
    Prepare,
    Prepared,
    Progress,
    Recall,
    Release,
    Released,
    Returned,
    Run,
    Seen,
    Standing,
    Started,
    Trouble,
)
from gdispy.core.patterns import matches
from gdispy.core.placing import Computation, Node, Share, Task, ended_by_scheduler, in_portions, picked
from gdispy.core.statuses import ABANDONED, CANCELLED
from gdispy.core.troubles import problems, trouble
from gdispy.errors import InternalError

#: Seconds from a node's last sign of life until it counts as lost, where nobody says otherwise.
LEASE = 30.0
#: Seconds that jobs wait for a node before the user hears why.
PATIENCE = 3.0
#: How often a job is placed whose nodes are lost each time.
ATTEMPTS = 3
ALL_OF_THEM = 1 << 40  #: What a node may forget of an attempt that is of no interest any more.
#: Seconds after which a node is told that its outcomes have arrived, where nothing else is to be said.
RECEIPT_AFTER = 0.1


class Dispatch:
    """What is to run, and where."""

    def __init__(self, lease: float = LEASE) -> None:
        self._lease = lease
        self._computations: dict[ComputationId, Computation] = {}
        self._nodes: dict[Instance, Node] = {}
        self._by_peer: dict[Peer, Node] = {}
        #: Computations with jobs in their queue, in the order in which they are served.
        self._waiting: dict[ComputationId, Computation] = {}
        #: Nodes that can take jobs, as (load for each CPU, stamp, node); stale where stamps differ.
        self._heap: list[tuple[float, int, Node]] = []
        self._stamps = count()
        #: What keeps addresses from being nodes, as the shell found it.
        self._problems: dict[str, str] = {}
        self._outgoing: dict[tuple[Instance, ComputationId], tuple[list[Any], list[Any], list[Any]]] = {}

    # Clients

    def receive_from_client(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        effects: Effects = []
        for message in messages:
            effects += self._CLIENT_HANDLERS[type(message)](self, peer, message, now)
        return effects + self._place(now)

    def _on_open(self, peer: Peer, message: Open, now: float) -> Effects:
        computation = Computation(message.computation, peer, message.nodes, message.reentrant)
        self._computations[message.computation] = computation
        return []

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return []
        computation.prepare = message
        effects: Effects = []
        for node in self._nodes.values():
            effects += self._offer(node, computation)
        return effects

    def _on_run(self, peer: Peer, message: Run, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:  # It was released meanwhile, and with it its jobs.
            return []
        tasks, queue = computation.tasks, computation.queue
        for job, arguments in zip(message.jobs, message.arguments, strict=True):
            task = tasks[job] = Task(job, arguments)
            queue.append(task)
        self._wait(computation, now)
        return []

    def _on_cancel(self, peer: Peer, message: Cancel, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return []
        effects: Effects = []
        waiting: list[Task] = []
        for job in message.jobs:
            task = computation.tasks.get(job)
            if task is None or task.cancelled:
                continue
            task.cancelled = True
            if task.node is None:
                waiting.append(task)
            elif task.node.peer is not None:
                effects.append(Send(task.node.peer, Cancel(computation.id, [job], [task.attempt])))
        if waiting:
            # What is cancelled is skipped when its turn in the queue comes.
            computation.cancelled += len(waiting)
            if computation.cancelled == len(computation.queue):
                self._nothing_waits(computation)
            effects.append(self._end(computation, waiting, CANCELLED, ""))
        return effects

    def _on_release(self, peer: Peer, message: Release, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return [Send(peer, Released(message.computation))]
        effects: Effects = []
        if computation.closing:
            return []
        computation.closing = True
        self._nothing_waits(computation)
        computation.tasks.clear()
        for node in self._nodes.values():
            share = node.shares.pop(computation.id, None)
            if share is None:
                continue
            node.load -= len(share.placed)
            node.bulk -= sum(task.size for task in share.placed.values())
            self._push(node)
            if node.peer is not None:
                computation.releasing.add(node.instance)
                effects.append(Send(node.peer, Release(computation.id)))
        return effects + self._released(computation)

    def _released(self, computation: Computation) -> Effects:
        if computation.releasing:
            return []
        del self._computations[computation.id]
        return [Send(computation.client, Released(computation.id))]

    def _on_ask(self, peer: Peer, message: Ask, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return [Send(peer, Standing(message.computation, message.question, [], 0, []))]
        rows: list[list[Any]] = []
        for node in self._nodes.values():
            share = node.shares.get(computation.id)
            if share is not None and node.instance not in computation.refused:
                rows.append(node.row(share))
        queued = len(computation.tasks) - sum(row[4] for row in rows)
        return [
            Send(peer, Standing(computation.id, message.question, rows, max(0, queued), self.problems(computation)))
        ]

    _CLIENT_HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Open: _on_open,
        Prepare: _on_prepare,
        Run: _on_run,
        Cancel: _on_cancel,
        Release: _on_release,
        Ask: _on_ask,
    }

    # Nodes

    def joined(self, peer: Peer, hello: Hello, names: list[str], port: int, now: float) -> Effects:
        """A node is connected; `names` are the addresses and names it is known by, the best first."""
        effects: Effects = []
        node = self._nodes.get(hello.instance)
        if node is None:
            # Another life at the same place: what the former one held is lost.
            for other in list(self._nodes.values()):
                if other.peer is None and other.names[0] == names[0] and other.port == port:
                    effects += self._lose(other, now, "it was started again")
            node = self._nodes[hello.instance] = Node(hello, names, port)
        elif node.peer is not None:
            del self._by_peer[node.peer]
            effects.append(Drop(node.peer, "a newer connection took its place"))
        node.peer, node.lost_at, node.silent, node.greeted = peer, None, False, False
        node.forget_receipts()
        self._by_peer[peer] = node
        self._problems.pop(node.place, None)
        return effects

    def _on_holding(self, node: Node, message: Holding, now: float) -> Effects:
        """Compare what the node holds with what is placed on it, after a connection is made."""
        node.greeted = True
        effects: Effects = []
        held = dict(zip(message.computations, zip(message.jobs, message.attempts, strict=True), strict=True))
        for computation_id, (jobs, attempts) in held.items():
            share = node.shares.get(computation_id)
            if share is None:
                effects.append(self._to(node, Release(computation_id)))
                continue
            stale = [
                (job, attempt)
                for job, attempt in zip(jobs, attempts, strict=True)
                if job not in share.placed or share.placed[job].attempt != attempt
            ]
            if stale:
                # Receipts too, or on a bad link the node would send it all each time and come no further.
                columns = tuple(map(list, zip(*stale, strict=True)))
                effects += [self._to(node, kind(computation_id, *columns)) for kind in (Collected, Cancel)]
        for computation_id, share in node.shares.items():
            jobs, attempts = held.get(computation_id, ([], []))
            known = set(zip(jobs, attempts, strict=True))
            missing = [task for task in share.placed.values() if (task.job, task.attempt) not in known]
            effects += self._requeue(node, self._computations[computation_id], missing, now)
            share.recalling = False
            if computation_id not in held:
                share.ready = False
            elif share.ready:
                self._usable(self._computations[computation_id])
            cancelled = [task for task in share.placed.values() if task.cancelled]
            if cancelled:
                numbers = [task.job for task in cancelled], [task.attempt for task in cancelled]
                effects.append(self._to(node, Cancel(computation_id, *numbers)))
        for computation in self._computations.values():
            effects += self._offer(node, computation)
        self._push(node)
        return effects

    def gone(self, peer: Peer, now: float) -> Effects:
        """The connection to a node is over; it may come back within the lease."""
        node = self._by_peer.pop(peer, None)
        if node is None:
            return []
        node.peer, node.lost_at = None, now + self._lease
        # What it was not told of, it will report again.
        node.forget_receipts()
        effects: Effects = []
        for computation in list(self._computations.values()):
            if node.instance in computation.releasing:
                computation.releasing.discard(node.instance)
                effects += self._released(computation)
        if not any(share.placed or share.owed for share in node.shares.values()):
            effects += self._lose(node, now, "it is gone")
        for computation in self._waiting.values():
            self._wait(computation, now)
        return effects + self._place(now)

    def silent(self, peer: Peer, silent: bool, now: float) -> Effects:
        """A node has given no sign of life for a while, or has given one again."""
        node = self._by_peer.get(peer)
        if node is None or node.silent == silent:
            return []
        node.silent = silent
        self._push(node)
        return self._place(now)

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        """A node says this."""
        effects: Effects = []
        for message in messages:
            node = self._by_peer.get(peer)
            if node is None:
                return effects
            handler = self._NODE_HANDLERS.get(type(message))
            if handler is None:
                return [*effects, Drop(peer, f"a scheduler does not take {type(message).__name__} from a node")]
            effects += handler(self, node, message, now)
        return effects + self._place(now)

    def _on_prepared(self, node: Node, message: Prepared, now: float) -> Effects:
        share = node.shares.get(message.computation)
        if share is None:
            return []
        share.ready, share.error = not message.error, message.error
        if share.ready:
            self._usable(self._computations[message.computation])
        self._push(node)
        return []

    def _usable(self, computation: Computation) -> None:
        """There is a node for it: if it must wait again, the user hears of it again."""
        computation.waiting_since = None
        computation.told = False

    def _on_ended(self, node: Node, message: Ended, now: float) -> Effects:
        node.note_ended(message, now + RECEIPT_AFTER)
        effects: Effects = []
        share = node.shares.get(message.computation)
        if share is None:
            return effects
        computation = self._computations[message.computation]
        placed, tasks = share.placed, computation.tasks
        fresh: list[int] = []
        for place, (job, attempt) in enumerate(zip(message.jobs, message.attempts, strict=True)):
            task = placed.get(job)
            if task is None or task.attempt != attempt:
                continue
            del placed[job], tasks[job]
            node.bulk -= task.size
            if message.progress[place]:
                share.note_end(job, attempt, message.progress[place])
            fresh.append(place)
        if not fresh:
            return effects
        node.load -= len(fresh)
        share.count(message, len(fresh))
        if len(fresh) < len(message.jobs):
            message = picked(message, fresh)
        self._push(node)
        effects.append(Send(computation.client, replace(message, address=node.names[0])))
        if node.load == 0:
            effects += self._recall_for(node, computation)
        return effects

    def _receipts(self, node: Node) -> Effects:
        return [self._to(node, message) for message in node.take_receipts()]

    def _on_started(self, node: Node, message: Started, now: float) -> Effects:
        share = node.shares.get(message.computation)
        known = share is not None and all(job in share.placed for job in message.jobs)
        if not known:
            return []
        client = self._computations[message.computation].client
        return [Send(client, replace(message, address=node.names[0]))]

    def _on_progress(self, node: Node, message: Progress, now: float) -> Effects:
        share = node.shares.get(message.computation)
        if share is None:
            return []
        task = share.placed.get(message.job)
        is_owed = (message.job, message.attempt) in share.owed
        if not is_owed and (task is None or task.attempt != message.attempt):
            node.note_progress(message, ALL_OF_THEM, now + RECEIPT_AFTER)
            return []
        count = share.note_shown(message.job, message.attempt, message.index)
        node.note_progress(message, count, now + RECEIPT_AFTER)
        client = self._computations[message.computation].client
        return [Send(client, replace(message, address=node.names[0]))]

    def _on_returned(self, node: Node, message: Returned, now: float) -> Effects:
        share = node.shares.get(message.computation)
        if share is None:
            return []
        share.recalling = False
        returned = [
            share.placed[job]
            for job, attempt in zip(message.jobs, message.attempts, strict=True)
            if job in share.placed and share.placed[job].attempt == attempt
        ]
        return self._requeue(node, self._computations[message.computation], returned, now)

    def _on_released(self, node: Node, message: Released, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or node.instance not in computation.releasing:
            return []
        computation.releasing.discard(node.instance)
        return self._released(computation)

    _NODE_HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Holding: _on_holding,
        Prepared: _on_prepared,
        Ended: _on_ended,
        Started: _on_started,
        Progress: _on_progress,
        Returned: _on_returned,
        Released: _on_released,
    }

    # Time and trouble

    def problem(self, place: str, text: str) -> Effects:
        """An address where a node should be is none, and why; '' takes that back."""
        if text:
            self._problems[place] = text
        else:
            self._problems.pop(place, None)
        return []

    def due(self) -> float | None:
        """When `tick` is to be called next, if at all."""
        times = [node.lost_at for node in self._nodes.values() if node.lost_at is not None]
        times += [node.receipts_at for node in self._nodes.values() if node.receipts_at is not None]
        for computation in self._waiting.values():
            if computation.waiting_since is not None and not computation.told:
                times.append(computation.waiting_since + PATIENCE)
        return min(times, default=None)

    def tick(self, now: float) -> Effects:
        effects: Effects = []
        for node in [node for node in self._nodes.values() if node.lost_at is not None and node.lost_at <= now]:
            effects += self._lose(node, now, f"nothing was heard of it for {self._lease:.0f} s")
        for node in self._nodes.values():
            if node.receipts_at is not None and node.receipts_at <= now:
                effects += self._receipts(node)
        for computation in self._waiting.values():
            since = computation.waiting_since
            if since is not None and not computation.told and now >= since + PATIENCE:
                computation.told = True
                effects.append(
                    Send(
                        computation.client,
                        Trouble(computation.id, trouble(computation, self._nodes.values(), self._problems)),
                    )
                )
        return effects + self._place(now)

    def problems(self, computation: Computation) -> list[str]:
        """Why nodes are not used for a computation, a line for each."""
        return problems(computation, self._nodes.values(), self._problems)

    # Inner workings

    def _to(self, node: Node, message: Message) -> Send:
        if node.peer is None:
            raise InternalError("a node that is away is spoken to")
        return Send(node.peer, message)

    def _offer(self, node: Node, computation: Computation) -> Effects:
        """Have a connected node prepare a computation, where it may be used and is not yet."""
        prepare = computation.prepare
        if prepare is None or computation.closing or node.peer is None or not node.greeted:
            return []
        share = node.shares.get(computation.id)
        if share is None:
            share = node.shares[computation.id] = Share()
        if not matches(computation.nodes, node.names, node.port):
            share.error = "it is there, but `nodes` does not name it"
            computation.refused.add(node.instance)
        elif prepare.python not in ("", node.python):
            share.error = f"it runs Python {node.python}, and the function was made by Python {prepare.python}"
        elif not share.ready:
            share.error = ""
            return [Send(node.peer, prepare)]
        return []

    def _wait(self, computation: Computation, now: float) -> None:
        """Note that jobs wait, and since when no node could run them."""
        if not computation.queue:
            return
        self._waiting[computation.id] = computation
        usable = any(node.peer is not None and node.is_ready(computation.id) for node in self._nodes.values())
        if not usable and computation.waiting_since is None:
            computation.waiting_since = now

    def _nothing_waits(self, computation: Computation) -> None:
        computation.queue.clear()
        computation.cancelled = 0
        computation.waiting_since = None
        self._waiting.pop(computation.id, None)

    def _push(self, node: Node) -> None:
        """Put a node into the heap, or out of it, after its load or its use has changed."""
        node.stamp = next(self._stamps)
        if node.room() > 0:
            heapq.heappush(self._heap, (node.load / node.cpus, node.stamp, node))

    def _place(self, now: float) -> Effects:
        for computation in list(self._waiting.values()):
            passed: list[tuple[float, int, Node]] = []
            served = False
            while computation.queue and self._heap:
                entry = heapq.heappop(self._heap)
                node = entry[2]
                if entry[1] != node.stamp:
                    continue
                if self._give(node, computation, len(self._heap) + 1):
                    served = True
                else:
                    passed.append(entry)
            for entry in passed:
                heapq.heappush(self._heap, entry)
            if served:  # It goes behind the others.
                del self._waiting[computation.id]
                if computation.queue:
                    self._waiting[computation.id] = computation
        effects: Effects = []
        for (instance, computation_id), columns in self._outgoing.items():
            node = self._nodes[instance]
            effects += self._receipts(node)
            effects += [self._to(node, Run(computation_id, *part)) for part in in_portions(columns)]
        self._outgoing.clear()
        return effects

    def _give(self, node: Node, computation: Computation, candidates: int) -> bool:
        """Place jobs on a node: to its free CPUs first, then ahead of them, a fair part of the queue."""
        share = node.shares.get(computation.id)
        room = 0 if share is None else node.room_for(share)
        if share is None or room <= 0:
            return False
        queue = computation.queue
        free = node.cpus - node.load
        amount = min(free if free > 0 else room, -(-len(queue) // candidates))
        columns = self._outgoing.setdefault((node.instance, computation.id), ([], [], []))
        jobs, attempts, arguments = columns
        placed = share.placed
        given = 0
        while queue and given < amount and (node.load < node.cpus or not node.is_full_of_bytes()):
            task = queue.popleft()
            if task.cancelled:
                computation.cancelled -= 1
                continue
            task.node = node
            placed[task.job] = task
            node.load += 1
            node.bulk += task.size
            share.sent += task.size
            given += 1
            jobs.append(task.job)
            attempts.append(task.attempt)
            arguments.append(task.arguments)
        if not jobs:
            del self._outgoing[node.instance, computation.id]
        self._push(node)
        return True

    def _requeue(self, node: Node, computation: Computation, tasks: list[Task], now: float) -> Effects:
        """Put jobs that have not begun at the front of their queue again."""
        if not tasks:
            return []
        share = node.shares[computation.id]
        cancelled = []
        for task in reversed(tasks):
            del share.placed[task.job]
            node.load -= 1
            node.bulk -= task.size
            task.node = None
            task.attempt += 1
            if task.cancelled:
                cancelled.append(task)
            else:
                computation.queue.appendleft(task)
        self._push(node)
        self._wait(computation, now)
        return [self._end(computation, cancelled, CANCELLED, "")] if cancelled else []

    def _recall_for(self, idle: Node, computation: Computation) -> Effects:
        """Nothing is left for a node to do: take from the fullest what has not begun there."""
        if computation.queue:
            return []
        fullest = max(
            (node for node in self._nodes.values() if node.peer is not None and node is not idle),
            key=lambda node: node.excess(computation.id),
            default=None,
        )
        if fullest is None or fullest.excess(computation.id) <= 0:
            return []
        share = fullest.shares[computation.id]
        if share.recalling:
            return []
        share.recalling = True
        amount = max(1, fullest.excess(computation.id) // 2)
        return [self._to(fullest, Recall(computation.id, amount))]

    def _lose(self, node: Node, now: float, why: str) -> Effects:
        """Give a node up, and with it what it may have begun."""
        effects: Effects = []
        del self._nodes[node.instance]
        node.stamp = next(self._stamps)
        for computation_id, share in node.shares.items():
            computation = self._computations.get(computation_id)
            if computation is None:
                continue
            if share.owed:  # Nobody will send those provisional results any more.
                jobs, attempts = map(list, zip(*share.owed, strict=True))
                effects.append(Send(computation.client, Seen(computation_id, jobs, attempts, [0] * len(jobs))))
            if not share.placed:
                continue
            ended: dict[int, list[Task]] = {}
            tasks = list(share.placed.values())
            for task in tasks:
                task.losses += 1
                again = computation.reentrant and task.losses < ATTEMPTS and not task.cancelled
                if not again:
                    ended.setdefault(CANCELLED if task.cancelled else ABANDONED, []).append(task)
            again_tasks = [task for task in tasks if not any(task in group for group in ended.values())]
            effects += self._requeue(node, computation, again_tasks, now)
            text = f"The node {node.place} that ran the job is lost: {why}.\n"
            for status, group in ended.items():
                effects.append(self._end(computation, group, status, text, node.names[0]))
        return effects

    def _end(self, computation: Computation, tasks: list[Task], status: int, text: str, address: str = "") -> Send:
        """Report the end of jobs that no node will report."""
        for task in tasks:
            del computation.tasks[task.job]
        return Send(computation.client, ended_by_scheduler(computation.id, tasks, status, text, address))

    def check(self) -> None:
        """Raise InternalError where an invariant does not hold; for tests."""
        for computation in self._computations.values():
            places = [task.job for task in computation.queue if not task.cancelled]
            for node in self._nodes.values():
                share = node.shares.get(computation.id)
                places += list(share.placed) if share is not None else []
            if sorted(places) != sorted(computation.tasks):
                raise InternalError("a job is in no place, or in two")
            if any(not task.cancelled for task in computation.queue) and computation.id not in self._waiting:
                raise InternalError("jobs wait where nobody looks")
        for node in self._nodes.values():
            if node.load != sum(len(share.placed) for share in node.shares.values()):
                raise InternalError("the load of a node is not what is placed on it")
