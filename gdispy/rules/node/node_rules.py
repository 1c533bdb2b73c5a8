"""The node's rules: which job goes to which worker, for whom, and which outcomes are still held.

Pure. Driven by the pump of `node.py`, in one greenlet; `execution/process_manager.py` performs the effects.
`job_table.py` has what is held, `requests.py` what schedulers say, and this module what processes do, and time.

Invariants, besides those of the other two:
1. A job is begun at most once for each attempt: what is taken out of a worker's socket had not begun,
   what stays in its hand had, and is never handed out again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gdispy.protocol.ids import ComputationId, JobId, Peer, WorkerId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import MissingFiles, Prepared, Progress, Released, Reply, Upload
from gdispy.protocol.payload import Bulk
from gdispy.rules.effects import Effects, Send
from gdispy.rules.moving_average import averaged
from gdispy.rules.node.effects import Interrupt, Kill, Load, RecallJobs, Terminate
from gdispy.rules.node.records import Computation, Job, Row, Worker, release
from gdispy.rules.node.requests import Serving
from gdispy.rules.node.service_hours import CLOSED, OPEN
from gdispy.rules.node.status_lines import client_line, computation_line, cpu_line

#: Seconds after which a running job is reported as such; shorter ones are reported by their end. And after which a
#: worker gives back what it has in hand behind that job: more than it takes for a portion of short ones.
REPORT_AFTER = 0.1
#: Seconds from the interrupt of a cancelled job to SIGTERM, and to SIGKILL.
TERMINATE_AFTER = 3.0
KILL_AFTER = 5.0
#: Workers of one computation that may end before their first job until that job is given up.
STILLBORN_LIMIT = 3
#: Templates of one computation that may end by themselves until it is given up.
TEMPLATE_LIMIT = 3

_HOURS = "service hours"


class NodeRules(Serving):
    """What this node runs."""

    # What the processes do

    def noted(self, computation_id: ComputationId, note: str, now: float) -> Effects:
        """What the user should know of a computation that is about to be `loaded`."""
        computation = self._computations.get(computation_id)
        if computation is not None:
            computation.note = note
        return []

    def loaded(self, computation_id: ComputationId, error: str, now: float) -> Effects:
        """The template has loaded the computation, or could not."""
        computation = self._computations.get(computation_id)
        if computation is None:
            return []
        computation.ready, computation.error = not error, error
        effects: Effects = []
        if computation.session.peer is not None:
            effects.append(Send(computation.session.peer, Prepared(computation.id, error, computation.note)))
        if error:
            for job in computation.queue:
                self._end(computation, job, TERMINATED, error, now)
            computation.queue.clear()
        self._wait(computation)
        return effects + self._turn_end(now)

    def unloaded(self, computation_id: ComputationId, now: float) -> Effects:
        """Nothing is left of a computation that was released."""
        owner = self._unloading.pop(computation_id, None)
        again = self._again.pop(computation_id, None)
        if owner is None:
            return []
        self._note_leaving(owner)
        if owner.peer is None:
            return self._farewell()
        if again is not None:
            return self._on_prepare(owner, again, now)
        return [Send(owner.peer, Released(computation_id)), *self._farewell()]

    def looked(self, computation_id: ComputationId, places: list[int], now: float) -> Effects:
        """These files of a computation are not there."""
        computation = self._computations.get(computation_id)
        if computation is None:
            return []
        if not places:
            return [Load(computation.prepare, {})]
        computation.drop_contents()
        computation.lacking = places
        peer = computation.session.peer
        return [Send(peer, MissingFiles(computation_id, places))] if peer is not None else []

    def delivered(self, computation_id: ComputationId, question: int, error: str, now: float) -> Effects:
        """Files were put in place, or could not be."""
        computation = self._computations.get(computation_id)
        if computation is None or computation.session.peer is None:
            return []
        reply = Reply(computation_id, question, error, -1.0 if error else 0.0, [])
        return [Send(computation.session.peer, reply)]

    def file_sent(
        self, worker_id: WorkerId, job: JobId, attempt: int, number: int, row: list[Any], content: Bulk, now: float
    ) -> Effects:
        """A job sends a file to its client, and waits for the answer."""
        worker = self._workers.get(worker_id)
        if worker is None or not worker.hand or worker.hand[0].number != job:
            release(content)
            return []
        computation = worker.computation
        computation.uploads[job, attempt, number] = row, content, worker_id
        peer = computation.session.peer
        return [Send(peer, Upload(computation.id, job, attempt, number, [row], [content]))] if peer is not None else []

    def answered(self, worker_id: WorkerId, rows: list[Row], now: float) -> Effects:
        """A worker has finished its first jobs in hand; rows as in `Ended`."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        computation, hand = worker.computation, worker.hand
        was_busy = bool(hand)
        effects: Effects = []
        for row in rows:
            if not hand or hand[0].number != row[0] or hand[0].attempt != row[1]:
                worker.ending = True
                effects.append(Kill(worker_id))
                break
            job = hand.popleft()
            if job.expired and row[2] == TERMINATED:
                row = (*row[:6], _too_long(job), *row[7:])
            self._take_outcome(computation, job, row)
        computation.stillborn, worker.proven = 0, True
        if len(hand) <= worker.latest:
            computation.answers += 1
        worker.since, worker.interrupted, worker.told, worker.slow = now, None, False, False
        took = sum(row[8] - row[7] for row in rows) / len(rows)
        computation.pace = averaged(computation.pace, took, len(rows))
        if was_busy and not hand:
            self._busy -= worker.cpus
        if not hand and computation.prepare.isolation == "job" and not worker.ending:
            worker.ending = True
            effects.append(Kill(worker_id))
        if hand and hand[0].cancelled:  # It was not taken back when it was cancelled, so it has begun.
            worker.interrupted = now
            effects.append(Interrupt(worker_id, hand[0].number, hand[0].attempt))
        return effects + self._turn_end(now)

    def progressed(self, worker_id: WorkerId, job: JobId, attempt: int, index: int, value: Bulk) -> Effects:
        """A job has sent a provisional result."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        computation = worker.computation
        computation.shown.setdefault(job, deque()).append((attempt, index, value))
        peer = computation.session.peer
        if peer is None:
            return []
        # The client shows a provisional result with the time at which its job began.
        is_first = worker.hand and worker.hand[0].number == job and not worker.hand[0].reported
        effects: Effects = [self._report_begin(worker, peer)] if is_first else []
        return [*effects, Send(peer, Progress(computation.id, job, attempt, index, value, ""))]

    def took_back(self, worker_id: WorkerId, taken: list[tuple[JobId, int]], now: float) -> Effects:
        """These were in the worker's socket: they had not begun. What else is in hand had."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        effects: Effects = []
        self._put_back(worker, taken, now)
        if not worker.hand or not worker.hand[0].cancelled:
            worker.interrupted = None
        elif worker.interrupted is None:
            worker.interrupted = now
            job = worker.hand[0]
            effects.append(Interrupt(worker_id, job.number, job.attempt))
        return effects + self._turn_end(now)

    def exited(self, worker_id: WorkerId, taken: list[tuple[JobId, int]], cause: str, now: float) -> Effects:
        """A worker is gone, and all that it started; `taken` were still in its socket."""
        worker = self._workers.pop(worker_id, None)
        if worker is None:
            return []
        computation = worker.computation
        del computation.workers[worker_id]
        begun = len(worker.hand) - len(taken)
        self._put_back(worker, taken, now)
        if worker.hand:
            self._busy -= worker.cpus
        for job in worker.hand:
            text = f"{worker.why or cause}\n"
            if job.expired:
                text = _too_long(job)
            elif job.cancelled:
                text = f"The job was cancelled, and did not end by itself: {text}"
            self._end(computation, job, TERMINATED, text, now, worker.since)
        if not begun and taken and not worker.why and not worker.proven:
            self._count_stillborn(computation, cause, now)
        return self._turn_end(now)

    def template_ended(self, computation_id: ComputationId, now: float) -> Effects:
        """The template of a computation is gone; its workers' ends, then `template_lost`, follow."""
        computation = self._computations.get(computation_id)
        if computation is not None:
            computation.ready = False
        return []

    def template_lost(self, computation_id: ComputationId, cause: str, now: float) -> Effects:
        """The template of a computation has ended by itself. Its workers' ends were told before."""
        computation = self._computations.get(computation_id)
        if computation is None:
            return []
        computation.ready = False
        computation.lost_templates += 1
        if computation.lost_templates >= TEMPLATE_LIMIT:
            return self.loaded(computation_id, f"its process on the node keeps ending: {cause}", now)
        return [Load(computation.prepare, {}), *self._turn_end(now)]

    def _count_stillborn(self, computation: Computation, cause: str, now: float) -> None:
        computation.stillborn += 1
        if computation.stillborn >= STILLBORN_LIMIT and computation.queue:
            computation.stillborn = 0
            text = f"Its worker process ended before the job could begin: {cause}\n"
            self._end(computation, computation.queue.popleft(), TERMINATED, text, now)

    # What its owner asks

    def standing(self, now: float) -> list[str]:
        """How this node stands, in lines."""
        lines = [cpu_line(self.offered, self.wanted, self._shut, self._busy)]
        lines += [computation_line(computation) for computation in self._computations.values()]
        lines += [client_line(session, now) for session in self._sessions.values()]
        return [*lines, "it ends when its present work is done"] if self._finishing else lines

    def overview(self, name: str, host: str, port: int) -> tuple[list[list[Any]], list[list[Any]]]:
        """The same for a visitor, as in `Overview`: this node, and the computations that are here."""
        here, _ = self.clients()
        computations = [
            [each.session.name, "", each.prepare.name, len(each.queue), len(each.jobs) - len(each.queue)]
            for each in self._computations.values()
        ]
        return [[name, host, port, self.offered, self._busy, bool(here)]], computations

    def clients(self) -> tuple[list[str], list[str]]:
        """The names of the schedulers that are connected, and of those that are away."""
        sessions = self._sessions.values()
        here = [session.name for session in sessions if session.peer is not None]
        return here, [session.name for session in sessions if session.peer is None]

    def serves(self, peer: Peer) -> bool:
        """Whether a connection is that of a scheduler that this node works for."""
        return peer in self._by_peer

    def rests(self, peer: Peer) -> bool:
        """Whether nothing is here for the scheduler of a connection."""
        session = self._by_peer.get(peer)
        held = [*(each.session for each in self._computations.values()), *self._unloading.values()]
        return session is None or session not in held

    # Time

    def keep_hours(self, state: str, end: str, now: float) -> Effects:
        """The time of day says so; at `end` o'clock what runs is ended."""
        if state == OPEN:
            return self.reopen(_HOURS, now)
        effects = self.shut(_HOURS, now)
        if state == CLOSED:
            effects += self._end_all(f"the node's service hours ended at {end}")
        return effects

    def _end_all(self, why: str) -> Effects:
        effects: Effects = []
        for worker in self._workers.values():
            if worker.hand and not worker.ending:
                worker.ending, worker.why = True, why
                effects.append(Kill(worker.number))
        return effects

    def due(self) -> float | None:
        """When `tick` is to be called next, if at all."""
        times: list[float] = []
        for session in self._sessions.values():
            if session.expires is not None:
                times.append(session.expires)
        for each in self._dirty.values():
            if each.tell_at is not None:
                times.append(each.tell_at)
        for worker in self._workers.values():
            if not worker.hand or worker.ending:
                continue
            if worker.interrupted is not None:
                times.append(worker.interrupted + (KILL_AFTER if worker.told else TERMINATE_AFTER))
                continue
            if not worker.hand[0].reported or len(worker.hand) > 1:
                times.append(worker.since + REPORT_AFTER)
            if worker.hand[0].limit:
                times.append(worker.since + worker.hand[0].limit)
        return min(times, default=None)

    def tick(self, now: float) -> Effects:
        effects: Effects = []
        for worker in list(self._workers.values()):
            if worker.hand and not worker.ending:
                effects += self._watch(worker, now)
        for session in list(self._sessions.values()):
            if session.expires is not None and session.expires <= now:
                effects += self._give_up(session, now)
        return effects + self._farewell() + self._turn_end(now)

    def _watch(self, worker: Worker, now: float) -> Effects:
        if worker.interrupted is not None:
            if worker.told and now >= worker.interrupted + KILL_AFTER:
                worker.ending = True
                return [Kill(worker.number)]
            if not worker.told and now >= worker.interrupted + TERMINATE_AFTER:
                worker.told = True
                return [Terminate(worker.number)]
            return []
        job, computation = worker.hand[0], worker.computation
        is_alone = len(worker.hand) == 1
        is_over = job.limit > 0 and now >= worker.since + job.limit
        if is_over and is_alone:
            job.expired, worker.interrupted = True, now
            return [Interrupt(worker.number, job.number, job.attempt)]
        is_long = now >= worker.since + REPORT_AFTER
        effects: Effects = []
        if is_long and not job.reported:
            job.reported = True
            if computation.session.peer is not None:
                effects.append(self._report_begin(worker, computation.session.peer))
        if (is_long or is_over) and not is_alone:
            # Taken for short, and is not: others must not wait behind it. Or it has ended, and that is not told yet.
            worker.since, worker.slow = now, True
            effects.append(RecallJobs(worker.number))
        return effects


def _too_long(job: Job) -> str:
    return f"The job took longer than its limit of {job.limit:g} s (dispy_timeout), and was ended.\n"
