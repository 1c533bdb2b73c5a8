"""The client's rules: the pending jobs of a computation, and that each end is reported once.

Pure. The other end is a scheduler, in this process or remote.

Invariants:
1. Each job that was submitted is resolved exactly once, however often its end is reported.
2. The provisional results of a job are reported in the order in which it sent them, and all before its end; early ones
   wait here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gdispy.errors import InternalError
from gdispy.protocol.ids import ComputationId, JobId, Peer
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Event,
    Explained,
    Fenced,
    Message,
    NodeFound,
    Notice,
    Printed,
    Progress,
    ProgressAcked,
    Release,
    Released,
    Reply,
    Run,
    Started,
    Status,
    Upload,
    Uploaded,
)
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.rules.client.effects import (
    Answer,
    ChooseNode,
    ComputationClosed,
    JobsStarted,
    LateResult,
    NodeEvent,
    Notify,
    OutputArrived,
    ProvisionalResult,
    Resolve,
    SaveFile,
    TakenOver,
)
from gdispy.rules.effects import Effects, Send


class _Shown:
    """The state of a job's provisional results."""

    __slots__ = ("count", "early", "end")

    def __init__(self) -> None:
        #: The number reported; each once, even if the job runs a second time and produces them again.
        self.count = 0
        self.early: dict[int, Progress] = {}
        self.end: tuple[Ended, int] | None = None


class ClientSession:
    """One computation, on the client's side."""

    def __init__(self, computation: ComputationId, scheduler: Peer) -> None:
        self._computation = computation
        self._scheduler = scheduler
        #: Jobs that have not ended.
        self._open: set[JobId] = set()
        #: Jobs that have sent, or will have sent, provisional results.
        self._shown: dict[JobId, _Shown] = {}
        #: Abandoned jobs, whose nodes may come back.
        self._abandoned: set[JobId] = set()

    def submit(self, jobs: list[JobId], arguments: list[Bulk], options: Sequence[JobOptions | None] = ()) -> Effects:
        """`options` as in `Run`: empty, or an item for each job."""
        self._open.update(jobs)
        return [Send(self._scheduler, Run(self._computation, jobs, [1] * len(jobs), arguments, list(options)))]

    def resume(self, jobs: list[JobId]) -> None:
        """These jobs were submitted in a previous run of the program."""
        self._open.update(jobs)

    def cancel(self, jobs: list[JobId]) -> Effects:
        """Cancel the jobs that have not ended; their ends are reported like all others."""
        jobs = [job for job in jobs if job in self._open]
        if not jobs:
            return []
        return [Send(self._scheduler, Cancel(self._computation, jobs, [0] * len(jobs)))]

    def release(self) -> Effects:
        return [Send(self._scheduler, Release(self._computation))]

    def receive(self, messages: list[Message]) -> Effects:
        effects: Effects = []
        for message in messages:
            handler = self._HANDLERS.get(type(message))
            if handler is None:
                raise InternalError(f"a client does not take {type(message).__name__}")
            effects += handler(self, message)
        return effects

    def _on_ended(self, message: Ended) -> Effects:
        known = self._open
        picks: list[int] = []
        shown: Effects = []
        late: list[int] = []
        for place, job in enumerate(message.jobs):
            if job not in known:  # Reported before; if it was abandoned, this is its late outcome.
                if job in self._abandoned and message.statuses[place] != ABANDONED:
                    late.append(place)
                continue
            wanted = message.progress[place]
            if wanted and self._await_progress(message, place, wanted):
                continue
            if self._shown:
                self._shown.pop(job, None)
            known.discard(job)
            picks.append(place)
        if ABANDONED in message.statuses:
            ends = zip(message.jobs, message.statuses, strict=True)
            self._abandoned.update(job for job, status in ends if status == ABANDONED)
        if len(picks) == len(message.jobs):
            return [Resolve(message, None)]
        if picks:
            shown.append(Resolve(message, picks))
        if late:
            self._abandoned.difference_update(message.jobs[place] for place in late)
            shown.append(LateResult(message, late))
        return shown

    def _await_progress(self, message: Ended, place: int, wanted: int) -> bool:
        shown = self._shown.setdefault(message.jobs[place], _Shown())
        if shown.count < wanted:
            shown.end = (message, place)
            return True
        return False

    def _on_progress(self, message: Progress) -> Effects:
        if message.job not in self._open:
            return []
        shown = self._shown.setdefault(message.job, _Shown())
        if message.index < shown.count:
            return []
        shown.early[message.index] = message
        effects: Effects = []
        while shown.count in shown.early:
            effects.append(ProvisionalResult(shown.early.pop(shown.count)))
            shown.count += 1
        if shown.end is not None:
            ended, place = shown.end
            if shown.count >= ended.progress[place]:
                del self._shown[message.job]
                self._open.discard(message.job)
                effects.append(Resolve(ended, [place]))
        return effects

    def _on_printed(self, message: Printed) -> Effects:
        return [OutputArrived(message)] if message.job in self._open else []

    def _on_seen(self, message: ProgressAcked) -> Effects:
        """The missing provisional results of these jobs, or of all jobs if none is given, will not arrive: their ends
        need not wait."""
        effects: Effects = []
        for job in message.jobs or list(self._shown):
            shown = self._shown.get(job)
            if shown is not None and shown.end is not None:
                del self._shown[job]
                self._open.discard(job)
                effects.append(Resolve(shown.end[0], [shown.end[1]]))
        return effects

    def _on_started(self, message: Started) -> Effects:
        return [JobsStarted(message)]

    def _on_answer(self, message: Status | Reply | Explained) -> Effects:
        return [Answer(message)]

    def _on_appeared(self, message: NodeFound) -> Effects:
        return [ChooseNode(message)]

    def _on_event(self, message: Event) -> Effects:
        return [NodeEvent(message)]

    def _on_upload(self, message: Upload) -> Effects:
        if message.job in self._open:
            return [SaveFile(message)]
        answer = (message.job, message.attempt, message.number, "the job has ended")
        return [Send(self._scheduler, Uploaded(message.computation, *answer))]

    def _on_fenced(self, message: Fenced) -> Effects:
        return [Notify("another process has taken over this computation: its jobs have ended here"), TakenOver()]

    def _on_trouble(self, message: Notice) -> Effects:
        return [Notify(message.text)]

    def _on_released(self, message: Released) -> Effects:
        return [ComputationClosed(message.computation)]

    _HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Ended: _on_ended,
        Progress: _on_progress,
        Printed: _on_printed,
        ProgressAcked: _on_seen,
        Started: _on_started,
        Status: _on_answer,
        Reply: _on_answer,
        Explained: _on_answer,
        NodeFound: _on_appeared,
        Event: _on_event,
        Upload: _on_upload,
        Notice: _on_trouble,
        Fenced: _on_fenced,
        Released: _on_released,
    }

    def check(self) -> None:
        """Raise InternalError if an invariant is violated; for tests."""
        if not self._shown.keys() <= self._open:
            raise InternalError("provisional results are awaited of a job that has ended")


#: The messages that a scheduler may send to the session of a client.
TAKEN: frozenset[type[Message]] = frozenset(ClientSession._HANDLERS)
