"""Outcomes that outlive a client's absence: written down while it is away, kept when its jobs are ended, taken over.

Pure. The part of the node's rules between `job_table.py` and `requests.py`. It concerns computations with a
token: of the others nobody could ask for anything but their own scheduler, as long as it lives.

Invariants:
1. While its scheduler is away, each outcome of such a computation is in the spool, until it was collected.
2. A computation belongs to one session: the one that claimed it last, with the greatest epoch.
"""

from __future__ import annotations

from dataclasses import replace

from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Ended, Fenced, Hello, Message, Open, OutcomesAcked, Prepare, Release, Run
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Owned
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.node.effects import Unload
from gdispy.rules.node.job_table import Custody, ended_message, peer_of
from gdispy.rules.node.records import Computation, Row, SchedulerSession, portions, release

#: Seconds that outcomes are kept whose scheduler has not come back in time.
SPOOL_AGE = 7 * 24 * 3600.0
#: Computations of which it is remembered how often they were taken over, when they are gone.
EPOCHS_LIMIT = 4096

_AWAY = "The client of the job was away for {:.0f} minutes, so the node has ended it (--zombie_interval).\n"


class Keeping(Custody):
    """What this node keeps for clients that are away."""

    def __init__(self, cpus: int, epoch: float = 0.0, spool_age: float = SPOOL_AGE) -> None:
        super().__init__(cpus, epoch)
        self._spool_age = spool_age
        #: How often computations were taken over, and their tokens, those that are gone included.
        self._epochs: dict[ComputationId, tuple[int, bytes]] = {}

    # The spool

    def _spool_all(self, session: SchedulerSession) -> Effects:
        """Its scheduler has gone: write down what has ended and was not collected."""
        effects: Effects = []
        for computation in self._computations.values():
            if computation.session is session and computation.prepare.token and not computation.over:
                effects += self._spool(computation, list(computation.ended.values()))
        return effects

    def _spool(self, computation: Computation, rows: list[Row]) -> Effects:
        facts: list[Message] = []
        fresh = [row for row in rows if row[0] not in computation.spooled]
        if fresh and not computation.is_spooled:
            prepare, session = computation.prepare, computation.session
            facts.append(Open(prepare.computation, [], False, token=prepare.token, epoch=computation.epoch))
            facts.append(Owned(prepare.computation, session.instance, prepare.name, session.name))
            computation.is_spooled = True
        for part in portions(fresh):
            numbers = [row[0] for row in part]
            computation.spooled.update(numbers)
            facts.append(Run(computation.id, numbers, [row[1] for row in part], [b""] * len(part)))
            facts.append(ended_message(computation.id, part))
        return [WriteFacts(computation.id, facts)] if facts else []

    def _spool_collected(self, computation: Computation, message: OutcomesAcked) -> Effects:
        if not computation.spooled:
            return []
        gone = computation.spooled.intersection(message.jobs)
        computation.spooled -= gone
        numbers = sorted(gone)
        return (
            [WriteFacts(computation.id, [OutcomesAcked(computation.id, numbers, [0] * len(numbers))])] if gone else []
        )

    def _forget(self, computation: Computation) -> Effects:
        effects = super()._forget(computation)
        return [WriteFacts(computation.id, [Release(computation.id)]), *effects] if computation.is_spooled else effects

    def restore(self, story: ComputationHistory, now: float) -> Effects:
        """UseNode up what a former life of this node has left in the spool."""
        owned = story.owned
        if owned is None or story.id in self._computations:
            return []
        session = self._sessions.get(Instance(owned.client))
        if session is None:
            session = self._sessions[Instance(owned.client)] = SchedulerSession(Instance(owned.client), owned.place)
        session.expires = now + self._spool_age
        opened = story.open
        prepare = Prepare(story.id, owned.name, "function", "", "", "", True, b"", [], [], token=opened.token)
        computation = Computation(replace(prepare, epoch=opened.epoch), session)
        computation.over = computation.is_spooled = True
        for number, job in story.jobs.items():
            if job.outcome is not None:
                ended, place = job.outcome
                computation.ended[number] = tuple(getattr(ended, name)[place] for name in Ended.columns)
                computation.spooled.add(number)
        self._computations[computation.id] = computation
        self._note_epoch(computation)
        return []

    def _retire(self, computation: Computation, now: float) -> Effects:
        """End what runs of a computation, and keep what came of it."""
        for number, worker in computation.workers.items():
            del self._workers[number]
            self._busy -= worker.cpus if worker.hand else 0
        computation.workers.clear()
        computation.queue.clear()
        if computation in self._waiting:
            self._waiting.remove(computation)
        for job in computation.succeeding.values():
            job.release()
        computation.succeeding.clear()
        text = _AWAY.format(computation.session.lease / 60)
        for job in list(computation.jobs.values()):
            self._end(computation, job, TERMINATED, text, now)
        for values in computation.shown.values():
            for _, _, value in values:
                release(value)
        computation.shown.clear()
        computation.drop_contents()
        computation.ready, computation.over = False, True
        self._unloading[computation.id] = computation.session
        return [Unload(computation.id)]

    def _note_leaving(self, session: SchedulerSession) -> None:
        raise NotImplementedError

    # Taking over

    def _is_due(self, computation: ComputationId, token: bytes, epoch: int) -> bool:
        """Whether who says this may have the computation."""
        known = self._computations.get(computation)
        return known is not None and known.prepare.token == token and epoch >= known.epoch

    def _claim(self, session: SchedulerSession, hello: Hello) -> Effects:
        """Give it what it claims, and tell who had that, or who claims what is not its any more."""
        effects: Effects = []
        for computation, token, epoch in hello.claims:
            known = self._computations.get(computation)
            if known is None:
                if self._is_behind(computation, token, epoch):
                    effects.append(Send(peer_of(session), self._fenced(computation)))
            elif known.session is not session or known.epoch != epoch:
                effects += self._take_over(session, known, token, epoch)
        return effects

    def _take_over(self, session: SchedulerSession, known: Computation, token: bytes, epoch: int) -> Effects:
        if not self._is_due(known.id, token, epoch) or (known.session is not session and epoch == known.epoch):
            return [Send(peer_of(session), self._fenced(known.id))] if known.prepare.token == token else []
        effects: Effects = []
        former = known.session
        known.session, known.epoch = session, epoch
        self._note_epoch(known)
        if former is not session and former.peer is not None:
            effects.append(Send(former.peer, self._fenced(known.id)))
        if former is not session:
            self._note_leaving(former)
        return effects

    def _fenced(self, computation: ComputationId) -> Fenced:
        """What a scheduler is told that was overtaken. The token in it proves that this is no node's invention."""
        epoch, token = self._epochs.get(computation, (0, b""))
        return Fenced(computation, token, epoch)

    def _is_behind(self, computation: ComputationId, token: bytes, epoch: int) -> bool:
        """Whether somebody has taken a computation over since it was that of a scheduler which shows its token."""
        latest, known = self._epochs.get(computation, (epoch, token))
        return latest > epoch and known == token

    def _note_epoch(self, computation: Computation) -> None:
        """Remember who has it, for longer than it is here."""
        if computation.prepare.token:
            self._epochs.pop(computation.id, None)
            self._epochs[computation.id] = computation.epoch, computation.prepare.token
            if len(self._epochs) > EPOCHS_LIMIT:
                del self._epochs[next(iter(self._epochs))]
