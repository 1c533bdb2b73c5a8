"""The client side of a shared scheduler: one connection, which is restored after a loss, and an `Outbox`.

Runs in the hub. It has the interface of a `Scheduler` in this process. `rules/client/outbox.py` keeps the messages that
must be sent again after a connection loss.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

import gevent
import gevent.event

from gdispy import config
from gdispy.client.result_sink import result_sink
from gdispy.errors import ConnectFailed, ForkedError, PeerRejected
from gdispy.journal.router import JournalRouter
from gdispy.net import connect
from gdispy.protocol.address import Address
from gdispy.protocol.heartbeat import INTERVAL
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Hello,
    Message,
    Notice,
    Open,
    OutcomesAcked,
    Prepare,
    ProgressAcked,
    Run,
)
from gdispy.protocol.roles import CLIENT, CLIENT_TO_SCHEDULER
from gdispy.protocol.texts import REFUSED
from gdispy.protocol.wire import MessageRefused
from gdispy.rules.client.outbox import TAKEN, Outbox
from gdispy.rules.faults import not_taken, refusal
from gdispy.rules.history.facts import Placed
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.reminders import LONGEST_PAUSE, PAUSE_GROWTH
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.greenlets import keep_running, spawn
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.connection import Connection, Handlers, new_identity, next_peer
from gdispy.transport.credentials import Secret
from gdispy.transport.greeting import hello, own_client_name
from gdispy.transport.reconnect import Backoff

logger = logging.getLogger("gdispy")

#: Seconds between two attempts to connect: at first, at most, and after a permanent refusal.
RETRY_FIRST = 0.2
RETRY_LIMIT = 5.0
REFUSED_LIMIT = 30.0
#: Seconds that jobs wait for the scheduler before the user is told why.
PATIENCE = 3.0


class RemoteLink:
    """One cluster's link to the scheduler; has the interface of the end of a memory pair."""

    def __init__(self, remote: RemoteScheduler, deliver: Callable[[list[Message]], None]) -> None:
        self.peer = next_peer()
        self.deliver = deliver
        self._remote = remote

    def send(self, message: Message) -> None:
        self._remote.say(self, message)


class RemoteScheduler:
    """The connection to one shared scheduler. All methods are called in the hub."""

    def __init__(self, secret: Secret, host: str, port: int, ip_addr: str = "", pulse: float | None = None) -> None:
        self._psk, self._tls, self._advice = secret.for_tcp(), secret.tls, secret.advice()
        self._host, self._port = host, port
        self.place = str(Address(host, port))
        self._ip_addr = ip_addr
        self._pulse = pulse or INTERVAL
        self._identity = new_identity()
        self.instance = self._identity.instance
        self._outbox = Outbox(self.place)
        #: The recovery files of the clusters of this program.
        self.journals = JournalRouter()
        self._ends: dict[ComputationId, RemoteLink] = {}
        self._connection: Connection | None = None
        self._log = LimitedLog(logger)
        self._greeted = False
        #: The scheduler has proved its identity on the current connection.
        self._is_known = False
        self._over = gevent.event.Event()
        self._rejected = self._refused = False
        #: Instance and epoch of the scheduler.
        self._run_of_scheduler: tuple[bytes, int] | None = None
        #: A connection was made before, so a refusal is more likely to be a network problem.
        self._proven = False
        self._greenlets: list[gevent.Greenlet] = []
        #: Called after a defect, when nothing can arrive any more.
        self.on_defect: list[Callable[[BaseException], None]] = []

    def start(self) -> None:
        self._greenlets = [
            spawn(self._go_on, self._run, what=f"the connection to {self.place}"),
            keep_running(self._tell_of_absence, what=f"the reports that {self.place} is away"),
        ]

    def _go_on(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._log.log_failure(
                logging.CRITICAL, "defect", error, "gdispy: a defect in the connection to %s", self.place
            )
            for tell in list(self.on_defect):
                tell(error)

    def close(self) -> None:
        """Say goodbye and stop."""
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        if self._connection is not None:
            self._connection.close("the client has closed")
            self._over.wait(0.5)

    def abandon_in_child(self) -> None:
        """This is a forked child: close its copy of the connection."""
        if self._connection is not None:
            self._connection.forget_in_child()

    # Clusters

    def attach(self, deliver: Callable[[list[Message]], None], on_placed: Callable[[Run], None]) -> RemoteLink:
        """Join a cluster of this program; it sends through the link returned. A scheduler elsewhere does not tell which
        jobs it has sent to nodes, so `on_placed` is never called."""
        return RemoteLink(self, deliver)

    def detach(self, end: RemoteLink) -> None:
        self._ends = {number: each for number, each in self._ends.items() if each is not end}

    def say(self, end: RemoteLink, message: Message) -> None:
        if isinstance(message, Open):
            self._ends[message.computation] = end
        answers = self._outbox.outgoing(message)
        if answers:
            end.deliver(answers)
        elif self._connection is not None and self._greeted:
            self._pass_on(self._connection, message)

    def _pass_on(self, connection: Connection, message: Message) -> None:
        """Send a message once the facts that it relies on are written."""
        if isinstance(message, Run):
            connection.rest(False)
            attempts = [1] * len(message.jobs)
            self.journals.record(
                message.computation,
                [Placed(message.computation, Instance(connection.instance), message.jobs, attempts)],
            )
        follows = self._outbox.must_follow(message)
        if isinstance(message, Run | OutcomesAcked | Cancel) and self.journals.holds(
            message.computation, partial(connection.send, message, follows)
        ):
            return
        connection.send(message, follows)

    def restore(self, end: RemoteLink, history: ComputationHistory, prepare: Prepare) -> None:
        """Continue a computation of the previous run of this client."""
        self._ends[history.id] = end
        self._outbox.restore(history, prepare)

    def seek(self, targets: list[tuple[str, int]], look: bool, node_port: int) -> None:
        """The scheduler discovers the nodes; `Open` tells it which nodes a cluster names."""

    def is_answered(self, computation: ComputationId) -> bool:
        """Whether the scheduler is connected."""
        return self._outbox.is_connected

    def is_accepted(self, computation: ComputationId) -> bool:
        """Whether the scheduler has all jobs of a computation."""
        return self._outbox.is_accepted(computation)

    def have_refused(self, targets: list[tuple[str, int]], computation: ComputationId) -> bool:
        """Whether the scheduler has refused this program permanently."""
        return self._rejected

    def report(self, place: str, text: str) -> None:
        self._log.log(logging.WARNING, ("report", place), "%s: %s", place, text)

    # The connection

    def _run(self) -> None:
        backoff = Backoff(RETRY_FIRST, RETRY_LIMIT)
        while True:
            reason = self._attempt()
            answers = self._outbox.gone(reason)
            if reason.startswith(REFUSED):
                self._log.log(logging.ERROR, "refused", "disconnected from the scheduler at %s: %s", self.place, reason)
                ends = self._outbox.refused(reason)
                for ended in ends:
                    self.journals.record(ended.computation, [ended])
                answers += ends
            for answer in answers:
                end = self._ends.get(getattr(answer, "computation", None))  # type: ignore[arg-type]
                if end is not None:
                    end.deliver([answer])
            failed, self._greeted = not self._greeted, False
            # An apparent refusal may come from a port forwarder in front of a scheduler that is restarting.
            limit = REFUSED_LIMIT if self._rejected else RETRY_LIMIT
            gevent.sleep(backoff.next(failed, limit=limit))

    def _attempt(self) -> str:
        """Connect and wait for the end of the connection; returns its reason."""
        self._over.clear()
        self._rejected = False
        handlers = Handlers(self._on_messages, self._on_closed, make_sink=result_sink)
        source = "" if config.is_loopback(self._host) or ":" in self._host else self._ip_addr
        try:
            place = (self._host, self._port, self._psk, CLIENT_TO_SCHEDULER)
            connection = connect(*place, handlers, source, what="gdispy-scheduler", tls=self._tls, advice=self._advice)
        except PeerRejected as error:
            # A single refusal may mean that it was killed during the handshake; a second one is meant.
            self._rejected = not self._proven and self._refused
            self._refused = True
            return str(error)
        except ConnectFailed as error:
            return str(error)
        self._refused = False
        connection.set_pulse(self._pulse)
        self._is_known = False
        self._connection = connection
        connection.start()
        ours = hello(CLIENT, self.instance, own_client_name(), pulse=self._pulse, claims=self._outbox.claims())
        connection.introduce(ours, self._identity)
        for message in self._outbox.connected():
            connection.send(message)
        self._greeted = self._proven = True
        self._over.wait()
        return self._reason

    def drop(self, message: Message, error: Exception) -> None:
        """A cluster could not handle a message of the scheduler: close the connection with the reason."""
        log_fault(message, error)
        if self._connection is not None:
            self._connection.close(refusal(message, error))

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        connection.acknowledge(connection.taken())
        for message in messages:
            try:
                self._receive(connection, message)
            except (MessageRefused, ForkedError):
                raise
            except Exception as error:
                log_fault(message, error)
                raise MessageRefused(refusal(message, error).removeprefix(REFUSED)) from error

    def _receive(self, connection: Connection, message: Message) -> None:
        if isinstance(message, Hello):
            connection.check_identity(message)
            self._greet(message)
            self._is_known = True
            return
        if not self._is_known:
            raise MessageRefused("the first message was not Hello of a scheduler")
        if type(message) not in TAKEN:
            raise MessageRefused(not_taken(message, "client", "scheduler").removeprefix(REFUSED))
        delivered, answers = self._outbox.incoming(message)
        if isinstance(message, Ended):
            self.journals.record(message.computation, [message])
        for answer in answers:
            self._pass_on(connection, answer)
        end = self._ends.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if end is not None and delivered:
            end.deliver(delivered)

    def _greet(self, hello: Hello) -> None:
        """If the scheduler was restarted, the provisional results that the previous run had are lost."""
        run = (hello.instance, hello.epoch)
        if self._run_of_scheduler not in (None, run):
            for computation, end in self._ends.items():
                end.deliver([ProgressAcked(computation, [], [], [])])
        self._run_of_scheduler = run

    def _on_closed(self, connection: Connection, reason: str) -> None:
        if connection is self._connection:
            self._log.log(logging.INFO, "out", "disconnected from the scheduler at %s: %s", self.place, reason)
            self._connection = None
            self._reason = reason
            self._over.set()

    def _tell_of_absence(self) -> None:
        """Tell the user, at growing intervals, that jobs wait for a scheduler that is not connected."""
        told: dict[ComputationId, tuple[float, float]] = {}  # Time of the next notice, and the pause after it.
        while True:
            gevent.sleep(PATIENCE)
            now = time.monotonic()
            if self._connection is not None:
                self._connection.rest(not self._outbox.waiting())
            if self._outbox.is_connected:
                told.clear()
                continue
            for computation in self._outbox.waiting():
                end = self._ends.get(computation)
                moment, pause = told.get(computation, (now, PAUSE_GROWTH * PATIENCE))
                if end is not None and now >= moment:
                    told[computation] = now + pause, min(PAUSE_GROWTH * pause, LONGEST_PAUSE)
                    end.deliver([Notice(computation, f"jobs wait: {self._outbox.absence()}")])
