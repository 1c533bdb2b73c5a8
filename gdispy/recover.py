"""Collecting the jobs of a program that has ended: `fault_recover_jobs` and `recover_jobs`.

The public functions run in the user's thread; connections run in the hub. The recovery file
(`journal/recovery_file.py`) records the jobs; their holders (nodes, or the shared scheduler) release what they keep of
them to a process that has the token of the computation.

Invariants:
1. An outcome is in the file before its holder may forget it; a job leaves the file when it has been returned.
2. Holders that cannot be reached are reported, and their jobs stay in the file: nothing waits for them for ever.
3. Each holder learns that there is a later run of the client, so that a previous run that still lives loses the jobs.
"""

from __future__ import annotations

import glob
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import gevent
import gevent.event

from gdispy import config
from gdispy.client.job import DispyJob, KeptJob
from gdispy.client.local_node import died_with_its_program
from gdispy.errors import ConfigError, ConnectFailed, JournalError, PeerRejected
from gdispy.hub import Hub
from gdispy.journal.detach_token import PREFIX, DetachToken, read_token
from gdispy.journal.file import Journal, boot_name
from gdispy.net import connect
from gdispy.protocol import job_status
from gdispy.protocol.address import Address
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.limits import printable
from gdispy.protocol.message import Message, picked
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Hello,
    Inventory,
    JobNames,
    Open,
    OutcomesAcked,
    Prepare,
    Release,
    ResendRequest,
    Run,
    Started,
    Unknown,
    ended_without_node,
)
from gdispy.protocol.payload import joined
from gdispy.protocol.roles import CLIENT_TO_SCHEDULER, RECOVERER, SCHEDULER_TO_NODE
from gdispy.protocol.rows import Claim
from gdispy.protocol.wire import MessageRefused
from gdispy.rules.history.facts import Owned
from gdispy.rules.history.replay import ComputationHistory, Job
from gdispy.runtime.greenlets import spawn
from gdispy.transport.connection import Connection, Handlers, new_identity
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.greeting import hello, own_client_name
from gdispy.transport.interfaces import own_address
from gdispy.worker import pickling, plain

logger = logging.getLogger("gdispy")

#: Seconds that a holder of jobs has to answer, and to send its outcomes.
ANSWER_LIMIT = 10.0
#: Seconds between two attempts to reach a holder.
RETRY_INTERVAL = 1.0
#: Seconds that holders have to clean up.
RELEASE_LIMIT = 2.0
#: Seconds for a holder without missing jobs: it is told to clean up, if it can be reached.
TELLING_LIMIT = 3.0

_OWN_NODE = "The node of the job was the program's private node (nodes='local') and has ended with it.\n"
_NEVER_BEGUN = (
    "No node had started the job when its program ended, and it will not run: submit it again. (A program that is "
    "restarted with resume=True runs such jobs itself, unless they were collected.)\n"
)
_LOST_RECORD = "The recovery file is damaged, and does not name the node of the job: it may or may not have run.\n"
_RESTARTED = "The node {} was restarted and does not know the job: it may or may not have run.\n"


class Recovered(list[DispyJob]):
    """The recovered jobs. `unreachable` maps holders that could not be reached to the reason; their jobs stay in the
    file."""

    def __init__(self, jobs: list[DispyJob], unreachable: dict[str, str]) -> None:
        super().__init__(jobs)
        self.unreachable = unreachable


def fault_recover_jobs(
    fault_recover_file: str,
    ip_addr: str | None = None,
    secret: str = "",
    node_port: int = config.NODE_PORT,
    certfile: str | None = None,
    keyfile: str | None = None,
    *,
    secret_file: str = "",
    insecure: bool = False,
) -> Recovered:
    """Collect the jobs of a program that has ended, from its recovery file, without waiting for any. Instead of a file,
    the text that `detach` of a SharedJobCluster has returned can be given.

    Each job that has ended is returned once, with `id`, `args`, `kwargs`, `result`, `stdout`, `stderr`, `exception`
    and times, and then removed from the file and from the node. A running job is returned as Running, and again by the
    next call. A job that no node had started is returned once as Created, with the reason in `exception`: it will not
    run, unless a cluster with `resume=True` continues with the file instead. When no jobs are left, the file is
    removed.

    `ip_addr` is the local address to use; the addresses of nodes are in the file (`node_port` is for compatibility
    only). Raises JournalError for a file that is not a recovery file, is damaged at its beginning, or is in use.
    """
    config.port_number(node_port, "node_port")
    found = with_tls(find_secret(secret, secret_file, insecure), certfile, keyfile)
    recovery = _Recovery(fault_recover_file, found, ip_addr)
    return recovery.run(0.0, False)


def recover_jobs(
    recover_file: str | None = None,
    timeout: float | None = None,
    terminate_pending: bool = False,
    *,
    ip_addr: str | None = None,
    secret: str = "",
    secret_file: str = "",
    insecure: bool = False,
    certfile: str | None = None,
    keyfile: str | None = None,
) -> Recovered:
    """Collect the jobs of a program that has ended, and wait for their ends.

    Waits until all jobs that were started have ended, or `timeout` seconds pass; with `terminate_pending` running jobs
    are cancelled first. Then the nodes clean up, and the file is removed, unless it still has jobs: jobs that have not
    ended in time, or whose nodes could not be reached. Jobs that no node had started are returned as Created.
    `recover_file` is by default the newest `_dispy_*` file in the working directory. If there is none, or it cannot be
    used, that is logged and no jobs are returned, as in dispy.
    """
    path = recover_file or _newest()
    if not path:
        logger.error("no recovery file _dispy_* was found in %s: give its path", os.getcwd())
        return Recovered([], {})
    found = with_tls(find_secret(secret, secret_file, insecure), certfile, keyfile)
    try:
        recovery = _Recovery(path, found, ip_addr)
    except JournalError as error:
        logger.error("no jobs were recovered: %s", error)
        return Recovered([], {})
    return recovery.run(timeout, terminate_pending)


def _newest() -> str:
    found = [path for path in glob.glob("_dispy_*") if os.path.isfile(path) and not path.endswith((".corrupt", ".new"))]
    return max(found, key=os.path.getmtime, default="")


class _Recovery:
    """One recovery file, and the holders of its jobs."""

    def __init__(self, path: str, secret: Secret, ip_addr: str | None) -> None:
        self.secret = secret
        #: The running jobs, as their holders report: start time and address.
        self.running: dict[JobId, tuple[float | None, str | None]] = {}
        self.ip_addr = own_address(ip_addr)
        self.journal: Journal | None = None
        #: Whether there may be jobs, and nodes of jobs, that the file does not name: without one, or if it is damaged.
        self.is_partial = True
        if isinstance(path, str) and path.startswith(PREFIX):
            self.path = "the text of detach()"
            self.histories = [_history_of(read_token(path))]
            return
        if not isinstance(path, str | os.PathLike):
            raise ConfigError(f"the recovery file must be a path, not {path!r}")
        self.path = os.path.abspath(os.fspath(path))
        if not os.path.exists(self.path):
            raise JournalError(f"{self.path} does not exist")
        self.journal, reading = Journal.open(self.path)
        self.is_partial = reading.fault == "damaged"
        began = reading.remembered.began
        if began is not None and began.kind != "client":
            self.journal.close()
            raise JournalError(f"{self.path} is the journal of a {began.kind}, not a recovery file")
        self.histories = list(reading.remembered.histories.values())
        for history in self.histories:
            history.rebooted = began is not None and began.boot != boot_name()

    def run(self, timeout: float | None, terminate: bool) -> Recovered:
        """Query all holders of jobs, in the hub, for `timeout` seconds; None: until all jobs have ended."""
        try:
            unreachable: dict[str, str] = {}
            jobs: list[DispyJob] = []
            for history in self.histories:
                self._begin_run(history)
                missed = Hub.get().call(self._ask_all, history, timeout, terminate)
                is_complete = _is_complete(history, bool(missed))
                if is_complete:
                    self._give_up_unknown(history)
                unreachable |= {place: printable(reason) for place, reason in missed.items()}
                jobs += self._returned(history, is_complete)
            for place, reason in unreachable.items():
                logger.warning("%s cannot be reached, and its jobs stay in %s: %s", place, self.path, reason)
            if self.journal is not None:
                self.journal.close(remove=not any(history.jobs for history in self.histories))
            return Recovered(jobs, unreachable)
        finally:
            if self.journal is not None:
                self.journal.close()

    def keep(self, *facts: Message) -> None:
        """Record facts that must not be lost. Raises JournalError. Without a file, nothing is recorded."""
        if self.journal is not None:
            self.journal.append_or_raise(facts)

    def _begin_run(self, history: ComputationHistory) -> None:
        """Start a new run of the computation, which supersedes all previous ones."""
        if self.journal is not None:
            history.open = replace(history.open, epoch=history.open.epoch + 1)
            self.journal.begin("client", Instance(secrets.token_bytes(16)), history.open.epoch)
            self.journal.append_or_raise([history.open])
            self.journal.sync()

    def _ask_all(self, history: ComputationHistory, timeout: float | None, terminate: bool) -> dict[str, str]:
        """Query all holders; returns the problems of those that could not be reached."""
        until = None if timeout is None else time.monotonic() + timeout
        self._give_up_own(history)
        holders = [_Holder(self, history, *place) for place in _holders(history)]
        greenlets = [
            spawn(holder.ask, until, terminate, what=f"recovery from {holder.place}", on_failure=holder.give_up)
            for holder in holders
        ]
        gevent.joinall(greenlets)
        return {holder.place: holder.problem for holder in holders if holder.problem}

    def _give_up_own(self, history: ComputationHistory) -> None:
        """Jobs on the program's private node have ended with it."""
        own = {met.node for met in history.nodes.values() if died_with_its_program(met)}
        lost = [number for number, job in history.unfinished().items() if job.node in own]
        if lost:
            self.remember(history, ended_without_node(history.id, lost, job_status.ABANDONED, _OWN_NODE))

    def _give_up_unknown(self, history: ComputationHistory) -> None:
        """If records are lost, a job that no holder has may have run on a node that is not known any more."""
        lost = [number for number, job in history.unfinished().items() if job.node is None]
        if lost and self.journal is not None and self.is_partial:
            self.remember(history, ended_without_node(history.id, lost, job_status.ABANDONED, _LOST_RECORD))

    def remember(self, history: ComputationHistory, ended: Ended) -> None:
        """Record that jobs have ended."""
        self.keep(ended)
        for place, job in enumerate(ended.jobs):
            history.jobs[job].outcome = ended, place

    def _returned(self, history: ComputationHistory, is_complete: bool) -> list[DispyJob]:
        """The jobs for the user. Jobs that have ended are removed from the file, and, if all holders were reached, also
        jobs that no holder has: they cannot run any more."""
        is_program = history.prepare is not None and history.prepare.kind == "program"
        jobs = [
            self._as_user_sees_it(number, job, is_program, _is_plain(history), is_complete)
            for number, job in history.jobs.items()
        ]
        over = [number for number, job in history.jobs.items() if job.outcome or (is_complete and job.node is None)]
        if over:
            self.keep(OutcomesAcked(history.id, over, [0] * len(over)))
            for number in over:
                del history.jobs[number]
        return jobs

    def _as_user_sees_it(
        self, number: JobId, known: Job, is_program: bool, is_plain: bool, is_complete: bool
    ) -> DispyJob:
        job = KeptJob._kept(number, 0.0, None, known.arguments or None)
        if known.name:
            job._id = plain.loads(known.name) if plain.is_plain(known.name) else pickling.loads(known.name)
        if known.outcome is not None:
            job._end(*known.outcome, is_program, is_plain)
        elif known.node is not None:
            job._status = job_status.RUNNING
            job.start_time, job.ip_addr = self.running.get(number, (None, None))
        elif is_complete:
            job._exception = _NEVER_BEGUN
        return job


def _history_of(left: DetachToken) -> ComputationHistory:
    """The history that a text of `detach` describes. Its epoch is the current time, so that the latest run wins."""
    history = ComputationHistory(Open(left.computation, [], False, token=left.token, epoch=time.time_ns() // 1_000_000))
    history.owned = Owned(left.computation, b"", left.name, left.place)
    kind = "program" if left.is_program else "function"
    prepare = Prepare(left.computation, left.name, kind, "", "", "", True, b"", [], [])
    history.prepare = replace(prepare, results=left.results)
    return history


def _holders(history: ComputationHistory) -> list[tuple[str, int, Instance | None, bool]]:
    """The possible holders of the computation: host, port, the instance of the node (None for a shared scheduler), and
    whether unfinished jobs may be there. If all jobs have ended, the program may have died while it closed."""
    if history.owned is not None and history.owned.place:
        host, port = Address.parse(history.owned.place)
        return [(host, port or config.CLIENT_PORT, None, bool(history.unfinished()) or not history.jobs)]
    nodes = {job.node for job in history.unfinished().values()}
    met = [each for each in history.nodes.values() if not died_with_its_program(each)]
    return [(each.names[0], each.port, each.node, each.node in nodes) for each in met]


class _Holder:
    """A possible holder of jobs: a node, or a shared scheduler. Runs in the hub."""

    def __init__(
        self,
        recovery: _Recovery,
        history: ComputationHistory,
        host: str,
        port: int,
        node: Instance | None,
        is_needed: bool,
    ) -> None:
        self._recovery, self._history = recovery, history
        self._host, self._port, self._node = host, port, node
        #: Whether jobs are missing that it may have.
        self._is_needed = is_needed
        self.place = str(Address(host, port))
        #: Why the state of its jobs is not fully known, or ''.
        self.problem = ""
        #: Jobs that run there; and jobs that have ended there, whose outcomes have not arrived.
        self._running: set[JobId] = set()
        self._expected: set[JobId] = set()
        self._answered = False
        #: The peer has proved its identity.
        self._is_known = False
        self._changed = gevent.event.Event()
        self._closed = ""

    def ask(self, until: float | None, terminate: bool) -> None:
        """Collect the outcomes that it has now, and those that arrive until then."""
        if not self._is_needed:
            with gevent.Timeout(TELLING_LIMIT, False):
                self._attempt(until, terminate)
            return
        while True:
            self.problem = self._attempt(until, terminate)
            if not self.problem or (until is not None and time.monotonic() >= until):
                return
            gevent.sleep(RETRY_INTERVAL)

    def give_up(self, error: BaseException) -> None:
        """The query failed because of a defect: its jobs are unknown, so none is forgotten."""
        self.problem = f"a defect of gdispy on this side: {printable(repr(error))}"

    def _attempt(self, until: float | None, terminate: bool) -> str:
        try:
            connection = self._connect()
        except (ConnectFailed, PeerRejected) as error:
            return str(error)
        try:
            if not self._await(lambda: self._answered and not self._expected, _later(ANSWER_LIMIT, until)):
                return self._closed or "no answer"
            if terminate and self._running:
                jobs = sorted(self._running)
                attempts = [self._history.jobs[job].attempt if self._node else 0 for job in jobs]
                connection.send(Cancel(self._history.id, jobs, attempts))
            if not self._await(lambda: not self._running, until) and self._closed:
                return self._closed
            if not self._running:
                connection.send(Release(self._history.id))
            connection.close("the client has closed")
            self._await(lambda: bool(self._closed), time.monotonic() + RELEASE_LIMIT)
            return ""
        finally:
            connection.abort("the client has closed")

    def _connect(self) -> Connection:
        roles, what = (SCHEDULER_TO_NODE, "gdispy-node") if self._node else (CLIENT_TO_SCHEDULER, "gdispy-scheduler")
        source = "" if config.is_loopback(self._host) or ":" in self._host else self._recovery.ip_addr
        handlers = Handlers(self._on_messages, self._on_closed)
        secret = self._recovery.secret
        connection = connect(
            *(self._host, self._port, secret.for_tcp(), roles, handlers, source, what),
            tls=secret.tls,
            advice=secret.advice(),
        )
        self._answered, self._closed, self._is_known = False, "", False
        history = self._history
        connection.start()
        identity = new_identity()
        claim = Claim(history.id, history.open.token, history.open.epoch)
        connection.introduce(hello(RECOVERER, identity.instance, own_client_name(), claims=[claim]), identity)
        return connection

    def _await(self, condition: Callable[[], bool], until: float | None) -> bool:
        while not condition() and not self._closed:
            self._changed.clear()
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._changed.wait(left)
        return condition()

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self._closed = reason
        self._changed.set()

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        connection.acknowledge(connection.taken())
        for message in messages:
            if isinstance(message, Hello):
                connection.check_identity(message)
                self._is_known = True
            elif not self._is_known:
                raise MessageRefused("the first message was not Hello")
            elif isinstance(message, Inventory):
                self._take_inventory(message, connection.instance)
            elif isinstance(message, Ended) and message.computation == self._history.id:
                self._take_ended(connection, message)
            elif isinstance(message, Started) and message.computation == self._history.id:
                self._take_started(message)
            elif isinstance(message, JobNames) and message.computation == self._history.id:
                self._take_names(message)
            elif isinstance(message, Unknown):
                self._answered = True
            elif isinstance(message, ResendRequest) and message.computation == self._history.id:
                self._take_resend_request(connection, message)
        self._changed.set()

    def _take_inventory(self, message: Inventory, instance: bytes) -> None:
        """Compare its inventory with the file."""
        history = self._history
        held = dict(zip(*message.held().get(history.id, ((), ())), strict=True))
        ends = zip(message.computations, message.ended, strict=False)
        ended = [job for computation, row in ends if computation == history.id for job in row]
        if self._recovery.is_partial:  # Only the holder knows which jobs exist.
            for job in held:
                history.jobs.setdefault(job, Job(b"", None))
        known = history.unfinished()
        self._expected = {job for job in ended if job in known}
        self._running = {job for job in held if job in known} - self._expected
        for job in held.keys() & known.keys():
            self._recovery.running.setdefault(job, (None, self._host if self._node is not None else None))
            known[job].node, known[job].attempt = self._node or Instance(instance), held[job]
        if self._node is not None:
            missing = [job for job, about in known.items() if about.node == self._node and job not in held]
            self._settle_missing(missing, instance)
        self._answered = True

    def _take_resend_request(self, connection: Connection, message: ResendRequest) -> None:
        """It has these jobs without their arguments: send them from the file, as the program would."""
        known = self._history.unfinished()
        jobs = [job for job in message.jobs if job in known]
        if jobs and self._recovery.journal is not None:
            options = [known[job].options for job in jobs]
            arguments = [known[job].arguments for job in jobs]
            connection.send(Run(self._history.id, jobs, [1] * len(jobs), arguments, options if any(options) else []))
            self._running.update(jobs)

    def _settle_missing(self, missing: list[JobId], instance: bytes) -> None:
        """Handle jobs that the node should have but does not have."""
        if not missing:
            return
        if instance == self._node:  # They never arrived there.
            for job in missing:
                self._history.jobs[job].node = None
            return
        text = _RESTARTED.format(self.place)
        self._recovery.remember(
            self._history, ended_without_node(self._history.id, missing, job_status.ABANDONED, text, self._host)
        )

    def _take_ended(self, connection: Connection, message: Ended) -> None:
        places = [place for place, job in enumerate(message.jobs) if job in self._history.unfinished()]
        if places:
            fresh = picked(message, places)
            self._recovery.remember(self._history, replace(fresh, address=fresh.address or self._host))
        connection.send(OutcomesAcked(message.computation, message.jobs, message.attempts))
        self._expected.difference_update(message.jobs)
        self._running.difference_update(message.jobs)

    def _take_started(self, message: Started) -> None:
        address = message.address or self._host
        for job, began in zip(message.jobs, message.times, strict=True):
            self._recovery.running[job] = began, address

    def _take_names(self, message: JobNames) -> None:
        for job, name in zip(message.jobs, message.names, strict=True):
            known = self._history.jobs.get(job)
            if known is not None and not known.name:
                known.name = _read_name(joined(name), _is_plain(self._history))


def _is_plain(history: ComputationHistory) -> bool:
    """Whether the results of the computation must not be unpickled."""
    return history.prepare is not None and bool(history.prepare.results)


def _read_name(data: bytes, is_plain: bool) -> bytes:
    """The id of a job as sent by a scheduler, or b'' if it must not be unpickled."""
    if not is_plain:
        return data
    try:
        plain.loads(data)
    except plain.NotPlain:
        return b""
    return data


def _is_complete(history: ComputationHistory, has_missed: bool) -> bool:
    """Whether jobs without a known node cannot be anywhere: their program was their scheduler and recorded each
    placement, or the shared scheduler was queried."""
    is_shared = history.owned is not None and bool(history.owned.place)
    return not has_missed or not (is_shared or history.rebooted)


def _later(seconds: float, until: float | None) -> float:
    return max(time.monotonic() + seconds, until or 0.0)
