"""The schedulers that a node works for: which connect, disconnect, and are given up.

Invariants:
1. One scheduler is served at a time, recoverers aside; one that is away is remembered for `lease` seconds.
   While it is connected nothing of it is forgotten, however long its jobs take.
2. A scheduler that is away is forgotten as soon as nothing is here for it.
"""

from __future__ import annotations

from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.limits import NAME_LIMIT, printable
from gdispy.protocol.messages import Ended, Hello, Inventory, Prepare
from gdispy.protocol.roles import RECOVERER
from gdispy.protocol.texts import BUSY
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import Shutdown
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.outcome import Outcome
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.ownership import Ownership
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.turn import Turn

#: Seconds for which the jobs of a scheduler that is away are kept.
LEASE = 3600.0
#: The same as a multiple of the interval at which the scheduler wants heartbeats; the scheduler gives a node up
#: after six.
LEASE_PULSES = 12
#: Seconds for which outcomes are kept after the lease of their scheduler has ended.
SPOOL_AGE = 7 * 24 * 3600.0

#: Why a node that is about to end takes nothing new.
LAST_WORK = "it stops when its current work is done"
_SHARE = "wait until that program has ended, or share nodes between programs with gdispy-scheduler"
_AWAY = (
    "The client of the job was disconnected for {:.0f} minutes, so the node terminated the job (--zombie_interval).\n"
)


class Sessions:
    """The schedulers that are connected, and those that are away."""

    def __init__(
        self,
        lease: float,
        serve: int,
        spool_age: float,
        state: NodeState,
        capacity: Capacity,
        outcomes: Outcomes,
        jobs: JobTable,
        ownership: Ownership,
        turn: Turn,
    ) -> None:
        self._lease = lease
        #: End after this number of schedulers was served, -1: never. The number served, and whether no more are taken.
        self._serve = serve
        self._served = 0
        self.is_finishing = False
        self._spool_age = spool_age
        self._state = state
        self._capacity = capacity
        self._outcomes = outcomes
        self._jobs = jobs
        self._ownership = ownership
        self._turn = turn
        self._sessions: dict[Instance, SchedulerSession] = {}
        self._by_peer: dict[Peer, SchedulerSession] = {}

    # Sessions and connections

    def at(self, peer: Peer) -> SchedulerSession | None:
        """The scheduler of a connection."""
        return self._by_peer.get(peer)

    def all(self) -> list[SchedulerSession]:
        return list(self._sessions.values())

    def clients(self) -> tuple[list[str], list[str]]:
        """The names of the schedulers that are connected, and of those that are away."""
        here = [each.name for each in self._sessions.values() if each.peer is not None]
        return here, [each.name for each in self._sessions.values() if each.peer is None]

    def serves(self, peer: Peer) -> bool:
        """Whether a connection belongs to a scheduler that this node works for."""
        return peer in self._by_peer

    def rests(self, peer: Peer) -> bool:
        """Whether nothing is here for the scheduler of a connection."""
        session = self._by_peer.get(peer)
        return session is None or not self._state.has_anything_of(session)

    def offer(self, has_changed: bool, now: float) -> Effects:
        """The offer of CPUs was set: notify the connected schedulers if it has changed, and use the offered CPUs."""
        # The number first, or returned jobs would arrive again immediately.
        effects: Effects = [Send(peer, self._capacity.message()) for peer in self._by_peer] if has_changed else []
        return effects + self._turn.adjust_cpus(now)

    # Connecting

    def admit(self, hello: Hello) -> SchedulerSession | str:
        """The session of a scheduler that has connected, or why it is not served."""
        refusal = self._refusal(hello)
        if refusal:
            return refusal
        session = self._sessions.setdefault(hello.instance, SchedulerSession(hello.instance, hello.name))
        if hello.epoch < session.epoch:
            return "its journal is older than its previous connection: the file was replaced by an old copy"
        session.epoch, session.recovers = hello.epoch, hello.role == RECOVERER
        return session

    def _refusal(self, hello: Hello) -> str:
        """Why a scheduler cannot be served now, or ''. One with computations here can always be served."""
        own = any(each.session.instance == hello.instance for each in self._state.computations.values())
        if hello.role == RECOVERER or own or any(self._ownership.is_due(*claim) for claim in hello.claims):
            return ""
        if any(self._ownership.is_behind(*claim) for claim in hello.claims):
            return ""  # It must be notified that they are not its own any more.
        for session in self._sessions.values():
            if session.peer is not None and session.instance != hello.instance and not session.recovers:
                return f"{BUSY}in use by {printable(session.name, NAME_LIMIT)}; {_SHARE}"
        return LAST_WORK if self.is_finishing and hello.instance not in self._sessions else ""

    def joined(self, session: SchedulerSession, peer: Peer, hello: Hello, now: float) -> Effects:
        """A scheduler is served on this connection: it gets the computations that it claims, and the inventory."""
        effects = [] if session.recovers else self.use_cpus(session.cpus, now)
        effects += self._connect(session, peer, hello)
        effects += self._claim(session, hello)
        own = self._state.of(session)
        inventory, running = Send(peer, _inventory(own, session.recovers)), self._running(session, peer)
        # A scheduler must first know that the jobs are here; a recoverer may request no more than the one answer.
        effects += [*running, inventory] if session.recovers else [inventory, *running]
        if self._capacity.has_varied:  # The offer may have changed since `Hello`, or since an earlier connection.
            effects.append(Send(peer, self._capacity.message()))
        for computation in own:
            effects += [Send(peer, message) for message in computation.progress.messages(computation.id)]
            self._outcomes.send_again(computation)
        return effects

    def use_cpus(self, cpus: int, now: float) -> Effects:
        """Set the number of CPUs that the served scheduler wants to use from now on."""
        self._capacity.allow(cpus)
        return self._turn.adjust_cpus(now)

    def _connect(self, session: SchedulerSession, peer: Peer, hello: Hello) -> Effects:
        effects: Effects = []
        if session.peer is not None:  # It has reconnected before the old connection was known to be broken.
            del self._by_peer[session.peer]
            effects.append(Drop(session.peer, "replaced by a newer connection"))
        session.peer, session.expires = peer, None
        # Longer than the scheduler waits for this node, or jobs that it assumes to be here would be gone.
        session.lease = max(self._lease, LEASE_PULSES * hello.pulse)
        self._by_peer[peer] = session
        return effects

    def _claim(self, session: SchedulerSession, hello: Hello) -> Effects:
        effects: Effects = []
        for claim in hello.claims:
            known = self._state.computations.get(claim.computation)
            former = known.session if known is not None else None
            effects += self._ownership.claim(session, *claim)
            if former is not None:
                self.note_leaving(former)
        return effects

    def _running(self, session: SchedulerSession, peer: Peer) -> list[Send]:
        """Report again which of a scheduler's jobs run: another run of the scheduler may be asking. A recoverer is not
        here for long enough to wait for such a report."""
        workers = (each for each in self._state.workers.values() if each.computation.session is session and each.hand)
        running = [each for each in workers if each.hand[0].reported or session.recovers]
        return [Send(peer, each.report(self._state.clock_offset)) for each in running]

    def restore(self, history: ComputationHistory, now: float) -> Effects:
        """Restore the outcomes that an earlier run of this node has left in the spool."""
        owned = history.owned
        if owned is None or history.id in self._state.computations:
            return []
        instance, opened = Instance(owned.client), history.open
        session = self._sessions.setdefault(instance, SchedulerSession(instance, owned.place))
        session.expires = now + self._spool_age
        prepare = Prepare(
            *(history.id, owned.name, "function", "", "", "", True, b"", [], []), token=opened.token, epoch=opened.epoch
        )
        computation = Computation(prepare, session)
        computation.processes.retire()
        ends = [job.outcome for job in history.jobs.values() if job.outcome is not None]
        self._outcomes.restore(
            computation,
            [Outcome._make(getattr(ended, name)[place] for name in Ended.columns) for ended, place in ends],
        )
        self._state.add(computation)
        self._ownership.note(computation)
        return []

    # Disconnecting

    def gone(self, peer: Peer, now: float) -> Effects:
        """A connection has ended. Its requests remain valid."""
        session = self._by_peer.pop(peer, None)
        if session is None:
            return self.farewell()
        session.peer = None
        own = self._state.of(session)
        has_ended = bool(own) and all(each.processes.is_over for each in own)
        session.expires = now + (self._spool_age if has_ended else session.lease)
        self.note_leaving(session)
        return self._outcomes.spool_all(own) + self.farewell()

    def give_up_absent(self, now: float) -> Effects:
        """Forget the schedulers that are away, with all that is held for them."""
        effects: Effects = []
        for session in [each for each in self._sessions.values() if each.peer is None]:
            effects += self._give_up(session, now)
        return effects + self.farewell()

    def expire(self, now: float) -> Effects:
        """Give up the schedulers that were away for too long."""
        effects: Effects = []
        for session in list(self._sessions.values()):
            if session.expires is not None and session.expires <= now:
                effects += self._give_up(session, now)
        return effects + self.farewell()

    def due(self) -> list[float]:
        """When the schedulers that are away are given up."""
        times: list[float] = []
        for session in self._sessions.values():  # In each turn: cheaper than a list comprehension before Python 3.12.
            if session.expires is not None:
                times.append(session.expires)
        return times

    def _give_up(self, session: SchedulerSession, now: float) -> Effects:
        """End a scheduler's running jobs. Outcomes that can still be requested are kept longer."""
        effects: Effects = []
        own = self._state.of(session)
        retires = any(each.has_token and not each.processes.is_over for each in own)
        text = _AWAY.format(session.lease / 60)
        for computation in own:
            if not retires or not computation.has_token:
                effects += self._jobs.forget(computation)
            elif not computation.processes.is_over:
                effects += self._jobs.retire(computation, text, now)
        session.expires = now + self._spool_age if retires else None
        self.note_leaving(session)
        return effects

    def note_leaving(self, session: SchedulerSession) -> None:
        """Forget a scheduler that is away as soon as nothing is here for it."""
        if session.peer is not None or self._state.has_anything_of(session):
            return
        if session.instance not in self._sessions:
            return
        del self._sessions[session.instance]
        if session.was_served:
            self._served += 1
            self.is_finishing = self.is_finishing or self._served == self._serve

    # The end of the node

    def serve(self, clients: int) -> None:
        """End after this number of clients more, those that are here included; 0: never."""
        self._serve = self._served + clients if clients else -1

    def clients_left(self) -> int:
        """The number of clients after which the node ends, those that are here included; -1: any number."""
        return max(0, self._serve - self._served) if self._serve >= 0 else -1

    def finish(self) -> Effects:
        """Take no new clients and computations; end when those that are here are finished."""
        self.is_finishing = True
        return self.farewell()

    def farewell(self) -> Effects:
        """The node ends, if that was requested and nothing is left to do."""
        computations = self._state.computations.values()
        if not self.is_finishing or self._state.unloading or any(not each.processes.is_over for each in computations):
            return []
        return [Shutdown()]


def _inventory(computations: list[Computation], with_ends: bool) -> Inventory:
    held = [computation.held() for computation in computations]
    ended = [list(computation.outcomes.unacked) for computation in computations] if with_ends else []
    return Inventory(
        [computation.id for computation in computations],
        [list(each) for each in held],
        [list(each.values()) for each in held],
        ended,
    )
