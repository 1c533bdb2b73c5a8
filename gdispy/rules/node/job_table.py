"""The positions of the jobs on a node. Every move of a job is made here.

    accept -> waiting -> in the hand of a worker -> ended
                 ^---- put back ----'
       waiting -> returned to the scheduler

Invariants:
1. An accepted job is in exactly one position: waiting, in the hand of one worker, or ended.
2. A job has one attempt, the latest: reports of a previous one are dropped, and the later one waits for its end.
3. A job is begun at most once for each attempt: jobs that are taken out of a worker's socket had not begun; those that
   remain with the worker had, and are never handed out again.
4. The CPUs of a worker are busy exactly as long as it has a job in hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gdispy.errors import InternalError, ProtocolError
from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import CANCELLED, TERMINATED
from gdispy.protocol.limits import STREAM_LIMIT
from gdispy.protocol.messages import Returned
from gdispy.rules.effects import Effects, Send
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import AssignJobs, RecallJobs, Unload
from gdispy.rules.node.job import Job
from gdispy.rules.node.outcome import NOTHING_PRINTED, Outcome, Printout
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.worker import Worker

#: Limit of cancels of one computation that arrive before their jobs: no more are ever in transit at the same time.
EARLY_LIMIT = STREAM_LIMIT


class JobTable:
    """The jobs of all computations, and the order in which computations get the next free worker."""

    def __init__(self, state: NodeState, capacity: Capacity, outcomes: Outcomes) -> None:
        self._state = state
        self._capacity = capacity
        self._outcomes = outcomes
        #: Computations with waiting jobs, in the order in which they get the next free worker.
        self._waiting: deque[Computation] = deque()

    # Waiting

    def take_waiting(self) -> deque[Computation]:
        """Take the computations with waiting jobs, to be served; `wait_in_order` puts back those that still wait."""
        waiting, self._waiting = self._waiting, deque()
        return waiting

    def wait_in_order(self, computations: Iterable[Computation]) -> None:
        self._waiting.extend(computations)

    def wait(self, computation: Computation) -> None:
        """Queue a computation for workers, if some of its jobs wait and its processes are ready."""
        if computation.queue and computation.processes.ready and computation not in self._waiting:
            self._waiting.append(computation)

    # Accepting

    def accept(self, computation: Computation, job: Job, now: float) -> None:
        """Queue a job, or end it if its cancel has overtaken it; `wait` must follow."""
        computation.jobs[job.number] = job
        is_early = bool(computation.early) and (job.number, job.attempt) in computation.early
        if is_early or job.withdrawn:
            computation.early.discard((job.number, job.attempt))
            self.end(computation, job, CANCELLED, "", now)
        else:
            computation.queue.append(job)

    def replace(self, computation: Computation, known: Job, job: Job, now: float) -> Effects:
        """Accept a later attempt of a job that is here. A previous attempt that may have begun has to end first."""
        holder = computation.holder(known)
        if holder is not None:
            computation.succeeding[job.number] = job
            known.cancelled = True
            return [RecallJobs(holder.number)]
        if known.number in computation.succeeding:
            computation.succeeding[job.number] = job
        else:
            computation.queue.remove(known)
            self.accept(computation, job, now)
        known.release()
        return []

    # To workers, and back

    def hand_first(self, worker: Worker, cpus: int, now: float) -> Effects:
        """Hand the next waiting job to a free worker, on `cpus` CPUs."""
        job = worker.computation.queue.popleft()
        self._capacity.take(cpus)
        worker.cpus, worker.since = cpus, now
        worker.hand.append(job)
        worker.latest = 1
        return [AssignJobs(worker.number, [job])]

    def hand_more(self, worker: Worker, amount: int) -> Effects:
        """Queue the next waiting jobs behind those in a worker's hand, up to the first with options for its worker."""
        queue = worker.computation.queue
        jobs: list[Job] = []
        while queue and len(jobs) < amount and queue[0].options is None:
            jobs.append(queue.popleft())
        if not jobs:
            return []
        worker.hand.extend(jobs)
        worker.latest = len(jobs)
        return [AssignJobs(worker.number, jobs)]

    def put_back(self, worker: Worker, taken: list[tuple[JobId, int]], now: float) -> None:
        """These had not begun: they wait again, before all others, or end if they were cancelled."""
        computation = worker.computation
        was_busy = bool(worker.hand)
        back = worker.take_out({number for number, _ in taken})
        if was_busy and not worker.hand:
            self._capacity.give(worker.cpus)
        for job in reversed(back):
            if job.cancelled or job.withdrawn:
                self.end(computation, job, CANCELLED, "", now)
            else:
                computation.queue.appendleft(job)
        self.wait(computation)

    def remove_worker(self, worker: Worker) -> None:
        """A worker has exited. The jobs in its hand get no answer."""
        self._state.remove_worker(worker)
        if worker.hand:
            self._capacity.give(worker.cpus)

    # Ending

    def take_answers(self, worker: Worker, outcomes: list[Outcome]) -> bool:
        """Take the outcomes of a worker's first jobs in hand; returns whether all of them match these jobs."""
        computation, hand = worker.computation, worker.hand
        was_busy, is_sound = bool(hand), True
        ended: list[Outcome] = []
        for outcome in outcomes:
            if not hand or hand[0].number != outcome.job or hand[0].attempt != outcome.attempt:
                is_sound = False
                break
            job = hand.popleft()
            if job.expired and outcome.status == TERMINATED:
                outcome = outcome._replace(exception=job.took_too_long())
            if self._forget_ended(computation, job):
                ended.append(outcome)
            else:
                self._replace_ended(computation, outcome)
        if ended:
            self._outcomes.add(computation, ended)
        if len(hand) <= worker.latest:
            self._outcomes.note_answer(computation)
        if was_busy and not hand:
            self._capacity.give(worker.cpus)
        return is_sound

    @staticmethod
    def _forget_ended(computation: Computation, job: Job) -> bool:
        """A job has ended; returns whether its outcome counts, since no later attempt of it is here."""
        del computation.jobs[job.number]
        if type(job.arguments) is not bytes or job.options is not None:
            job.release()
        if computation.progress.files:
            computation.progress.drop_files(job.number)
        return job.number not in computation.succeeding

    def _replace_ended(self, computation: Computation, outcome: Outcome) -> None:
        """An attempt has ended for which a later one waits."""
        outcome.release()
        self.accept(computation, computation.succeeding.pop(outcome.job), outcome.end - self._state.clock_offset)
        self.wait(computation)

    def end(
        self,
        computation: Computation,
        job: Job,
        status: int,
        text: str,
        now: float,
        since: float | None = None,
        printed: Printout = NOTHING_PRINTED,
    ) -> None:
        """End a job that no worker will answer, and that has `printed` this."""
        offset = self._state.clock_offset
        began, ended = (now if since is None else since) + offset, now + offset
        outcome = Outcome(
            *(job.number, job.attempt, status, b"", printed.stdout, printed.stderr, text, began, ended, 0),
            printed.left_out or False,
        )
        if self._forget_ended(computation, job):
            self._outcomes.add(computation, [outcome])
        else:
            self._replace_ended(computation, outcome)

    def end_waiting(self, computation: Computation, text: str, now: float) -> None:
        """End all waiting jobs: the computation's processes cannot be started."""
        for job in computation.queue:
            self.end(computation, job, TERMINATED, text, now)
        computation.queue.clear()

    def end_next(self, computation: Computation, text: str, now: float) -> None:
        """End the first waiting job."""
        self.end(computation, computation.queue.popleft(), TERMINATED, text, now)

    def cancel(self, computation: Computation, number: JobId, attempt: int, now: float) -> Effects:
        """End a job, or recall it from its worker to learn whether it has begun. If it has not arrived yet, remember
        that it must not begin."""
        job = computation.jobs.get(number)
        if job is None or job.attempt != attempt:
            if number not in computation.outcomes.unacked:
                if len(computation.early) >= EARLY_LIMIT:
                    raise ProtocolError("too many jobs are cancelled that have not arrived")
                computation.early.add((number, attempt))
            return []
        job.cancelled = True
        holder = computation.holder(job)
        if holder is not None:
            return [RecallJobs(holder.number)]
        computation.queue.remove(job)
        self.end(computation, job, CANCELLED, "", now)
        return []

    def withdraw(self, computation: Computation, number: JobId, now: float) -> Effects:
        """End a job that has not begun; recall it from its worker to learn that."""
        job, later = computation.jobs.get(number), computation.succeeding.get(number)
        if job is None:
            return []
        if later is not None:
            later.withdrawn = True
        holder = computation.holder(job)
        if holder is not None:
            job.withdrawn = True
            return [RecallJobs(holder.number)]
        computation.queue.remove(job)
        self.end(computation, job, CANCELLED, "", now)
        return []

    def acked(self, computation: Computation, jobs: list[JobId], attempts: list[int]) -> Effects:
        """Their scheduler has these outcomes: forget them and their cancels."""
        if computation.early:
            computation.early.difference_update(zip(jobs, attempts, strict=True))
        return self._outcomes.acked(computation, jobs, attempts)

    # Returning and removing

    def recall(self, computation: Computation, count: int) -> Effects:
        """Return up to `count` jobs that have not begun, the last first."""
        given: list[Job] = []
        while computation.queue and len(given) < count:
            given.append(computation.queue.pop())
        return [self._return(computation, given)]

    def give_back(self) -> Effects:
        """Return all waiting jobs, to run elsewhere; a scheduler that is away is notified when it is back."""
        effects: Effects = []
        for computation in self._state.computations.values():
            if computation.queue and computation.session.peer is not None:
                effects.append(self._return(computation, list(computation.queue)))
                computation.queue.clear()
        return effects

    def _return(self, computation: Computation, given: list[Job]) -> Send:
        """Return jobs that are in no queue any more to their scheduler."""
        for job in given:
            del computation.jobs[job.number]
            job.release()
        numbers, attempts = [job.number for job in given], [job.attempt for job in given]
        return Send(computation.session.connected(), Returned(computation.id, numbers, attempts))

    def forget(self, computation: Computation) -> Effects:
        """The computation is released: end its running jobs, and keep nothing."""
        self._state.remove(computation)
        effects = self._outcomes.release(computation)
        self._remove_workers(computation)
        for job in (*computation.jobs.values(), *computation.succeeding.values()):
            job.release()
        return [*effects, *self._unload(computation)]

    def retire(self, computation: Computation, text: str, now: float) -> Effects:
        """End the running jobs of a computation, and keep their outcomes."""
        self._remove_workers(computation)
        computation.queue.clear()
        for job in computation.succeeding.values():
            job.release()
        computation.succeeding.clear()
        for job in list(computation.jobs.values()):
            self.end(computation, job, TERMINATED, text, now)
        computation.processes.retire()
        return self._unload(computation)

    def _remove_workers(self, computation: Computation) -> None:
        for worker in list(computation.workers.values()):
            self.remove_worker(worker)
        if computation in self._waiting:
            self._waiting.remove(computation)

    def _unload(self, computation: Computation) -> Effects:
        computation.progress.drop()
        computation.files.drop()
        self._state.unload(computation.id, computation.session)
        return [Unload(computation.id)]

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        self._capacity.check(sum(worker.cpus for worker in self._state.workers.values() if worker.hand))
        for computation in self._state.computations.values():
            held = [job.number for worker in computation.workers.values() for job in worker.hand]
            places = sorted([*held, *(job.number for job in computation.queue)])
            if places != sorted(computation.jobs):
                raise InternalError("a job is in no place, or in two")
            if computation.jobs.keys() & computation.outcomes.unacked.keys():
                raise InternalError("a job has ended and has not")
            if computation.succeeding.keys() - computation.jobs.keys():
                raise InternalError("an attempt waits for one that is not here")
            if computation.queue and computation.processes.ready and computation not in self._waiting:
                raise InternalError("jobs wait in a computation outside the queue")
