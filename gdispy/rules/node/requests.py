"""Messages of schedulers about their computations.

Invariant: a message changes nothing of a computation that does not belong to its sender. Such a message is answered if
its sender waits for an answer, and dropped otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nsmallest
from typing import Any

from gdispy.protocol.ids import Peer
from gdispy.protocol.messages import (
    Cancel,
    Explain,
    Explained,
    FileContents,
    Follow,
    Limit,
    LogRequest,
    Message,
    OutcomesAcked,
    Prepare,
    Prepared,
    ProgressAcked,
    PutFile,
    Recall,
    Release,
    Returned,
    Run,
    RunningJobsRequest,
    Uploaded,
    Withdraw,
)
from gdispy.protocol.rows import RunningJobRow
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import OnFault, not_taken
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import AnswerFile, FollowJob, ListJobs, LookAt, ShowLog
from gdispy.rules.node.job import Job, release
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.job_watch import JobWatch
from gdispy.rules.node.loading import Loading
from gdispy.rules.node.progress import FileKey
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.sessions import Sessions
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.worker import Worker

#: Messages that a recoverer may send.
_OF_RECOVERERS = frozenset((Cancel, OutcomesAcked, ProgressAcked, Release))


class Requests:
    """Handles the messages of schedulers."""

    def __init__(self, state: NodeState, jobs: JobTable, sessions: Sessions, loading: Loading) -> None:
        self._state = state
        self._jobs = jobs
        self._sessions = sessions
        self._loading = loading
        #: Is told of the jobs that arrive; None while nothing counts them.
        self.watch: JobWatch | None = None

    def receive(
        self, session: SchedulerSession, peer: Peer, messages: list[Message], on_fault: OnFault, now: float
    ) -> Effects:
        """Handle messages in order, up to the first that this node does not accept or cannot handle."""
        effects: Effects = []
        for message in messages:
            kind = type(message)
            if kind not in self._ALL or (session.recovers and kind not in _OF_RECOVERERS):
                effects.append(Drop(peer, not_taken(message, "node", "scheduler")))
                break
            try:
                effects += self._handle(session, message, now)
            except Exception as error:
                effects += on_fault(peer, message, error)
                break
        return effects

    def _handle(self, session: SchedulerSession, message: Any, now: float) -> Effects:
        """Handle a message; the owner of its computation is determined here."""
        kind = type(message)
        if kind in self._ABOUT_ANY:
            return self._ABOUT_ANY[kind](self, session, message, now)
        computation = self._state.own(session, message.computation)
        if computation is not None:
            return self._ABOUT_OWN[kind](self, computation, message, now)
        return self._ABOUT_OTHERS[kind](self, session, message) if kind in self._ABOUT_OTHERS else []

    # About a computation of any owner, or a new one

    def _on_prepare(self, session: SchedulerSession, message: Prepare, now: float) -> Effects:
        return self._loading.prepare(session, message)

    def _on_limit(self, session: SchedulerSession, message: Limit, now: float) -> Effects:
        computation = self._state.own(session, message.computation)
        if computation is not None:
            computation.cpus = message.own
        session.cpus = message.total
        return self._sessions.use_cpus(message.total, now)

    def _on_running_jobs_request(self, session: SchedulerSession, message: RunningJobsRequest, now: float) -> Effects:
        """Only the first job in a worker's hand runs."""
        busy = [worker for each in self._state.of(session) for worker in each.workers.values() if worker.hand]
        rows = [
            (each.number, _running(each, now)) for each in nsmallest(message.limit, busy, key=lambda each: each.since)
        ]
        return [ListJobs(session.connected(), message.question, rows, len(busy) - len(rows))]

    def _on_log_request(self, session: SchedulerSession, message: LogRequest, now: float) -> Effects:
        return [ShowLog(session.connected(), message)]

    # About a computation that the scheduler owns

    def _on_contents(self, computation: Computation, message: FileContents, now: float) -> Effects:
        return self._loading.take_contents(computation, message)

    def _on_put_file(self, computation: Computation, message: PutFile, now: float) -> Effects:
        return self._loading.put_files(computation.session, computation, message)

    def _on_uploaded(self, computation: Computation, message: Uploaded, now: float) -> Effects:
        key = FileKey(message.job, message.attempt, message.number)
        file = computation.progress.take_file(key)
        return [AnswerFile(file.worker, *key, message.error)] if file is not None else []

    def _on_run(self, computation: Computation, message: Run, now: float) -> Effects:
        if not computation.processes.ready:
            return _return_run(computation.session, message, computation.processes.error)
        if self.watch is not None:
            self.watch.arrived(message)
        known, ended = computation.jobs, computation.outcomes.unacked
        effects: Effects = []
        options = message.options or [None] * len(message.jobs)
        columns = zip(message.jobs, message.attempts, message.arguments, options, strict=True)
        for number, attempt, arguments, wishes in columns:
            job = Job(number, attempt, arguments, wishes)
            if number in known or number in ended:
                effects += self._supersede(computation, job, now)
            else:
                self._jobs.accept(computation, job, now)
        self._jobs.wait(computation)
        return effects

    def _supersede(self, computation: Computation, job: Job, now: float) -> Effects:
        """A job that is already here, or whose outcome is: sent twice, or its scheduler had given this node up, and has
        placed it here again before the outcome of the previous attempt could reach it."""
        known, outcome = computation.jobs.get(job.number), computation.outcomes.unacked.get(job.number)
        known = computation.succeeding.get(job.number, known)
        if job.attempt <= (known.attempt if known is not None else outcome.attempt if outcome is not None else 0):
            job.release()
            return []
        if outcome is not None:
            effects = self._jobs.acked(computation, [job.number], [outcome.attempt])
            self._jobs.accept(computation, job, now)
            return effects
        assert known is not None
        return self._jobs.replace(computation, known, job, now)

    def _on_cancel(self, computation: Computation, message: Cancel, now: float) -> Effects:
        effects: Effects = []
        for number, attempt in zip(message.jobs, message.attempts, strict=True):
            effects += self._jobs.cancel(computation, number, attempt, now)
        return effects

    def _on_withdraw(self, computation: Computation, message: Withdraw, now: float) -> Effects:
        effects: Effects = []
        for number in message.jobs:
            effects += [each for each in self._jobs.withdraw(computation, number, now) if each not in effects]
        return effects

    def _on_follow(self, computation: Computation, message: Follow, now: float) -> Effects:
        wanted = set(message.jobs)
        first = [(each.number, each.hand[0]) for each in computation.workers.values() if each.hand]
        return [FollowJob(worker, job.number, job.attempt) for worker, job in first if job.number in wanted]

    def _on_explain(self, computation: Computation, message: Explain, now: float) -> Effects:
        job = computation.jobs.get(message.job)
        worker = computation.holder(job) if job is not None else None
        if worker is not None and worker.hand[0] is job:
            return [LookAt(worker.number, message.question, ["running for", f"{now - worker.since:.1f} s"])]
        if job is None:
            facts = ["on the node", "it has ended here"]
        elif worker is not None:
            facts = ["on the node", "it waits in the hand of a worker process, behind a short job"]
        else:
            ahead = computation.queue.index(job) if job in computation.queue else 0
            jobs = f"{ahead} job{'' if ahead == 1 else 's'} of this computation"
            facts = ["on the node", f"it waits for a CPU, behind {jobs}"]
        peer = computation.session.peer
        answer = Explained(computation.id, message.question, facts)
        return [Send(peer, answer)] if peer is not None else []

    def _on_recall(self, computation: Computation, message: Recall, now: float) -> Effects:
        return self._jobs.recall(computation, message.count)

    def _on_outcomes_acked(self, computation: Computation, message: OutcomesAcked, now: float) -> Effects:
        return self._jobs.acked(computation, message.jobs, message.attempts)

    def _on_progress_acked(self, computation: Computation, message: ProgressAcked, now: float) -> Effects:
        for number, attempt, amount in zip(message.jobs, message.attempts, message.counts, strict=True):
            computation.progress.acked(number, attempt, amount)
        return []

    def _on_release(self, computation: Computation, message: Release, now: float) -> Effects:
        return self._jobs.forget(computation)

    # About one that is not here, or that another scheduler owns

    def _on_contents_of_others(self, session: SchedulerSession, message: FileContents) -> Effects:
        for value in message.contents:
            release(value)
        return []

    def _on_put_file_of_others(self, session: SchedulerSession, message: PutFile) -> Effects:
        return self._loading.put_files(session, None, message)

    def _on_run_of_others(self, session: SchedulerSession, message: Run) -> Effects:
        computation = self._state.computations.get(message.computation)
        return _return_run(session, message, computation.processes.error if computation is not None else "")

    def _on_release_of_others(self, session: SchedulerSession, message: Release) -> Effects:
        return self._loading.release(session, message.computation)

    _ABOUT_ANY: dict[type[Message], Callable[..., Effects]] = {
        Prepare: _on_prepare,
        Limit: _on_limit,
        RunningJobsRequest: _on_running_jobs_request,
        LogRequest: _on_log_request,
    }
    _ABOUT_OWN: dict[type[Message], Callable[..., Effects]] = {
        FileContents: _on_contents,
        PutFile: _on_put_file,
        Uploaded: _on_uploaded,
        Run: _on_run,
        Cancel: _on_cancel,
        Withdraw: _on_withdraw,
        Follow: _on_follow,
        Explain: _on_explain,
        Recall: _on_recall,
        OutcomesAcked: _on_outcomes_acked,
        ProgressAcked: _on_progress_acked,
        Release: _on_release,
    }
    _ABOUT_OTHERS: dict[type[Message], Callable[..., Effects]] = {
        FileContents: _on_contents_of_others,
        PutFile: _on_put_file_of_others,
        Run: _on_run_of_others,
        Release: _on_release_of_others,
    }
    _ALL = frozenset((*_ABOUT_ANY, *_ABOUT_OWN))


def _return_run(session: SchedulerSession, message: Run, error: str) -> Effects:
    """Return the jobs of a computation that is not ready, or cannot be loaded. The reason is sent first, or the jobs
    would be sent here again immediately."""
    peer = session.connected()
    return [
        Send(peer, Prepared(message.computation, error or "it is still being loaded", for_now=not error)),
        Send(peer, Returned(message.computation, message.jobs, message.attempts)),
    ]


def _running(worker: Worker, now: float) -> RunningJobRow:
    """The row of the job in a worker's hand; what it uses is not known yet."""
    return RunningJobRow(worker.computation.id, worker.hand[0].number, 0, max(0.0, now - worker.since), -1.0, 0)
