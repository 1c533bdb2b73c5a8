"""A remote client in its scheduler: the messages that the client has not collected, whether it is connected or away.

Pure. Between connections and `Dispatch`, which does not handle connections to clients. The other end is
`rules/client/outbox.py`.

Invariants:
1. An outcome is kept until the client has collected it, a provisional result until the client has seen it, a file of a
   job until the client has answered; on each new connection they are sent again.
2. A job is passed on once, however often the client sends it.
3. A client has access to its own computations only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.message import picked
from gdispy.protocol.messages import (
    Accepted,
    Cancel,
    Ended,
    Explain,
    Fenced,
    Follow,
    Inventory,
    JobNames,
    Message,
    NodeCommand,
    Open,
    OutcomesAcked,
    Prepare,
    Progress,
    ProgressAcked,
    PutFile,
    Release,
    Released,
    ResendRequest,
    Resume,
    Run,
    SetPriority,
    Started,
    StatusRequest,
    Unknown,
    Upload,
    Uploaded,
    UseNode,
    Withdraw,
    ended_without_node,
)
from gdispy.protocol.payload import Bulk, bulk_size, total_size
from gdispy.protocol.rows import options_size
from gdispy.protocol.texts import NOT_TAKEN
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.quotas import JOB_BYTES, LARGE, Quotas, objection

NO_QUOTAS = Quotas()
#: Maximum number of messages in which a client may report its jobs: two million jobs in each.
PARTS_LIMIT = 32

#: Messages accepted from clients, except `Hello` and `OverviewRequest`, which concern no computation.
_TAKEN: frozenset[type[Message]] = frozenset(
    (
        Open,
        Prepare,
        UseNode,
        Run,
        Cancel,
        Release,
        StatusRequest,
        NodeCommand,
        PutFile,
        Uploaded,
        Resume,
        OutcomesAcked,
        ProgressAcked,
        JobNames,
        Withdraw,
        SetPriority,
        Follow,
        Explain,
    )
)


class _Computation:
    """The state kept for one computation."""

    def __init__(self, message: Open) -> None:
        #: As its client sent it; with the data that a client must have to take it over, and the number of takeovers.
        self.open = message
        #: Whether its `Prepare` has arrived, too; it may be large, and the connection may break before.
        self.is_whole = False
        #: Why none of its jobs is run, or ''.
        self.failure = ""
        #: Bytes of arguments of the jobs that have not ended, if large; and of all data kept for it.
        self.large: dict[JobId, int] = {}
        self.bytes = 0
        #: The client's names of its jobs, pickled.
        self.names: dict[JobId, Bulk] = {}
        #: Jobs that were accepted and whose outcomes were not collected.
        self.known: set[JobId] = set()
        #: Jobs of a previous run of the scheduler, some of them known, that the client must send again.
        self.absent: set[JobId] = set()
        #: Jobs requested from the client on this connection, and how often it must still send them.
        self.asked: Counter[JobId] = Counter()
        #: Outcomes that were not collected: job -> message and index in it.
        self.outcomes: dict[JobId, tuple[Ended, int]] = {}
        #: Jobs that nodes have reported as running.
        self.started: dict[JobId, Started] = {}
        self.shown: dict[tuple[JobId, int], dict[int, Progress]] = {}
        self.uploads: dict[tuple[JobId, int, int], Upload] = {}

    def note_sizes(self, jobs: list[JobId], sizes: list[int]) -> None:
        """Jobs have arrived, with `sizes` bytes each."""
        for job, size in zip(jobs, sizes, strict=True):
            if size > LARGE:
                self.large[job] = size
                self.bytes += size

    def drop_sizes(self, jobs: list[JobId]) -> None:
        """Jobs have ended; their arguments are not needed any more."""
        if self.large:
            self.bytes -= sum(self.large.pop(job, 0) for job in jobs)


def _sizes(message: Run) -> list[int]:
    """The size of each job in bytes."""
    sizes = list(map(bulk_size, message.arguments))
    if message.options:
        return [size + options_size(row) for size, row in zip(sizes, message.options, strict=True)]
    return sizes


def _refusal(reason: str) -> str:
    return f"{NOT_TAKEN}{reason}.\n"


class ClientMailbox:
    """One client. `peer` identifies it in the scheduler's rules, independent of its connection."""

    def __init__(self, peer: Peer, instance: Instance, name: str, quotas: Quotas = NO_QUOTAS) -> None:
        self._quotas = quotas
        self.peer = peer
        self.instance = instance
        self.name = name
        #: Why jobs are not accepted from any client now, or ''.
        self.closed_because = ""
        #: Its connection; and the time at which it is forgotten while it has none.
        self.link: Peer | None = None
        self.expires: float | None = None
        self._entries: dict[ComputationId, _Computation] = {}
        #: The parts that have arrived of a `Resume` in several parts.
        self._resuming: list[Resume] = []
        #: Computations that another client has taken over.
        self._fenced: set[ComputationId] = set()

    def connected(self, link: Peer) -> None:
        """The client is connected by this connection; first it reports its jobs."""
        self.link, self.expires, self._resuming = link, None, []

    @property
    def computations(self) -> list[ComputationId]:
        return list(self._entries)

    def has(self, computation: ComputationId) -> bool:
        return computation in self._entries

    def started(self, computation: ComputationId) -> dict[JobId, Started]:
        """Jobs of a computation that nodes have reported as running, to be read only; a job that a node has returned
        since is among them."""
        entry = self._entries.get(computation)
        return entry.started if entry is not None else {}

    def pending(self) -> int:
        """The number of jobs that have not ended or whose outcomes were not collected."""
        return sum(len(entry.known) for entry in self._entries.values())

    # From the scheduler's rules to the client

    def outgoing(self, message: Message) -> None:
        """Keep a message that must reach the client; the caller sends it if the client is connected."""
        entry = self._entries.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if entry is None:
            return
        if isinstance(message, Ended):
            entry.absent.difference_update(message.jobs)
            entry.drop_sizes(message.jobs)
            for place, job in enumerate(message.jobs):
                entry.outcomes[job] = message, place
                entry.started.pop(job, None)
        elif isinstance(message, Started):
            entry.started.update((job, message) for job in message.jobs)
        elif isinstance(message, Progress):
            entry.shown.setdefault((message.job, message.attempt), {})[message.index] = message
        elif isinstance(message, Upload):
            entry.uploads[message.job, message.attempt, message.number] = message
        elif isinstance(message, ResendRequest):
            entry.drop_sizes(message.jobs)
            entry.known.difference_update(message.jobs)
            entry.absent.update(message.jobs)
            entry.asked.update(message.jobs)
        elif isinstance(message, Released):
            del self._entries[message.computation]

    # From the client

    def incoming(self, message: Message) -> tuple[list[Message], list[Message]]:
        """Returns messages for the scheduler's rules, and answers to the client.

        Raises ProtocolError for a message that a scheduler does not accept from a client; then nothing has changed.
        """
        if type(message) not in _TAKEN:
            raise ProtocolError(f"a scheduler takes no {type(message).__name__} from a client")
        if isinstance(message, Resume):
            return self._resume(message)
        if isinstance(message, Open):
            if message.computation in self._fenced:
                return [], [Fenced(message.computation)]
            return self._open(message)
        entry = self._entries.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if entry is None:
            # Not a computation of this client, or one that no longer exists.
            return ([], [Released(message.computation)]) if isinstance(message, Release) else ([], [])
        if isinstance(message, Run):
            return self._run(entry, message)
        if isinstance(message, OutcomesAcked):
            _collect(entry, message)
            return [], []
        if isinstance(message, ProgressAcked):
            _forget_shown(entry, message)
            return [], []
        if isinstance(message, JobNames):
            self._name(entry, message)
            return [], []
        if isinstance(message, Prepare):
            self._take_up(entry, sum(map(bulk_size, (message.body, message.arguments, message.source))))
            entry.is_whole = True
        elif isinstance(message, UseNode):
            self._take_up(entry, bulk_size(message.arguments))
        elif isinstance(message, Uploaded):
            entry.uploads.pop((message.job, message.attempt, message.number), None)
        return [message], []

    def _open(self, message: Open) -> tuple[list[Message], list[Message]]:
        entry = self._entries.get(message.computation)
        others = [each for each in self._entries.values() if each is not entry]
        limit = self._quotas.computations
        if entry is None and limit and len(others) >= 2 * limit:
            raise ProtocolError(f"a client may have {limit:,} computations here at once (--max_client_computations)")
        if entry is None:
            entry = self._entries[message.computation] = _Computation(message)
            if limit and len(others) >= limit:
                entry.failure = _refusal(f"the client has {limit:,} computations here (--max_client_computations)")
        entry.open = message
        named = {node for each in others for node in each.open.nodes if not each.failure and "*" not in node}
        flaw = objection(message.nodes, named)
        entry.failure = entry.failure or (_refusal(flaw) if flaw else "")
        return [] if entry.failure else [message], []

    def _take_up(self, entry: _Computation, size: int) -> None:
        """Count the size of a computation. Raises ProtocolError if it exceeds the client's quota."""
        if self._quotas.bytes and self.kept_bytes + size > self._quotas.bytes:
            raise ProtocolError(self._too_much(size, self.kept_bytes))
        entry.bytes += size

    def _name(self, entry: _Computation, message: JobNames) -> None:
        """Keep the client's names of its jobs; names of other jobs are not stored."""
        rows = zip(message.jobs, message.names, strict=True)
        names = {job: name for job, name in rows if job in entry.known or job in entry.absent}
        former = sum(bulk_size(entry.names[job]) for job in names if job in entry.names)
        self._take_up(entry, sum(map(bulk_size, names.values())) - former)
        entry.names.update(names)

    @property
    def kept_bytes(self) -> int:
        """The approximate number of bytes kept for the client, without outcomes."""
        return JOB_BYTES * self.pending() + sum(entry.bytes for entry in self._entries.values())

    def outcome(self, computation: ComputationId, job: JobId) -> tuple[Ended, int] | None:
        """The outcome of a job that the client has not collected, and its index in the message."""
        entry = self._entries.get(computation)
        return entry.outcomes.get(job) if entry is not None else None

    def uncollected_bytes(self) -> int:
        """The number of bytes of outcomes that the client has not collected."""
        messages = {id(each): each for entry in self._entries.values() for each, _ in entry.outcomes.values()}
        columns = (column for each in messages.values() for column in (each.results, each.outputs, each.errors))
        return sum(map(total_size, columns))

    def _too_much(self, size: int, kept: int) -> str:
        return (
            f"{size:,} bytes are too many beside the {kept:,} that the client has here already: it may have "
            f"{self._quotas.bytes:,} (--max_client_bytes). Wait for results before more is submitted"
        )

    def _fitting(self, sizes: list[int]) -> tuple[int, str]:
        """How many of the jobs with `sizes` bytes the client's quota allows, and why not more."""
        quotas, size = self._quotas, len(sizes)
        if self.closed_because:
            return 0, self.closed_because
        if quotas.jobs and self.pending() + size > quotas.jobs:
            room = max(0, quotas.jobs - self.pending())
            return room, f"the client may have {quotas.jobs:,} jobs here at once (--max_client_jobs)"
        left = quotas.bytes - self.kept_bytes if quotas.bytes else 0
        if not quotas.bytes or JOB_BYTES * size + sum(sizes) <= left:
            return size, ""
        for place, own in enumerate(sizes):
            left -= JOB_BYTES + own
            if left < 0:
                return place, self._too_much(own, quotas.bytes - left - own)
        return size, ""

    def _run(self, entry: _Computation, message: Run) -> tuple[list[Message], list[Message]]:
        if len(set(message.jobs)) < len(message.jobs):
            raise ProtocolError("Run names a job twice")
        if entry.failure:
            entry.known.update(message.jobs)
            return [], [Accepted(message.computation, message.jobs), *self._fail(entry)]
        places = [place for place, job in enumerate(message.jobs) if _is_awaited(entry, job)]
        entry.absent.difference_update(message.jobs)
        if entry.asked:
            entry.asked -= Counter(message.jobs)  # Answered requests are removed.
        accepted = Accepted(message.computation, message.jobs)
        if len(places) < len(message.jobs):  # The client repeats jobs of whose arrival it is not notified.
            message = picked(message, places)
        sizes = _sizes(message)
        room, reason = self._fitting(sizes)
        answers: list[Message] = [accepted]
        entry.known.update(message.jobs)
        if room < len(message.jobs):
            answers.append(self._end(entry, message.jobs[room:], _refusal(reason)))
            message, sizes = picked(message, range(room)), sizes[:room]
        entry.note_sizes(message.jobs, sizes)
        return [message] if message.jobs else [], answers

    def fail(self, computation: ComputationId, reason: str) -> list[Ended]:
        """Jobs of a computation are not run any more: present jobs end now, later ones on arrival."""
        entry = self._entries.get(computation)
        if entry is None:
            return []
        entry.failure = reason
        entry.absent.clear()
        entry.asked.clear()
        return self._fail(entry)

    def _fail(self, entry: _Computation) -> list[Ended]:
        jobs = sorted(entry.known - entry.outcomes.keys())
        return [self._end(entry, jobs, entry.failure)] if jobs else []

    def _end(self, entry: _Computation, jobs: list[JobId], reason: str) -> Ended:
        """The end of jobs that the scheduler's rules do not know; it is kept like any other."""
        ended = ended_without_node(entry.open.computation, jobs, ABANDONED, reason)
        self.outgoing(ended)
        return ended

    def _resume(self, message: Resume) -> tuple[list[Message], list[Message]]:
        if len(self._resuming) >= PARTS_LIMIT:
            raise ProtocolError("Resume comes in too many parts")
        self._resuming.append(message)
        if message.more:
            return [], []
        parts, self._resuming = self._resuming, []
        wanted: dict[ComputationId, list[JobId]] = {}
        for part in parts:
            for computation, jobs in part.wanted().items():
                wanted.setdefault(computation, []).extend(jobs)
        found: list[Message] = [Release(each) for each in self._entries if each not in wanted]
        answers: list[Message] = []
        for computation, jobs in wanted.items():
            entry = self._entries.get(computation)
            if entry is None:
                is_fenced = computation in self._fenced
                answers.append(Fenced(computation) if is_fenced else Unknown(computation, jobs, True))
                continue
            entry.asked.clear()
            for all_wait in (True, False):
                absent = [job for job in jobs if job in entry.absent and (job not in entry.known) == all_wait]
                if absent:
                    answers.append(ResendRequest(computation, absent, all_wait))
                    entry.asked.update(absent)
            unknown = [job for job in jobs if job not in entry.known and job not in entry.absent]
            found += _ended_there(entry, computation, jobs)
            here = entry.known - entry.absent - entry.outcomes.keys()
            known = [job for job in jobs if job in here]
            if known:  # The message that they were accepted may have been lost with the connection.
                answers.append(Accepted(computation, known))
            if unknown or not entry.is_whole:
                answers.append(Unknown(computation, unknown, not entry.is_whole))
            answers += _uncollected(entry)
        return found, answers

    # Previous runs, and other clients

    def restore(self, history: ComputationHistory) -> None:
        """Restore the state that a previous run of the scheduler has kept for one of the client's computations."""
        entry = self._entries[history.id] = _Computation(history.open)
        waiting, placed = history.absent()
        entry.known.update(history.jobs.keys() - set(waiting))
        entry.absent.update(waiting, placed)
        entry.is_whole = history.prepare is not None
        for number, job in history.jobs.items():
            if job.outcome is not None:
                entry.outcomes[number] = job.outcome
            elif bulk_size(job.arguments) > LARGE:
                entry.large[number] = bulk_size(job.arguments)
                entry.bytes += entry.large[number]
            for (attempt, index), progress in (job.shown or {}).items():
                entry.shown.setdefault((number, attempt), {})[index] = progress
            if job.name:
                entry.names[number] = job.name

    def forget(self, computation: ComputationId) -> None:
        """Remove a computation that cannot be continued."""
        self._entries.pop(computation, None)

    def may_claim(self, computation: ComputationId, token: bytes, epoch: int) -> bool | None:
        """Whether a client with this token and epoch may take the computation over; None if it does not exist here."""
        entry = self._entries.get(computation)
        if entry is None or not token or entry.open.token != token:
            return None
        return epoch > entry.open.epoch

    def hand_over(self, computation: ComputationId, other: ClientMailbox, epoch: int) -> Open:
        """Move the computation to another client; returns the computation's new `Open`."""
        entry = self._entries.pop(computation)
        entry.open = replace(entry.open, epoch=epoch)
        self._fenced.add(computation)
        other._fenced.discard(computation)
        other._entries[computation] = entry
        return entry.open

    def holding(self) -> list[Message]:
        """Messages for a client that only collects: the existing jobs, the outcomes, and the names of jobs."""
        numbers = list(self._entries)
        jobs = [sorted(self._entries[each].known) for each in numbers]
        ended = [sorted(self._entries[each].outcomes) for each in numbers]
        started = {id(each): each for entry in self._entries.values() for each in entry.started.values()}
        # Running jobs first: a recoverer may wait for the one answer only.
        found: list[Message] = [*started.values(), Inventory(numbers, jobs, [[0] * len(each) for each in jobs], ended)]
        for computation, entry in self._entries.items():
            waiting = sorted(entry.absent - entry.known)
            if waiting:
                found.append(ResendRequest(computation, waiting, True))
            if entry.names:
                found.append(JobNames(computation, list(entry.names), list(entry.names.values())))
            found += _uncollected(entry)
        return found


def _uncollected(entry: _Computation) -> list[Message]:
    """All kept messages, to be sent again; outcomes in the messages in which they arrived."""
    found: list[Message] = [each for shown in entry.shown.values() for each in shown.values()]
    found += entry.uploads.values()
    places: dict[int, tuple[Ended, list[int]]] = {}
    for ended, place in entry.outcomes.values():
        places.setdefault(id(ended), (ended, []))[1].append(place)
    return [*found, *(picked(ended, sorted(each)) for ended, each in places.values())]


def _is_awaited(entry: _Computation, job: JobId) -> bool:
    """Whether a job that the client sends is new, or was requested and has not ended. A message with payloads arrives
    late: by then the job may have ended on the node that had it, and its outcome even be collected."""
    if job in entry.asked:
        return job in entry.absent
    return job not in entry.known or job in entry.absent


def _ended_there(entry: _Computation, computation: ComputationId, jobs: list[JobId]) -> list[Message]:
    """Cancellations of jobs that have ended for the client, of which a previous run of this scheduler was not notified:
    no process needs them."""
    ended = sorted(entry.known - set(jobs) - entry.outcomes.keys())
    return [Cancel(computation, ended, [0] * len(ended))] if ended else []


def _collect(entry: _Computation, message: OutcomesAcked) -> None:
    for job in message.jobs:
        if entry.outcomes.pop(job, None) is not None:
            entry.known.discard(job)
    gone = set(message.jobs)
    # Provisional results are excluded: they may arrive after the ends of their jobs, and are waited for.
    if entry.uploads:
        entry.uploads = {key: value for key, value in entry.uploads.items() if key[0] not in gone}


def _forget_shown(entry: _Computation, message: ProgressAcked) -> None:
    for job, attempt, count in zip(message.jobs, message.attempts, message.counts, strict=True):
        shown = entry.shown.get((job, attempt), {})
        shown.pop(count - 1, None)
        if not shown:
            entry.shown.pop((job, attempt), None)
