"""Outcomes of jobs, from the end of a job until its scheduler has acknowledged it: sent together, and written to the
spool while that scheduler is away.

Invariants:
1. An outcome is held until it is acknowledged, whatever happens to the connection.
2. While its scheduler is away, each outcome of a computation with a token is in the spool, until it is acknowledged.
   Other outcomes can be requested only by the scheduler of their computation, and only while its process runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Message, Open, OutcomesAcked, Release, Run
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Owned
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.job_watch import JobWatch
from gdispy.rules.node.outcome import Outcome, ended_message, portions

#: Maximum seconds that outcomes of jobs of such a length (seconds) wait for others: until each worker has answered.
TELL_AFTER = 0.02
TOGETHER_FROM, TOGETHER_TO = 0.0005, 0.05


_JOB = attrgetter("job")


class Outcomes:
    """Which outcomes are sent, written down and forgotten, and when."""

    def __init__(self) -> None:
        #: Computations with outcomes to send at the end of this turn, in the order of their first such outcome.
        self._dirty: dict[ComputationId, Computation] = {}
        #: Is told of each job that has ended; None while nothing counts them.
        self.watch: JobWatch | None = None

    def add(self, computation: Computation, outcomes: list[Outcome]) -> None:
        """Jobs have ended."""
        held = computation.outcomes
        held.unacked.update(zip(map(_JOB, outcomes), outcomes, strict=True))
        held.done += len(outcomes)
        held.fresh += outcomes
        self._dirty[computation.id] = computation
        if self.watch is not None:
            self.watch.ended(computation, outcomes)

    def note_answer(self, computation: Computation) -> None:
        """A worker has finished all portions but the last that it was handed."""
        computation.outcomes.answers += 1

    def send_again(self, computation: Computation) -> None:
        """Its scheduler has reconnected, and may have none of them."""
        computation.outcomes.fresh = list(computation.outcomes.unacked.values())
        self._dirty[computation.id] = computation

    def flush(self, now: float) -> Effects:
        """Send the outcomes that need not wait for others; write them to the spool if their scheduler is away."""
        effects: Effects = []
        if not self._dirty:
            return effects
        for computation in list(self._dirty.values()):
            if self._may_wait(computation, now):
                continue
            del self._dirty[computation.id]
            held, peer = computation.outcomes, computation.session.peer
            held.tell_at, held.answers = None, 0
            if peer is not None:
                effects += [Send(peer, ended_message(computation.id, each)) for each in portions(held.fresh)]
            elif computation.has_token:
                effects += self._spool(computation, held.fresh)
            held.fresh = []
        return effects

    def _may_wait(self, computation: Computation, now: float) -> bool:
        """Whether outcomes may wait for others, to be reported together. Until then, and until an answer can have
        arrived, the workers have enough jobs; and each message costs both sides a wake-up, which slows short jobs. The
        shortest are reported together anyway."""
        pace, workers = computation.pace, len(computation.workers)
        if pace is None or not TOGETHER_FROM < pace < TOGETHER_TO:
            return False
        if (len(computation.jobs) - workers) * pace < 2 * TELL_AFTER * workers:
            return False
        held = computation.outcomes
        if held.tell_at is None:
            held.tell_at = now + TELL_AFTER
        return now < held.tell_at and held.answers < workers

    def due(self) -> list[float]:
        """The latest times at which waiting outcomes are to be sent."""
        if not self._dirty:
            return []
        times = (each.outcomes.tell_at for each in self._dirty.values())
        return [time for time in times if time is not None]

    def acked(self, computation: Computation, jobs: list[JobId], attempts: list[int]) -> Effects:
        """Its scheduler has these outcomes."""
        effects = self._spool_acked(computation, jobs)
        held = computation.outcomes
        for number, attempt in zip(jobs, attempts, strict=True):
            outcome = held.unacked.get(number)
            if outcome is not None and outcome.attempt == attempt:
                del held.unacked[number]
                if held.fresh:  # It was to be sent again.
                    held.fresh = [each for each in held.fresh if each is not outcome]
                outcome.release()
        return effects

    def release(self, computation: Computation) -> Effects:
        """The computation is released: its outcomes are not needed any more."""
        self._dirty.pop(computation.id, None)
        for outcome in computation.outcomes.unacked.values():
            outcome.release()
        return [WriteFacts(computation.id, [Release(computation.id)])] if computation.outcomes.has_spool else []

    # The spool

    def spool_all(self, computations: Iterable[Computation]) -> Effects:
        """Their scheduler has disconnected: write to the spool all outcomes that are not acknowledged."""
        effects: Effects = []
        for computation in computations:
            if computation.has_token and not computation.processes.is_over:
                effects += self._spool(computation, list(computation.outcomes.unacked.values()))
        return effects

    def _spool(self, computation: Computation, outcomes: list[Outcome]) -> Effects:
        facts: list[Message] = []
        held = computation.outcomes
        fresh = [outcome for outcome in outcomes if outcome.job not in held.spooled]
        if fresh and not held.has_spool:
            prepare, session = computation.prepare, computation.session
            facts.append(Open(prepare.computation, [], False, token=prepare.token, epoch=computation.epoch))
            facts.append(Owned(prepare.computation, session.instance, prepare.name, session.name))
            held.has_spool = True
        for part in portions(fresh):
            numbers = [outcome.job for outcome in part]
            held.spooled.update(numbers)
            facts.append(Run(computation.id, numbers, [outcome.attempt for outcome in part], [b""] * len(part)))
            facts.append(ended_message(computation.id, part))
        return [WriteFacts(computation.id, facts)] if facts else []

    def _spool_acked(self, computation: Computation, jobs: list[JobId]) -> Effects:
        spooled = computation.outcomes.spooled
        gone = spooled.intersection(jobs)
        if not gone:
            return []
        spooled -= gone
        numbers = sorted(gone)
        return [WriteFacts(computation.id, [OutcomesAcked(computation.id, numbers, [0] * len(numbers))])]

    def restore(self, computation: Computation, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes that were written in an earlier run of this node."""
        held = computation.outcomes
        held.has_spool = True
        for outcome in outcomes:
            held.unacked[outcome.job] = outcome
            held.spooled.add(outcome.job)
