"""What schedulers say to a node, and which of them it works for.

Pure. The part of the node's rules above `job_table.py` and below `node_rules.py`.

Invariants:
1. One scheduler is served at a time; one that went away is remembered until `lease` seconds later. While
   it is connected nothing of it is forgotten, however long its jobs take.
2. An outcome is held until `OutcomesAcked` names it, whatever happens to the connection.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import ComputationId, JobId, Peer
from gdispy.protocol.job_status import CANCELLED
from gdispy.protocol.limits import NAME_LIMIT, STREAM_LIMIT, printable
from gdispy.protocol.messages import (
    Cancel,
    FileContents,
    Hello,
    Inventory,
    Limit,
    Message,
    MissingFiles,
    OutcomesAcked,
    Prepare,
    Prepared,
    Progress,
    ProgressAcked,
    PutFile,
    Recall,
    Release,
    Released,
    Reply,
    Returned,
    Run,
    Started,
    Upload,
    Uploaded,
)
from gdispy.protocol.roles import RECOVERER
from gdispy.protocol.texts import BUSY
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import not_taken
from gdispy.rules.node.effects import AnswerFile, FindMissingFiles, Load, PutFiles, RecallJobs, Shutdown
from gdispy.rules.node.job_table import peer_of
from gdispy.rules.node.ownership import SPOOL_AGE, Keeping
from gdispy.rules.node.records import Computation, Job, SchedulerSession, Worker, release

#: Seconds that the jobs of a scheduler which went away are kept.
LEASE = 3600.0
#: The same as a multiple of the interval at which the scheduler wants signs of life; it gives a node up
#: after six.
LEASE_PULSES = 12

#: Computations on a node at once: each has a process of its own.
COMPUTATIONS_LIMIT = 1024
#: Cancels of one computation that may come before their jobs: no more of these are on their way at once.
EARLY_LIMIT = STREAM_LIMIT

_SHARE = "wait until that has ended, or share nodes among programs with gdispy-scheduler"
_LAST_WORK = "it ends when its present work is done"


class Serving(Keeping):
    """What this node does for its schedulers."""

    def __init__(
        self, cpus: int, lease: float = LEASE, epoch: float = 0.0, serve: int = -1, spool_age: float = SPOOL_AGE
    ) -> None:
        super().__init__(cpus, epoch, spool_age)
        self._lease = lease
        #: End when so many schedulers were served; -1 never. How many were, and whether no more are taken.
        self._serve = serve
        self._served = 0
        self._finishing = False
        #: Asked for again before they were gone.
        self._again: dict[ComputationId, Prepare] = {}

    # Who is there

    def joined(self, peer: Peer, hello: Hello, now: float) -> Effects:
        """A scheduler has connected."""
        refusal = self._refusal(hello)
        if refusal:
            return [Drop(peer, refusal)]
        session = self._sessions.setdefault(hello.instance, SchedulerSession(hello.instance, hello.name))
        session.recovers = hello.role == RECOVERER
        if hello.epoch < session.epoch:
            return [Drop(peer, "its journal is older than what it has said before: an old copy was put in its place")]
        session.epoch = hello.epoch
        effects = [] if session.recovers else self._use(session.cpus, now)
        if session.peer is not None:  # It has come back before the old connection was known broken.
            del self._by_peer[session.peer]
            effects.append(Drop(session.peer, "a newer connection took its place"))
        session.peer, session.expires = peer, None
        # Longer than the scheduler waits for this node, or what it believes to be here would be gone.
        session.lease = max(self._lease, LEASE_PULSES * hello.pulse)
        self._by_peer[peer] = session
        effects += self._claim(session, hello)
        own = [each for each in self._computations.values() if each.session is session]
        holding, running = Send(peer, _holding(own, session.recovers)), self._running(session, peer)
        # A scheduler has to know first that the jobs are here; a recoverer may ask for no more than the one answer.
        effects += [*running, holding] if session.recovers else [holding, *running]
        if self._varies:  # It may have changed since it was said in Hello, or in an earlier connection.
            effects.append(Send(peer, self._offered()))
        for computation in own:
            for job, values in computation.shown.items():
                effects += [Send(peer, Progress(computation.id, job, *value, "")) for value in values]
            for (job, attempt, number), (row, content, _) in computation.uploads.items():
                effects.append(Send(peer, Upload(computation.id, job, attempt, number, [row], [content])))
            computation.fresh = list(computation.ended.values())
            self._dirty[computation.id] = computation
        return effects + self._turn_end(now)

    def _running(self, session: SchedulerSession, peer: Peer) -> list[Send]:
        """Which of a scheduler's jobs run, of those that were reported before: it may be another life that asks. A
        recoverer is not here for long enough to wait for such a report."""
        workers = (worker for worker in self._workers.values() if worker.computation.session is session and worker.hand)
        return [self._report_begin(each, peer) for each in workers if each.hand[0].reported or session.recovers]

    def _report_begin(self, worker: Worker, peer: Peer) -> Send:
        """The first job in a worker's hand runs."""
        job = worker.hand[0]
        job.reported = True
        began = [worker.since + self._epoch]
        return Send(peer, Started(worker.computation.id, [job.number], [job.attempt], began, ""))

    def _refusal(self, hello: Hello) -> str:
        """Why a scheduler cannot be served now, or ''. One with computations here always can."""
        own = {each.id for each in self._computations.values() if each.session.instance == hello.instance}
        if hello.role == RECOVERER or own or any(self._is_due(*claim) for claim in hello.claims):
            return ""
        if any(self._is_behind(*claim) for claim in hello.claims):
            return ""  # It has to hear that they are not its own any more.
        for session in self._sessions.values():
            if session.peer is not None and session.instance != hello.instance and not session.recovers:
                return f"{BUSY}it works for {printable(session.name, NAME_LIMIT)} at present; {_SHARE}"
        return _LAST_WORK if self._finishing and hello.instance not in self._sessions else ""

    def gone(self, peer: Peer, now: float) -> Effects:
        """A connection is over. What it asked for goes on."""
        session = self._by_peer.pop(peer, None)
        if session is not None:
            session.peer = None
            own = [each for each in self._computations.values() if each.session is session]
            has_ended = bool(own) and all(each.over for each in own)
            session.expires = now + (self._spool_age if has_ended else session.lease)
            self._note_leaving(session)
            return self._spool_all(session) + self._farewell()
        return self._farewell()

    def give_up(self, now: float) -> Effects:
        """Forget the schedulers that are away, with all that is held for them."""
        effects: Effects = []
        for session in [each for each in self._sessions.values() if each.peer is None]:
            effects += self._give_up(session, now)
        return effects + self._farewell() + self._turn_end(now)

    def _give_up(self, session: SchedulerSession, now: float) -> Effects:
        """A scheduler was away for too long: end what runs for it. What somebody may still ask for is kept longer."""
        effects: Effects = []
        own = [each for each in self._computations.values() if each.session is session]
        retires = any(each.prepare.token and not each.over for each in own)
        for computation in own:
            if not retires or not computation.prepare.token:
                effects += self._forget(computation)
            elif not computation.over:
                effects += self._retire(computation, now)
        session.expires = now + self._spool_age if retires else None
        self._note_leaving(session)
        return effects

    def finish(self, now: float) -> Effects:
        """UseNode no new clients and computations; end when those that are here are over."""
        self._finishing = True
        return self._farewell()

    def _note_leaving(self, session: SchedulerSession) -> None:
        """Forget a scheduler that is away as soon as nothing is left of it."""
        held = [*(each.session for each in self._computations.values()), *self._unloading.values()]
        if session.peer is not None or session in held or session.instance not in self._sessions:
            return
        del self._sessions[session.instance]
        if session.was_served:
            self._served += 1
            self._finishing = self._finishing or self._served == self._serve

    def _farewell(self) -> Effects:
        """The end, where it was asked for and nothing is left to do."""
        if not self._finishing or self._unloading or any(not each.over for each in self._computations.values()):
            return []
        return [Shutdown()]

    # What schedulers say

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        session = self._by_peer.get(peer)
        if session is None:
            return []
        effects: Effects = []
        for message in messages:
            handler = self._HANDLERS.get(type(message))
            if session.recovers and type(message) not in _OF_RECOVERERS:
                handler = None
            if handler is None:
                effects.append(Drop(peer, not_taken(message, "node", "scheduler")))
                break
            try:
                effects += handler(self, session, message, now)
            except Exception as error:
                effects += self.on_fault(peer, message, error)
                break
        return effects + self._turn_end(now)

    def _on_prepare(self, session: SchedulerSession, message: Prepare, now: float) -> Effects:
        if self._is_behind(message.computation, message.token, message.epoch):
            return [Send(peer_of(session), self._fenced(message.computation))]
        if message.computation in self._unloading:
            self._again[message.computation] = message  # When the former is gone; see `unloaded`.
            return []
        known = self._computations.get(message.computation)
        if known is None and self._finishing:
            return [Send(peer_of(session), Prepared(message.computation, _LAST_WORK, for_now=True))]
        if known is None and len(self._computations) >= COMPUTATIONS_LIMIT:
            why = f"{COMPUTATIONS_LIMIT:,} computations are there, and no more are taken until one is over"
            return [Send(peer_of(session), Prepared(message.computation, why, for_now=True))]
        if known is None:
            session.was_served = True
            self._computations[message.computation] = Computation(message, session)
            self._note_epoch(self._computations[message.computation])
            return [FindMissingFiles(message)] if message.files else [Load(message, {})]
        if known.session is not session and known.session.peer is not None:
            why = "it belongs to another client"
            return [Send(peer_of(session), Prepared(message.computation, why, for_now=True))]
        if known.session is not session:
            # Its scheduler was started again, and has forgotten what it had here: begin anew.
            effects = self._forget(known)
            self._unloading[known.id], self._again[known.id] = session, message
            session.was_served = True
            return effects
        if known.over:  # Only its outcomes are left: it is loaded afresh, and they stay.
            known.prepare, known.over = message, False
            return [FindMissingFiles(message)] if message.files else [Load(message, {})]
        if known.lacking:  # The connection broke before they came.
            return [Send(peer_of(session), MissingFiles(known.id, known.missing()))]
        prepared = Prepared(known.id, known.error, known.note)
        return [Send(peer_of(session), prepared)] if known.ready or known.error else []

    def _on_limit(self, session: SchedulerSession, message: Limit, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            computation.cpus = message.own
        session.cpus = message.total
        return self._use(message.total, now)

    def _on_contents(self, session: SchedulerSession, message: FileContents, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session:
            for value in message.contents:
                release(value)
            return []
        if not computation.take_contents(message.places, message.contents):
            return []
        contents, computation.lacking, computation.arrived = computation.arrived, [], {}
        return [Load(computation.prepare, contents)]

    def _on_deliver(self, session: SchedulerSession, message: PutFile, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session or not computation.ready:
            answer = (message.question, "the computation is not loaded there", -1.0)
            return [Send(peer_of(session), Reply(message.computation, *answer, []))]
        return [PutFiles(computation.prepare, message)]

    def _on_uploaded(self, session: SchedulerSession, message: Uploaded, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        key = (message.job, message.attempt, message.number)
        known = computation.uploads.pop(key, None) if computation is not None else None
        if known is None:
            return []
        release(known[1])
        return [AnswerFile(known[2], message.error)]

    def _on_run(self, session: SchedulerSession, message: Run, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session or not computation.ready:
            # First why, or they would be sent here again at once.
            error = computation.error if computation is not None else ""
            why = Prepared(message.computation, error or "it is still being loaded", for_now=not error)
            return [
                Send(peer_of(session), why),
                Send(peer_of(session), Returned(message.computation, message.jobs, message.attempts)),
            ]
        jobs, ended = computation.jobs, computation.ended
        effects: Effects = []
        options = message.options or [None] * len(message.jobs)
        columns = zip(message.jobs, message.attempts, message.arguments, options, strict=True)
        for number, attempt, arguments, wishes in columns:
            job = Job(number, attempt, arguments, wishes)
            if number in jobs or number in ended:
                effects += self._supersede(session, computation, job, now)
            else:
                self._accept(computation, job, now)
        self._wait(computation)
        return effects

    def _supersede(self, session: SchedulerSession, computation: Computation, job: Job, now: float) -> Effects:
        """A job that is here already, or whose outcome is: said twice, or its scheduler had given this node up, and has
        placed it here anew before it could hear what came of the former attempt."""
        known, row = computation.jobs.get(job.number), computation.ended.get(job.number)
        known = computation.succeeding.get(job.number, known)
        if job.attempt <= (known.attempt if known is not None else row[1] if row is not None else 0):
            job.release()
            return []
        if row is not None:
            effects = self._on_collected(session, OutcomesAcked(computation.id, [job.number], [row[1]]), now)
            self._accept(computation, job, now)
            return effects
        assert known is not None
        holder = self._holder(computation, known)
        if holder is not None:
            computation.succeeding[job.number] = job
            known.cancelled = True
            return [RecallJobs(holder.number)]
        if known.number in computation.succeeding:
            computation.succeeding[job.number] = job
        else:
            computation.queue.remove(known)
            self._accept(computation, job, now)
        known.release()
        return []

    def _on_cancel(self, session: SchedulerSession, message: Cancel, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session:
            return []
        effects: Effects = []
        for number, attempt in zip(message.jobs, message.attempts, strict=True):
            job = computation.jobs.get(number)
            if job is None or job.attempt != attempt:
                if number not in computation.ended:
                    if len(computation.early) >= EARLY_LIMIT:
                        raise ProtocolError("too many jobs are cancelled that have not come")
                    computation.early.add((number, attempt))
                continue
            job.cancelled = True
            holder = self._holder(computation, job)
            if holder is not None:
                effects.append(RecallJobs(holder.number))
            else:
                computation.queue.remove(job)
                self._end(computation, job, CANCELLED, "", now)
        return effects

    def _on_recall(self, session: SchedulerSession, message: Recall, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session:
            return []
        given: list[Job] = []
        while computation.queue and len(given) < message.count:
            given.append(computation.queue.pop())
        return [self._return(computation, given)]

    def _on_collected(self, session: SchedulerSession, message: OutcomesAcked, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            effects = self._spool_collected(computation, message)
            ended = computation.ended
            for number, attempt in zip(message.jobs, message.attempts, strict=True):
                row = ended.get(number)
                if row is not None and row[1] == attempt:
                    del ended[number]
                    if computation.fresh:  # It was to be told again.
                        computation.fresh = [each for each in computation.fresh if each is not row]
                    for value in row[3:6]:
                        release(value)
                if computation.early:
                    computation.early.discard((number, attempt))
            return effects
        return []

    def _on_seen(self, session: SchedulerSession, message: ProgressAcked, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            for number, attempt, amount in zip(message.jobs, message.attempts, message.counts, strict=True):
                _forget_shown(computation, number, attempt, amount)
        return []

    def _on_release(self, session: SchedulerSession, message: Release, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            return self._forget(computation)
        self._again.pop(message.computation, None)
        if message.computation in self._unloading:
            return []
        return [Send(peer_of(session), Released(message.computation))]

    _HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Prepare: _on_prepare,
        Limit: _on_limit,
        FileContents: _on_contents,
        PutFile: _on_deliver,
        Uploaded: _on_uploaded,
        Run: _on_run,
        Cancel: _on_cancel,
        Recall: _on_recall,
        OutcomesAcked: _on_collected,
        ProgressAcked: _on_seen,
        Release: _on_release,
    }


#: What a recoverer may say.
_OF_RECOVERERS = frozenset((Cancel, OutcomesAcked, ProgressAcked, Release))


def _forget_shown(computation: Computation, number: JobId, attempt: int, amount: int) -> None:
    """Drop the first `amount` provisional results of a job, which have arrived."""
    values = computation.shown.get(number)
    while values and (values[0][0] < attempt or values[0][1] < amount):
        release(values.popleft()[2])
    if not values:
        computation.shown.pop(number, None)


def _holding(computations: list[Computation], with_ends: bool) -> Inventory:
    jobs: list[list[JobId]] = []
    attempts: list[list[int]] = []
    ended = [list(computation.ended) for computation in computations] if with_ends else []
    for computation in computations:
        held = {number: job.attempt for number, job in (computation.jobs | computation.succeeding).items()}
        held |= {number: row[1] for number, row in computation.ended.items()}
        jobs.append(list(held))
        attempts.append(list(held.values()))
    return Inventory([computation.id for computation in computations], jobs, attempts, ended)
