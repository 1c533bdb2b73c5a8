"""The node's rules: which job goes to which worker, for whom, and which outcomes are still held.

Floor 1: pure. Driven by the pump of `node.py`, in one greenlet; `workers.py` performs the effects.

Invariants:
1. A job that was accepted is in exactly one place: waiting, in the hand of one worker, or ended.
2. A job is begun at most once for each attempt: what is taken out of a worker's socket had not begun,
   what stays in its hand had, and is never handed out again.
3. An outcome is held until `Collected` names it, whatever happens to the connection.
4. At most `cpus` workers have a job in hand.
5. One scheduler is served at a time; one that went away is remembered until `lease` seconds later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from gdispy.core.effects import (
    Drop,
    Effects,
    End,
    Hand,
    Interrupt,
    Load,
    NewWorker,
    Peer,
    Send,
    TakeBack,
    Terminate,
    Unload,
    WorkerId,
)
from gdispy.core.holding import Computation, Job, Row, Session, Worker, portions, release
from gdispy.core.messages import (
    Cancel,
    Collected,
    ComputationId,
    Ended,
    Hello,
    Holding,
    Instance,
    JobId,
    Message,
    Prepare,
    Prepared,
    Progress,
    Recall,
    Release,
    Released,
    Returned,
    Run,
    Seen,
    Started,
)
from gdispy.core.payloads import Bulk
from gdispy.core.statuses import CANCELLED, TERMINATED
from gdispy.errors import InternalError

#: Seconds after which a running job is reported as such; shorter ones are reported by their end.
REPORT_AFTER = 0.02
#: Seconds from the interrupt of a cancelled job to SIGTERM, and to SIGKILL.
TERMINATE_AFTER = 3.0
KILL_AFTER = 5.0
#: Seconds that the jobs of a scheduler which went away are kept.
LEASE = 3600.0
#: The same as a multiple of the interval at which the scheduler wants signs of life; it gives a node up
#: after six.
LEASE_PULSES = 12
#: Workers of one computation that may end before their first job until that job is given up.
STILLBORN_LIMIT = 3
#: Computations remembered that were released before they came.
WITHDRAWN_LIMIT = 4096
#: Templates of one computation that may end by themselves until it is given up.
TEMPLATE_LIMIT = 3


class Slots:
    """What this node runs."""

    def __init__(self, cpus: int, lease: float = LEASE, epoch: float = 0.0) -> None:
        self.cpus = cpus
        #: What to add to a time here to have seconds since the epoch, as users are shown them.
        self._epoch = epoch
        self._lease = lease
        self._sessions: dict[Instance, Session] = {}
        self._by_peer: dict[Peer, Session] = {}
        self._computations: dict[ComputationId, Computation] = {}
        #: Released, and not yet gone.
        self._unloading: dict[ComputationId, Session] = {}
        #: Released before they came; see wire.py on what overtakes what.
        self._withdrawn: dict[ComputationId, bool] = {}
        #: Asked for again before they were gone.
        self._again: dict[ComputationId, Prepare] = {}
        self._workers: dict[WorkerId, Worker] = {}
        self._numbers = count(1)
        #: Computations with outcomes to send at the end of this turn.
        self._dirty: dict[ComputationId, Computation] = {}
        #: Computations with jobs that wait, in the order in which they get the next free worker.
        self._waiting: deque[Computation] = deque()
        self._busy = 0

    # What peers do

    def joined(self, peer: Peer, hello: Hello, now: float) -> Effects:
        """A scheduler has connected."""
        for session in self._sessions.values():
            if session.peer is not None and session.instance != hello.instance:
                reason = f"busy: it works for {session.name} at present"
                return [Drop(peer, reason)]
        session = self._sessions.setdefault(hello.instance, Session(hello.instance, hello.name))
        effects: Effects = []
        if session.peer is not None:  # It has come back before the old connection was known broken.
            del self._by_peer[session.peer]
            effects.append(Drop(session.peer, "a newer connection took its place"))
        session.peer, session.expires = peer, None
        # Longer than the scheduler waits for this node, or what it believes to be here would be gone.
        session.lease = max(self._lease, LEASE_PULSES * hello.pulse)
        self._by_peer[peer] = session
        own = [each for each in self._computations.values() if each.session is session]
        effects.append(Send(peer, _holding(own)))
        for computation in own:
            for job, values in computation.shown.items():
                effects += [Send(peer, Progress(computation.id, job, *value, "")) for value in values]
            computation.fresh = list(computation.ended.values())
            self._dirty[computation.id] = computation
        return effects + self._turn_end(now)

    def gone(self, peer: Peer, now: float) -> Effects:
        """A connection is over. What it asked for goes on."""
        session = self._by_peer.pop(peer, None)
        if session is not None:
            session.peer = None
            session.expires = now + session.lease
        return []

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        session = self._by_peer.get(peer)
        if session is None:
            return []
        effects: Effects = []
        for message in messages:
            handler = self._HANDLERS.get(type(message))
            if handler is None:
                return [*effects, Drop(peer, f"a node does not take {type(message).__name__}")]
            effects += handler(self, session, message, now)
        return effects + self._turn_end(now)

    def _on_prepare(self, session: Session, message: Prepare, now: float) -> Effects:
        if self._withdrawn.pop(message.computation, False):
            return []  # Its release has overtaken it.
        if message.computation in self._unloading:
            self._again[message.computation] = message  # When the former is gone; see `unloaded`.
            return []
        known = self._computations.get(message.computation)
        if known is None:
            self._computations[message.computation] = Computation(message, session)
            return [Load(message)]
        if known.session is not session:
            return [Send(_peer(session), Prepared(message.computation, "it belongs to another client"))]
        return [Send(_peer(session), Prepared(known.id, known.error))] if known.ready or known.error else []

    def _on_run(self, session: Session, message: Run, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session or not computation.ready:
            # First why, or they would be sent here again at once.
            why = computation.error if computation is not None and computation.error else "it is still being loaded"
            return [
                Send(_peer(session), Prepared(message.computation, why)),
                Send(_peer(session), Returned(message.computation, message.jobs, message.attempts)),
            ]
        jobs, queue = computation.jobs, computation.queue
        for number, attempt, arguments in zip(message.jobs, message.attempts, message.arguments, strict=True):
            if number in jobs or number in computation.ended:
                continue  # Said twice; the first still holds.
            job = jobs[number] = Job(number, attempt, arguments)
            if computation.early and (number, attempt) in computation.early:
                computation.early.discard((number, attempt))
                self._end(computation, job, CANCELLED, "", now)
            else:
                queue.append(job)
        self._wait(computation)
        return []

    def _on_cancel(self, session: Session, message: Cancel, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session:
            return []
        effects: Effects = []
        for number, attempt in zip(message.jobs, message.attempts, strict=True):
            job = computation.jobs.get(number)
            if job is None or job.attempt != attempt:
                if number not in computation.ended:
                    computation.early.add((number, attempt))
                continue
            job.cancelled = True
            holder = self._holder(computation, job)
            if holder is not None:
                effects.append(TakeBack(holder.number))
            else:
                computation.queue.remove(job)
                self._end(computation, job, CANCELLED, "", now)
        return effects

    def _on_recall(self, session: Session, message: Recall, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is None or computation.session is not session:
            return []
        given: list[Job] = []
        while computation.queue and len(given) < message.count:
            given.append(computation.queue.pop())
        for job in given:
            del computation.jobs[job.number]
            release(job.arguments)
        numbers, attempts = [job.number for job in given], [job.attempt for job in given]
        return [Send(_peer(session), Returned(computation.id, numbers, attempts))]

    def _on_collected(self, session: Session, message: Collected, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            ended = computation.ended
            for number, attempt in zip(message.jobs, message.attempts, strict=True):
                row = ended.get(number)
                if row is not None and row[1] == attempt:
                    del ended[number]
                    for value in row[3:6]:
                        release(value)
                if computation.early:
                    computation.early.discard((number, attempt))
        return []

    def _on_seen(self, session: Session, message: Seen, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            for number, attempt, amount in zip(message.jobs, message.attempts, message.counts, strict=True):
                _forget_shown(computation, number, attempt, amount)
        return []

    def _on_release(self, session: Session, message: Release, now: float) -> Effects:
        computation = self._computations.get(message.computation)
        if computation is not None and computation.session is session:
            return self._forget(computation)
        if self._again.pop(message.computation, None) is None:
            self._withdrawn[message.computation] = True
            if len(self._withdrawn) > WITHDRAWN_LIMIT:
                del self._withdrawn[next(iter(self._withdrawn))]
        if message.computation in self._unloading:
            return []
        return [Send(_peer(session), Released(message.computation))]

    _HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Prepare: _on_prepare,
        Run: _on_run,
        Cancel: _on_cancel,
        Recall: _on_recall,
        Collected: _on_collected,
        Seen: _on_seen,
        Release: _on_release,
    }

    # What the processes do

    def loaded(self, computation_id: ComputationId, error: str, now: float) -> Effects:
        """The template has loaded the computation, or could not."""
        computation = self._computations.get(computation_id)
        if computation is None:
            return []
        computation.ready, computation.error = not error, error
        effects: Effects = []
        if computation.session.peer is not None:
            effects.append(Send(computation.session.peer, Prepared(computation.id, error)))
        if error:
            for job in computation.queue:
                self._end(computation, job, TERMINATED, error, now)
            computation.queue.clear()
        self._wait(computation)
        return effects + self._turn_end(now)

    def unloaded(self, computation_id: ComputationId, now: float) -> Effects:
        """Nothing is left of a computation that was released."""
        owner = self._unloading.pop(computation_id, None)
        again = self._again.pop(computation_id, None)
        if owner is None or owner.peer is None:
            return []
        if again is not None:
            return self._on_prepare(owner, again, now)
        return [Send(owner.peer, Released(computation_id))]

    def answered(self, worker_id: WorkerId, rows: list[Row], now: float) -> Effects:
        """A worker has finished its first jobs in hand; rows as in `Ended`."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        computation, hand = worker.computation, worker.hand
        was_busy = bool(hand)
        effects: Effects = []
        for row in rows:
            if not hand or hand[0].number != row[0] or hand[0].attempt != row[1]:
                worker.ending = True
                effects.append(End(worker_id))
                break
            job = hand.popleft()
            self._take_outcome(computation, job, row)
        computation.stillborn = 0
        worker.since, worker.interrupted, worker.told, worker.slow = now, None, False, False
        took = sum(row[8] - row[7] for row in rows) / len(rows)
        computation.pace = took if computation.pace is None else 0.7 * computation.pace + 0.3 * took
        if was_busy and not hand:
            self._busy -= 1
        if not hand and computation.prepare.isolation == "job" and not worker.ending:
            worker.ending = True
            effects.append(End(worker_id))
        if hand and hand[0].cancelled:  # It was not taken back when it was cancelled, so it has begun.
            worker.interrupted = now
            effects.append(Interrupt(worker_id, hand[0].number, hand[0].attempt))
        return effects + self._turn_end(now)

    def progressed(self, worker_id: WorkerId, job: JobId, attempt: int, index: int, value: Bulk) -> Effects:
        """A job has sent a provisional result."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        computation = worker.computation
        computation.shown.setdefault(job, deque()).append((attempt, index, value))
        if computation.session.peer is None:
            return []
        return [Send(computation.session.peer, Progress(computation.id, job, attempt, index, value, ""))]

    def took_back(self, worker_id: WorkerId, taken: list[tuple[JobId, int]], now: float) -> Effects:
        """These were in the worker's socket: they had not begun. What else is in hand had."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        effects: Effects = []
        self._put_back(worker, taken, now)
        if not worker.hand or not worker.hand[0].cancelled:
            worker.interrupted = None
        elif worker.interrupted is None:
            worker.interrupted = now
            job = worker.hand[0]
            effects.append(Interrupt(worker_id, job.number, job.attempt))
        return effects + self._turn_end(now)

    def exited(self, worker_id: WorkerId, taken: list[tuple[JobId, int]], cause: str, now: float) -> Effects:
        """A worker is gone, and all that it started; `taken` were still in its socket."""
        worker = self._workers.pop(worker_id, None)
        if worker is None:
            return []
        computation = worker.computation
        del computation.workers[worker_id]
        begun = len(worker.hand) - len(taken)
        self._put_back(worker, taken, now)
        if worker.hand:
            self._busy -= 1
        for job in worker.hand:
            text = f"{cause}\n"
            if job.cancelled:
                text = f"The job was cancelled, and did not end by itself: {text}"
            self._end(computation, job, TERMINATED, text, now, worker.since)
        if not begun and taken:
            self._count_stillborn(computation, cause, now)
        return self._turn_end(now)

    def template_ended(self, computation_id: ComputationId, now: float) -> Effects:
        """The template of a computation is gone; its workers' ends, then `template_lost`, follow."""
        computation = self._computations.get(computation_id)
        if computation is not None:
            computation.ready = False
        return []

    def template_lost(self, computation_id: ComputationId, cause: str, now: float) -> Effects:
        """The template of a computation has ended by itself. Its workers' ends were told before."""
        computation = self._computations.get(computation_id)
        if computation is None:
            return []
        computation.ready = False
        computation.lost_templates += 1
        if computation.lost_templates >= TEMPLATE_LIMIT:
            return self.loaded(computation_id, f"its process on the node keeps ending: {cause}", now)
        return [Load(computation.prepare), *self._turn_end(now)]

    # Time

    def due(self) -> float | None:
        """When `tick` is to be called next, if at all."""
        times = [session.expires for session in self._sessions.values() if session.expires is not None]
        for worker in self._workers.values():
            if not worker.hand or worker.ending:
                continue
            if worker.interrupted is not None:
                times.append(worker.interrupted + (KILL_AFTER if worker.told else TERMINATE_AFTER))
            elif not worker.hand[0].reported or len(worker.hand) > 1:
                times.append(worker.since + REPORT_AFTER)
        return min(times, default=None)

    def tick(self, now: float) -> Effects:
        effects: Effects = []
        for worker in list(self._workers.values()):
            if worker.hand and not worker.ending:
                effects += self._watch(worker, now)
        for session in list(self._sessions.values()):
            if session.expires is not None and session.expires <= now:
                del self._sessions[session.instance]
                for computation in [each for each in self._computations.values() if each.session is session]:
                    effects += self._forget(computation)
        return effects + self._turn_end(now)

    def _watch(self, worker: Worker, now: float) -> Effects:
        if worker.interrupted is not None:
            if worker.told and now >= worker.interrupted + KILL_AFTER:
                worker.ending = True
                return [End(worker.number)]
            if not worker.told and now >= worker.interrupted + TERMINATE_AFTER:
                worker.told = True
                return [Terminate(worker.number)]
            return []
        if now < worker.since + REPORT_AFTER:
            return []
        effects: Effects = []
        job, computation = worker.hand[0], worker.computation
        if not job.reported:
            job.reported = True
            if computation.session.peer is not None:
                began = [worker.since + self._epoch]
                started = Started(computation.id, [job.number], [job.attempt], began, "")
                effects.append(Send(computation.session.peer, started))
        if len(worker.hand) > 1:  # Taken for short, and is not: others must not wait behind it.
            worker.since, worker.slow = now, True
            effects.append(TakeBack(worker.number))
        return effects

    # Inner workings

    def _wait(self, computation: Computation) -> None:
        if computation.queue and computation.ready and computation not in self._waiting:
            self._waiting.append(computation)

    def _holder(self, computation: Computation, job: Job) -> Worker | None:
        for worker in computation.workers.values():
            if job in worker.hand:
                return worker
        return None

    def _take_outcome(self, computation: Computation, job: Job, row: Row) -> None:
        del computation.jobs[job.number]
        if type(job.arguments) is not bytes:
            release(job.arguments)
        computation.ended[job.number] = row
        computation.fresh.append(row)
        self._dirty[computation.id] = computation

    def _end(
        self, computation: Computation, job: Job, status: int, text: str, now: float, since: float | None = None
    ) -> None:
        """End a job that no worker will answer for."""
        began, ended = (now if since is None else since) + self._epoch, now + self._epoch
        row = (job.number, job.attempt, status, b"", b"", b"", text, began, ended, 0, False)
        self._take_outcome(computation, job, row)

    def _put_back(self, worker: Worker, taken: list[tuple[JobId, int]], now: float) -> None:
        computation = worker.computation
        numbers = {number for number, _ in taken}
        back = [job for job in worker.hand if job.number in numbers]
        was_busy = bool(worker.hand)
        worker.hand = deque(job for job in worker.hand if job.number not in numbers)
        if was_busy and not worker.hand:
            self._busy -= 1
        for job in reversed(back):
            if job.cancelled:
                self._end(computation, job, CANCELLED, "", now)
            else:
                computation.queue.appendleft(job)
        self._wait(computation)

    def _count_stillborn(self, computation: Computation, cause: str, now: float) -> None:
        computation.stillborn += 1
        if computation.stillborn >= STILLBORN_LIMIT and computation.queue:
            computation.stillborn = 0
            text = f"Its worker process ended before the job could begin: {cause}\n"
            self._end(computation, computation.queue.popleft(), TERMINATED, text, now)

    def _forget(self, computation: Computation) -> Effects:
        del self._computations[computation.id]
        self._dirty.pop(computation.id, None)
        if computation in self._waiting:
            self._waiting.remove(computation)
        for number, worker in computation.workers.items():
            del self._workers[number]
            self._busy -= bool(worker.hand)
        for job in computation.jobs.values():
            release(job.arguments)
        for row in computation.ended.values():
            for value in row[3:6]:
                release(value)
        for values in computation.shown.values():
            for _, _, value in values:
                release(value)
        self._unloading[computation.id] = computation.session
        return [Unload(computation.id)]

    def _turn_end(self, now: float) -> Effects:
        effects = self._assign(now)
        for computation in self._dirty.values():
            peer = computation.session.peer
            if peer is not None:
                for rows in portions(computation.fresh):
                    columns: dict[str, Any] = {
                        name: list(column) for name, column in zip(Ended.columns, zip(*rows, strict=True), strict=True)
                    }
                    effects.append(Send(peer, Ended(computation=computation.id, **columns, address="")))
            computation.fresh = []
        self._dirty.clear()
        return effects

    def _assign(self, now: float) -> Effects:
        """Give waiting jobs to workers: first to free ones, in turn between computations."""
        effects: Effects = []
        waiting = self._waiting
        for _ in range(len(waiting)):
            computation = waiting.popleft()
            if not computation.ready:
                continue  # `loaded` puts it back.
            idle = [worker for worker in computation.workers.values() if not worker.hand and not worker.ending]
            share = -(-(self.cpus - self._busy) // (len(waiting) + 1))
            while computation.queue and share > 0 and self._busy < self.cpus:
                worker = idle.pop() if idle else self._new_worker(computation, effects)
                effects += self._hand(worker, 1, now)
                share -= 1
            if computation.queue:
                effects += self._top_up(computation, now)
            if computation.queue:
                waiting.append(computation)
        return effects

    def _top_up(self, computation: Computation, now: float) -> Effects:
        depth = computation.depth()
        if depth == 1:
            return []
        effects: Effects = []
        busy = [worker for worker in computation.workers.values() if worker.hand and not worker.ending]
        for place, worker in enumerate(busy):
            # In portions: handing over each job as its place becomes free costs a wake-up for each.
            if worker.interrupted is None and not worker.slow and 2 * len(worker.hand) <= depth:
                fair = -(-len(computation.queue) // (len(busy) - place))
                effects += self._hand(worker, min(depth - len(worker.hand), fair), now)
        return effects

    def _new_worker(self, computation: Computation, effects: Effects) -> Worker:
        number = WorkerId(next(self._numbers))
        worker = self._workers[number] = computation.workers[number] = Worker(number, computation)
        effects.append(NewWorker(number, computation.id))
        return worker

    def _hand(self, worker: Worker, amount: int, now: float) -> Effects:
        queue = worker.computation.queue
        jobs = [queue.popleft() for _ in range(min(amount, len(queue)))]
        if not jobs:
            return []
        if not worker.hand:
            self._busy += 1
            worker.since = now
        worker.hand.extend(jobs)
        return [Hand(worker.number, jobs)]

    def check(self) -> None:
        """Raise InternalError where an invariant does not hold; for tests."""
        busy = sum(1 for worker in self._workers.values() if worker.hand)
        if busy != self._busy or busy > self.cpus:
            raise InternalError(f"{busy} workers are busy, {self._busy} counted, of {self.cpus}")
        for computation in self._computations.values():
            held = [job.number for worker in computation.workers.values() for job in worker.hand]
            places = sorted([*held, *(job.number for job in computation.queue)])
            if places != sorted(computation.jobs):
                raise InternalError("a job is in no place, or in two")
            if computation.jobs.keys() & computation.ended.keys():
                raise InternalError("a job has ended and has not")
            if computation.queue and computation.ready and computation not in self._waiting:
                raise InternalError("jobs wait where nobody looks")


def _peer(session: Session) -> Peer:
    if session.peer is None:
        raise InternalError("a message came from a scheduler that is away")
    return session.peer


def _forget_shown(computation: Computation, number: JobId, attempt: int, amount: int) -> None:
    """Drop the first `amount` provisional results of a job, which have arrived."""
    values = computation.shown.get(number)
    while values and (values[0][0] < attempt or values[0][1] < amount):
        release(values.popleft()[2])
    if not values:
        computation.shown.pop(number, None)


def _holding(computations: list[Computation]) -> Holding:
    jobs: list[list[JobId]] = []
    attempts: list[list[int]] = []
    for computation in computations:
        held = {number: job.attempt for number, job in computation.jobs.items()}
        held |= {number: row[1] for number, row in computation.ended.items()}
        jobs.append(list(held))
        attempts.append(list(held.values()))
    return Holding([computation.id for computation in computations], jobs, attempts)
