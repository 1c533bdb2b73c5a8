"""The client's side of one computation, in the hub: its rules, its jobs, its nodes.

Floor 3. `cluster.py` puts the methods for users on top. Everything here runs in the hub, except what says
otherwise; all decisions are those of `core/session.py`.

Invariants:
1. A job's fields are written in the hub only; its end is told once, and then never changes.
2. What the user gave us to call is called outside the hub (`Hub.errand`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from gdispy import allocation, whom
from gdispy.blobs import OpenFile
from gdispy.core import statuses
from gdispy.core.effects import (
    Answer,
    Closed,
    Decide,
    Effects,
    Happen,
    Late,
    Lost,
    Provide,
    Resolve,
    Send,
    Show,
    Store,
    Tell,
)
from gdispy.core.messages import (
    UNLIMITED,
    Appeared,
    ComputationId,
    JobId,
    Message,
    Open,
    Prepare,
    Reply,
    Standing,
    Uploaded,
)
from gdispy.core.payloads import Bulk, bulk_size, joined
from gdispy.core.remembered import Story, outcomes
from gdispy.core.session import Session
from gdispy.errors import ConnectFailed, ForkedError
from gdispy.hub import Gate, Hub
from gdispy.job import DispyJob, KeptJob
from gdispy.keys import Secret
from gdispy.local import LocalNode, died_with_its_program
from gdispy.logbook import Logbook
from gdispy.pump import Pump
from gdispy.reserved import Options
from gdispy.results import result_sink
from gdispy.scheduler import Scheduler
from gdispy.status import DispyNode, DispyNodeAvailInfo
from gdispy.uploads import store
from gdispy.worker import pickling

logger = logging.getLogger("gdispy")

LOCAL_PLACE = "the local node"
#: Seconds that nodes have to leave a cluster whose making was interrupted.
UNWANTED_LIMIT = 5.0


class _Shared(NamedTuple):
    """A scheduler and the clusters that use it."""

    scheduler: Any
    users: set[int]


#: The schedulers of this process, by their settings.
schedulers: dict[tuple[Any, ...], _Shared] = {}


class Client:
    """One computation, seen from the client. `cluster.py` derives from it."""

    name: str
    _key: tuple[Any, ...]
    _local: LocalNode | None
    _is_program: bool
    #: Bytes of each stream of a job's output that are kept; and whether much of it is left in the file that it came in.
    _output_limit = UNLIMITED
    _takes_files = False
    _callback: Callable[[DispyJob], Any] | None
    _cluster_status: Callable[[int, DispyNode | None, DispyJob | None], Any] | None
    _allocations: list[allocation.NodeAllocate]
    _wanted: whom.Whom
    _reentrant: bool
    _exclusive: bool
    _logbook: Logbook | None

    #: How far the hub is with it; and that nobody needs that, since making it was interrupted.
    _has_joined = _parted = _is_unwanted = False

    def _begin(self, message: Prepare, wanted: whom.Whom, secret: Secret, node_port: int) -> None:
        """Called in the user's thread, when everything that the user gave was found good."""
        self._patterns: list[str] = []
        wishes = (self._reentrant, self._asks_itself(), self._cluster_status is not None, self._exclusive)
        self._opened = Open(message.computation, self._patterns, *wishes)
        if self._logbook is not None:
            message, self._opened = self._logbook.begin(message, self._opened, self._place())
        elif self._place():  # Whoever knows this may take it over from the scheduler: see `detach`.
            self._opened = replace(self._opened, token=secrets.token_bytes(16), epoch=1)
        self._computation: ComputationId = message.computation
        self._has_lost_local = False
        self._lock = threading.Lock()
        #: The last number given to a job: one that `submit` was interrupted with belongs to none.
        self._number = 0
        self._made = 0
        self._ended = 0
        self._submitted: deque[tuple[DispyJob, Bulk, Options | None]] = deque()
        self._rung = False
        self._jobs: dict[JobId, DispyJob] = {}
        #: Jobs that were given up with their nodes.
        self._abandoned: dict[int, DispyJob] = {}
        #: The jobs that a former life of the program has left.
        self._former: dict[int, DispyJob] = {}
        #: Jobs of that life whose ends the callback has been told of.
        self._told: set[JobId] = set()
        #: The nodes that are set up, or were: by their instances.
        self._nodes: dict[bytes, DispyNode] = {}
        #: Files that jobs have sent: (job, attempt, number).
        self._stored: set[tuple[int, int, int]] = set()
        self._idle_gates: list[Gate] = []
        self._questions = itertools.count(1)
        self._answers: dict[int, tuple[Gate, list[Standing | Reply]]] = {}
        self._released = Gate()
        #: What to say of all jobs, where gdispy itself has failed.
        self._defect = ""
        #: No jobs are taken any more; and somebody is at what comes then.
        self._closing = self._leaving = False
        self._closed = False
        #: How the nodes stood when it was closed.
        self._last_rows: list[list[Any]] = []
        self._forked = False
        self._started = time.time()
        self._hub = Hub.get()
        if self._callback is not None or self._cluster_status is not None or self._asks_itself():
            self._hub.prepare_errands()
        self._hub.in_forked_child.append(self._die_in_child)
        self._hub.call(self._join, message, wanted, secret, node_port)
        if self._logbook is not None and self._logbook.former is not None:
            self._hub.call(self._resolve_former, self._logbook.former)

    def _give_back(self) -> None:
        """The cluster could not be made, or Ctrl-C came when it was: it may be in the hub's hands by then."""
        if self._local is not None:
            self._local.close()
        if self._logbook is not None:
            self._logbook.give_up()
        if hasattr(self, "_hub"):
            self._is_unwanted = True
            self._hub.post(self._leave_unwanted)

    def _asks_itself(self) -> bool:
        return not all(each.is_plain() for each in self._allocations)

    def _die_in_child(self) -> None:
        """In a forked child: all of this has stayed with the parent."""
        self._forked = self._closing = self._closed = True
        self._lock = threading.Lock()
        shared = schedulers.get(self._key)
        if shared is not None:
            shared.scheduler.abandon_in_child()
        if self._local is not None:
            self._local.forget_in_child()
        if self._logbook is not None:
            self._logbook.journal.forget_in_child()

    def _refuse_fork(self) -> None:
        if self._forked:
            raise ForkedError

    # Coming and going

    def _join(self, message: Prepare, wanted: whom.Whom, secret: Secret, node_port: int) -> None:
        shared = schedulers.get(self._key)
        if shared is None:
            shared = schedulers[self._key] = _Shared(self._new_scheduler(secret), set())
            shared.scheduler.start()
        shared.users.add(id(self))
        self._scheduler = shared.scheduler
        self._pump = Pump(self._perform, on_defect=self._on_defect)
        self._pump.start()
        self._scheduler.on_defect.append(self._on_defect)
        self._end = self._scheduler.attach(lambda messages: self._pump.put(self._receive, messages))
        self._session = Session(self._computation, self._end.peer)
        self._patterns = list(wanted.patterns)
        if self._local is not None:
            self._patterns.append(self._local.name)
            name = self._local.name
            if not any(each.ip_addr == whom.LOCAL for each in self._allocations):
                self._allocations.append(allocation.NodeAllocate(name))
            self._allocations = [each.named(name) if each.ip_addr == whom.LOCAL else each for each in self._allocations]
            self._hub.spawn(self._await_local, self._local)
        if self._logbook is not None:
            self._logbook.journal.keep(self._scheduler.ledger.free, self._logbook.flush)
            self._scheduler.ledger.add(self._computation, self._logbook.journal)
            if self._logbook.former is not None:
                self._take_up(self._logbook.former, message)
        self._open()
        self._end.send(message)
        self._scheduler.seek(wanted.targets, wanted.look, node_port)
        self._has_joined = True
        self._leave_unwanted()

    def _leave_unwanted(self) -> None:
        """The program was interrupted when it made this cluster, and does not know it."""
        if not self._is_unwanted or not self._has_joined:
            return
        self._is_unwanted = False
        if self._logbook is not None and self._logbook.former is not None:
            self._logbook.stays = True  # What a former life has left is still there for the next.
            self._part()
        else:
            self._hub.spawn(self._release_and_part)

    def _release_and_part(self) -> None:
        self._release()
        self._released.wait(UNWANTED_LIMIT)
        self._part()

    def _place(self) -> str:
        """Where the scheduler is, '' for one in this process."""
        return ""

    # A former life

    @property
    def resumed(self) -> list[DispyJob]:
        """The jobs that a former life of the program has left, as they were submitted."""
        return list(self._former.values())

    def _take_up(self, former: Story, message: Prepare) -> None:
        """Go on with what a former life of the program has left."""
        self._number = self._made = self._ended = former.last
        self._ended -= len(former.jobs)
        for number, known in former.jobs.items():
            job = KeptJob(number, time.time(), self._logbook, known.arguments)
            if known.name:
                job._id = pickling.loads(known.name)
            self._former[number] = self._jobs[number] = job
            if known.told:
                self._told.add(number)
        former.nodes = {node: met for node, met in former.nodes.items() if not died_with_its_program(met)}
        unfinished = former.unfinished()
        self._session.resume(list(unfinished))
        former.open = replace(self._opened, nodes=self._patterns)
        self._scheduler.restore(self._end, former, message)

    def _resolve_former(self, former: Story) -> None:
        for ended in outcomes(former.jobs.values()):
            self._resolve(Resolve(ended, None))

    def _new_scheduler(self, secret: Secret) -> Any:
        """The scheduler that clusters with these settings share."""
        _, ip_addr, ext_ip_addr, port, pulse, ping, _, multicast = self._key
        place = (ip_addr, ext_ip_addr, port)
        return Scheduler(secret, *place, pulse, ping, multicast=multicast, make_sink=result_sink)

    def _open(self) -> None:
        """Tell the scheduler which nodes are wanted; again when that has changed."""
        self._opened = replace(self._opened, nodes=list(self._patterns), asks=self._asks_itself())
        self._end.send(self._opened)

    def _await_local(self, local: LocalNode) -> None:
        try:
            host, port = local.await_ready()
        except ConnectFailed as error:
            self._scheduler.report(LOCAL_PLACE, str(error))
            self._has_lost_local = True
            return
        self._scheduler.seek([(host, port)], False, port)

    def _want(self, wanted: allocation.Allocation, node_port: int) -> None:
        """Use more nodes than before."""
        self._wanted.add(wanted.whom)
        self._allocations += wanted.nodes
        self._patterns += wanted.whom.patterns
        self._open()
        self._scheduler.seek(wanted.whom.targets, wanted.whom.look, node_port)

    def _seek(self, wanted: whom.Whom, node_port: int) -> None:
        self._scheduler.seek(wanted.targets, wanted.look, node_port)

    def _on_defect(self, error: BaseException) -> None:
        """gdispy itself has failed, as the log says: nobody decides any more, and nobody is to wait for that."""
        self._defect = f"gdispy itself has failed, see the log: {error!r}\n"
        self._pump.stop()
        if self._logbook is not None:
            self._logbook.stays = True
        self._give_up()
        self._released.open()
        self._leave_unanswered()

    def _leave_unanswered(self) -> None:
        """Nobody is there who could answer."""
        for gate, _ in list(self._answers.values()):
            gate.open()

    def _give_up(self) -> None:
        jobs = [*self._jobs.values(), *(job for job, _, _ in self._submitted)]
        self._jobs.clear()
        self._submitted.clear()
        for job in jobs:
            job.status, job.exception, job._done = statuses.ABANDONED, self._defect, True
        self._ended += len(jobs)
        gates, self._idle_gates = [*self._idle_gates, *(job._gate for job in jobs if job._gate is not None)], []
        for gate in gates:
            gate.open()

    def _part(self) -> None:
        if self._parted:
            return
        self._parted = True
        self._leave_unanswered()
        self._pump.stop()
        self._scheduler.on_defect.remove(self._on_defect)
        self._scheduler.detach(self._end)
        if self._logbook is not None:
            self._scheduler.ledger.remove(self._computation)
            self._logbook.close()
        shared = schedulers[self._key]
        shared.users.discard(id(self))
        if not shared.users:
            del schedulers[self._key]
            shared.scheduler.close()
        if self._local is not None:
            self._local.close()
        with contextlib.suppress(ValueError):
            self._hub.in_forked_child.remove(self._die_in_child)

    # What the user asks for

    def _take_submitted(self) -> None:
        self._rung = False
        if self._defect:
            self._give_up()
        jobs: list[JobId] = []
        arguments: list[Bulk] = []
        options: list[Options | None] = []
        submitted, known = self._submitted, self._jobs
        while submitted:
            job, payload, wishes = submitted.popleft()
            number = JobId(job._number)
            known[number] = job
            jobs.append(number)
            arguments.append(payload)
            options.append(wishes)
            if self._cluster_status is not None:
                self._hub.errand(self._cluster_status, statuses.CREATED, None, job)
        if jobs:
            self._pump.put(self._submit, jobs, arguments, options if any(options) else [])

    def _submit(self, jobs: list[JobId], arguments: list[Bulk], options: list[Options | None], now: float) -> Effects:
        return self._session.submit(jobs, arguments, options)

    def _receive(self, messages: list[Any], now: float) -> Effects:
        return self._session.receive(messages)

    def _cancel(self, job: DispyJob) -> int:
        self._take_submitted()
        if self._jobs.get(JobId(job._number)) is not job:
            return -1
        self._pump.put(lambda now: self._session.cancel([JobId(job._number)]))
        return 0

    def _cancel_everything(self) -> None:
        self._take_submitted()
        self._pump.put(lambda now: self._session.cancel(list(self._jobs)))

    def _ask(self, message: Message) -> None:
        if self._parted or self._defect:
            self._leave_unanswered()
        else:
            self._say(message)

    def _say(self, message: Message) -> None:
        self._take_submitted()
        self._end.send(message)

    def _release(self) -> None:
        self._pump.put(lambda now: self._session.release())

    # What the rules ask for

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, Send):
            self._end.send(effect.message)
        elif isinstance(effect, Resolve):
            self._resolve(effect)
        else:
            self._OTHER_EFFECTS[type(effect)](self, effect)

    def _resolve(self, effect: Resolve) -> None:
        ended = effect.ended
        numbers, jobs = ended.jobs, self._jobs
        gates: list[Gate] = []
        results, outputs, errors = ended.results, ended.outputs, ended.errors
        codes, starts, ends, exceptions = ended.statuses, ended.starts, ended.ends, ended.exceptions
        before = len(jobs)
        try:
            for place in range(len(numbers)) if effect.picks is None else effect.picks:
                number = numbers[place]
                job = jobs[number]
                job._result = None
                job._payload = results[place]
                job.ip_addr = ended.address
                job.start_time = starts[place] or job.start_time
                job.end_time = ends[place] or None
                if outputs[place] or errors[place] or self._is_program:
                    job.stdout, job.stderr = self._printed(outputs[place]), self._printed(errors[place])
                    if ended.truncated[place]:
                        self._note_cut(job, (outputs[place], errors[place]), ended.truncated[place])
                job.exception = exceptions[place] or None
                if self._cluster_status is not None:
                    self._tell_begin(job, ended.node, bool(job.start_time))
                job.status = codes[place]
                if job.status == statuses.ABANDONED:
                    self._abandoned[job._number] = job
                job._done = True
                del jobs[number]
                if job._gate is not None:
                    gates.append(job._gate)
                if self._callback is not None:
                    self._call_back(job)
                if self._cluster_status is not None:
                    self._tell_status(job.status, ended.node, job)
        finally:
            self._ended += before - len(jobs)
            if self._ended >= self._made and self._idle_gates:
                gates += self._idle_gates
                self._idle_gates = []
            # After the last, or the user's thread would wake up in between and want the interpreter.
            for gate in gates:
                gate.open()

    def _call_back(self, job: DispyJob) -> None:
        """Tell the user of the end of a job, once in all lives of the program."""
        if self._logbook is None:
            self._hub.errand(self._callback, job)  # type: ignore[arg-type]
        elif job._number not in self._told:
            self._hub.errand(self._call_back_and_note, job, self._logbook)

    def _call_back_and_note(self, job: DispyJob, logbook: Logbook) -> None:
        assert self._callback is not None
        try:
            self._callback(job)
        finally:
            logbook.told(job._number)

    def _take_late(self, effect: Late) -> None:
        """A node that had been given up has come back, with results of jobs that have ended without them."""
        for place in effect.picks:
            job = self._abandoned.pop(effect.ended.jobs[place], None)
            if job is not None and effect.ended.statuses[place] == statuses.FINISHED:
                job._late = effect.ended.results[place]
                logger.warning("job %r was abandoned, and its node is back with its result: job.late_result", job.id)

    def _lose(self, effect: Lost) -> None:
        """Somebody else has the computation: what the file says is not this program's to remove."""
        if self._logbook is not None:
            self._logbook.stays = True

    def _tell_status(self, status: int, node: bytes, job: DispyJob) -> None:
        if self._cluster_status is not None:
            self._hub.errand(self._cluster_status, status, self._nodes.get(node), job)

    def _tell_begin(self, job: DispyJob, node: bytes, has_begun: bool) -> None:
        """A job so short that only its end, or a provisional result, was told has begun all the same."""
        if job.status == statuses.CREATED and has_begun:
            job.status = statuses.RUNNING
            self._tell_status(statuses.RUNNING, node, job._copy())

    def _note_cut(self, job: DispyJob, streams: tuple[Bulk, Bulk], left_out: int) -> None:
        """A job has printed more than is kept."""
        job.truncated = True
        limit = self._output_limit
        total = left_out + sum(min(bulk_size(each), limit) for each in streams)
        logger.warning(
            "%s: job %r has printed %s bytes, of which %s are left out: output_limit is %s bytes of each stream",
            *(self.name, job.id, f"{total:,}", f"{left_out:,}", f"{limit:,}"),
        )

    def _printed(self, output: Bulk) -> Any:
        if not output:
            return b"" if self._is_program else ""
        if isinstance(output, OpenFile):
            if self._takes_files:
                return output
            if output.error:
                logger.error("%s: not all output of a job is here: %s", self.name, output.error)
        data = joined(output)
        return data if self._is_program else data.decode("utf-8", "replace")

    def _show(self, effect: Show) -> None:
        started = effect.started
        for number, began in zip(started.jobs, started.times, strict=True):
            job = self._jobs.get(number)
            if job is not None and job.status == statuses.CREATED:
                job.status, job.start_time, job.ip_addr = statuses.RUNNING, began, started.address
                if self._cluster_status is not None:
                    self._tell_status(statuses.RUNNING, started.node, job._copy())

    def _provide(self, effect: Provide) -> None:
        progress = effect.progress
        job = self._jobs.get(progress.job)
        if job is not None:
            if self._cluster_status is not None:
                self._tell_begin(job, progress.node, True)
            job.status, job.ip_addr = statuses.PROVISIONAL_RESULT, progress.address
            job._payload, job._result = progress.value, None
            if self._callback is not None:
                self._hub.errand(self._callback, job._copy())
            if self._cluster_status is not None:
                self._tell_status(job.status, progress.node, job._copy())

    def _tell(self, effect: Tell) -> None:
        logger.warning("%s", effect.text)

    def _answer(self, effect: Answer) -> None:
        known = self._answers.get(effect.answer.question)
        if known is not None:
            known[1].append(effect.answer)
            known[0].open()

    def _on_closed(self, effect: Closed) -> None:
        self._released.open()

    def _decide(self, effect: Decide) -> None:
        if self._opened.asks:
            # What the user has written may take its time, or fail: not in the hub.
            self._hub.errand(self._decide_apart, effect.appeared)

    def _decide_apart(self, appeared: Appeared) -> None:
        take = allocation.decide(self._allocations, self, self._computation, appeared)
        with contextlib.suppress(ForkedError):
            self._hub.post(self._say, take)

    def _happen(self, effect: Happen) -> None:
        event = effect.event
        node = self._nodes.get(event.node)
        if node is None:
            node = self._nodes[event.node] = DispyNode(event.rows[0])
        node.update(event.rows[0])
        node.avail_info = DispyNodeAvailInfo.of(event.free) or node.avail_info
        if event.what == DispyNode.Closed:
            del self._nodes[event.node]
        if self._cluster_status is not None:
            self._hub.errand(self._cluster_status, event.what, node, None)

    def _store(self, effect: Store) -> None:
        upload = effect.upload
        if (upload.job, upload.attempt, upload.number) in self._stored:  # It is said again after a break.
            self._uploaded(upload.job, upload.attempt, upload.number, "")
            return
        self._hub.prepare_errands()
        self._hub.errand(self._store_apart, upload)

    def _store_apart(self, upload: Any) -> None:
        error = store(os.getcwd(), upload.files[0], upload.contents[0]) if upload.files else "no file came"
        if not error:
            self._stored.add((upload.job, upload.attempt, upload.number))
        with contextlib.suppress(ForkedError):
            self._hub.post(self._uploaded, upload.job, upload.attempt, upload.number, error)

    def _uploaded(self, job: JobId, attempt: int, number: int, error: str) -> None:
        self._end.send(Uploaded(self._computation, job, attempt, number, error))

    _OTHER_EFFECTS: dict[type, Callable[[Client, Any], None]] = {
        Show: _show,
        Provide: _provide,
        Tell: _tell,
        Late: _take_late,
        Lost: _lose,
        Answer: _answer,
        Closed: _on_closed,
        Decide: _decide,
        Happen: _happen,
        Store: _store,
    }
