"""The part of one cluster that runs in the hub: it connects the rules of a client to a scheduler and keeps the state of
jobs and nodes.

Everything here runs in the hub unless noted otherwise; `rules/client/session.py` makes all decisions.

Invariants:
1. A job's fields are written only in the hub; its end is reported once and never changes.
2. The user's own code is called outside the hub (`Hub.call_back`, `UserCallbacks`).
3. A cluster with unfinished jobs is kept alive until they have ended, even if the program has dropped it.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from gdispy.client import node_allocate
from gdispy.client.completion import Completion
from gdispy.client.job import DispyJob, KeptJob
from gdispy.client.job_numbers import skip_numbers
from gdispy.client.job_table import JobTable
from gdispy.client.live_output import OutputLines, ended_lines
from gdispy.client.local_node import LocalNode, died_with_its_program
from gdispy.client.node_selection import NodeSelection
from gdispy.client.node_table import NodeTable
from gdispy.client.questions import PendingQuestions, Reported
from gdispy.client.received_files import ReceivedFiles
from gdispy.client.scheduler_pool import pool
from gdispy.client.settings import ClusterSettings
from gdispy.client.status import DispyNode
from gdispy.client.submission import SubmissionQueue
from gdispy.client.user_callbacks import UserCallbacks
from gdispy.discovery import targets
from gdispy.errors import ConnectFailed, ForkedError, InternalError
from gdispy.hub import Hub, WeakCall
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import (
    Follow,
    Message,
    NodeFound,
    Open,
    Prepare,
    Uploaded,
    Withdraw,
    ended_without_node,
)
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.rules.client.effects import (
    Answer,
    ChooseNode,
    ComputationClosed,
    JobsStarted,
    LateResult,
    NodeEvent,
    Notify,
    OutputArrived,
    ProvisionalResult,
    Resolve,
    SaveFile,
    TakenOver,
)
from gdispy.rules.client.session import ClientSession
from gdispy.rules.effects import Effect, Effects, Send
from gdispy.rules.history.replay import ComputationHistory, outcomes
from gdispy.runtime.gate import Gate
from gdispy.runtime.limited_log import LimitedLog
from gdispy.runtime.pump import Pump
from gdispy.transport.credentials import Secret
from gdispy.worker import pickling

logger = logging.getLogger("gdispy")

LOCAL_PLACE = "the local node"
#: Seconds that nodes have to release a cluster whose construction was interrupted.
UNWANTED_LIMIT = 5.0

#: The clusters with unfinished jobs. Written only in the hub.
_pending: set[object] = set()


class Stage(enum.Enum):
    """The state of a cluster in the hub."""

    JOINING = enum.auto()
    #: Its construction was interrupted, so the program has no reference to it: it leaves once it has joined.
    UNWANTED = enum.auto()
    OPEN = enum.auto()
    #: A defect of gdispy: no decisions are made any more.
    FAILED = enum.auto()
    PARTED = enum.auto()
    #: This process is a forked child; the cluster belongs to the parent.
    FORKED = enum.auto()


_MOVES = {
    Stage.JOINING: {Stage.OPEN, Stage.UNWANTED, Stage.FAILED, Stage.FORKED},
    Stage.UNWANTED: {Stage.OPEN, Stage.FAILED, Stage.FORKED},
    Stage.OPEN: {Stage.FAILED, Stage.PARTED, Stage.FORKED},
    Stage.FAILED: {Stage.FAILED, Stage.PARTED, Stage.FORKED},
    Stage.PARTED: {Stage.FORKED},
    Stage.FORKED: {Stage.FORKED},
}


class ClusterEngine:
    """One computation of this program, and its connection to the scheduler."""

    def __init__(
        self,
        owner: Callable[[], object],
        message: Prepare,
        settings: ClusterSettings,
        callbacks: UserCallbacks,
        nodes: NodeSelection,
        recovery: RecoveryFile | None,
        wake: Callable[[], None],
    ) -> None:
        """In the user's thread. `owner` returns the `JobCluster`, or None when it no longer exists; `wake` is called in
        the submitting thread when jobs are queued for the hub. Raises ConfigError if the recovery file belongs to
        another computation."""
        self._owner, self._settings, self._callbacks, self._recovery = owner, settings, callbacks, recovery
        message = replace(message, results=settings.results, logs=settings.logs)
        asks, watches = nodes.asks, callbacks.on_status is not None
        flags = (settings.reentrant, asks, watches, settings.exclusive)
        self.opened = Open(message.computation, [], *flags, waits=settings.waits_for_nodes)
        if recovery is not None:
            message, self.opened = recovery.begin(message, self.opened, settings.key.place)
        elif settings.key.place:  # A process with this token may take over the computation: see `JobCluster.detach`.
            self.opened = replace(self.opened, token=secrets.token_bytes(16), epoch=1)
        self._message = message
        self.name, self.computation = message.name, message.computation
        self.stage = Stage.JOINING
        #: The text with which all jobs end after a defect of gdispy.
        self.defect = ""
        self.selection, self.nodes = nodes, NodeTable()
        #: Opens when all nodes have released the computation.
        self.released = Gate()
        #: The jobs of the previous run of the program, in the order of submission.
        self.former: dict[int, DispyJob] = {}
        self._hub = Hub.get()
        self._log = LimitedLog(logger)
        self.received = ReceivedFiles(self._hub, WeakCall(self._uploaded), settings.overwrites)
        callbacks.use(self._hub)
        self.count = Completion(self.name, self._hub, callbacks)
        self.table = JobTable(self.name, settings, recovery, self.nodes, callbacks, self.count)
        self.queue = SubmissionQueue(recovery, self.count, wake, self._hub.let_run)
        self._questions = PendingQuestions()

    def begin(self, secret: Secret) -> None:
        """Join the scheduler. Called once, in the user's thread."""
        if self.selection.asks:
            self._hub.prepare_callbacks()
        if self.table.printer is not None:
            self._hub.call(self.table.printer.start)
        self._hub.in_forked_child.append(self._die_in_child)
        self._hub.call(self._join, secret)
        if self._recovery is not None and self._recovery.former is not None:
            self._hub.call(self._resolve_former, self._recovery.former)

    def move(self, stage: Stage) -> None:
        if stage not in _MOVES[self.stage]:
            raise InternalError(
                f"{self.name}: {self.stage.name} -> {stage.name} is not a legal transition of a cluster"
            )
        self.stage = stage

    def abort(self) -> None:
        """Construction failed or was interrupted by Ctrl-C. In the user's thread."""
        self._hub.post(self._leave_unwanted)

    def refuse_fork(self) -> None:
        """Raises ForkedError in a forked child. In any thread."""
        if self.stage is Stage.FORKED:
            raise ForkedError

    def _die_in_child(self) -> None:
        self.move(Stage.FORKED)
        self.queue.forget_in_child(ForkedError)
        pool.abandon_in_child(self._settings.key)
        if self.selection.local is not None:
            self.selection.local.forget_in_child()
        if self._recovery is not None:
            self._recovery.journal.forget_in_child()

    # Joining and leaving

    def _join(self, secret: Secret) -> None:
        self.scheduler = pool.join(self._settings.key, secret, self)
        self._pump = Pump(self._perform, on_defect=self._on_defect)
        self._pump.start()
        self.scheduler.on_defect.append(self._on_defect)
        self._end = self.scheduler.attach(self._arrived, lambda run: self.table.record.sent(run.jobs))
        self._session = ClientSession(self.computation, self._end.peer)
        self.selection.name_local()
        if self.selection.local is not None:
            self._hub.spawn(self._keep_local_node, self.selection.local)
        if self._recovery is not None:
            self._recovery.journal.keep(self.scheduler.journals.free, self._recovery.flush)
            self.scheduler.journals.add(self.computation, self._recovery.journal)
            if self._recovery.former is not None:
                self._take_up(self._recovery, self._recovery.former)
        self.open()
        self._end.send(self._message)
        self.seek(self.selection.targets)
        is_unwanted = self.stage is Stage.UNWANTED
        if self.stage is not Stage.FAILED:
            self.move(Stage.OPEN)
        if is_unwanted:
            self._leave_unwanted()

    def _leave_unwanted(self) -> None:
        """Construction was interrupted, so the program has no reference to this cluster."""
        if self.stage is Stage.JOINING:
            self.move(Stage.UNWANTED)
        elif self.stage not in (Stage.OPEN, Stage.FAILED):
            return
        elif self._recovery is not None and self._recovery.former is not None:
            self._recovery.stays = True  # The jobs of the previous run are still there for the next.
            self.part()
        else:
            self.leave()

    def leave(self) -> None:
        """Release the nodes; nothing waits for the end of that."""
        self._hub.spawn(self._release_and_part)

    def _release_and_part(self) -> None:
        self.release()
        self.released.wait(UNWANTED_LIMIT)
        self.part()

    def release(self) -> None:
        """Tell the nodes to remove everything of the computation."""
        self._pump.put(lambda now: self._session.release())

    def part(self) -> None:
        """Leave the scheduler."""
        if self.stage is Stage.PARTED:
            return
        self.move(Stage.PARTED)
        _pending.discard(self._owner())
        self._questions.give_up()
        self._pump.stop()
        self.scheduler.on_defect.remove(self._on_defect)
        self.scheduler.detach(self._end)
        if self._recovery is not None:
            self.scheduler.journals.remove(self.computation)
            self._recovery.close()
        pool.leave(self._settings.key, self)
        if self.selection.local is not None:
            self.selection.local.close()
        with contextlib.suppress(ValueError):
            self._hub.in_forked_child.remove(self._die_in_child)

    def _on_defect(self, error: BaseException) -> None:
        """A defect of gdispy, which was logged: no decisions are made any more, so nothing may wait for one."""
        text = self.defect = f"gdispy has failed, see the log: {error!r}\n"
        self.move(Stage.FAILED)
        self.queue.refuse(lambda: InternalError(text.strip()))
        self._pump.stop()
        if self._recovery is not None:
            self._recovery.stays = True
        self._give_up()
        self.released.open()
        self._questions.give_up()

    def _give_up(self) -> None:
        self.table.give_up(self.queue.drain().jobs, self.defect)
        _pending.discard(self._owner())

    # A previous run of the program

    def _take_up(self, recovery: RecoveryFile, former: ComputationHistory) -> None:
        """Continue the jobs of the previous run of the program."""
        own = {node for node, met in former.nodes.items() if died_with_its_program(met)}
        recovery.run_again(own)
        skip_numbers(former.last)
        self.count.made = len(former.jobs)
        if former.jobs:
            _pending.add(self._owner())
        for number, known in former.jobs.items():
            job = KeptJob._kept(number, time.time(), recovery, known.arguments, self.queue.source)
            if known.name:
                job._id = pickling.loads(known.name)
            self.former[number] = self.table.jobs[number] = job
            if known.told:
                self.table.told.add(number)
        former.nodes = {node: met for node, met in former.nodes.items() if node not in own}
        unfinished = former.unfinished()
        self._session.resume(list(unfinished))
        former.open = replace(self.opened, nodes=self.selection.patterns)
        self.scheduler.restore(self._end, former, self._message)

    def _resolve_former(self, former: ComputationHistory) -> None:
        for ended in outcomes(former.jobs.values()):
            self.resolve(Resolve(ended, None))

    # Nodes

    def open(self) -> None:
        """Send the scheduler the wanted nodes and what to report; again when that has changed."""
        watches = self._callbacks.on_status is not None or self.table.watch is not None
        patterns, asks = list(self.selection.patterns), self.selection.asks
        self.opened = replace(self.opened, nodes=patterns, asks=asks, watches=watches)
        self._end.send(self.opened)

    def _keep_local_node(self, local: LocalNode) -> None:
        try:
            local.keep_running(lambda host, port: self.scheduler.seek([(host, port)], False, port))
        except ConnectFailed as error:
            self.scheduler.report(LOCAL_PLACE, str(error))
            self.selection.has_lost_local = True

    def want(self, wanted: node_allocate.Allocation) -> None:
        """Use more nodes than before."""
        self.selection.add(wanted)
        self.open()
        self.seek(wanted.targets)

    def seek(self, wanted: targets.NodeTargets) -> None:
        """Search for these nodes."""
        self.scheduler.seek(wanted.targets, wanted.look, self._settings.node_port)

    def is_hopeless(self) -> bool:
        """Whether no further node can be expected."""
        wanted = self.selection.targets
        if wanted.look or (wanted.local and not self.selection.has_lost_local):
            return False
        if wanted.local and not wanted.targets:
            return True
        return bool(self.scheduler.have_refused(wanted.targets, self.computation))

    def is_answered(self) -> bool:
        """Whether the scheduler is connected and can report the outcomes of jobs."""
        return bool(self.scheduler.is_answered(self.computation))

    # Jobs

    def take_submitted(self) -> None:
        """Pass the submitted jobs to the rules."""
        if self.defect:
            self._give_up()
        taken, options = self.queue.drain()
        if not taken:
            return
        jobs: list[JobId] = [job._number for job in taken]  # type: ignore[misc]
        self.table.jobs.update(zip(jobs, taken, strict=True))
        on_status = self._callbacks.on_status
        if on_status is not None:
            for job in taken:
                self._callbacks.give(on_status, job_status.CREATED, None, job)
        if self._settings.is_inline:
            return  # They run where they were submitted.
        _pending.add(self._owner())
        for number, wishes in zip(jobs, options, strict=False):
            if wishes is not None and wishes.priority:
                self.table.priorities[number] = wishes.priority
        self._pump.put(self._submit, jobs, [job._arguments for job in taken], options)

    def _submit(
        self, jobs: list[JobId], arguments: list[Bulk], options: list[JobOptions | None], now: float
    ) -> Effects:
        return self._session.submit(jobs, arguments, options)

    def cancel(self, job: DispyJob) -> int:
        """Cancel a job. Returns 0, or -1 if it has ended, was cancelled before, or belongs to another cluster."""
        self.take_submitted()
        known = self.table.jobs.get(JobId(job._number))
        if known is None or known != job or known._status == job_status.CANCELLED:
            return -1
        known._status = job_status.CANCELLED
        self._cancel([JobId(known._number)])
        return 0

    def cancel_all(self, is_requested: bool) -> int:
        """Cancel all jobs; `is_requested` tells whether the user has asked for that, or the program only ends."""
        self.take_submitted()
        jobs = self.table.jobs
        pending = [number for number, job in jobs.items() if job._status != job_status.CANCELLED]
        for number in pending if is_requested else ():
            jobs[number]._status = job_status.CANCELLED
        self._pump.put(lambda now: self._session.cancel(list(jobs)))
        return len(pending)

    def cancel_quietly(self, jobs: list[JobId]) -> None:
        """Cancel these jobs, in whatever state they are."""
        self.take_submitted()
        self._cancel(jobs)

    def withdraw_quietly(self, jobs: list[JobId]) -> None:
        """Cancel those of the jobs that no node has."""
        self.take_submitted()
        if self.stage is Stage.OPEN:
            self.ask_then(lambda number: Withdraw(self.computation, number, jobs), lambda answer: None)

    def _cancel(self, jobs: list[JobId]) -> None:
        self._pump.put(lambda now: self._session.cancel(jobs))

    def end_the_rest(self, text: str) -> None:
        """End the jobs whose outcomes no node has reported in time, since no report can arrive any more."""
        for number, job in list(self.table.jobs.items()):
            ended = ended_without_node(self.computation, [number], job_status.ABANDONED, text, job.ip_addr or "")
            self._end_jobs(Resolve(ended, None))

    # Questions

    def question(self, make: Callable[[int], Message], limit: float | None = None) -> Reported | None:
        """Send the scheduler a request and wait for its answer, `limit` seconds at most; None if there is none. In any
        thread but the hub's."""
        return self._questions.ask(lambda number: self._hub.post(self._ask, make(number)), limit)

    def ask_then(self, make: Callable[[int], Message], take: Callable[[Reported], None]) -> None:
        """The same in the hub: `take` is called with the answer, if there is one."""
        self._questions.ask_then(lambda number: self._ask(make(number)), take)

    def _ask(self, message: Message) -> None:
        if self.stage is not Stage.OPEN:
            self._questions.give_up()
        else:
            self.say(message)

    def say(self, message: Message) -> None:
        """Send a message after the jobs that were submitted before it."""
        self.take_submitted()
        self._end.send(message)

    # Incoming messages, and the effects of the rules

    def _arrived(self, messages: list[Message]) -> None:
        self._pump.put(self._receive, messages)

    def _receive(self, messages: list[Message], now: float) -> Effects:
        if not self._settings.key.place:
            return self._session.receive(messages)
        # The scheduler is another process: a bad message may end its connection, but not this cluster.
        for message in messages:
            try:
                for effect in self._session.receive([message]):
                    self._perform(effect)
            except ForkedError:
                raise
            except Exception as error:
                self.scheduler.drop(message, error)
                break
        return []

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._end.send(effect.message)
        elif isinstance(effect, Resolve):
            self.resolve(effect)
        else:
            self._OTHER_EFFECTS[type(effect)](self, effect)

    def resolve(self, effect: Resolve) -> None:
        if self.table.live.is_active:
            self.table.show_rest(effect.ended, effect.picks)
        if self.table.printer is None:
            self._end_jobs(effect)
        else:  # When what they have printed and logged is shown.
            self.table.printer.put(self._end_printed, (effect,))

    def _end_printed(self, effect: Resolve) -> None:
        with contextlib.suppress(ForkedError):
            self._hub.post(self._end_rest, effect)

    def _end_rest(self, effect: Resolve) -> None:
        """End those of the jobs that have not ended meanwhile, for example because the cluster was closed."""
        jobs, picks = effect.ended.jobs, effect.picks
        left = [place for place in (range(len(jobs)) if picks is None else picks) if jobs[place] in self.table.jobs]
        self._end_jobs(Resolve(effect.ended, left))

    def _end_jobs(self, effect: Resolve) -> None:
        self.table.end(effect.ended, effect.picks)
        if not self.count.pending:
            _pending.discard(self._owner())

    def _take_late(self, effect: LateResult) -> None:
        self.table.take_late(effect.ended, effect.picks)

    def _lose(self, effect: TakenOver) -> None:
        """Another process has taken over the computation, so this program must not remove the recovery file."""
        if self._recovery is not None:
            self._recovery.stays = True

    def _show(self, effect: JobsStarted) -> None:
        self.table.begin(effect.started)
        self._ask_for_output(self.table.live.wanted(effect.started.jobs))

    def _ask_for_output(self, jobs: list[JobId]) -> None:
        if jobs and self.stage is Stage.OPEN:
            self._end.send(Follow(self.computation, jobs))

    def follow(self, job: DispyJob, streams: tuple[str, ...]) -> OutputLines:
        """What a job prints, from now on. In any thread but the hub's."""
        self.refuse_fork()
        return self._hub.call(self._follow, job, streams)

    def _follow(self, job: DispyJob, streams: tuple[str, ...]) -> OutputLines:
        self.take_submitted()
        number = JobId(job._number)
        if job._done or number not in self.table.jobs:
            return ended_lines(job, streams)
        lines = OutputLines(streams)
        self.table.live.follow(job, lines)
        if job.start_time is not None:
            self._ask_for_output([number])
        return lines

    def _print(self, effect: OutputArrived) -> None:
        self.table.show_output(effect.printed)

    def _provide(self, effect: ProvisionalResult) -> None:
        self.table.provide(effect.progress)

    def _notify(self, effect: Notify) -> None:
        # A remote scheduler is a peer, whose lines are limited; the scheduler in this process logs rarely.
        kind = "trouble" if self._settings.key.place else effect.text
        self._log.log_lines(logging.WARNING, kind, effect.text)

    def _answer(self, effect: Answer) -> None:
        self._questions.answer(effect.answer)

    def _on_closed(self, effect: ComputationClosed) -> None:
        self.released.open()

    def _choose(self, effect: ChooseNode) -> None:
        if self.opened.asks:
            # The user's code may be slow or fail: it does not run in the hub.
            self._hub.call_back(self._choose_apart, effect.appeared)

    def _choose_apart(self, found: NodeFound) -> None:
        answer = self.selection.decide(self._owner(), self.computation, found)
        with contextlib.suppress(ForkedError):
            self._hub.post(self.say, answer)

    def _leave_apart(self, node: bytes) -> None:
        for found in self.selection.left(node):
            self._choose_apart(found)

    def _happen(self, effect: NodeEvent) -> None:
        event = effect.event
        if event.what == DispyNode.Closed:
            self.table.lose_node(event.node)
            if self.opened.asks:  # Where decisions are made, so that it is in their order.
                self._hub.call_back(self._leave_apart, event.node)
        node = self.nodes.take(event)
        if self._callbacks.on_status is not None:
            self._callbacks.give(self._callbacks.on_status, event.what, node, None)

    def _store(self, effect: SaveFile) -> None:
        self.received.take(effect.upload)

    def _uploaded(self, job: JobId, attempt: int, number: int, error: str) -> None:
        self._end.send(Uploaded(self.computation, job, attempt, number, error))

    _OTHER_EFFECTS: dict[type[Effect], Callable[..., None]] = {
        JobsStarted: _show,
        ProvisionalResult: _provide,
        OutputArrived: _print,
        Notify: _notify,
        LateResult: _take_late,
        TakenOver: _lose,
        Answer: _answer,
        ComputationClosed: _on_closed,
        ChooseNode: _choose,
        NodeEvent: _happen,
        SaveFile: _store,
    }
