"""What the scheduler's rules know of jobs, computations and nodes: the records behind `dispatch.py`.

Pure. Only `dispatch.py` changes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gdispy.protocol.address import Address, NodePatterns
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import (
    NO_LIMIT,
    Ended,
    Hello,
    Message,
    Open,
    OutcomesAcked,
    Prepare,
    Progress,
    ProgressAcked,
)
from gdispy.protocol.payload import Bulk, bulk_size, options_size
from gdispy.rules.moving_average import averaged
from gdispy.rules.scheduler.job_queue import ByCpus, JobQueue

#: Seconds of work that a node has ahead of it for each CPU, to hide the way there and back.
AHEAD = 0.16
#: As little as that where few jobs are left.
AHEAD_LEAST = 0.02
#: Jobs longer than this are not sent ahead at all.
LONG = 0.25
#: Jobs that one CPU has ahead of it at most.
AHEAD_LIMIT = 8000
#: Bytes of arguments on a node beyond which nothing is sent ahead.
BULK_LIMIT = 32 * 1024 * 1024
#: Bytes of arguments in one message, where it is more than one job's.
PORTION_BYTES = 1024 * 1024
#: So many outcomes are acknowledged with the next jobs.
MANY_RECEIPTS = 32
_BYTES = frozenset((bytes,))

#: Jobs, attempts, arguments and options, as in `Run`.
Columns = tuple[list[JobId], list[int], list[Bulk], list[list[Any] | None]]


class Task:
    """A job that has not ended. There may be millions, and almost none asks for anything: see `JobWithOptions`."""

    __slots__ = ("arguments", "attempt", "cancelled", "job", "losses", "node")

    #: As in `Run`; and the same as its node is told.
    options: list[Any] | None = None
    needs: list[Any] | None = None
    priority = 0.0
    #: CPUs that it occupies.
    cpus = 1

    def __init__(self, job: JobId, arguments: Bulk) -> None:
        self.job = job
        self.arguments = arguments
        #: Number of its current or next placement.
        self.attempt = 1
        #: How many of its nodes were lost.
        self.losses = 0
        self.node: NodeRecord | None = None
        self.cancelled = False

    @property
    def size(self) -> int:
        """Bytes that it makes its node hold."""
        arguments = self.arguments
        return len(arguments) if type(arguments) is bytes else bulk_size(arguments)

    @property
    def pinned(self) -> Instance | None:
        """The only node that may run it."""
        return self.options[0] or None if self.options is not None else None


class JobWithOptions(Task):
    """A job with options of its own."""

    __slots__ = ("cpus", "needs", "options", "priority")

    def __init__(self, job: JobId, arguments: Bulk, options: list[Any]) -> None:
        super().__init__(job, arguments)
        self.options = options
        self.priority, self.cpus = options[1], max(1, options[3])
        # Where it must run, and who goes first, its node need not know: there it is a job like any other, with which
        # short ones go in one message (4 times as many a second).
        self.needs = options if self.cpus > 1 or any((options[2], *options[4:])) else None

    @property
    def size(self) -> int:
        """Bytes that it makes its node hold, with the files that it needs."""
        assert self.options is not None
        return bulk_size(self.arguments) + sum(map(bulk_size, self.options[7]))


def new_task(job: JobId, arguments: Bulk, options: list[Any] | None) -> Task:
    """A job, with options or without."""
    return Task(job, arguments) if options is None else JobWithOptions(job, arguments, options)


class ClientShare:
    """A client, as far as its part of the nodes is concerned."""

    __slots__ = ("load", "waiting", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        #: CPUs of its jobs that are placed.
        self.load = 0
        #: How large its part is, compared with the others'.
        self.weight = weight
        #: Its computations with jobs that wait.
        self.waiting: dict[ComputationId, Computation] = {}


class Computation:
    """A function or program that a client wants to run."""

    __slots__ = (
        *("absent", "asks", "cancelled", "capacity", "client", "closing", "epoch", "exclusive", "fenced"),
        *("given_back", "held", "id", "judged_at", "kept", "nodes", "objection", "opened", "oversized"),
        *(
            "oversized_since",
            "owner",
            "patterns",
            "pinned",
            "places",
            "prepare",
            "queue",
            "reentrant",
            "refused",
            "releasing",
        ),
        *("served", "stuck", "tasks", "token", "turn", "waiting_since", "waits", "watches", "wide"),
    )

    def __init__(self, message: Open, client: Peer, owner: ClientShare, number: int) -> None:
        self.id = message.computation
        self.client = client
        self.owner = owner
        #: When it was opened, counted; when it was last served; and its valid place among those that wait.
        self.opened = self.served = number
        self.turn = -1
        #: CPUs of its next job when no node could take that; 0 where one may be able to.
        self.stuck = 0
        self.exclusive = message.exclusive
        #: As in `Open`; where there is a token, a journal is kept. And whether somebody else has it now.
        self.token, self.epoch = message.token, message.epoch
        self.kept = bool(message.token)
        self.fenced = False
        #: Nothing is placed before its nodes have said what they hold, or are lost: they may have more than is known.
        self.held = False
        self.nodes = message.nodes
        #: `nodes`, ready to be compared with many nodes.
        self.patterns = NodePatterns(message.nodes)
        self.reentrant = message.reentrant
        #: Whether its client decides about each node, and wants to hear of what happens to them.
        self.asks = message.asks
        #: Whether its jobs wait for a node that can run them, though those that are there cannot.
        self.waits = message.waits
        self.watches = message.watches
        self.prepare: Prepare | None = None
        #: Why no node gets it, or ''.
        self.objection = ""
        #: Jobs that no node has; cancelled ones among them are skipped. Those for one node have a queue of their own.
        self.queue = JobQueue()
        self.pinned: dict[Instance, JobQueue] = {}
        #: How many of those are cancelled.
        self.cancelled = 0
        #: Those of them that ask for several CPUs; and jobs that wait outside the queues, since they ask for more than
        #: any node has (`wide_jobs.py`): since when there are any, and when it is seen whether they should wait at all.
        self.wide = ByCpus()
        self.oversized = ByCpus()
        self.oversized_since = 0.0
        self.judged_at: float | None = None
        #: CPUs that a job can have on the largest of its nodes; less than 0 where they are to be counted again.
        self.capacity = -1
        #: Jobs that the client is to say again: the number of their next placement, and how many nodes they have lost.
        self.given_back: dict[JobId, tuple[int, int]] = {}
        #: Jobs on nodes of which only their client knows what they are called with.
        self.absent: set[JobId] = set()
        #: All jobs that have not ended.
        self.tasks: dict[JobId, Task] = {}
        #: Nodes that have loaded it.
        self.places: set[Instance] = set()
        #: Nodes that `nodes` does not name.
        self.refused: set[Instance] = set()
        #: Its client has released it: no node gets it any more.
        self.closing = False
        #: Nodes that have not yet said that nothing is left of it.
        self.releasing: set[Instance] = set()
        #: Since when jobs wait and no node is usable; None while one is.
        self.waiting_since: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether no node gets it any more: released, or taken over by somebody else."""
        return self.closing or self.fenced

    def fill(self, job: JobId, arguments: Bulk) -> bool:
        """Take what a job is called with that is on a node already; whether it is such a job."""
        task = self.tasks.get(job) if job in self.absent else None
        self.absent.discard(job)
        if task is None:
            return False
        task.arguments = arguments
        if task.node is not None:
            task.node.bulk += bulk_size(arguments)
        return True

    def take_again(self, task: Task) -> None:
        """The client has said a job again: its placements are counted on."""
        task.attempt, task.losses = self.given_back.pop(task.job, (task.attempt, task.losses))

    def add(self, task: Task, first: bool = False) -> None:
        """Have a job wait, behind its like or before them."""
        pinned = task.pinned
        queue = self.queue if pinned is None else self.pinned.setdefault(pinned, JobQueue())
        (queue.appendleft if first else queue.append)(task)
        if task.cpus > 1:
            self.wide.add(task)

    def waiting(self) -> int:
        """How many jobs wait, cancelled ones included."""
        return len(self.queue) + (sum(map(len, self.pinned.values())) if self.pinned else 0)

    def all_waiting(self) -> list[Task]:
        return [task for queue in (self.queue, *self.pinned.values()) for task in queue]

    def clear_waiting(self) -> None:
        self.queue.clear()
        self.pinned.clear()
        self.wide.clear()
        self.cancelled = 0


#: What shares have of what most never need: an installation of many clients has millions of them. Never written to.
_NO_KEYS: set[tuple[JobId, int]] = set()
_NO_SHOWN: dict[tuple[JobId, int], tuple[int, set[int]]] = {}
_NO_COUNTS: dict[tuple[JobId, int], int] = {}
_NO_FILES: list[Any] = []


class Assignment:
    """What one node does for one computation."""

    __slots__ = (
        *("arguments", "asked", "closed", "contents", "cpus", "depth", "done", "error", "files", "leaving", "load"),
        *("owed", "pace", "placed", "prepared_at", "ready", "recalling", "received", "seconds", "sent", "shown"),
        *("inherited", "is_unable", "met", "note", "owner", "released", "taken", "told"),
    )

    def __init__(self, owner: ClientShare) -> None:
        self.owner = owner
        #: Whether the node has loaded it; `error` says why not where it cannot.
        self.ready = False
        self.error = ""
        #: What the node says besides of a computation that it has loaded.
        self.note = ""
        #: The error is no matter of the moment: as the computation is, the node cannot run it.
        self.is_unable = False
        #: Whether the client was asked about the node, and has taken it: how many CPUs it may use there, and what
        #: is special to this node, as in `UseNode`.
        self.asked = self.taken = False
        self.cpus = NO_LIMIT
        self.arguments: Bulk = b""
        self.files: list[list[Any]] = _NO_FILES
        self.contents: list[Bulk] = _NO_FILES
        #: The client wants no more jobs here.
        self.closed = False
        #: The node is to leave the computation when no job is left: '' or not, 'close' for good, 'resetup' to be
        #: set up again.
        self.leaving = ""
        #: The node was told so; it must not be told twice, or the second would end what comes after the first.
        self.released = False
        #: Since when the node prepares it, None when it does not; and whether the user was told how long that takes.
        self.prepared_at: float | None = None
        self.told = False
        self.placed: dict[JobId, Task] = {}
        #: CPUs of those.
        self.load = 0
        #: Which provisional results of each job and attempt have arrived: how many without a gap, and those
        #: behind a gap. And of which jobs that have ended some are still on their way: how many there are.
        self.shown = _NO_SHOWN
        self.owed = _NO_COUNTS
        #: Jobs and attempts of a former life: which of their provisional results had arrived is not known.
        self.inherited = _NO_KEYS
        #: Jobs for each CPU that may be on the node, running or ahead.
        self.depth = 1
        #: Whether the computation's journal knows the node.
        self.met = False
        #: Average seconds of a job; None as long as none has ended.
        self.pace: float | None = None
        #: A recall is on its way.
        self.recalling = False
        self.done = 0
        self.seconds = 0.0
        #: Bytes of arguments sent, and of results received.
        self.sent = self.received = 0

    def special(self, prepare: Prepare) -> Prepare:
        """What this node is to prepare; it asks for the contents of files that it has not."""
        arguments = self.arguments or prepare.arguments
        return replace(prepare, files=[*prepare.files, *self.files], contents=[], arguments=arguments)

    def note_shown(self, job: JobId, attempt: int, index: int) -> int:
        """A provisional result has arrived; returns how many have, from the first on without a gap."""
        count, early = self.shown.get((job, attempt), (0, set()))
        if (job, attempt) in self.inherited:  # The node sends them in their order; what is missing had arrived.
            count = max(count, index)
        if index >= count:
            early.add(index)
        while count in early:
            early.discard(count)
            count += 1
        if self.shown is _NO_SHOWN:
            self.shown = {}
        self.shown[job, attempt] = count, early
        if count >= self.owed.get((job, attempt), count + 1):
            del self.owed[job, attempt], self.shown[job, attempt]
        return count

    def note_end(self, job: JobId, attempt: int, shown: int) -> None:
        """A job has ended that made so many provisional results."""
        if (job, attempt) not in self.inherited and self.shown.get((job, attempt), (0,))[0] < shown:
            if self.owed is _NO_COUNTS:
                self.owed = {}
            self.owed[job, attempt] = shown
        else:
            self.shown.pop((job, attempt), None)

    def inherit(self, job: JobId, attempt: int) -> None:
        """A job of a former life is here."""
        if self.inherited is _NO_KEYS:
            self.inherited = set()
        self.inherited.add((job, attempt))

    def count(self, message: Ended, fresh: int) -> None:
        """Learn from jobs that have ended how long they take, and so how many to send ahead."""
        total = sum(message.ends) - sum(message.starts)
        took = max(0.0, total / len(message.jobs))
        self.done += fresh
        self.seconds += took * fresh
        self.received += sum(map(bulk_size, message.results))
        self.pace = averaged(self.pace, took, len(message.jobs))
        if self.pace > LONG:
            self.depth = 1
        else:
            wanted = 1 + min(AHEAD_LIMIT, int(AHEAD / max(self.pace, 1e-6)) + 1)
            # In steps, since a few short jobs at the beginning prove little; in few of them, since each is a way there
            # and back, and those take long while the program submits and lets the hub wait for the interpreter.
            self.depth = min(wanted, 4 * self.depth)

    def fair_load(self, cpus: int, part: int) -> int:
        """How many jobs to have on a node with so many CPUs where `part` is what each node would have of all jobs. Half
        of it stays where any node can get it: what each has ahead becomes less towards the end, and none has much to
        do when others have nothing. But what hides the way there and back, it has."""
        pace = max(self.pace if self.pace is not None else LONG, 1e-6)
        return min(cpus * self.depth, max(-(-part // 2), cpus * (1 + int(AHEAD_LEAST / pace))))


class NodeRecord:
    """A node, from its first connection until it is lost."""

    __slots__ = (
        *("_collected", "_seen", "_unsaid", "allowed", "bulk", "cpus", "deepest", "early", "formers"),
        *("free", "greeted", "instance", "load", "lost_at", "most_offered", "name", "names", "offered"),
        *("peer", "place", "platform", "port", "python", "reason", "receipts_at", "returned", "sharers"),
        *("shares", "silent", "stamp"),
    )

    def __init__(self, hello: Hello, names: list[str], port: int) -> None:
        self.instance = hello.instance
        self.name = hello.name
        self.python = hello.python
        self.platform = hello.platform
        #: CPUs that it offers, 0 at times when it takes no jobs, and the most it ever did; how many of them the user
        #: allows; and what comes of both.
        self.offered = self.most_offered = hello.cpus
        self.allowed = NO_LIMIT
        self.cpus = hello.cpus
        #: Why it offers none, as it says.
        self.reason = ""
        #: What is free on it, as in `Availability`.
        self.free: list[float] = []
        #: Addresses and names it is known by; the first is what users are shown.
        self.names = [*names, hello.name]
        self.port = port
        #: Address and port, as messages to the user name it.
        self.place = str(Address(names[0], port))
        #: Its connection; None while there is none.
        self.peer: Peer | None = None
        #: Whether it has said what it holds since it was connected.
        self.greeted = False
        #: What it has said before that, having overtaken it.
        self.early: list[Message] = []
        #: When it counts as lost, while it is away.
        self.lost_at: float | None = None
        #: No sign of life for some time: it gets no new jobs.
        self.silent = False
        #: It was given up before: what it says of jobs that have ended without it is news.
        self.returned = False
        #: Nodes that were at the same place before, and are given up when this one has said what it holds.
        self.formers: list[Instance] = []
        self.shares: dict[ComputationId, Assignment] = {}
        #: The greatest depth that any share ever had: while it is 1, nothing is sent ahead.
        self.deepest = 1
        #: Computations that have jobs here; CPUs of those jobs, and the bytes of their arguments.
        self.sharers = 0
        self.load = 0
        self.bulk = 0
        #: Outcomes and provisional results received that the node has not been told of, and when it must
        #: be told at the latest.
        self._collected: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        self._seen: dict[ComputationId, dict[tuple[JobId, int], int]] = {}
        self.receipts_at: float | None = None
        #: How many outcomes these are; large ones count for many, since they take memory there.
        self._unsaid = 0
        #: Its valid place in the heap.
        self.stamp = -1

    def note_ended(self, message: Ended, latest: float) -> bool:
        """The node may forget these outcomes. It is told with jobs that it gets when there are many, or a little later;
        whether nothing was to be told before."""
        self._unsaid += len(message.jobs) if _BYTES.issuperset(map(type, message.results)) else MANY_RECEIPTS
        jobs, attempts = self._collected.setdefault(message.computation, ([], []))
        jobs += message.jobs
        attempts += message.attempts
        is_first = self.receipts_at is None
        self.receipts_at = latest if is_first else self.receipts_at
        return is_first

    def note_progress(self, message: Progress, count: int, latest: float) -> bool:
        """The same for the first so many provisional results of a job."""
        self._seen.setdefault(message.computation, {})[message.job, message.attempt] = count
        is_first = self.receipts_at is None
        self.receipts_at = latest if is_first else self.receipts_at
        return is_first

    def share_of(self, computation: Computation) -> Assignment:
        """What the node has of a computation, made where there is nothing yet."""
        share = self.shares.get(computation.id)
        if share is None:
            share = self.shares[computation.id] = Assignment(computation.owner)
        return share

    def has_many_receipts(self) -> bool:
        """Whether it is worth while to tell the node with the next jobs: one that comes alone is there later for it
        (15 of 436 us, there and back)."""
        return self._unsaid >= MANY_RECEIPTS

    def take_receipts(self) -> list[Message]:
        """What the node is to be told of all that has arrived from it."""
        found: list[Message] = []
        for number, seen in self._seen.items():
            jobs, attempts = [job for job, _ in seen], [attempt for _, attempt in seen]
            found.append(ProgressAcked(number, jobs, attempts, list(seen.values())))
        found += [OutcomesAcked(number, *columns) for number, columns in self._collected.items()]
        self.forget_receipts()
        return found

    def forget_receipts(self) -> None:
        """They were sent, or the connection is gone: the node then reports again what it was not told of."""
        self._collected, self._seen, self.receipts_at, self._unsaid = {}, {}, None, 0

    def is_ready(self, computation: ComputationId) -> bool:
        share = self.shares.get(computation)
        return share is not None and share.ready

    def put(self, share: Assignment, task: Task) -> None:
        """Count a job as placed here."""
        task.node = self
        share.placed[task.job] = task
        self.sharers += not share.load
        cpus, size = task.cpus, task.size
        share.load += cpus
        share.sent += size
        share.owner.load += cpus
        self.load += cpus
        self.bulk += size

    def remove(self, share: Assignment, job: JobId) -> None:
        """The same back."""
        task = share.placed.pop(job)
        task.node = None
        cpus = task.cpus
        share.load -= cpus
        self.sharers -= not share.load
        share.owner.load -= cpus
        self.load -= cpus
        self.bulk -= task.size

    def forget(self, share: Assignment) -> None:
        """The same back for all jobs of a computation."""
        for job in list(share.placed):
            self.remove(share, job)

    def is_full_of_bytes(self) -> bool:
        return self.bulk >= BULK_LIMIT

    def room_for(self, share: Assignment) -> int:
        """How many more jobs of a computation may be placed here now."""
        if not share.ready or share.closed or share.leaving or self.peer is None or self.silent or not self.greeted:
            return 0
        own = min(self.cpus, share.cpus)
        depth = 1 if self.bulk >= BULK_LIMIT else share.depth
        room = min(self.cpus * depth - self.load, own * depth - share.load)
        # What is sent ahead goes in portions: a message for each job would cost more than short jobs do.
        if self.free_for(share) > 0 or 2 * room >= own * depth:
            return room
        if self.load == self.cpus:
            return 0
        # What others have sent ahead is short, and must not keep this one out: it has its part beside that.
        part = max(own, own * depth // (self.sharers + (share.load == 0)))
        left = part - share.load
        return left if share.load < own or 2 * left >= part else 0

    def free_for(self, share: Assignment) -> int:
        """How many CPUs no job is on that this computation may use; less than 0 where jobs wait here for some."""
        return min(self.cpus - self.load, share.cpus - share.load)

    def most_for(self, computation: ComputationId) -> int:
        """How many CPUs a job of a computation finds here when nothing else runs; 0 where the node gets none now."""
        share = self.shares.get(computation)
        if share is None or not share.ready or share.closed or share.leaving:
            return 0
        is_there = self.peer is not None and self.greeted and not self.silent
        return min(self.cpus, share.cpus) if is_there else 0

    def has_room_for(self, share: Assignment, task: Task) -> bool:
        """Whether a job that occupies several CPUs finds them free; such a job is never sent ahead."""
        return task.cpus <= self.free_for(share)

    def has_room(self) -> bool:
        """Whether any computation could place a job here; found without asking all of them, as a rule."""
        if self.load >= self.cpus and self.deepest == 1:
            return False
        for share in self.shares.values():  # noqa: SIM110 - `any` makes a generator, for each job once more.
            if self.room_for(share) > 0:
                return True
        return False

    def excess(self, computation: ComputationId) -> int:
        """How many jobs of a computation are here beyond what its CPUs can run."""
        share = self.shares.get(computation)
        return min(len(share.placed), -self.free_for(share)) if share is not None else 0

    def row(self, share: Assignment) -> list[Any]:
        """What `Status` says of the node."""
        busy = min(self.cpus, len(share.placed))
        return [
            self.name,
            self.names[0],
            self.port,
            min(self.cpus, share.cpus),
            busy,
            share.done,
            share.seconds,
            share.sent,
            share.received,
        ]


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
