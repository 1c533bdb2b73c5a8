"""Supervision of workers: their reports, time limits, and the ways to end a job.

A job that is to end is interrupted; if it continues, its worker gets SIGTERM, and then SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter, sub

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Printed, Progress, Upload
from gdispy.protocol.texts import JOB_CANCELLED, KILLED_BY_NODE
from gdispy.rules.effects import Effects, Send
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import Interrupt, Kill, RecallJobs, Terminate
from gdispy.rules.node.job import Job, release
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.outcome import NOTHING_PRINTED, Outcome, Printout, Row
from gdispy.rules.node.progress import FileKey, ProvisionalResult, SentFile
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.worker import Worker, WorkerStage

#: Seconds after which a running job is reported as such; shorter jobs are reported by their end. Also the seconds
#: after which a worker returns the jobs in hand behind it: more than a portion of short jobs takes.
REPORT_AFTER = 0.1
#: Seconds from the interrupt of a cancelled job to SIGTERM, and to SIGKILL.
TERMINATE_AFTER = 3.0
KILL_AFTER = 5.0
#: A waiting job is given up after this number of its computation's workers ended before their first job.
STILLBORN_LIMIT = 3
#: Why a worker is killed that answers for jobs that it was not given.
INVALID_ANSWER = f"its process sent results of other jobs, so {KILLED_BY_NODE} it"

_START, _END = attrgetter("start"), attrgetter("end")
#: `Outcome._make` without the check of the length, since there is one for each job: rows have that of `Row`.
_OUTCOME: Callable[[Row], Outcome] = partial(tuple.__new__, Outcome)


class Supervision:
    """Watches the workers."""

    def __init__(self, state: NodeState, jobs: JobTable) -> None:
        self._state = state
        self._jobs = jobs

    # Reports of workers

    def answered(self, worker: Worker, rows: list[Row], now: float) -> Effects:
        """A worker has finished its first jobs in hand; rows as in `Ended`."""
        computation, hand = worker.computation, worker.hand
        outcomes = list(map(_OUTCOME, rows))
        effects = [] if self._jobs.take_answers(worker, outcomes) else self._kill(worker, INVALID_ANSWER)
        computation.processes.stillborn = 0
        worker.answered(now)
        seconds = sum(map(sub, map(_END, outcomes), map(_START, outcomes)))
        computation.note_pace(seconds / len(outcomes), len(outcomes))
        if not hand and computation.prepare.isolation == "job" and not worker.is_ending:
            effects += self._kill(worker)
        if hand and hand[0].cancelled:  # It was not taken back when it was cancelled, so it has begun.
            effects += self._interrupt(worker, now)
        return effects

    def progressed(self, worker: Worker, job: JobId, result: ProvisionalResult) -> Effects:
        """A job has sent a provisional result."""
        computation = worker.computation
        computation.progress.show(job, result)
        peer = computation.session.peer
        if peer is None:
            return []
        # The client shows a provisional result with the time at which its job began.
        is_first = worker.hand and worker.hand[0].number == job and not worker.hand[0].reported
        effects = self._report(worker) if is_first else []
        return [*effects, Send(peer, Progress(computation.id, job, *result, ""))]

    def printed(self, worker: Worker, job: JobId, attempt: int, stream: int, offset: int, content: bytes) -> Effects:
        """A followed job has printed something."""
        computation = worker.computation
        peer = computation.session.peer
        if peer is None or not worker.hand or (worker.hand[0].number, worker.hand[0].attempt) != (job, attempt):
            return []
        return [Send(peer, Printed(computation.id, job, attempt, stream, offset, content))]

    def sent_file(self, worker: Worker, key: FileKey, file: SentFile) -> Effects:
        """A job sends a file to its client, and waits for the answer."""
        if not worker.hand or worker.hand[0].number != key.job:
            release(file.content)
            return []
        computation = worker.computation
        computation.progress.add_file(key, file)
        peer = computation.session.peer
        return [Send(peer, Upload(computation.id, *key, [file.row], [file.content]))] if peer is not None else []

    def took_back(self, worker: Worker, taken: list[tuple[JobId, int]], now: float) -> Effects:
        """These were in the worker's socket and had not begun. The remaining jobs in hand had."""
        self._jobs.put_back(worker, taken, now)
        if not worker.hand or not worker.hand[0].cancelled:
            worker.spare()
        elif worker.interrupted_at is None:
            return self._interrupt(worker, now)
        return []

    def exited(
        self,
        worker: Worker,
        taken: list[tuple[JobId, int]],
        cause: str,
        now: float,
        printed: Printout = NOTHING_PRINTED,
    ) -> None:
        """A worker has exited, with all processes that it started; `taken` were still in its socket, and the first job
        in its hand has `printed` this."""
        computation = worker.computation
        has_begun = len(worker.hand) != len(taken)
        self._jobs.put_back(worker, taken, now)
        self._jobs.remove_worker(worker)
        if not worker.hand:
            printed.release()
        for job in worker.hand:
            text = _why_ended(worker, job, cause)
            self._jobs.end(computation, job, TERMINATED, text, now, worker.since, printed)
            printed = NOTHING_PRINTED
        if not has_begun and taken and not worker.why and not worker.proven:
            self._count_stillborn(computation, cause, now)

    def _count_stillborn(self, computation: Computation, cause: str, now: float) -> None:
        processes = computation.processes
        processes.stillborn += 1
        if processes.stillborn >= STILLBORN_LIMIT and computation.queue:
            processes.stillborn = 0
            text = f"The worker process ended before the job could start: {cause}\n"
            self._jobs.end_next(computation, text, now)

    # Actions on workers

    def kill_all(self, why: str) -> Effects:
        """End all running jobs, for this reason."""
        effects: Effects = []
        for worker in self._state.workers.values():
            if worker.hand and not worker.is_ending:
                effects += self._kill(worker, why)
        return effects

    def due(self) -> list[float]:
        """When `watch` has to act next."""
        times: list[float] = []
        for worker in self._state.workers.values():
            if not worker.hand or worker.is_ending:
                continue
            if worker.interrupted_at is not None:
                times.append(worker.interrupted_at + _PATIENCE[worker.stage])
                continue
            if not worker.hand[0].reported or len(worker.hand) > 1:
                times.append(worker.since + REPORT_AFTER)
            if worker.hand[0].limit:
                times.append(worker.since + worker.hand[0].limit)
        return times

    def watch(self, now: float) -> Effects:
        """Report long jobs, recall the jobs that wait behind them, and end jobs that exceed their limits."""
        effects: Effects = []
        for worker in self._watched():
            effects += self._watch(worker, now) if worker.interrupted_at is None else self._press(worker, now)
        return effects

    def _watched(self) -> list[Worker]:
        return [worker for worker in self._state.workers.values() if worker.hand and not worker.is_ending]

    def _press(self, worker: Worker, now: float) -> Effects:
        """Take the next step against an interrupted job that has not ended."""
        assert worker.interrupted_at is not None
        if now < worker.interrupted_at + _PATIENCE[worker.stage]:
            return []
        if worker.stage is WorkerStage.TERMINATED:
            return self._kill(worker)
        worker.terminate()
        return [Terminate(worker.number)]

    def _watch(self, worker: Worker, now: float) -> Effects:
        job = worker.hand[0]
        is_alone = len(worker.hand) == 1
        is_over = job.limit > 0 and now >= worker.since + job.limit
        if is_over and is_alone:
            job.expired = True
            return self._interrupt(worker, now)
        is_long = now >= worker.since + REPORT_AFTER
        effects: Effects = []
        if is_long and not job.reported:
            job.reported = True
            effects += self._report(worker)
        if (is_long or is_over) and not is_alone:
            # Taken for short, but is long: others must not wait behind it. Or it has ended, which is not reported yet.
            worker.since, worker.slow = now, True
            effects.append(RecallJobs(worker.number))
        return effects

    def _report(self, worker: Worker) -> Effects:
        """Report to its scheduler, if connected, that the first job in hand runs."""
        peer = worker.computation.session.peer
        return [Send(peer, worker.report(self._state.clock_offset))] if peer is not None else []

    def _interrupt(self, worker: Worker, now: float) -> Effects:
        worker.interrupt(now)
        job = worker.hand[0]
        return [Interrupt(worker.number, job.number, job.attempt)]

    def _kill(self, worker: Worker, why: str = "") -> Effects:
        worker.end(why)
        return [Kill(worker.number)]


#: Seconds from the interrupt of a job to the next step.
_PATIENCE = {WorkerStage.INTERRUPTED: TERMINATE_AFTER, WorkerStage.TERMINATED: KILL_AFTER}


def _why_ended(worker: Worker, job: Job, cause: str) -> str:
    """The text for the user of a job whose worker has exited."""
    if job.expired:
        return job.took_too_long()
    text = f"{worker.why or cause}\n"
    if not job.cancelled:
        return text
    if worker.stage not in (WorkerStage.TERMINATED, WorkerStage.ENDING):
        return f"{JOB_CANCELLED}; then {text}"
    # The signal that has ended it was the node's own, so the cause tells nothing.
    return f"{JOB_CANCELLED} and had to be killed" + (f": {text}" if worker.why else ".\n")
