"""A client elsewhere, as its scheduler keeps it: what it has not yet collected, while it is here and away.

Pure. Driven by the pump of `shared_scheduler/service.py`, between connections and `dispatch.py`, which knows nothing of
connections to clients. The other end is `rules/client/outbox.py`.

Invariants:
1. An outcome is kept until the client has collected it, a provisional result until it has seen it, a file of a job
   until it has answered; on each new connection they are said again.
2. A job is handed on once, however often it is said.
3. A client reaches its own computations only.
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
    Fenced,
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
    Started,
    StatusRequest,
    Unknown,
    Upload,
    Uploaded,
    UseNode,
    ended_without_node,
)
from gdispy.protocol.payload import Bulk, bulk_size, options_size, total_size
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.quotas import JOB_BYTES, LARGE, Quotas, objection

NO_QUOTAS = Quotas()
#: Messages in which a client may say what it has, at most: two million jobs in each.
PARTS_LIMIT = 32

#: What clients may say, but for `Hello` and `OverviewRequest`, which concern no computation.
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
    )
)


class _Computation:
    """What is kept for one computation."""

    def __init__(self, message: Open) -> None:
        #: As its client has brought it; with what somebody who takes it over must know, and how often that was done.
        self.open = message
        #: Whether what is to be run has come, too; it may be long, and the connection may break before.
        self.is_whole = False
        #: Why nothing is run of it, or ''.
        self.failure = ""
        #: Bytes of arguments of the jobs that have not ended, where they are many; and of all that is kept for it.
        self.large: dict[JobId, int] = {}
        self.bytes = 0
        #: What the client calls its jobs, pickled.
        self.names: dict[JobId, Bulk] = {}
        #: Jobs that were accepted and not collected.
        self.known: set[JobId] = set()
        #: Jobs of a former life of the scheduler, some of them known, that the client is to say again.
        self.absent: set[JobId] = set()
        #: Jobs that it was asked for on this connection, and how often it has still to say them.
        self.asked: Counter[JobId] = Counter()
        #: Outcomes that were not collected: job -> message and place in it.
        self.outcomes: dict[JobId, tuple[Ended, int]] = {}
        #: Jobs that run, as far as nodes have reported it.
        self.started: dict[JobId, Started] = {}
        self.shown: dict[tuple[JobId, int], dict[int, Progress]] = {}
        self.uploads: dict[tuple[JobId, int, int], Upload] = {}

    def note_sizes(self, jobs: list[JobId], sizes: list[int]) -> None:
        """Jobs have come, with so many bytes each."""
        for job, size in zip(jobs, sizes, strict=True):
            if size > LARGE:
                self.large[job] = size
                self.bytes += size

    def drop_sizes(self, jobs: list[JobId]) -> None:
        """Jobs have ended, and with them what they were called with."""
        if self.large:
            self.bytes -= sum(self.large.pop(job, 0) for job in jobs)


def _sizes(message: Run) -> list[int]:
    """The bytes that each of the jobs brings."""
    sizes = list(map(bulk_size, message.arguments))
    if message.options:
        return [size + options_size(row) for size, row in zip(sizes, message.options, strict=True)]
    return sizes


def _refusal(reason: str) -> str:
    return f"The scheduler does not take the job: {reason}.\n"


class ClientMailbox:
    """One client. `peer` is how `dispatch.py` calls it, whatever its connection."""

    def __init__(self, peer: Peer, instance: Instance, name: str, quotas: Quotas = NO_QUOTAS) -> None:
        self._quotas = quotas
        self.peer = peer
        self.instance = instance
        self.name = name
        #: Why no jobs are taken from any client now, or ''.
        self.closed_because = ""
        #: Its connection, and when it is forgotten while it has none.
        self.link: Peer | None = None
        self.expires: float | None = None
        self._accounts: dict[ComputationId, _Computation] = {}
        #: What has come of a `Resume` in several parts.
        self._resuming: list[Resume] = []
        #: Computations that somebody else has taken over.
        self._fenced: set[ComputationId] = set()

    def connected(self, link: Peer) -> None:
        """The client is here, by this connection, and says first what it has."""
        self.link, self.expires, self._resuming = link, None, []

    @property
    def computations(self) -> list[ComputationId]:
        return list(self._accounts)

    def pending(self) -> int:
        """How many jobs have not ended, or were not collected."""
        return sum(len(account.known) for account in self._accounts.values())

    # From the scheduler's rules to the client

    def outgoing(self, message: Message) -> None:
        """Keep what the client must get; it is sent by the caller, if the client is here."""
        account = self._accounts.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if account is None:
            return
        if isinstance(message, Ended):
            account.absent.difference_update(message.jobs)
            account.drop_sizes(message.jobs)
            for place, job in enumerate(message.jobs):
                account.outcomes[job] = message, place
                account.started.pop(job, None)
        elif isinstance(message, Started):
            account.started.update((job, message) for job in message.jobs)
        elif isinstance(message, Progress):
            account.shown.setdefault((message.job, message.attempt), {})[message.index] = message
        elif isinstance(message, Upload):
            account.uploads[message.job, message.attempt, message.number] = message
        elif isinstance(message, ResendRequest):
            account.drop_sizes(message.jobs)
            account.known.difference_update(message.jobs)
            account.absent.update(message.jobs)
            account.asked.update(message.jobs)
        elif isinstance(message, Released):
            del self._accounts[message.computation]

    # From the client

    def incoming(self, message: Message) -> tuple[list[Message], list[Message]]:
        """What the scheduler's rules are to take, and what the client is to be answered.

        Raises ProtocolError for what no scheduler takes from a client; then nothing has changed.
        """
        if type(message) not in _TAKEN:
            raise ProtocolError(f"a scheduler takes no {type(message).__name__} from a client")
        if isinstance(message, Resume):
            return self._resume(message)
        if isinstance(message, Open):
            if message.computation in self._fenced:
                return [], [Fenced(message.computation)]
            return self._open(message)
        account = self._accounts.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if account is None:
            # Not its own, or gone.
            return ([], [Released(message.computation)]) if isinstance(message, Release) else ([], [])
        if isinstance(message, Run):
            return self._run(account, message)
        if isinstance(message, OutcomesAcked):
            _collect(account, message)
            return [], []
        if isinstance(message, ProgressAcked):
            _forget_shown(account, message)
            return [], []
        if isinstance(message, JobNames):
            self._name(account, message)
            return [], []
        if isinstance(message, Prepare):
            self._take_up(account, sum(map(bulk_size, (message.body, message.arguments, message.source))))
            account.is_whole = True
        elif isinstance(message, UseNode):
            self._take_up(account, bulk_size(message.arguments))
        elif isinstance(message, Uploaded):
            account.uploads.pop((message.job, message.attempt, message.number), None)
        return [message], []

    def _open(self, message: Open) -> tuple[list[Message], list[Message]]:
        account = self._accounts.get(message.computation)
        others = [each for each in self._accounts.values() if each is not account]
        limit = self._quotas.computations
        if account is None and limit and len(others) >= 2 * limit:
            raise ProtocolError(f"a client may have {limit:,} computations here at once (--max_client_computations)")
        if account is None:
            account = self._accounts[message.computation] = _Computation(message)
            if limit and len(others) >= limit:
                account.failure = _refusal(f"the client has {limit:,} computations here (--max_client_computations)")
        account.open = message
        named = {node for each in others for node in each.open.nodes if not each.failure and "*" not in node}
        flaw = objection(message.nodes, named)
        account.failure = account.failure or (_refusal(flaw) if flaw else "")
        return [] if account.failure else [message], []

    def _take_up(self, account: _Computation, size: int) -> None:
        """Note what a computation brings. Raises ProtocolError where that is more than the client may have."""
        if self._quotas.bytes and self.kept_bytes + size > self._quotas.bytes:
            raise ProtocolError(self._too_much(size, self.kept_bytes))
        account.bytes += size

    def _name(self, account: _Computation, message: JobNames) -> None:
        """Keep what the client calls its jobs; those that are not its own take no memory."""
        rows = zip(message.jobs, message.names, strict=True)
        names = {job: name for job, name in rows if job in account.known or job in account.absent}
        former = sum(bulk_size(account.names[job]) for job in names if job in account.names)
        self._take_up(account, sum(map(bulk_size, names.values())) - former)
        account.names.update(names)

    @property
    def kept_bytes(self) -> int:
        """What is kept for the client, outcomes aside, in about as many bytes."""
        return JOB_BYTES * self.pending() + sum(account.bytes for account in self._accounts.values())

    def uncollected_bytes(self) -> int:
        """The bytes of outcomes that the client has not collected."""
        messages = {id(each): each for account in self._accounts.values() for each, _ in account.outcomes.values()}
        columns = (column for each in messages.values() for column in (each.results, each.outputs, each.errors))
        return sum(map(total_size, columns))

    def _too_much(self, size: int, kept: int) -> str:
        return (
            f"{size:,} bytes are too many beside the {kept:,} that the client has here already: it may have "
            f"{self._quotas.bytes:,} (--max_client_bytes). Wait for results before more is submitted"
        )

    def _fitting(self, sizes: list[int]) -> tuple[int, str]:
        """How many of the jobs with so many bytes the client may have, and why not more."""
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

    def _run(self, account: _Computation, message: Run) -> tuple[list[Message], list[Message]]:
        if len(set(message.jobs)) < len(message.jobs):
            raise ProtocolError("Run names a job twice")
        if account.failure:
            account.known.update(message.jobs)
            return [], [Accepted(message.computation, message.jobs), *self._fail(account)]
        places = [place for place, job in enumerate(message.jobs) if _is_awaited(account, job)]
        account.absent.difference_update(message.jobs)
        if account.asked:
            account.asked -= Counter(message.jobs)  # Those that are answered are gone from it.
        accepted = Accepted(message.computation, message.jobs)
        if len(places) < len(message.jobs):  # It says again what it does not know to have arrived.
            message = picked(message, places)
        sizes = _sizes(message)
        room, reason = self._fitting(sizes)
        answers: list[Message] = [accepted]
        account.known.update(message.jobs)
        if room < len(message.jobs):
            answers.append(self._end(account, message.jobs[room:], _refusal(reason)))
            message, sizes = picked(message, range(room)), sizes[:room]
        account.note_sizes(message.jobs, sizes)
        return [message] if message.jobs else [], answers

    def fail(self, computation: ComputationId, reason: str) -> list[Ended]:
        """Nothing is run of a computation any more: the ends of its jobs, now and as they come."""
        account = self._accounts.get(computation)
        if account is None:
            return []
        account.failure = reason
        account.absent.clear()
        account.asked.clear()
        return self._fail(account)

    def _fail(self, account: _Computation) -> list[Ended]:
        jobs = sorted(account.known - account.outcomes.keys())
        return [self._end(account, jobs, account.failure)] if jobs else []

    def _end(self, account: _Computation, jobs: list[JobId], reason: str) -> Ended:
        """The end of jobs that the scheduler's rules do not know, kept as every other one."""
        ended = ended_without_node(account.open.computation, jobs, ABANDONED, reason)
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
        found: list[Message] = [Release(each) for each in self._accounts if each not in wanted]
        answers: list[Message] = []
        for computation, jobs in wanted.items():
            account = self._accounts.get(computation)
            if account is None:
                is_fenced = computation in self._fenced
                answers.append(Fenced(computation) if is_fenced else Unknown(computation, jobs, True))
                continue
            account.asked.clear()
            for all_wait in (True, False):
                absent = [job for job in jobs if job in account.absent and (job not in account.known) == all_wait]
                if absent:
                    answers.append(ResendRequest(computation, absent, all_wait))
                    account.asked.update(absent)
            unknown = [job for job in jobs if job not in account.known and job not in account.absent]
            found += _ended_there(account, computation, jobs)
            here = account.known - account.absent - account.outcomes.keys()
            known = [job for job in jobs if job in here]
            if known:  # The word that they were accepted may have been lost with the connection.
                answers.append(Accepted(computation, known))
            if unknown or not account.is_whole:
                answers.append(Unknown(computation, unknown, not account.is_whole))
            answers += _uncollected(account)
        return found, answers

    # Former lives, and other clients

    def restore(self, story: ComputationHistory) -> None:
        """Take up what a former life of the scheduler has kept for one of its computations."""
        account = self._accounts[story.id] = _Computation(story.open)
        waiting, placed = story.absent()
        account.known.update(story.jobs.keys() - set(waiting))
        account.absent.update(waiting, placed)
        account.is_whole = story.prepare is not None
        for number, job in story.jobs.items():
            if job.outcome is not None:
                account.outcomes[number] = job.outcome
            elif bulk_size(job.arguments) > LARGE:
                account.large[number] = bulk_size(job.arguments)
                account.bytes += account.large[number]
            for (attempt, index), progress in (job.shown or {}).items():
                account.shown.setdefault((number, attempt), {})[index] = progress
            if job.name:
                account.names[number] = job.name

    def forget(self, computation: ComputationId) -> None:
        """Nothing can be done with it."""
        self._accounts.pop(computation, None)

    def may_claim(self, computation: ComputationId, token: bytes, epoch: int) -> bool | None:
        """Whether who says this may take the computation over; None where there is no such computation here."""
        account = self._accounts.get(computation)
        if account is None or not token or account.open.token != token:
            return None
        return epoch > account.open.epoch

    def hand_over(self, computation: ComputationId, other: ClientMailbox, epoch: int) -> Open:
        """Another client has it from now on; the computation's `Open` as it is then."""
        account = self._accounts.pop(computation)
        account.open = replace(account.open, epoch=epoch)
        self._fenced.add(computation)
        other._fenced.discard(computation)
        other._accounts[computation] = account
        return account.open

    def holding(self) -> list[Message]:
        """What a client that only collects is told: which jobs there are, what has ended, and how they are called."""
        numbers = list(self._accounts)
        jobs = [sorted(self._accounts[each].known) for each in numbers]
        ended = [sorted(self._accounts[each].outcomes) for each in numbers]
        started = {id(each): each for account in self._accounts.values() for each in account.started.values()}
        # What runs comes first: a recoverer may ask for no more than the one answer.
        found: list[Message] = [*started.values(), Inventory(numbers, jobs, [[0] * len(each) for each in jobs], ended)]
        for computation, account in self._accounts.items():
            waiting = sorted(account.absent - account.known)
            if waiting:
                found.append(ResendRequest(computation, waiting, True))
            if account.names:
                found.append(JobNames(computation, list(account.names), list(account.names.values())))
            found += _uncollected(account)
        return found


def _uncollected(account: _Computation) -> list[Message]:
    """All that is kept, once more; outcomes in the messages that they came in."""
    found: list[Message] = [each for shown in account.shown.values() for each in shown.values()]
    found += account.uploads.values()
    places: dict[int, tuple[Ended, list[int]]] = {}
    for ended, place in account.outcomes.values():
        places.setdefault(id(ended), (ended, []))[1].append(place)
    return [*found, *(picked(ended, sorted(each)) for ended, each in places.values())]


def _is_awaited(account: _Computation, job: JobId) -> bool:
    """Whether a job that the client says is new, or was asked for and has not ended. A message with payloads comes
    late: by then the job may have ended on the node that had it, and even be collected."""
    if job in account.asked:
        return job in account.absent
    return job not in account.known or job in account.absent


def _ended_there(account: _Computation, computation: ComputationId, jobs: list[JobId]) -> list[Message]:
    """Jobs that have ended for the client, which a former life of this scheduler was not told: nobody needs them."""
    ended = sorted(account.known - set(jobs) - account.outcomes.keys())
    return [Cancel(computation, ended, [0] * len(ended))] if ended else []


def _collect(account: _Computation, message: OutcomesAcked) -> None:
    for job in message.jobs:
        if account.outcomes.pop(job, None) is not None:
            account.known.discard(job)
    gone = set(message.jobs)
    # Not what they have shown: that may come after their ends, and is waited for.
    if account.uploads:
        account.uploads = {key: value for key, value in account.uploads.items() if key[0] not in gone}


def _forget_shown(account: _Computation, message: ProgressAcked) -> None:
    for job, attempt, count in zip(message.jobs, message.attempts, message.counts, strict=True):
        shown = account.shown.get((job, attempt), {})
        shown.pop(count - 1, None)
        if not shown:
            account.shown.pop((job, attempt), None)
