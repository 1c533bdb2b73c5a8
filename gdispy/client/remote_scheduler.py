"""A scheduler elsewhere, as the clusters of this program see it: one connection, kept up, with a `Outbox`.

Runs in the hub; made by `engine.py` in the place of a `Scheduler` of this process, and used like one. What
must be said again after a break, `rules/client/outbox.py` knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

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
from gdispy.transport.greeting import hello
from gdispy.transport.reconnect import Backoff

logger = logging.getLogger("gdispy")

#: Seconds between two attempts to reach the scheduler: at first, at most, and where it refuses for good.
RETRY_FIRST = 0.2
RETRY_LIMIT = 5.0
REFUSED_LIMIT = 30.0
#: Seconds that jobs wait for the scheduler before the user hears why.
PATIENCE = 3.0


class RemoteLink:
    """One cluster's end of the way to the scheduler; has a name and a `send`, as the end of a pair has."""

    def __init__(self, remote: RemoteScheduler, deliver: Callable[[list[Message]], None]) -> None:
        self.peer = next_peer()
        self.deliver = deliver
        self._remote = remote

    def send(self, message: Message) -> None:
        self._remote.say(self, message)


class RemoteScheduler:
    """The way to one shared scheduler. All methods are called in the hub."""

    def __init__(self, secret: Secret, host: str, port: int, ip_addr: str = "", pulse: float | None = None) -> None:
        self._psk, self._tls, self._advice = secret.for_tcp(), secret.tls, secret.advice()
        self._host, self._port = host, port
        self.place = str(Address(host, port))
        self._ip_addr = ip_addr
        self._pulse = pulse or INTERVAL
        self._identity = new_identity()
        self.instance = self._identity.instance
        self._courier = Outbox(self.place)
        #: Where clusters of this program keep what becomes of their jobs.
        self.ledger = JournalRouter()
        self._ends: dict[ComputationId, RemoteLink] = {}
        self._connection: Connection | None = None
        self._log = LimitedLog(logger)
        self._greeted = False
        #: The scheduler has proved who it is, on the connection that there is.
        self._is_known = False
        self._over = gevent.event.Event()
        self._rejected = self._refused = False
        #: Which scheduler it is, and which life of it.
        self._life: tuple[bytes, int] | None = None
        #: It was reached once: a refusal is then more likely to be a bad link.
        self._proven = False
        self._greenlets: list[Any] = []
        #: Whom to tell when this has failed by a defect, and nothing will come any more.
        self.on_defect: list[Callable[[BaseException], None]] = []

    def start(self) -> None:
        self._greenlets = [
            spawn(self._go_on, self._run, what=f"the way to {self.place}"),
            keep_running(self._tell_of_absence, what=f"telling that {self.place} is away"),
        ]

    def _go_on(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._log.log_failure(logging.CRITICAL, "defect", error, "gdispy: a defect on the way to %s", self.place)
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

    def attach(self, deliver: Callable[[list[Message]], None]) -> RemoteLink:
        """Join a cluster of this program; what it sends goes into the end returned."""
        return RemoteLink(self, deliver)

    def detach(self, end: RemoteLink) -> None:
        self._ends = {number: each for number, each in self._ends.items() if each is not end}

    def say(self, end: RemoteLink, message: Message) -> None:
        if isinstance(message, Open):
            self._ends[message.computation] = end
        answers = self._courier.outgoing(message)
        if answers:
            end.deliver(answers)
        elif self._connection is not None and self._greeted:
            self._pass_on(self._connection, message)

    def _pass_on(self, connection: Connection, message: Message) -> None:
        """Send, when what it rests on is written."""
        if isinstance(message, Run):
            connection.rest(False)
            attempts = [1] * len(message.jobs)
            self.ledger.record(
                message.computation,
                [Placed(message.computation, Instance(connection.instance), message.jobs, attempts)],
            )
        follows = self._courier.must_follow(message)
        if isinstance(message, Run | OutcomesAcked | Cancel) and self.ledger.holds(
            message.computation, partial(connection.send, message, follows)
        ):
            return
        connection.send(message, follows)

    def restore(self, end: RemoteLink, story: ComputationHistory, prepare: Prepare) -> None:
        """Take up a computation of a former life of this client."""
        self._ends[story.id] = end
        self._courier.restore(story, prepare)

    def seek(self, targets: list[tuple[str, int]], look: bool, node_port: int) -> None:
        """The scheduler finds the nodes; those that a cluster names it learns from `Open`."""

    def is_answered(self, computation: ComputationId) -> bool:
        """Whether the scheduler is there."""
        return self._courier.is_connected

    def is_accepted(self, computation: ComputationId) -> bool:
        """Whether the scheduler has all jobs of a computation."""
        return self._courier.is_accepted(computation)

    def have_refused(self, targets: list[tuple[str, int]], computation: ComputationId) -> bool:
        """Whether the scheduler has refused this program for good."""
        return self._rejected

    def report(self, place: str, text: str) -> None:
        self._log.log(logging.WARNING, ("report", place), "%s: %s", place, text)

    # The connection

    def _run(self) -> None:
        backoff = Backoff(RETRY_FIRST, RETRY_LIMIT)
        while True:
            reason = self._attempt()
            answers = self._courier.gone(reason)
            if reason.startswith(REFUSED):
                self._log.log(logging.ERROR, "refused", "disconnected from the scheduler at %s: %s", self.place, reason)
                ends = self._courier.refused(reason)
                for ended in ends:
                    self.ledger.record(ended.computation, [ended])
                answers += ends
            for answer in answers:
                end = self._ends.get(getattr(answer, "computation", None))  # type: ignore[arg-type]
                if end is not None:
                    end.deliver([answer])
            failed, self._greeted = not self._greeted, False
            # What looks like a refusal may be a forwarder in front of a scheduler that is being started again.
            limit = REFUSED_LIMIT if self._rejected else RETRY_LIMIT
            gevent.sleep(backoff.next(failed, limit=limit))

    def _attempt(self) -> str:
        """Connect, and stay so as long as it lasts; why it is over."""
        self._over.clear()
        self._rejected = False
        handlers = Handlers(self._on_messages, self._on_closed, make_sink=result_sink)
        source = "" if config.is_loopback(self._host) or ":" in self._host else self._ip_addr
        try:
            place = (self._host, self._port, self._psk, CLIENT_TO_SCHEDULER)
            connection = connect(*place, handlers, source, what="gdispy-scheduler", tls=self._tls, advice=self._advice)
        except PeerRejected as error:
            # Once, it may have been killed in the middle of it; twice, it means it.
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
        ours = hello(CLIENT, self.instance, pulse=self._pulse, claims=self._courier.claims())
        connection.introduce(ours, self._identity)
        for message in self._courier.connected():
            connection.send(message)
        self._greeted = self._proven = True
        self._over.wait()
        return self._reason

    def drop(self, message: Message, error: Exception) -> None:
        """A cluster could not handle what the scheduler has said: give up this connection, and say why."""
        log_fault(message, error)
        if self._connection is not None:
            self._connection.close(refusal(message, error))

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        connection.acknowledge(connection.taken())
        for message in messages:
            try:
                self._hear(connection, message)
            except (MessageRefused, ForkedError):
                raise
            except Exception as error:
                log_fault(message, error)
                raise MessageRefused(refusal(message, error).removeprefix(REFUSED)) from error

    def _hear(self, connection: Connection, message: Message) -> None:
        if isinstance(message, Hello):
            connection.check_identity(message)
            self._greet(message)
            self._is_known = True
            return
        if not self._is_known:
            raise MessageRefused("the first message was not Hello of a scheduler")
        if type(message) not in TAKEN:
            raise MessageRefused(not_taken(message, "client", "scheduler").removeprefix(REFUSED))
        delivered, answers = self._courier.incoming(message)
        if isinstance(message, Ended):
            self.ledger.record(message.computation, [message])
        for answer in answers:
            self._pass_on(connection, answer)
        end = self._ends.get(getattr(message, "computation", None))  # type: ignore[arg-type]
        if end is not None and delivered:
            end.deliver(delivered)

    def _greet(self, hello: Hello) -> None:
        """Where this is another life of the scheduler, what provisional results the former one had are gone."""
        life = (hello.instance, hello.epoch)
        if self._life not in (None, life):
            for computation, end in self._ends.items():
                end.deliver([ProgressAcked(computation, [], [], [])])
        self._life = life

    def _on_closed(self, connection: Connection, reason: str) -> None:
        if connection is self._connection:
            self._log.log(logging.INFO, "out", "disconnected from the scheduler at %s: %s", self.place, reason)
            self._connection = None
            self._reason = reason
            self._over.set()

    def _tell_of_absence(self) -> None:
        """Jobs that wait for a scheduler that is not there do not wait silently."""
        told: dict[ComputationId, tuple[float, float]] = {}  # When again, and how long to pause after that.
        while True:
            gevent.sleep(PATIENCE)
            now = time.monotonic()
            if self._connection is not None:
                self._connection.rest(not self._courier.waiting())
            if self._courier.is_connected:
                told.clear()
                continue
            for computation in self._courier.waiting():
                end = self._ends.get(computation)
                moment, pause = told.get(computation, (now, PAUSE_GROWTH * PATIENCE))
                if end is not None and now >= moment:
                    told[computation] = now + pause, min(PAUSE_GROWTH * pause, LONGEST_PAUSE)
                    end.deliver([Notice(computation, f"jobs wait: {self._courier.absence()}")])
