"""What a node holds, and who works on it: jobs that wait, workers and what is in their hands, outcomes.

Pure. The lowest part of the node's rules; `requests.py` adds what schedulers say, `node_rules.py` what
processes do, and time.

Invariants:
1. A job that was accepted is in exactly one place: waiting, in the hand of one worker, or ended.
2. At most `cpus` workers have a job in hand, and of a computation at most as many as its scheduler allows; where that
   number was lowered, those that have go on, and no other begins before they are few enough.
3. Of a job there is one attempt, the latest: what comes of a former one is dropped, and the later one waits for that.
4. While `cpus` is 0, jobs that wait are given back to their scheduler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Any

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer, WorkerId
from gdispy.protocol.job_status import CANCELLED
from gdispy.protocol.messages import NO_LIMIT, Cpus, Ended, Returned
from gdispy.rules.effects import Effects, Send
from gdispy.rules.faults import OnFault, raise_fault
from gdispy.rules.node.effects import AssignJobs, NewWorker, RecallJobs, Unload
from gdispy.rules.node.records import Computation, Job, Row, SchedulerSession, Worker, portions, release

#: Seconds that outcomes of jobs of such a length (seconds) wait for others, at most: until each worker has answered.
TELL_AFTER = 0.02
TOGETHER_FROM, TOGETHER_TO = 0.0005, 0.05


class Custody:
    """Computations, their jobs, and workers."""

    def __init__(self, cpus: int, epoch: float = 0.0) -> None:
        #: CPUs that are used now: of what is offered, as many as the scheduler wants that is served. Offered is what
        #: the node's owner wants, or nothing as long as there is a reason to take no jobs.
        self.cpus = self.offered = self.wanted = cpus
        self._allowed = NO_LIMIT
        self._shut: dict[str, bool] = {}
        #: As many workers may be busy where the number was lowered; it goes down with those that end.
        self._ceiling = cpus
        #: Whether the number was ever another one than schedulers hear when they connect.
        self._varies = False
        #: What to add to a time here to have seconds since the epoch, as users are shown them.
        self._epoch = epoch
        self._sessions: dict[Instance, SchedulerSession] = {}
        self._by_peer: dict[Peer, SchedulerSession] = {}
        self._computations: dict[ComputationId, Computation] = {}
        #: Released, and not yet gone.
        self._unloading: dict[ComputationId, SchedulerSession] = {}
        self._workers: dict[WorkerId, Worker] = {}
        self._numbers = count(1)
        #: Computations with outcomes to send at the end of this turn.
        self._dirty: dict[ComputationId, Computation] = {}
        #: Computations with jobs that wait, in the order in which they get the next free worker.
        self._waiting: deque[Computation] = deque()
        self._busy = 0
        #: What is done about a message that could not be handled.
        self.on_fault: OnFault = raise_fault

    # How many run

    def set_cpus(self, cpus: int, now: float) -> Effects:
        """Offer so many from now on; what runs goes on."""
        self.wanted = cpus
        return self._offer(now)

    def shut(self, why: str, now: float) -> Effects:
        """UseNode no jobs for this reason, until `reopen` takes it back."""
        self._shut[why] = True
        return self._offer(now)

    def reopen(self, why: str, now: float) -> Effects:
        self._shut.pop(why, None)
        return self._offer(now)

    def _offer(self, now: float) -> Effects:
        offered, self.offered = self.offered, 0 if self._shut else self.wanted
        effects: Effects = []
        if self.offered != offered:
            self._varies = True
            # First how many, or jobs that go back would come again at once.
            effects += [Send(peer, self._offered()) for peer in self._by_peer]
        return effects + self._use(self._allowed, now)

    def _use(self, allowed: int, now: float) -> Effects:
        """Use as many CPUs from now on as are offered and a scheduler allows; what runs goes on."""
        self._allowed = allowed
        before, self.cpus = self.cpus, min(self.offered, allowed)
        if self.cpus == before:
            return []
        self._ceiling = max(self.cpus, self._busy)
        effects: Effects = []
        if self.cpus < before:
            least = 1 if self.cpus else 0
            workers = [each for each in self._workers.values() if len(each.hand) > least and not each.ending]
            effects += [RecallJobs(worker.number) for worker in workers]
        return effects + self._turn_end(now)

    def _offered(self) -> Cpus:
        return Cpus(self.offered, ", ".join(self._shut))

    def _give_back(self) -> Effects:
        """Return what waits here, to where it can run; a scheduler that is away hears of it when it is back."""
        effects: Effects = []
        for computation in self._computations.values():
            if computation.queue and computation.session.peer is not None:
                effects.append(self._return(computation, list(computation.queue)))
                computation.queue.clear()
        return effects

    def _return(self, computation: Computation, given: list[Job]) -> Send:
        """Jobs that are in no queue any more go back to their scheduler."""
        for job in given:
            del computation.jobs[job.number]
            job.release()
        numbers, attempts = [job.number for job in given], [job.attempt for job in given]
        return Send(peer_of(computation.session), Returned(computation.id, numbers, attempts))

    # Where jobs are

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
        if type(job.arguments) is not bytes or job.options is not None:
            job.release()
        if computation.uploads:
            self._drop_uploads(computation, job)
        if job.number in computation.succeeding:
            for value in row[3:6]:
                release(value)
            self._accept(computation, computation.succeeding.pop(job.number), row[8] - self._epoch)
            self._wait(computation)
            return
        computation.ended[job.number] = row
        computation.done += 1
        computation.fresh.append(row)
        self._dirty[computation.id] = computation

    def _accept(self, computation: Computation, job: Job, now: float) -> None:
        """Queue a job, or end it where its cancel has overtaken it; then comes `_wait`."""
        computation.jobs[job.number] = job
        if computation.early and (job.number, job.attempt) in computation.early:
            computation.early.discard((job.number, job.attempt))
            self._end(computation, job, CANCELLED, "", now)
        else:
            computation.queue.append(job)

    def _drop_uploads(self, computation: Computation, job: Job) -> None:
        for key in [key for key in computation.uploads if key[0] == job.number]:
            release(computation.uploads.pop(key)[1])

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
            self._busy -= worker.cpus
        for job in reversed(back):
            if job.cancelled:
                self._end(computation, job, CANCELLED, "", now)
            else:
                computation.queue.appendleft(job)
        self._wait(computation)

    def _forget(self, computation: Computation) -> Effects:
        del self._computations[computation.id]
        self._dirty.pop(computation.id, None)
        if computation in self._waiting:
            self._waiting.remove(computation)
        for number, worker in computation.workers.items():
            del self._workers[number]
            self._busy -= worker.cpus if worker.hand else 0
        for job in (*computation.jobs.values(), *computation.succeeding.values()):
            job.release()
        for _, content, _ in computation.uploads.values():
            release(content)
        computation.drop_contents()
        for row in computation.ended.values():
            for value in row[3:6]:
                release(value)
        for values in computation.shown.values():
            for _, _, value in values:
                release(value)
        self._unloading[computation.id] = computation.session
        return [Unload(computation.id)]

    def _turn_end(self, now: float) -> Effects:
        effects = self._assign(now) if self.cpus else self._give_back()
        self._ceiling = max(self.cpus, min(self._ceiling, self._busy))
        for computation in list(self._dirty.values()):
            if self._may_wait(computation, now):
                continue
            del self._dirty[computation.id]
            computation.tell_at, computation.answers = None, 0
            peer = computation.session.peer
            if peer is not None:
                effects += [Send(peer, ended_message(computation.id, rows)) for rows in portions(computation.fresh)]
            elif computation.prepare.token:
                effects += self._spool(computation, computation.fresh)
            computation.fresh = []
        return effects

    def _spool(self, computation: Computation, rows: list[Row]) -> Effects:
        raise NotImplementedError

    def _may_wait(self, computation: Computation, now: float) -> bool:
        """Whether outcomes may wait for others, to be told together: until then, and until an answer could be here,
        the workers have enough to do; and each message costs both sides a wake-up, which short jobs notice. The
        shortest come together by themselves."""
        pace, workers = computation.pace, len(computation.workers)
        if pace is None or not TOGETHER_FROM < pace < TOGETHER_TO:
            return False
        if (len(computation.jobs) - workers) * pace < 2 * TELL_AFTER * workers:
            return False
        if computation.tell_at is None:
            computation.tell_at = now + TELL_AFTER
        return now < computation.tell_at and computation.answers < workers

    def _assign(self, now: float) -> Effects:
        """Give waiting jobs to workers: first to free ones, and first those of the computation with the fewest."""
        effects: Effects = []
        part = 0  # Of the CPUs, for each computation that has jobs here; 0 where at most one waits.
        if len(self._waiting) > 1:
            self._waiting = deque(sorted(self._waiting, key=Computation.load))
            sharers = sum(bool(each.jobs) for each in self._computations.values())
            part = max(1, self.cpus // max(1, sharers))  # Those that wait may have had their jobs cancelled.
        waiting = self._waiting
        served: list[Computation] = []
        has_nothing = has_little = False
        for _ in range(len(waiting)):
            computation = waiting.popleft()
            if not computation.ready:
                continue  # `loaded` puts it back.
            fresh = self._hand_to_free(computation, -(-(self.cpus - self._busy) // (len(waiting) + 1)), effects, now)
            if not computation.queue:
                continue
            workers: Iterable[Worker] = computation.workers.values()
            if part:
                load = computation.load()
                if has_nothing or (has_little and load > part):
                    workers = fresh  # Others wait for its CPUs: what has work in hand gets no more.
                has_nothing, has_little = has_nothing or load == 0, has_little or load < min(part, computation.cpus)
            effects += self._top_up(computation, workers, now)
            if computation.queue:
                (served if fresh else waiting).append(computation)
        for computation in served if self._busy < self.cpus else ():  # What others may not use.
            self._hand_to_free(computation, self.cpus - self._busy, effects, now)
        waiting += [computation for computation in served if computation.queue]
        return effects

    def _hand_to_free(self, computation: Computation, share: int, effects: Effects, now: float) -> list[Worker]:
        """Give jobs to free workers, on so many CPUs at most; which these are."""
        idle = [worker for worker in computation.workers.values() if not worker.hand and not worker.ending]
        fresh: list[Worker] = []
        free = min(self.cpus - self._busy, computation.room())
        while computation.queue and share > 0 and free > 0:
            cpus = min(computation.queue[0].cpus, self.cpus, computation.cpus)
            if cpus > free:
                break
            worker = idle.pop() if idle else self._new_worker(computation, effects)
            worker.cpus = cpus
            effects += self._hand(worker, 1, now)
            fresh.append(worker)
            share -= cpus
            free -= cpus
        return fresh

    def _top_up(self, computation: Computation, workers: Iterable[Worker], now: float) -> Effects:
        """Put more short jobs behind those that workers have in hand."""
        if not computation.has_short_jobs or self._busy > self.cpus or computation.room() < 0:
            return []
        busy = [worker for worker in workers if worker.hand and not worker.ending]
        portion = computation.portion(max(1, len(busy)))
        effects: Effects = []
        for place, worker in enumerate(busy):
            # A job with options for its worker is alone in its worker's hand.
            alone = worker.hand[0].options is not None
            if worker.interrupted is None and not worker.slow and not alone and len(worker.hand) <= worker.latest:
                part = -(-len(computation.queue) // (len(busy) - place))
                effects += self._hand(worker, min(portion, part), now)
        return effects

    def _new_worker(self, computation: Computation, effects: Effects) -> Worker:
        number = WorkerId(next(self._numbers))
        worker = self._workers[number] = computation.workers[number] = Worker(number, computation)
        effects.append(NewWorker(number, computation.id))
        return worker

    def _hand(self, worker: Worker, amount: int, now: float) -> Effects:
        queue = worker.computation.queue
        jobs: list[Job] = []
        while queue and len(jobs) < amount and (not worker.hand or queue[0].options is None):
            jobs.append(queue.popleft())
        if not jobs:
            return []
        if not worker.hand:
            self._busy += worker.cpus
            worker.since = now
        worker.hand.extend(jobs)
        worker.latest = len(jobs)
        return [AssignJobs(worker.number, jobs)]

    def check(self) -> None:
        """Raise InternalError where an invariant does not hold; for tests."""
        busy = sum(worker.cpus for worker in self._workers.values() if worker.hand)
        if busy != self._busy or busy > self._ceiling:
            raise InternalError(f"{busy} workers are busy, {self._busy} counted, of {self._ceiling}")
        for computation in self._computations.values():
            held = [job.number for worker in computation.workers.values() for job in worker.hand]
            places = sorted([*held, *(job.number for job in computation.queue)])
            if places != sorted(computation.jobs):
                raise InternalError("a job is in no place, or in two")
            if computation.jobs.keys() & computation.ended.keys():
                raise InternalError("a job has ended and has not")
            if computation.succeeding.keys() - computation.jobs.keys():
                raise InternalError("an attempt waits for one that is not here")
            if computation.queue and computation.ready and computation not in self._waiting:
                raise InternalError("jobs wait where nobody looks")


def ended_message(computation: ComputationId, rows: list[Row]) -> Ended:
    """The message about these outcomes."""
    # The columns are the fields in their order, and rows have them in the same.
    values: list[Any] = [computation, *map(list, zip(*rows, strict=True)), ""]
    return Ended(*values)


def peer_of(session: SchedulerSession) -> Peer:
    if session.peer is None:
        raise InternalError("a message came from a scheduler that is away")
    return session.peer
