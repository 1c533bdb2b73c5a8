"""The node's rules: which worker runs which job of which scheduler, and which outcomes are still held.

Each object of these rules is in a separate module, is given those below it, and calls no others:

    Requests   Supervision              messages of schedulers;  workers
    Loading                             loading and unloading of computations
    Sessions                            which schedulers are served
    Ownership  Turn                     owners of computations;  the end of a turn
    Assigner                            which job goes to which worker
    JobTable                            positions of jobs
    Outcomes   Capacity   NodeState     outcomes;  number of CPUs;  computations and workers
"""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId, JobId, Peer, WorkerId
from gdispy.protocol.messages import Explained, Hello, Message
from gdispy.protocol.payload import Bulk
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import OnFault, raise_fault
from gdispy.rules.node.assigner import Assigner
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.job import release
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.job_watch import JobWatch
from gdispy.rules.node.loading import Loading
from gdispy.rules.node.outcome import NOTHING_PRINTED, Printout, Row
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.ownership import Ownership
from gdispy.rules.node.progress import FileKey, ProvisionalResult, SentFile
from gdispy.rules.node.requests import Requests
from gdispy.rules.node.service_hours import CLOSED, OPEN
from gdispy.rules.node.sessions import LEASE, SPOOL_AGE, Sessions
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.status import NodeStatus
from gdispy.rules.node.supervision import Supervision
from gdispy.rules.node.turn import Turn

_HOURS = "service hours"


class NodeRules:
    """The work of this node for its schedulers. Stimuli arrive here, with the time; effects are returned.

    A stimulus about something that is not here has no effect. A stimulus that may free jobs or CPUs ends with
    the end of the turn.
    """

    def __init__(
        self, cpus: int, lease: float = LEASE, epoch: float = 0.0, serve: int = -1, spool_age: float = SPOOL_AGE
    ) -> None:
        state = self._state = NodeState(epoch)
        capacity = self._capacity = Capacity(cpus)
        outcomes = self._outcomes = Outcomes()
        jobs = self._jobs = JobTable(state, capacity, outcomes)
        turn = self._turn = Turn(state, capacity, outcomes, jobs, Assigner(state, capacity, jobs))
        ownership = Ownership(state)
        sessions = Sessions(lease, serve, spool_age, state, capacity, outcomes, jobs, ownership, turn)
        self._sessions = sessions
        self._loading = Loading(state, jobs, ownership, sessions)
        self._supervision = Supervision(state, jobs)
        self._requests = Requests(state, jobs, sessions, self._loading)
        #: How a message that could not be handled is answered.
        self.on_fault: OnFault = raise_fault
        #: Restore the outcomes that an earlier run of this node has left in the spool.
        self.restore = sessions.restore
        # Queries, which change nothing.
        status = NodeStatus(state, capacity, sessions)
        self.standing, self.overview, self.work = status.standing, status.overview, status.work
        self.is_idle, self.has_returned = status.is_idle, status.has_returned
        self.clients, self.serves, self.rests = sessions.clients, sessions.serves, sessions.rests

    @property
    def offered(self) -> int:
        """CPUs that schedulers may use."""
        return self._capacity.offered

    def watch_jobs(self, watch: JobWatch) -> None:
        """Tell `watch` of the jobs that arrive and end from now on."""
        self._outcomes.watch = self._requests.watch = watch

    # Schedulers

    def joined(self, peer: Peer, hello: Hello, now: float) -> Effects:
        """A scheduler has connected."""
        session = self._sessions.admit(hello)
        if isinstance(session, str):
            return [Drop(peer, session)]
        return self._sessions.joined(session, peer, hello, now) + self._turn.end(now)

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        """Handle the messages of a scheduler."""
        session = self._sessions.at(peer)
        if session is None:
            return []
        return self._requests.receive(session, peer, messages, self.on_fault, now) + self._turn.end(now)

    def gone(self, peer: Peer, now: float) -> Effects:
        """A connection has ended. Its requests remain valid."""
        return self._sessions.gone(peer, now)

    # The node's owner

    def set_cpus(self, cpus: int, now: float) -> Effects:
        """Change the number of CPUs on offer. Running jobs are not affected."""
        return self._sessions.offer(self._capacity.want(cpus), now)

    def shut(self, why: str, now: float) -> Effects:
        """Take no jobs for this reason, until `reopen` removes it."""
        return self._sessions.offer(self._capacity.shut(why), now)

    def reopen(self, why: str, now: float) -> Effects:
        return self._sessions.offer(self._capacity.reopen(why), now)

    def keep_hours(self, state: str, end: str, now: float) -> Effects:
        """Apply the service hours; at `end` o'clock running jobs are ended."""
        if state == OPEN:
            return self.reopen(_HOURS, now)
        effects = self.shut(_HOURS, now)
        if state == CLOSED:
            effects += self._supervision.kill_all(f"the node's service hours ended at {end}")
        return effects

    def serve(self, clients: int, now: float) -> Effects:
        """End after this number of clients more, those that are here included; 0: never."""
        self._sessions.serve(clients)
        return []

    def clients_left(self) -> int:
        """The number of clients after which the node ends, those that are here included; -1: any number."""
        return self._sessions.clients_left()

    def give_up(self, now: float) -> Effects:
        """Forget the schedulers that are away, with all that is held for them."""
        return self._sessions.give_up_absent(now) + self._turn.end(now)

    def finish(self, now: float) -> Effects:
        """Take no new clients and computations; end when those that are here are finished."""
        return self._sessions.finish()

    # Computations and their templates

    def noted(self, computation_id: ComputationId, note: str, now: float) -> Effects:
        """Store a note for the user of a computation that is about to be `loaded`."""
        computation = self._state.computations.get(computation_id)
        if computation is not None:
            computation.processes.note = note
        return []

    def loaded(self, computation_id: ComputationId, error: str, now: float) -> Effects:
        """The template has loaded the computation, or failed to."""
        computation = self._state.computations.get(computation_id)
        return self._loading.loaded(computation, error, now) + self._turn.end(now) if computation is not None else []

    def looked(self, computation_id: ComputationId, places: list[int], now: float) -> Effects:
        """These files of a computation are missing."""
        computation = self._state.computations.get(computation_id)
        return self._loading.looked(computation, places) if computation is not None else []

    def delivered(self, computation_id: ComputationId, question: int, error: str, now: float) -> Effects:
        """Files were put in place, or could not be."""
        computation = self._state.computations.get(computation_id)
        return self._loading.delivered(computation, question, error) if computation is not None else []

    def template_ended(self, computation_id: ComputationId, now: float) -> Effects:
        """The template of a computation has exited; the exits of its workers, then `template_lost`, follow."""
        computation = self._state.computations.get(computation_id)
        if computation is not None and not computation.processes.is_over:
            computation.processes.template_ended()
        return []

    def template_lost(self, computation_id: ComputationId, cause: str, now: float) -> Effects:
        """The template of a computation has ended unexpectedly. The exits of its workers were reported before."""
        computation = self._state.computations.get(computation_id)
        if computation is None:
            return []
        return self._loading.template_lost(computation, cause, now) + self._turn.end(now)

    def unloaded(self, computation_id: ComputationId, now: float) -> Effects:
        """The processes and files of a released computation are gone."""
        return self._loading.unloaded(computation_id)

    # Workers

    def answered(self, worker_id: WorkerId, rows: list[Row], now: float) -> Effects:
        """A worker has finished its first jobs in hand; rows as in `Ended`."""
        worker = self._state.workers.get(worker_id)
        return self._supervision.answered(worker, rows, now) + self._turn.end(now) if worker is not None else []

    def progressed(self, worker_id: WorkerId, job: JobId, attempt: int, index: int, value: Bulk) -> Effects:
        """A job has sent a provisional result."""
        worker = self._state.workers.get(worker_id)
        result = ProvisionalResult(attempt, index, value)
        return self._supervision.progressed(worker, job, result) if worker is not None else []

    def printed(
        self, worker_id: WorkerId, job: JobId, attempt: int, stream: int, offset: int, content: bytes, now: float
    ) -> Effects:
        """A followed job has printed something."""
        worker = self._state.workers.get(worker_id)
        if worker is None:
            return []
        return self._supervision.printed(worker, job, attempt, stream, offset, content)

    def seen(self, worker_id: WorkerId, question: int, facts: list[str], now: float) -> Effects:
        """What the job in a worker's hand does, as in `Explained`."""
        worker = self._state.workers.get(worker_id)
        peer = worker.computation.session.peer if worker is not None else None
        if worker is None or peer is None:
            return []
        return [Send(peer, Explained(worker.computation.id, question, facts))]

    def file_sent(
        self, worker_id: WorkerId, job: JobId, attempt: int, number: int, row: list[Any], content: Bulk, now: float
    ) -> Effects:
        """A job sends a file to its client, and waits for the answer."""
        worker = self._state.workers.get(worker_id)
        if worker is None:
            release(content)
            return []
        return self._supervision.sent_file(worker, FileKey(job, attempt, number), SentFile(row, content, worker_id))

    def took_back(self, worker_id: WorkerId, taken: list[tuple[JobId, int]], now: float) -> Effects:
        """These were in the worker's socket and had not begun. The remaining jobs in hand had."""
        worker = self._state.workers.get(worker_id)
        return self._supervision.took_back(worker, taken, now) + self._turn.end(now) if worker is not None else []

    def exited(
        self,
        worker_id: WorkerId,
        taken: list[tuple[JobId, int]],
        cause: str,
        now: float,
        printed: Printout = NOTHING_PRINTED,
    ) -> Effects:
        """A worker has exited, with all processes that it started; `taken` were still in its socket, and its job has
        `printed` this."""
        worker = self._state.workers.get(worker_id)
        if worker is None:
            printed.release()
            return []
        self._supervision.exited(worker, taken, cause, now, printed)
        return self._turn.end(now)

    # Time

    def due(self) -> float | None:
        """When `tick` is to be called next, if at all."""
        return min([*self._sessions.due(), *self._outcomes.due(), *self._supervision.due()], default=None)

    def tick(self, now: float) -> Effects:
        effects = self._supervision.watch(now) + self._sessions.expire(now)
        return effects + self._turn.end(now)

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        self._jobs.check()
