"""The scheduler's rules: which node runs which job, and why not.

Pure. Driven by the pump of `scheduler.py`. Clients are at the other end of pairs or
connections, nodes at the other end of connections; both are named by their `Peer`. `placement.py` places
jobs, `client_requests.py` takes what clients say, and this module what nodes say, and time.

Invariants, besides those of `placement.py`:
1. Each placement of a job has its own attempt number; what an older attempt says is acknowledged and
   changes nothing. A job that may have begun is placed again only if its computation is reentrant.
2. A node that is lost is never spoken to again, and what was placed on it has an end or another place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.job_status import ABANDONED, AVAILABLE, CANCELLED, CLOSED, INITIALIZED
from gdispy.protocol.message import picked
from gdispy.protocol.messages import (
    Availability,
    Cancel,
    Cpus,
    Ended,
    Fenced,
    FileContents,
    Hello,
    Inventory,
    Message,
    MissingFiles,
    Notice,
    OutcomesAcked,
    Prepared,
    Progress,
    ProgressAcked,
    Release,
    Released,
    Reply,
    Returned,
    Started,
    Upload,
)
from gdispy.protocol.payload import bulk_size
from gdispy.protocol.texts import GIVEN_UP, REFUSED
from gdispy.rules.effects import Drop, Effects, Send, WriteFacts
from gdispy.rules.faults import not_taken
from gdispy.rules.history.facts import GivenUp
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import noted
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.reconciliation import Restoring
from gdispy.rules.scheduler.turns import FAIR

#: Seconds from a node's last sign of life until it counts as lost, where nobody says otherwise.
LEASE = 30.0
#: How often a job is placed whose nodes are lost each time.
ATTEMPTS = 3
ALL_OF_THEM = 1 << 40  #: What a node may forget of an attempt that is of no interest any more.
#: Seconds after which a node is told that its outcomes have arrived, where nothing else is to be said.
RECEIPT_AFTER = 0.1
#: Messages of a node that may come before what it holds: those that its connection lets overtake it.
EARLY_LIMIT = 4096
#: Nodes remembered that were given up.
GIVEN_UP_LIMIT = 4096


class Dispatch(Restoring):
    """What is to run, and where."""

    def __init__(self, lease: float = LEASE, policy: str = FAIR, cooperative: bool = True) -> None:
        super().__init__(lease, policy, cooperative)
        #: Nodes that were given up, and may come back with what they held.
        self._given_up: dict[Instance, bool] = {}
        #: Why the last connection to a node was closed, if a message was refused and nothing has ended there since.
        self._refusals: dict[Instance, str] = {}
        #: Nodes with which connections break again and again because of what one side says, and why: no connection
        #: with that life of them is of use.
        self._misunderstood: dict[Instance, str] = {}

    # Nodes come and go

    def joined(self, peer: Peer, hello: Hello, names: list[str], port: int, now: float) -> Effects:
        """A node is connected; `names` are the addresses and names it is known by, the best first.

        `port` is 0 for one that has come by itself: others behind the same NAT have the same address.
        """
        if hello.instance in self._misunderstood:
            return [Drop(peer, self._misunderstood[hello.instance])]
        effects: Effects = []
        node = self._nodes.get(hello.instance)
        if node is None:
            node = self._nodes[hello.instance] = NodeRecord(hello, names, port)
            # Another life at the same place: what the former one held is lost, but for what this one has found of it.
            node.formers = list(self._away.get(node.place, ())) if port else []
            node.returned = hello.instance in self._given_up
        elif node.peer is not None:
            del self._by_peer[node.peer]
            effects.append(Drop(node.peer, "a newer connection took its place"))
        else:
            self._is_back(node)
        node.peer, node.lost_at, node.silent, node.greeted = peer, None, False, False
        node.forget_receipts()
        node.early.clear()
        self._note_changed(node)
        self._by_peer[peer] = node
        return effects

    def _on_availability(self, node: NodeRecord, message: Availability, now: float) -> Effects:
        node.free = message.free
        effects: Effects = []
        for computation in self._computations.values():
            if computation.watches and node.is_ready(computation.id):
                effects += self._event(computation, node, AVAILABLE)
        return effects

    def _on_cpus(self, node: NodeRecord, message: Cpus, now: float) -> Effects:
        """The node offers another number of CPUs than before; 0: it takes no jobs at present."""
        node.offered, node.reason = message.cpus, message.reason
        node.most_offered = max(node.most_offered, message.cpus)
        return self._count_cpus(node, now)

    def _on_holding(self, node: NodeRecord, message: Inventory, now: float) -> Effects:
        """Compare what the node holds with what is placed on it, after a connection is made."""
        node.greeted = True
        self._note_changed(node)
        self._problems.pop(node.place, None)
        effects: Effects = []
        held = message.held()
        for computation_id, (jobs, attempts) in held.items():
            if computation_id in self._computations:
                effects += self._inherit(node, self._computations[computation_id], jobs, attempts)
        for instance in node.formers:
            if instance in self._nodes:
                effects += self._lose(self._nodes[instance], now, "it was started again")
        node.formers = []
        for computation_id, (jobs, attempts) in held.items():
            assignment = node.assignments.get(computation_id)
            computation = self._computations.get(computation_id)
            if assignment is None and computation is not None and not jobs and not computation.is_over:
                assignment = node.assignments[computation_id] = Assignment(
                    computation.owner
                )  # It was there in a former life.
            if assignment is None:
                effects.append(self._to(node, Release(computation_id)))
                continue
            stale = [
                (job, attempt)
                for job, attempt in zip(jobs, attempts, strict=True)
                if job not in assignment.placed or assignment.placed[job].attempt != attempt
            ]
            if stale:
                # Receipts too, or on a bad link the node would send it all each time and come no further.
                columns = tuple(map(list, zip(*stale, strict=True)))
                effects += [self._to(node, kind(computation_id, *columns)) for kind in (OutcomesAcked, Cancel)]
        for computation_id, assignment in node.assignments.items():
            jobs, attempts = held.get(computation_id, ([], []))
            known = set(zip(jobs, attempts, strict=True))
            missing = [task for task in assignment.placed.values() if (task.job, task.attempt) not in known]
            effects += self._requeue(node, self._computations[computation_id], missing, now)
            assignment.recalling = False
            if computation_id not in held:
                self._note_ready(node, self._computations[computation_id], assignment, False)
                if assignment.leaving and not assignment.placed:
                    effects += self._left(self._computations[computation_id], node, assignment)
            elif assignment.ready:
                self._usable(self._computations[computation_id])
                effects += self._limit(node, computation_id)
            elif assignment.leaving:
                assignment.released = False
                effects += self._leave(node, self._computations[computation_id], assignment)
            cancelled = [task for task in assignment.placed.values() if task.cancelled]
            if cancelled:
                numbers = [task.job for task in cancelled], [task.attempt for task in cancelled]
                effects.append(self._to(node, Cancel(computation_id, *numbers)))
        for computation in self._computations.values():
            effects += self._offer(node, computation, now)
        self._release_held()
        self._push(node)
        return effects

    def gone(self, peer: Peer, now: float) -> Effects:
        """The connection to a node is over; it may come back within the lease."""
        node = self._by_peer.pop(peer, None)
        if node is None:
            return []
        node.peer = None
        self._note_changed(node)
        self._await(node, now)
        # What it was not told of, it will report again.
        node.forget_receipts()
        effects: Effects = []
        for computation in list(self._computations.values()):
            if node.instance in computation.releasing:
                computation.releasing.discard(node.instance)
                effects += self._released(computation)
        if not any(assignment.placed or assignment.owed for assignment in node.assignments.values()):
            effects += self._lose(node, now, "it is gone")
        self._look_again(now)
        return effects + self._place(now)

    def refused(self, peer: Peer, reason: str, now: float) -> Effects:
        """The connection to a node was closed since one side refused what the other said. If that happens twice with
        nothing in between, it would happen for ever: the node is given up, and what was to be said with it."""
        node = self._by_peer.get(peer)
        effects = self.gone(peer, now)
        if node is None:
            return effects
        if self._refusals.get(node.instance) != reason:
            self._refusals[node.instance] = reason
            return effects
        del self._refusals[node.instance]
        text = f"{GIVEN_UP} ({reason}); gdispy there and here do not go together"
        self._misunderstood[node.instance] = text
        if self._nodes.get(node.instance) is node:
            effects += self._lose(node, now, text)
            self._look_again(now)
        return effects + self._place(now)

    def left(self, peer: Peer, now: float) -> Effects:
        """A node has said goodbye, being stopped: it will not come back, and its jobs have ended with it."""
        node = self._by_peer.get(peer)
        effects = self.gone(peer, now)
        if node is not None and self._nodes.get(node.instance) is node:
            effects += self._lose(node, now, "it was stopped")
            self._look_again(now)
        return effects + self._place(now)

    def silent(self, peer: Peer, silent: bool, now: float) -> Effects:
        """A node has given no sign of life for a while, or has given one again."""
        node = self._by_peer.get(peer)
        if node is None or node.silent == silent:
            return []
        node.silent = silent
        self._note_changed(node)
        self._push(node)
        return self._place(now)

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        """A node says this."""
        effects: Effects = []
        for message in messages:
            node = self._by_peer.get(peer)
            if node is None:
                return effects
            if type(message) not in self._NODE_HANDLERS:
                effects.append(Drop(peer, not_taken(message, "scheduler", "node")))
                break
            try:
                effects += self._hear(node, message, now)
            except Exception as error:
                effects += self.on_fault(peer, message, error)
                break
        return effects + self._place(now)

    def _hear(self, node: NodeRecord, message: Message, now: float) -> Effects:
        if not node.greeted and not isinstance(message, Inventory):
            if len(node.early) >= EARLY_LIMIT:
                raise ProtocolError(f"{len(node.early)} messages have come, and none says what the node holds")
            node.early.append(message)  # It has overtaken what the node holds, which may be long.
            return []
        effects: Effects = self._NODE_HANDLERS[type(message)](self, node, message, now)
        while node.early and node.greeted:
            early = node.early.pop(0)
            effects += self._NODE_HANDLERS[type(early)](self, node, early, now)
        return effects

    def node_rows(self) -> list[list[Any]]:
        """The nodes, as in `Overview`."""
        return [
            [node.name, node.names[0], node.port, node.cpus, min(node.load, node.cpus), node.peer is not None]
            for node in self._nodes.values()
        ]

    def computation_rows(self, client: Peer) -> list[list[Any]]:
        """The computations of a client: name, jobs that wait, jobs on nodes."""
        rows: list[list[Any]] = []
        for computation in self._computations.values():
            if computation.client == client:
                name = computation.prepare.name if computation.prepare is not None else "?"
                waiting = computation.waiting() - computation.cancelled + len(computation.oversized)
                rows.append([name, waiting, len(computation.tasks) - waiting])
        return rows

    # Computations on nodes

    def _on_lacking(self, node: NodeRecord, message: MissingFiles, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        computation = self._computations.get(message.computation)
        if assignment is None or computation is None or computation.prepare is None:
            return []
        contents = [*computation.prepare.contents, *assignment.contents]
        if any(place >= len(contents) for place in message.places):
            return [Drop(node.peer, f"{REFUSED}it asks for files that there are not")] if node.peer is not None else []
        found = [contents[place] for place in message.places]
        return [self._to(node, FileContents(message.computation, message.places, found))]

    def _on_prepared(self, node: NodeRecord, message: Prepared, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None or assignment.released:  # It was said before the node heard that it is to leave.
            return []
        if not assignment.ready and not assignment.error and assignment.prepared_at is None:
            return []  # It was given up and has come back: that was for what it had before.
        computation = self._computations[message.computation]
        self._note_ready(node, computation, assignment, not message.error)
        assignment.error, assignment.told, assignment.is_unable = message.error, False, False
        if message.error and not message.for_now:
            self._inability.note(computation, assignment, now)
        effects: Effects = []
        if message.note and message.note != assignment.note:
            effects.append(Send(computation.client, Notice(computation.id, noted(computation, node, message.note))))
        assignment.note = message.note
        self._push(node)
        if not assignment.ready:
            return effects
        self._usable(computation)
        return [*effects, *self._limit(node, computation.id), *self._event(computation, node, INITIALIZED)]

    def _on_released(self, node: NodeRecord, message: Released, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None:
            return []
        if node.instance in computation.releasing:
            computation.releasing.discard(node.instance)
            return self._released(computation)
        assignment = node.assignments.get(computation.id)
        if assignment is None or not assignment.released:
            return []
        return self._left(computation, node, assignment) + self._offer(node, computation, now)

    def _left(self, computation: Computation, node: NodeRecord, assignment: Assignment) -> Effects:
        """A node has left the computation, for good or to be set up again."""
        effects = self._event(computation, node, CLOSED)
        again = assignment.leaving == "resetup"
        assignment.leaving, assignment.closed, assignment.released = "", not again, False
        assignment.asked = assignment.taken = False
        self._capacity.note_nodes(computation)
        return effects

    def _on_reply(self, node: NodeRecord, message: Reply, now: float) -> Effects:
        """A file is there, or cannot be."""
        computation = self._computations.get(message.computation)
        known = self._deliveries.pop((message.computation, message.question), None)
        return [Send(computation.client, message)] if computation is not None and known is not None else []

    # Jobs on nodes

    def _on_ended(self, node: NodeRecord, message: Ended, now: float) -> Effects:
        if node.note_ended(message, now + RECEIPT_AFTER):
            self._watch_receipts(node)
        effects = self._tell_late(node, message)
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return effects
        computation = self._computations[message.computation]
        placed, tasks = assignment.placed, computation.tasks
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
        if not fresh:
            return effects
        if self._refusals:
            self._refusals.pop(node.instance, None)
        assignment.count(message, len(fresh))
        if assignment.depth > node.deepest:
            node.deepest = assignment.depth
            self._deep[node.instance] = node
        self._freed(computation.owner)
        if len(fresh) < len(message.jobs):
            message = picked(message, fresh)
        if assignment.inherited:
            message = _without_owed(message, assignment)
        self._push(node)
        effects += self._tell_end(computation, message.at(node.names[0], node.instance))
        if assignment.leaving:
            effects += self._leave(node, computation, assignment)
        if assignment.load == 0 and node.free_for(assignment) > 0:
            effects += self._recall_for(node, computation)
        return effects

    def _tell_late(self, node: NodeRecord, message: Ended) -> Effects:
        """Results of jobs that were given up, since their node was away for too long: their clients may want them."""
        computation = self._computations.get(message.computation)
        if computation is None or computation.is_over or not node.returned:
            return []
        tasks = computation.tasks
        places = [place for place, job in enumerate(message.jobs) if job not in tasks]
        return [Send(computation.client, picked(message, places).at(node.names[0], node.instance))] if places else []

    def _on_started(self, node: NodeRecord, message: Started, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        known = assignment is not None and all(job in assignment.placed for job in message.jobs)
        if not known:
            return []
        client = self._computations[message.computation].client
        return [Send(client, replace(message, address=node.names[0], node=node.instance))]

    def _on_progress(self, node: NodeRecord, message: Progress, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return []
        task = assignment.placed.get(message.job)
        is_owed = (message.job, message.attempt) in assignment.owed
        if not is_owed and (task is None or task.attempt != message.attempt):
            if node.note_progress(message, ALL_OF_THEM, now + RECEIPT_AFTER):
                self._watch_receipts(node)
            return []
        count = assignment.note_shown(message.job, message.attempt, message.index)
        if node.note_progress(message, count, now + RECEIPT_AFTER):
            self._watch_receipts(node)
        assignment.received += bulk_size(message.value)
        told = replace(message, address=node.names[0], node=node.instance)
        effects: Effects = [WriteFacts(message.computation, [told])] if self.keeps_progress else []
        return [*effects, Send(self._computations[message.computation].client, told)]

    def _on_returned(self, node: NodeRecord, message: Returned, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        if assignment is None:
            return []
        assignment.recalling = False
        # Each once, however often the message names it.
        returned = {
            job: assignment.placed[job]
            for job, attempt in zip(message.jobs, message.attempts, strict=True)
            if job in assignment.placed and assignment.placed[job].attempt == attempt
        }
        computation = self._computations[message.computation]
        effects = self._requeue(node, computation, list(returned.values()), now)
        return effects + self._leave(node, computation, assignment) if assignment.leaving else effects

    def _on_upload(self, node: NodeRecord, message: Upload, now: float) -> Effects:
        assignment = node.assignments.get(message.computation)
        task = assignment.placed.get(message.job) if assignment is not None else None
        if task is None or task.attempt != message.attempt:
            return []
        return [Send(self._computations[message.computation].client, message)]

    def _on_fenced(self, node: NodeRecord, message: Fenced, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or not computation.kept:
            return []
        if message.token != computation.token or message.epoch < computation.epoch:
            return []  # A node says so that has nothing to do with it, or says what was so before.
        return [*self._fence(computation), Send(computation.client, Fenced(message.computation))]

    _NODE_HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Inventory: _on_holding,
        Prepared: _on_prepared,
        Ended: _on_ended,
        Started: _on_started,
        Progress: _on_progress,
        Returned: _on_returned,
        Released: _on_released,
        Availability: _on_availability,
        Cpus: _on_cpus,
        MissingFiles: _on_lacking,
        Reply: _on_reply,
        Upload: _on_upload,
        Fenced: _on_fenced,
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
        return self._alarms.due()

    def tick(self, now: float) -> Effects:
        return self._alarms.ring(now) + self._place(now)

    def _watch_receipts(self, node: NodeRecord) -> None:
        """What has arrived is told to the node, if not with other words, then by itself."""
        moment = node.receipts_at
        assert moment is not None
        self._alarms.set(
            moment,
            lambda: node.receipts_at == moment and node.peer is not None and node.instance in self._nodes,
            lambda now: self._receipts(node),
        )

    # Losses

    def _lose(self, node: NodeRecord, now: float, why: str) -> Effects:
        """Give a node up, and with it what it may have begun."""
        effects: Effects = []
        del self._nodes[node.instance]
        self._is_back(node)
        self._given_up[node.instance] = True
        if len(self._given_up) > GIVEN_UP_LIMIT:
            del self._given_up[next(iter(self._given_up))]
        node.stamp = next(self._stamps)
        self._roomy.discard(node.instance)
        for computation_id, assignment in node.assignments.items():
            computation = self._computations.get(computation_id)
            if computation is None:
                continue
            computation.places.discard(node.instance)
            self._capacity.note_nodes(computation)
            for task in computation.oversized.pop_where(lambda only, cpus: only == node.instance):
                computation.add(task)
            self._wait(computation, now)
            effects += self._event(computation, node, CLOSED)
            if computation.kept and assignment.met:
                effects.append(WriteFacts(computation_id, [GivenUp(computation_id, node.instance)]))
            if assignment.owed:  # Nobody will send those provisional results any more.
                jobs, attempts = map(list, zip(*assignment.owed, strict=True))
                effects.append(Send(computation.client, ProgressAcked(computation_id, jobs, attempts, [0] * len(jobs))))
            if not assignment.placed:
                continue
            ended: dict[int, list[Task]] = {}
            again: list[Task] = []
            for task in assignment.placed.values():
                task.losses += 1
                may_run = computation.reentrant and task.losses < ATTEMPTS and not task.cancelled
                if may_run and task.pinned is None:
                    again.append(task)
                else:
                    ended.setdefault(CANCELLED if task.cancelled else ABANDONED, []).append(task)
            effects += self._requeue(node, computation, again, now)
            text = f"The node {node.place} that ran the job is lost: {why}.\n"
            for status, group in ended.items():
                effects += self._end(computation, group, status, text, node.names[0])
            node.forget(assignment)
            self._freed(computation.owner)
        text = f"The node {node.place} that the job was submitted to is lost: {why}.\n"
        for computation in self._pinning.values():  # Also those that it was never to run.
            stranded = list(computation.pinned.pop(node.instance, ()))
            computation.wide.pop_where(lambda only, cpus: only == node.instance)
            waiting = [task for task in stranded if not task.cancelled]
            computation.cancelled -= len(stranded) - len(waiting)
            if waiting:
                effects += self._end(computation, waiting, ABANDONED, text, node.names[0])
        return effects


def _without_owed(message: Ended, assignment: Assignment) -> Ended:
    """Jobs of a former life do not wait for provisional results that may never come again."""
    keys = zip(message.jobs, message.attempts, message.progress, strict=True)
    progress = [0 if (job, attempt) in assignment.inherited else count for job, attempt, count in keys]
    return replace(message, progress=progress)
