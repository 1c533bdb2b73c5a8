"""Outcomes of jobs, from the end of a job until its scheduler has acknowledged it: sent together, and written down
where that scheduler is away.

Invariants:
1. An outcome is held until it is acknowledged, whatever happens to the connection.
2. While its scheduler is away, each outcome of a computation with a token is in the spool, until it is acknowledged. Of
   the others nobody could ask for anything but their own scheduler, as long as it lives.
"""

from __future__ import annotations

from collections.abc import Iterable

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Message, Open, OutcomesAcked, Release, Run
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Owned
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.outcome import Outcome, ended_message, portions

#: Seconds that outcomes of jobs of such a length (seconds) wait for others, at most: until each worker has answered.
TELL_AFTER = 0.02
TOGETHER_FROM, TOGETHER_TO = 0.0005, 0.05


class Outcomes:
    """Which outcomes are sent, written down and forgotten, and when."""

    def __init__(self) -> None:
        #: Computations with outcomes to send at the end of this turn, in the order in which the first of them came.
        self._dirty: dict[ComputationId, Computation] = {}

    def add(self, computation: Computation, outcome: Outcome) -> None:
        """A job has ended."""
        held = computation.outcomes
        held.unacked[outcome.job] = outcome
        held.done += 1
        held.fresh.append(outcome)
        self._dirty[computation.id] = computation

    def note_answer(self, computation: Computation) -> None:
        """A worker has finished all but the last portion that it was handed."""
        computation.outcomes.answers += 1

    def send_again(self, computation: Computation) -> None:
        """Its scheduler has come back, and may have none of them."""
        computation.outcomes.fresh = list(computation.outcomes.unacked.values())
        self._dirty[computation.id] = computation

    def flush(self, now: float) -> Effects:
        """Send the outcomes that need not wait for others, or write them down where their scheduler is away."""
        effects: Effects = []
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
        """Whether outcomes may wait for others, to be told together: until then, and until an answer could be here,
        the workers have enough to do; and each message costs both sides a wake-up, which short jobs notice. The
        shortest come together by themselves."""
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
        """When outcomes that wait for others are to be sent at the latest."""
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
        """The computation is released: nobody asks for its outcomes any more."""
        self._dirty.pop(computation.id, None)
        for outcome in computation.outcomes.unacked.values():
            outcome.release()
        return [WriteFacts(computation.id, [Release(computation.id)])] if computation.outcomes.has_spool else []

    # The spool

    def spool_all(self, computations: Iterable[Computation]) -> Effects:
        """Their scheduler has gone: write down what has ended and is not acknowledged."""
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
        """These were written down in an earlier run of this node."""
        held = computation.outcomes
        held.has_spool = True
        for outcome in outcomes:
            held.unacked[outcome.job] = outcome
            held.spooled.add(outcome.job)
