"""Loading and unloading of computations: their files arrive, their template is started, and all of it is removed.

prepare -> look for files -> ask for those that are missing -> load -> ready -> release -> unload -> gone
                                                                 ^--- template lost ---'
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import FileContents, MissingFiles, Prepare, Prepared, PutFile, Released, Reply
from gdispy.rules.effects import Effects, Send
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.effects import FindMissingFiles, Load, PutFiles
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.ownership import Ownership
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.sessions import LAST_WORK, Sessions
from gdispy.rules.node.state import NodeState

#: Limit of computations on a node: each has a process.
COMPUTATIONS_LIMIT = 1024
#: A computation is given up after its template has ended unexpectedly this number of times.
TEMPLATE_LIMIT = 3


class Loading:
    """Which computations are loaded, and what is requested for them."""

    def __init__(self, state: NodeState, jobs: JobTable, ownership: Ownership, sessions: Sessions) -> None:
        self._state = state
        self._jobs = jobs
        self._ownership = ownership
        self._sessions = sessions
        #: Requested again before they were unloaded.
        self._again: dict[ComputationId, Prepare] = {}

    # Requests of schedulers

    def prepare(self, session: SchedulerSession, message: Prepare) -> Effects:
        """A scheduler wants to use a computation here."""
        number = message.computation
        if self._ownership.is_behind(number, message.token, message.epoch):
            return [Send(session.connected(), self._ownership.fenced(number))]
        if number in self._state.unloading:
            self._again[number] = message  # When the previous one is unloaded; see `unloaded`.
            return []
        known = self._state.computations.get(number)
        if known is None:
            return self._begin(session, message)
        if known.session is not session:
            return self._begin_anew(session, known, message)
        if known.processes.is_over:  # Only its outcomes are left: it is loaded again, and they stay.
            known.prepare = message
            known.processes.load_again()
            return _load(message)
        return self._say_again(session, known)

    def _begin(self, session: SchedulerSession, message: Prepare) -> Effects:
        if self._sessions.is_finishing:
            return _refuse(session, message, LAST_WORK)
        if len(self._state.computations) >= COMPUTATIONS_LIMIT:
            why = f"{COMPUTATIONS_LIMIT:,} computations are loaded, and no more are accepted until one has ended"
            return _refuse(session, message, why)
        session.was_served = True
        computation = Computation(message, session)
        self._state.add(computation)
        self._ownership.note(computation)
        return _load(message)

    def _begin_anew(self, session: SchedulerSession, known: Computation, message: Prepare) -> Effects:
        """A computation that belonged to another run of this scheduler, which has forgotten what it had here."""
        if known.session.peer is not None:
            return _refuse(session, message, "it belongs to another client")
        effects = self._jobs.forget(known)
        self._state.unload(known.id, session)
        self._again[known.id] = message
        session.was_served = True
        return effects

    def _say_again(self, session: SchedulerSession, known: Computation) -> Effects:
        if known.files:  # The connection broke before they arrived.
            return [Send(session.connected(), MissingFiles(known.id, known.files.missing()))]
        processes = known.processes
        prepared = Prepared(known.id, processes.error, processes.note)
        return [Send(session.connected(), prepared)] if processes.ready or processes.error else []

    def take_contents(self, computation: Computation, message: FileContents) -> Effects:
        """Files that were requested from the scheduler have arrived."""
        if not computation.files.take(message.places, message.contents):
            return []
        return [Load(computation.prepare, computation.files.hand_over())]

    def put_files(self, session: SchedulerSession, computation: Computation | None, message: PutFile) -> Effects:
        """A scheduler sends files for the jobs of a computation."""
        if computation is not None and computation.processes.ready:
            return [PutFiles(computation.prepare, message)]
        answer = (message.question, "the computation is not loaded on that node", -1.0)
        return [Send(session.connected(), Reply(message.computation, *answer, []))]

    def release(self, session: SchedulerSession, number: ComputationId) -> Effects:
        """A scheduler releases a computation that is not here or not its own: confirm, unless it is still unloading."""
        self._again.pop(number, None)
        if number in self._state.unloading:
            return []
        return [Send(session.connected(), Released(number))]

    # Reports of processes

    def looked(self, computation: Computation, places: list[int]) -> Effects:
        """These files are missing."""
        if not places:
            return [Load(computation.prepare, {})]
        computation.files.ask(places)
        peer = computation.session.peer
        return [Send(peer, MissingFiles(computation.id, places))] if peer is not None else []

    def loaded(self, computation: Computation, error: str, now: float) -> Effects:
        """The template has loaded the computation, or failed to."""
        if computation.processes.is_over:  # This was on its way when they were ended.
            return []
        computation.processes.loaded(error)
        peer = computation.session.peer
        effects: Effects = []
        if peer is not None:
            effects.append(Send(peer, Prepared(computation.id, error, computation.processes.note)))
        if error:
            self._jobs.end_waiting(computation, error, now)
        self._jobs.wait(computation)
        return effects

    def delivered(self, computation: Computation, question: int, error: str) -> Effects:
        """Files were put in place, or could not be."""
        peer = computation.session.peer
        reply = Reply(computation.id, question, error, -1.0 if error else 0.0, [])
        return [Send(peer, reply)] if peer is not None else []

    def template_lost(self, computation: Computation, cause: str, now: float) -> Effects:
        """The template has ended unexpectedly: start another, or give the computation up. The exits of its workers were
        reported before."""
        processes = computation.processes
        if processes.is_over:
            return []
        processes.template_ended()
        processes.lost_templates += 1
        if processes.lost_templates >= TEMPLATE_LIMIT:
            return self.loaded(computation, f"its process on the node ends repeatedly: {cause}", now)
        return [Load(computation.prepare, {})]

    def unloaded(self, number: ComputationId) -> Effects:
        """The processes and files of a released computation are gone."""
        owner = self._state.unloaded(number)
        again = self._again.pop(number, None)
        if owner is None:
            return []
        self._sessions.note_leaving(owner)
        if owner.peer is None:
            return self._sessions.farewell()
        if again is not None:
            return self.prepare(owner, again)
        return [Send(owner.peer, Released(number)), *self._sessions.farewell()]


def _load(message: Prepare) -> Effects:
    return [FindMissingFiles(message)] if message.files else [Load(message, {})]


def _refuse(session: SchedulerSession, message: Prepare, why: str) -> Effects:
    return [Send(session.connected(), Prepared(message.computation, why, for_now=True))]
