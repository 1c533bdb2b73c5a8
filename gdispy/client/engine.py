"""The client's side of one computation, in the hub: its rules, its jobs, its nodes.

`cluster.py` puts the methods for users on top. Everything here runs in the hub, except what says
otherwise; all decisions are those of `rules/client/session.py`.

Invariants:
1. A job's fields are written in the hub only; its end is told once, and then never changes.
2. What the user gave us to call is called outside the hub (`Hub.call_back`, `UserCallbacks`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from gdispy.client import node_allocate
from gdispy.client.completion import Completion
from gdispy.client.job import DispyJob, KeptJob, skip_numbers
from gdispy.client.job_options import Options
from gdispy.client.job_table import JobKeeping, JobTable
from gdispy.client.local_node import LocalNode, died_with_its_program
from gdispy.client.node_table import NodeTable
from gdispy.client.received_files import ReceivedFiles
from gdispy.client.result_sink import result_sink
from gdispy.client.status import DispyNode
from gdispy.client.user_callbacks import UserCallbacks
from gdispy.discovery import targets
from gdispy.errors import ConnectFailed, ForkedError
from gdispy.hub import Hub, WeakCall
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol import job_status
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import UNLIMITED, Message, NodeFound, Open, Prepare, Reply, Status, Uploaded
from gdispy.protocol.payload import Bulk
from gdispy.rules.client.effects import (
    Answer,
    ChooseNode,
    ComputationClosed,
    JobsStarted,
    LateResult,
    NodeEvent,
    Notify,
    ProvisionalResult,
    Resolve,
    SaveFile,
    TakenOver,
)
from gdispy.rules.client.session import ClientSession
from gdispy.rules.effects import Effects, Send
from gdispy.rules.history.replay import ComputationHistory, outcomes
from gdispy.runtime.gate import Gate
from gdispy.runtime.limited_log import LimitedLog
from gdispy.runtime.pump import Pump
from gdispy.scheduler import Scheduler
from gdispy.transport.credentials import Secret
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


#: The clusters with jobs that have not ended: those live until they have, also where nobody else knows them. Written in
#: the hub only.
_pending: set[ClusterEngine] = set()


class ClusterEngine:
    """One computation, seen from the client. `cluster.py` derives from it."""

    #: Of the function, or the program without its path.
    name = ""
    _key: tuple[Any, ...]
    _local: LocalNode | None
    _is_program: bool
    _callbacks: UserCallbacks
    #: Bytes of each stream of a job's output that are kept; and whether much of it is left in the file that it came in.
    _output_limit = UNLIMITED
    _takes_files = False
    _allocations: list[node_allocate.NodeAllocate]
    _wanted: targets.NodeTargets
    _reentrant: bool
    #: How results travel, as in `Prepare`.
    _results = ""
    #: Whether files that jobs send replace others.
    _overwrites = False
    #: Whether jobs that no node can run wait for another one.
    _waits = False
    _exclusive: bool
    _logbook: RecoveryFile | None

    #: How far the hub is with it; and that nobody needs that, since making it was interrupted.
    _has_joined = _parted = _is_unwanted = False

    def _begin(self, message: Prepare, wanted: targets.NodeTargets, secret: Secret, node_port: int) -> None:
        """Called in the user's thread, when everything that the user gave was found good."""
        message = replace(message, results=self._results)
        self._patterns: list[str] = []
        wishes = (self._reentrant, self._asks_itself(), self._callbacks.on_status is not None, self._exclusive)
        self._opened = Open(message.computation, self._patterns, *wishes, waits=self._waits)
        if self._logbook is not None:
            message, self._opened = self._logbook.begin(message, self._opened, self._place())
        elif self._place():  # Whoever knows this may take it over from the scheduler: see `detach`.
            self._opened = replace(self._opened, token=secrets.token_bytes(16), epoch=1)
        self._computation: ComputationId = message.computation
        self._has_lost_local = False
        self._lock = threading.Lock()
        #: Jobs that the hub has not taken yet. Not in tuples: each would be an object more for the garbage collector,
        #: whose work is a good part of what a short job costs.
        self._submitted: deque[DispyJob] = deque()
        #: The options of those that have any.
        self._wishes: dict[JobId, Options] = {}
        self._rung = False
        #: The jobs that a former life of the program has left.
        self._former: dict[int, DispyJob] = {}
        self._nodes = NodeTable()
        self._questions = itertools.count(1)
        self._answers: dict[int, tuple[Gate, list[Status | Reply]]] = {}
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
        self._log = LimitedLog(logger)
        self._received = ReceivedFiles(self._hub, WeakCall(self._uploaded), self._overwrites)
        self._callbacks.use(self._hub)
        self._count = Completion(self.name, self._hub, self._callbacks)
        outputs = (self._takes_files, self._output_limit)
        keeping = JobKeeping(self._logbook, self._is_program, *outputs, self._reentrant, bool(self._results))
        self._table = JobTable(self.name, keeping, self._nodes, self._callbacks, self._count)
        self._jobs = self._table.jobs
        if self._asks_itself():
            self._hub.prepare_callbacks()
        # What lives in the hub does not keep a cluster alive that the program has forgotten (see `_leave_forgotten`).
        self._when_forked, self._when_defect = WeakCall(self._die_in_child), WeakCall(self._on_defect)
        self._hub.in_forked_child.append(self._when_forked)
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

    def _join(self, message: Prepare, wanted: targets.NodeTargets, secret: Secret, node_port: int) -> None:
        shared = schedulers.get(self._key)
        if shared is None:
            shared = schedulers[self._key] = _Shared(self._new_scheduler(secret), set())
            shared.scheduler.start()
        shared.users.add(id(self))
        self._scheduler = shared.scheduler
        self._pump = Pump(WeakCall(self._perform), on_defect=self._when_defect)
        self._pump.start()
        self._scheduler.on_defect.append(self._when_defect)
        self._end = self._scheduler.attach(WeakCall(self._arrived))
        self._session = ClientSession(self._computation, self._end.peer)
        self._patterns = list(wanted.patterns)
        if self._local is not None:
            self._patterns.append(self._local.name)
            name = self._local.name
            if not any(each.host == targets.LOCAL for each in self._allocations):
                self._allocations.append(node_allocate.NodeAllocate(targets.LOCAL))
            self._allocations = [each.named(name) if each.host == targets.LOCAL else each for each in self._allocations]
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

    def _leave_forgotten(self) -> None:
        """The program has let go of this cluster without closing it: no job is pending."""
        self._pump.perform = self._perform  # What was held weakly may be lost by now.
        self._hub.spawn(self._release_and_part)

    def _place(self) -> str:
        """Where the scheduler is, '' for one in this process."""
        return ""

    # A former life

    @property
    def resumed(self) -> list[DispyJob]:
        """The jobs that a former life of the program has left, as they were submitted."""
        return list(self._former.values())

    def _take_up(self, former: ComputationHistory, message: Prepare) -> None:
        """Go on with what a former life of the program has left."""
        assert self._logbook is not None
        own = {node for node, met in former.nodes.items() if died_with_its_program(met)}
        self._logbook.run_again(own)
        skip_numbers(former.last)
        self._count.made = len(former.jobs)
        if former.jobs:
            _pending.add(self)
        for number, known in former.jobs.items():
            job = KeptJob._kept(number, time.time(), self._logbook, known.arguments)
            if known.name:
                job._id = pickling.loads(known.name)
            self._former[number] = self._jobs[number] = job
            if known.told:
                self._table.told.add(number)
        former.nodes = {node: met for node, met in former.nodes.items() if node not in own}
        unfinished = former.unfinished()
        self._session.resume(list(unfinished))
        former.open = replace(self._opened, nodes=self._patterns)
        self._scheduler.restore(self._end, former, message)

    def _resolve_former(self, former: ComputationHistory) -> None:
        for ended in outcomes(former.jobs.values()):
            self._resolve(Resolve(ended, None))

    def _new_scheduler(self, secret: Secret) -> Any:
        """The scheduler that clusters with these settings share."""
        _, ip_addr, ext_ip_addr, port, pulse, ping, _, multicast = self._key
        place = (ip_addr, ext_ip_addr, port)
        return Scheduler(secret, *place, pulse, ping, multicast=multicast, make_sink=result_sink)

    def _open(self) -> None:
        """Tell the scheduler which nodes are wanted, and what to report; again when that has changed."""
        watches = self._callbacks.on_status is not None
        self._opened = replace(self._opened, nodes=list(self._patterns), asks=self._asks_itself(), watches=watches)
        self._end.send(self._opened)

    def _await_local(self, local: LocalNode) -> None:
        try:
            host, port = local.await_ready()
        except ConnectFailed as error:
            self._scheduler.report(LOCAL_PLACE, str(error))
            self._has_lost_local = True
            return
        self._scheduler.seek([(host, port)], False, port)

    def _want(self, wanted: node_allocate.Allocation, node_port: int) -> None:
        """Use more nodes than before."""
        self._wanted.add(wanted.whom)
        self._allocations += wanted.nodes
        self._patterns += wanted.whom.patterns
        self._open()
        self._scheduler.seek(wanted.whom.targets, wanted.whom.look, node_port)

    def _seek(self, wanted: targets.NodeTargets, node_port: int) -> None:
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
        jobs = list(self._submitted)
        self._submitted.clear()
        self._wishes.clear()
        self._table.give_up(jobs, self._defect)
        _pending.discard(self)

    def _part(self) -> None:
        if self._parted:
            return
        self._parted = True
        _pending.discard(self)
        self._leave_unanswered()
        self._pump.stop()
        self._scheduler.on_defect.remove(self._when_defect)
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
            self._hub.in_forked_child.remove(self._when_forked)

    # What the user asks for

    def _take_submitted(self) -> None:
        self._rung = False
        if self._defect:
            self._give_up()
        submitted, wishes, on_status = self._submitted, self._wishes, self._callbacks.on_status
        taken = [submitted.popleft() for _ in range(len(submitted))]
        if not taken:
            return
        jobs: list[JobId] = [job._number for job in taken]  # type: ignore[misc]
        self._jobs.update(zip(jobs, taken, strict=True))
        options = [wishes.pop(number, None) for number in jobs] if wishes else []
        if on_status is not None:
            for job in taken:
                self._callbacks.give(on_status, job_status.CREATED, None, job)
        _pending.add(self)
        self._pump.put(self._submit, jobs, [job._arguments for job in taken], options if any(options) else [])

    def _submit(self, jobs: list[JobId], arguments: list[Bulk], options: list[Options | None], now: float) -> Effects:
        return self._session.submit(jobs, arguments, options)

    def _arrived(self, messages: list[Any]) -> None:
        self._pump.put(self._receive, messages)

    def _receive(self, messages: list[Any], now: float) -> Effects:
        return self._session.receive(messages)

    def _cancel(self, job: DispyJob) -> int:
        self._take_submitted()
        known = self._jobs.get(JobId(job._number))
        if known is None or known != job or known._status == job_status.CANCELLED:
            return -1
        known._status = job_status.CANCELLED
        self._pump.put(lambda now: self._session.cancel([JobId(known._number)]))
        return 0

    def _cancel_everything(self, is_wish: bool) -> int:
        """Cancel all jobs; `is_wish` is whether the user wants no results of them, and not only to come to an end."""
        self._take_submitted()
        pending = [number for number, job in self._jobs.items() if job._status != job_status.CANCELLED]
        for number in pending if is_wish else ():
            self._jobs[number]._status = job_status.CANCELLED
        self._pump.put(lambda now: self._session.cancel(list(self._jobs)))
        return len(pending)

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
        self._table.end(effect.ended, effect.picks)
        if not self._count.pending:
            _pending.discard(self)

    def _take_late(self, effect: LateResult) -> None:
        self._table.take_late(effect.ended, effect.picks)

    def _lose(self, effect: TakenOver) -> None:
        """Somebody else has the computation: what the file says is not this program's to remove."""
        if self._logbook is not None:
            self._logbook.stays = True

    def _show(self, effect: JobsStarted) -> None:
        self._table.begin(effect.started)

    def _provide(self, effect: ProvisionalResult) -> None:
        self._table.provide(effect.progress)

    def _tell(self, effect: Notify) -> None:
        # A scheduler elsewhere is a peer; what the one in this process says, it says seldom.
        self._log.log_lines(logging.WARNING, "trouble" if self._place() else effect.text, effect.text)

    def _answer(self, effect: Answer) -> None:
        known = self._answers.get(effect.answer.question)
        if known is not None:
            known[1].append(effect.answer)
            known[0].open()

    def _on_closed(self, effect: ComputationClosed) -> None:
        self._released.open()

    def _decide(self, effect: ChooseNode) -> None:
        if self._opened.asks:
            # What the user has written may take its time, or fail: not in the hub.
            self._hub.call_back(self._decide_apart, effect.appeared)

    def _decide_apart(self, appeared: NodeFound) -> None:
        take = node_allocate.decide(self._allocations, self, self._computation, appeared)
        with contextlib.suppress(ForkedError):
            self._hub.post(self._say, take)

    def _happen(self, effect: NodeEvent) -> None:
        event = effect.event
        if event.what == DispyNode.Closed:
            self._table.lose_node(event.node)
        node = self._nodes.take(event)
        if self._callbacks.on_status is not None:
            self._callbacks.give(self._callbacks.on_status, event.what, node, None)

    def _store(self, effect: SaveFile) -> None:
        self._received.take(effect.upload)

    def _uploaded(self, job: JobId, attempt: int, number: int, error: str) -> None:
        self._end.send(Uploaded(self._computation, job, attempt, number, error))

    _OTHER_EFFECTS: dict[type, Callable[[ClusterEngine, Any], None]] = {
        JobsStarted: _show,
        ProvisionalResult: _provide,
        Notify: _tell,
        LateResult: _take_late,
        TakenOver: _lose,
        Answer: _answer,
        ComputationClosed: _on_closed,
        ChooseNode: _decide,
        NodeEvent: _happen,
        SaveFile: _store,
    }
