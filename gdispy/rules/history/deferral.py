"""What a scheduler's journal need not hold yet: large payloads that somebody else still keeps.

Pure. Asked by the ledger (`journal/file.py`) of a shared scheduler before facts are written, and before what
rests on them is said.

What a job is called with is kept by its client until it hears `Accepted`, and an outcome by its node until it hears
`OutcomesAcked`. So the scheduler may let them keep what is large: it writes at once that there is such a job and where
it is placed, and the rest only where the job, or its client, takes longer than `DELAY`. Of most jobs it never writes
it, which would cost more than all else that is done for them (4 MiB were measured at 10 ms each time).

Invariants:
1. `Accepted` and `OutcomesAcked` are not said of a job as long as what it is called with, or its outcome, is put aside.
2. Whatever is put aside is written after `DELAY`, or not needed any more by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.message import picked
from gdispy.protocol.messages import Accepted, Ended, Message, OutcomesAcked, Release, Released, Run
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.protocol.rows import JobOptions, options_size
from gdispy.rules.history.facts import Announced

#: Bytes of a payload from which on it is put aside, and for how many seconds at most.
LARGE = 128 * 1024
DELAY = 3.0

#: Says a part of what waited.
Say = Callable[[Message], None]


class _Aside:
    """What is put aside of one computation."""

    __slots__ = ("accepted", "collected", "outcomes", "runs")

    def __init__(self) -> None:
        #: When it must be written, what a job is called with, and what it asks for.
        self.runs: dict[JobId, tuple[float, Bulk, JobOptions | None]] = {}
        #: When it must be written, and the message about its end.
        self.outcomes: dict[JobId, tuple[float, Ended]] = {}
        #: What cannot be said yet of which jobs: to clients, and to nodes.
        self.accepted: dict[JobId, Say] = {}
        self.collected: dict[JobId, list[tuple[int, Say]]] = {}


class DeferredPayloads:
    """Facts and promises that wait."""

    def __init__(self, large: int = LARGE, delay: float = DELAY) -> None:
        self._large, self._delay = large, delay
        self._aside: dict[ComputationId, _Aside] = {}
        self._sayable: list[tuple[Say, Message]] = []

    def now(self, computation: ComputationId, facts: Iterable[Message], now: float) -> list[Message]:
        """What of these facts is to be written now; then comes `say`."""
        found: list[Message] = []
        for fact in facts:
            if isinstance(fact, Run):
                found += self._run(fact, now)
            elif isinstance(fact, Ended):
                found += self._ended(fact, now)
            else:
                found.append(fact)
                if isinstance(fact, OutcomesAcked):
                    self._collected(fact)
                elif isinstance(fact, Release | Released):
                    self._aside.pop(computation, None)
        return found

    def sayable(self, message: Message, say: Say) -> Message | None:
        """What can be said now of a promise; `say` gets the rest later, or never where nobody needs it any more."""
        aside = self._aside.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if aside is None:
            return message
        if isinstance(message, Accepted) and not aside.runs.keys().isdisjoint(message.jobs):
            aside.accepted.update((job, say) for job in message.jobs if job in aside.runs)
            rest = [job for job in message.jobs if job not in aside.runs]
            return Accepted(message.computation, rest) if rest else None
        if isinstance(message, OutcomesAcked) and not aside.outcomes.keys().isdisjoint(message.jobs):
            pairs = list(zip(message.jobs, message.attempts, strict=True))
            for job, attempt in pairs:
                if job in aside.outcomes:
                    aside.collected.setdefault(job, []).append((attempt, say))
            columns = [pair for pair in pairs if pair[0] not in aside.outcomes]
            return _collected_of(message.computation, columns) if columns else None
        return message

    def say(self) -> None:
        """Say what has waited and can be said, now that the facts are written that were asked about before."""
        sayable, self._sayable = self._sayable, []
        for say, message in sayable:
            say(message)

    def due(self, now: float) -> list[tuple[ComputationId, JobId]]:
        """The jobs of which something must be written by now."""
        found: list[tuple[ComputationId, JobId]] = []
        for computation, aside in self._aside.items():
            found += [(computation, job) for job, (until, _, _) in aside.runs.items() if until <= now]
            found += [(computation, job) for job, (until, _) in aside.outcomes.items() if until <= now]
        return found

    def facts_of(self, computation: ComputationId, job: JobId) -> list[Message]:
        """What is put aside of a job; to be written, and followed by `written`."""
        aside = self._aside.get(computation)
        if aside is None:
            return []
        found: list[Message] = []
        if job in aside.runs:
            _, arguments, options = aside.runs[job]
            found.append(Run(computation, [job], [1], [arguments], [options] if options is not None else []))
        if job in aside.outcomes:
            found.append(aside.outcomes[job][1])
        return found

    def written(self, computation: ComputationId, job: JobId) -> None:
        """That is written; then comes `say`."""
        aside = self._aside[computation]
        self._drop_run(aside, computation, job, to_say=True)
        self._drop_outcome(aside, computation, job)
        self._forget_empty(computation)

    # One kind of fact each

    def _run(self, fact: Run, now: float) -> list[Message]:
        if set(map(type, fact.arguments)) == {bytes}:  # They are small then.
            return [fact]
        options = fact.options or [None] * len(fact.jobs)
        large = [
            place
            for place, arguments in enumerate(fact.arguments)
            if bulk_size(arguments) >= self._large and options_size(options[place]) < self._large
        ]
        if not large:
            return [fact]
        aside = self._of(fact.computation)
        for place in large:
            aside.runs[fact.jobs[place]] = now + self._delay, fact.arguments[place], options[place]
        names = [fact.jobs[place] for place in large]
        wishes = [options[place] for place in large]
        found: list[Message] = [Announced(fact.computation, names, wishes if any(wishes) else [])]
        rest = _others(fact, large)
        return [picked(fact, rest), *found] if rest else found

    def _ended(self, fact: Ended, now: float) -> list[Message]:
        are_small = (
            set(map(type, fact.results)) == set(map(type, fact.outputs)) == set(map(type, fact.errors)) == {bytes}
        )
        large = [] if are_small else self._large_outcomes(fact)
        aside = self._of(fact.computation) if large else self._aside.get(fact.computation)
        if aside is None:
            return [fact]
        for job in fact.jobs:  # It ends: the client hears that, and needs no other word.
            self._drop_run(aside, fact.computation, job, to_say=False)
        for place in large:
            aside.outcomes[fact.jobs[place]] = now + self._delay, picked(fact, [place])
        self._forget_empty(fact.computation)
        if not large:
            return [fact]
        rest = _others(fact, large)
        return [picked(fact, rest)] if rest else []

    def _large_outcomes(self, fact: Ended) -> list[int]:
        columns = zip(fact.results, fact.outputs, fact.errors, strict=True)
        return [place for place, parts in enumerate(columns) if sum(map(bulk_size, parts)) >= self._large]

    def _collected(self, fact: OutcomesAcked) -> None:
        aside = self._aside.get(fact.computation)
        if aside is None:
            return
        for job in fact.jobs:
            self._drop_run(aside, fact.computation, job, to_say=False)
            self._drop_outcome(aside, fact.computation, job)
        self._forget_empty(fact.computation)

    # What is put aside

    def _of(self, computation: ComputationId) -> _Aside:
        return self._aside.setdefault(computation, _Aside())

    def _drop_run(self, aside: _Aside, computation: ComputationId, job: JobId, to_say: bool) -> None:
        if aside.runs.pop(job, None) is not None:
            say = aside.accepted.pop(job, None)
            if say is not None and to_say:
                self._sayable.append((say, Accepted(computation, [job])))

    def _drop_outcome(self, aside: _Aside, computation: ComputationId, job: JobId) -> None:
        if aside.outcomes.pop(job, None) is not None:
            for attempt, say in aside.collected.pop(job, ()):
                self._sayable.append((say, _collected_of(computation, [(job, attempt)])))

    def _forget_empty(self, computation: ComputationId) -> None:
        aside = self._aside.get(computation)
        if aside is not None and not aside.runs and not aside.outcomes:
            del self._aside[computation]


def _others(fact: Run | Ended, places: list[int]) -> list[int]:
    """The places of all jobs but these."""
    left_out = set(places)
    return [place for place in range(len(fact.jobs)) if place not in left_out]


def _collected_of(computation: ComputationId, pairs: list[tuple[JobId, int]]) -> OutcomesAcked:
    return OutcomesAcked(computation, [job for job, _ in pairs], [attempt for _, attempt in pairs])
