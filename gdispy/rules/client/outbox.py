"""The client's end of a connection to a remote scheduler: the messages to repeat after the connection has broken.

Pure; between the connection and the sessions of the clusters of this program. The other end is
`rules/scheduler/client_mailbox.py`.

Invariants:
1. All data needed to submit a job again is kept until the scheduler has received it; for jobs that may run twice,
   until they have ended.
2. Each open job is named on each new connection, so that none is forgotten: it is known there, submitted again, or
   reported as lost.
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import (
    Accepted,
    Cancel,
    Ended,
    Explain,
    Explained,
    Fenced,
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
    Reply,
    ResendRequest,
    Resume,
    Run,
    SetPriority,
    Status,
    StatusRequest,
    Unknown,
    Withdraw,
    ended_without_node,
)
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import Claim, JobOptions
from gdispy.protocol.texts import TAKEN_OVER
from gdispy.rules.client.session import TAKEN as SESSION_TAKES
from gdispy.rules.history.replay import ComputationHistory

_FORGOTTEN = (
    "The scheduler was started again and does not know the job any more. It may have run, so it is not run again; "
    "with reentrant=True it would be.\n"
)


#: Messages that a scheduler may send to a client, besides `Hello`.
TAKEN: frozenset[type[Message]] = SESSION_TAKES | {Accepted, Unknown, ResendRequest}


class _Computation:
    """One computation, with all that may have to be sent again."""

    def __init__(self, message: Open) -> None:
        self.open = message
        self.prepare: Prepare | None = None
        #: Jobs that have not ended.
        self.jobs: set[JobId] = set()
        #: Arguments and options of the jobs that may be submitted again.
        self.runs: dict[JobId, tuple[Bulk, JobOptions | None]] = {}
        #: The same for jobs of a previous run of the client that may have begun: sent only if they are requested.
        self.former: dict[JobId, tuple[Bulk, JobOptions | None]] = {}
        self.cancelled: set[JobId] = set()
        self.releasing = False
        #: Another client has taken it over.
        self.fenced = False
        #: Jobs that the scheduler has not accepted yet.
        self.unaccepted: set[JobId] = set()
        #: Jobs whose outcomes are not wanted any more, if the scheduler has any.
        self.given_up: set[JobId] = set()


#: Messages that are answered.
_Question = StatusRequest | NodeCommand | PutFile | Withdraw | SetPriority | Explain


class Outbox:
    """All computations that use one connection."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._computations: dict[ComputationId, _Computation] = {}
        #: Requests that have no answer yet.
        self._asked: dict[tuple[ComputationId, int], _Question] = {}
        #: Why the last connection was closed, if a message was refused and nothing has ended since.
        self._refusal = ""
        self.is_connected = False
        #: Why there is no connection, if known.
        self.trouble = "not connected yet"

    # From the sessions to the scheduler

    def outgoing(self, message: Message) -> list[Message]:
        """Keep messages that may have to be repeated; returns immediate answers if the scheduler is away."""
        if isinstance(message, Open):
            entry = self._computations.setdefault(message.computation, _Computation(message))
            entry.open = message
            return []
        known = self._computations.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if known is None:
            return []
        if isinstance(message, Prepare):
            known.prepare = message
        elif isinstance(message, Run):
            known.jobs.update(message.jobs)
            known.unaccepted.update(message.jobs)
            options = message.options or [None] * len(message.jobs)
            for job, arguments, wishes in zip(message.jobs, message.arguments, options, strict=True):
                known.runs[job] = arguments, wishes
            if known.fenced:
                return self._lose(known, Fenced(message.computation))
        elif isinstance(message, Cancel):
            known.cancelled.update(job for job in message.jobs if job in known.jobs)
        elif isinstance(message, Release):
            known.releasing = True
            known.runs.clear()
            known.former.clear()
            known.jobs.clear()
            if known.fenced:
                del self._computations[message.computation]
                return [Released(message.computation)]
        elif not self.is_connected:
            return self._answer(message)
        elif isinstance(message, _Question):
            self._asked[message.computation, message.question] = message
        return []

    def _answer(self, message: Message) -> list[Message]:
        problem = self.absence()
        if isinstance(message, StatusRequest):
            entry = self._computations.get(message.computation)
            jobs = len(entry.jobs) if entry is not None else 0
            return [Status(message.computation, message.question, [], jobs, [problem])]
        if isinstance(message, Explain):
            return [Explained(message.computation, message.question, ["problem", problem])]
        if isinstance(message, NodeCommand | PutFile | Withdraw | SetPriority):
            return [Reply(message.computation, message.question, problem, -1.0, [])]
        return []

    def absence(self) -> str:
        """Why the scheduler does not answer; reported once."""
        if self._place in self.trouble:
            return self.trouble
        return f"the scheduler at {self._place} cannot be reached: {self.trouble}"

    def connected(self) -> list[Message]:
        """A connection was made: the first messages on it."""
        self.is_connected, self.trouble = True, ""
        found: list[Message] = []
        for computation, entry in self._computations.items():
            if entry.given_up:  # First, or their outcomes would be sent again.
                found.append(OutcomesAcked(computation, sorted(entry.given_up), [0] * len(entry.given_up)))
        found.append(Resume(list(self._computations), [sorted(each.jobs) for each in self._computations.values()]))
        for computation, entry in self._computations.items():
            if entry.releasing:
                found.append(Release(computation))
                continue
            found.append(entry.open)  # Nodes that were requested in the meantime are requested again.
            if entry.cancelled:
                jobs = sorted(entry.cancelled)
                found.append(Cancel(computation, jobs, [0] * len(jobs)))
        return found

    def gone(self, reason: str) -> list[Message]:
        """The connection has ended: the answers to the pending requests of the sessions."""
        self.is_connected, self.trouble = False, reason
        asked, self._asked = self._asked, {}
        return [answer for message in asked.values() for answer in self._answer(message)]

    def refused(self, reason: str) -> list[Ended]:
        """The connection was closed because one side refused a message of the other. If that happens twice with nothing
        in between, it would happen forever: then the unfinished jobs end, with that reason. Returns their ends.
        """
        if reason != self._refusal:
            self._refusal = reason
            return []
        self._refusal = ""
        text = (
            f"Each connection with the scheduler at {self._place} is closed for the same reason ({reason}); "
            "gdispy there and here do not go together.\n"
        )
        found: list[Ended] = []
        for computation, entry in self._computations.items():
            lost = sorted(entry.jobs)
            if lost:
                entry.given_up.update(entry.jobs)
                self._end(entry, lost)
                found.append(ended_without_node(computation, lost, ABANDONED, text))
        return found

    def must_follow(self, message: Message) -> bool:
        """Whether a message must not overtake others: it is about a job that the scheduler may not have yet."""
        if not isinstance(message, Cancel | Withdraw | SetPriority):
            return False
        entry = self._computations.get(message.computation)
        jobs = [message.job] if isinstance(message, SetPriority) else message.jobs
        return entry is not None and not entry.unaccepted.isdisjoint(jobs)

    def is_accepted(self, computation: ComputationId) -> bool:
        """Whether the scheduler has accepted all jobs of a computation."""
        entry = self._computations.get(computation)
        return entry is None or not entry.unaccepted

    def waiting(self) -> list[ComputationId]:
        """Computations with jobs that have not ended."""
        return [computation for computation, entry in self._computations.items() if entry.jobs]

    def claims(self) -> list[Claim]:
        """As in `Hello`: computations of this client, including those of a previous run."""
        return [
            Claim(each.open.computation, each.open.token, each.open.epoch)
            for each in self._computations.values()
            if each.open.token
        ]

    def restore(self, history: ComputationHistory, prepare: Prepare) -> None:
        """Take up the jobs of a previous run of this client."""
        entry = self._computations[history.id] = _Computation(history.open)
        entry.prepare = prepare
        for number, job in history.unfinished().items():
            entry.jobs.add(number)
            may_be_said = job.node is None or history.open.reentrant
            (entry.runs if may_be_said else entry.former)[number] = job.arguments, job.options
            if job.cancelled:
                entry.cancelled.add(number)

    # From the scheduler

    def incoming(self, message: Message) -> tuple[list[Message], list[Message]]:
        """The messages for the session, and the messages for the scheduler."""
        entry = self._computations.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if isinstance(message, Ended):
            self._refusal = ""
            if entry is not None:
                self._end(entry, message.jobs)
            return [message], [OutcomesAcked(message.computation, message.jobs, message.attempts)]
        if isinstance(message, Progress):
            seen = ProgressAcked(message.computation, [message.job], [message.attempt], [message.index + 1])
            return [message], [seen]
        if isinstance(message, Status | Reply | Explained):
            self._asked.pop((message.computation, message.question), None)
        if entry is None:
            return [message], []
        if isinstance(message, Accepted):
            entry.unaccepted.difference_update(message.jobs)
            for job in message.jobs:
                entry.former.pop(job, None)
                if not entry.open.reentrant:
                    entry.runs.pop(job, None)
            return [], []
        if isinstance(message, ResendRequest):
            entry.runs |= {job: entry.former.pop(job) for job in message.jobs if job in entry.former}
            jobs = [job for job in message.jobs if message.all_wait or job in entry.runs]
            return self._say_again(entry, Unknown(message.computation, jobs, False))
        if isinstance(message, Unknown):
            return self._say_again(entry, message)
        if isinstance(message, Fenced):
            return self._lose(entry, message), []
        if isinstance(message, Released):
            del self._computations[message.computation]
        return [message], []

    def _lose(self, entry: _Computation, message: Fenced) -> list[Message]:
        """Another client has the computation: its jobs end here, now and when they are submitted."""
        entry.fenced = True
        lost = sorted(entry.jobs)
        self._end(entry, lost)
        told: list[Message] = [message]
        return [ended_without_node(message.computation, lost, ABANDONED, TAKEN_OVER), *told] if lost else told

    def _end(self, entry: _Computation, jobs: list[JobId]) -> None:
        entry.jobs.difference_update(jobs)
        entry.cancelled.difference_update(jobs)
        entry.unaccepted.difference_update(jobs)
        for job in jobs:
            entry.runs.pop(job, None)
            entry.former.pop(job, None)

    def _say_again(self, entry: _Computation, message: Unknown) -> tuple[list[Message], list[Message]]:
        answers: list[Message] = []
        if entry.releasing:
            return [], []
        if message.all:
            answers += [entry.open, *([entry.prepare] if entry.prepare is not None else [])]
        again = [job for job in message.jobs if job in entry.runs]
        if again:
            arguments, options = map(list, zip(*(entry.runs[job] for job in again), strict=True))
            answers.append(
                Run(message.computation, again, [1] * len(again), arguments, options if any(options) else [])
            )
            entry.unaccepted.update(again)
            cancelled = [job for job in again if job in entry.cancelled]
            if cancelled:
                answers.append(Cancel(message.computation, cancelled, [0] * len(cancelled)))
        lost = [job for job in message.jobs if job in entry.jobs and job not in entry.runs]
        if not lost:
            return [], answers
        self._end(entry, lost)
        return [ended_without_node(message.computation, lost, ABANDONED, _FORGOTTEN)], answers
