"""The node: listens for schedulers, and runs their jobs in processes.

`run` must be called in the main greenlet. It connects the rules of `rules/node/node_rules.py` with connections
(`net.py`), processes (`execution/process_manager.py`) and discovery (`discovery/beacon.py`), and makes no decisions. It
never unpickles anything."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import gevent
import gevent.event

from gdispy import config
from gdispy.buffers.memory_file import FileSink
from gdispy.buffers.native import keep_freed_memory
from gdispy.discovery.announcer import Announcer
from gdispy.discovery.scheduler_connector import SchedulerConnector
from gdispy.errors import ConfigError, ProtocolError
from gdispy.execution.host_resources import is_disk_full, load, measure
from gdispy.execution.node_settings import NodeSettings
from gdispy.execution.owner_control import Action, OwnerControl
from gdispy.execution.process_manager import ProcessManager, ProcessSettings
from gdispy.execution.state_directory import claim, find_prefix, unclaim
from gdispy.journal.node_spool import NodeSpool
from gdispy.net import Listener
from gdispy.protocol.address import Address
from gdispy.protocol.handshake import Keys
from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import (
    Availability,
    Hello,
    LogEvents,
    Message,
    MissingFiles,
    NodeOrder,
    Overview,
    OverviewRequest,
    Prepare,
    Prepared,
    Released,
    Reply,
    Returned,
    RunningJobs,
)
from gdispy.protocol.roles import NODE, SCHEDULER_TO_NODE, VISITOR_TO_NODE
from gdispy.protocol.rows import NodeOverviewRow
from gdispy.protocol.texts import DRAINING, REFUSED, STOPPED
from gdispy.protocol.wire import FILE, MessageRefused, Sink
from gdispy.rules.effects import Drop, Effect, Effects, Send, WriteFacts
from gdispy.rules.faults import refusal
from gdispy.rules.node.effects import (
    AnswerFile,
    AssignJobs,
    FindMissingFiles,
    FollowJob,
    Interrupt,
    Kill,
    ListJobs,
    Load,
    LookAt,
    NewWorker,
    PutFiles,
    RecallJobs,
    ShowLog,
    Shutdown,
    Terminate,
    Unload,
)
from gdispy.rules.node.job_watch import JobWatch
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.status import Work
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.greenlets import keep_running, spawn
from gdispy.runtime.limited_log import LimitedLog
from gdispy.runtime.log_buffer import LogBuffer, log_events
from gdispy.runtime.pump import Pump
from gdispy.transport.acceptor import descriptor_limit
from gdispy.transport.connection import ConnectedSocket, Connection, Handlers, new_identity
from gdispy.transport.credentials import ALL_ADDRESSES, listening_addresses
from gdispy.transport.greeting import hello
from gdispy.transport.interfaces import main_address
from gdispy.worker.process_tree import adopt_orphans

logger = logging.getLogger(__name__)

#: Reasons for accepting no jobs: there is no disk space for results, or for files of jobs.
_SPOOL_FULL = "no room for results"
_FULL = "the disk is nearly full"
#: Seconds between two checks of the disk.
DISK_INTERVAL = 1.0
#: Seconds that jobs which have not begun have to be returned when the node is stopped; and between two checks of that.
RETURN_LIMIT = 0.5
IDLE_INTERVAL = 0.02

#: Log keys of events that a scheduler can cause repeatedly.
_ANSWERS = (MissingFiles, Prepared, Released, Reply, Returned, RunningJobs, LogEvents)

#: Seconds between two reports of free resources to schedulers without jobs here (to others as often as they want
#: heartbeats); and how many of those reports may be skipped for a scheduler without jobs here.
AVAILABILITY_INTERVAL = 10.0
MISSED_AT_REST = 11
#: The same from the start to the first report: a program that starts a private node waits for its first result.
AVAILABILITY_START = 0.1


@dataclass
class _Link:
    """A connection, and the peer at its other end."""

    connection: Connection
    #: Whether this side has opened it, and the connector that maintains it.
    is_own: bool = False
    connector: SchedulerConnector | None = None
    #: The instance of the scheduler after its Hello; b"" before.
    scheduler: bytes = b""
    #: The peer only requests the status of this node.
    is_visitor: bool = False
    #: Seconds between two heartbeats that it wants, and so between two reports of free resources; 0 for no preference.
    pulse: float = 0.0


class Node:
    """A running node."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._identity = new_identity()
        self.instance = self._identity.instance
        self._name = settings.name or platform.node() or "node"
        prefix = self._prefix = find_prefix(settings.dest_path_prefix)
        epoch = time.time() - time.monotonic()
        self._rules = NodeRules(settings.cpus, settings.lease, epoch, settings.serve, settings.spool_age)
        self._rules.on_fault = _drop_faulty
        self._log = LimitedLog(logger)
        self._began = time.monotonic()
        self._stop = gevent.event.Event()
        self._pump = Pump(self._perform, self._rules.tick, self._rules.due, self._on_defect)
        self.control = OwnerControl(self._rules, settings, self._pump, self._began)
        self._failure: BaseException | None = None
        self._links: dict[Peer, _Link] = {}
        #: A scheduler has connected: reports of free resources are due at its interval.
        self._greeting = gevent.event.Event()
        self._claim = claim(prefix, self.instance.hex())
        hosts = listening_addresses(settings.secret, settings.ip_addrs, "node")
        keys = [settings.secret.for_tcp(), *settings.secret.others_for_tcp()]
        doors = {SCHEDULER_TO_NODE: keys, VISITOR_TO_NODE: keys}
        self._listener = Listener(
            *(hosts[0], settings.node_port, doors, self.instance, self._on_connection, settings.secret.tls, hosts[1:])
        )
        #: The addresses that it uses; empty for all.
        self._hosts = [] if hosts[0] in (ALL_ADDRESSES, "::") else hosts
        source = hosts[0] if len(self._hosts) == 1 else ""
        self._connectors = [SchedulerConnector(self, settings.secret, place, source) for place in settings.connect]
        self.host, self.port = self._listener.host, self._listener.port
        setting: ProcessSettings = {
            "dest_path_prefix": prefix,
            "name": self._name,
            "address": settings.ext_ip_addr or (main_address() if self.host == ALL_ADDRESSES else "") or self.host,
            "limits": list(astuple(settings.limits)),
            "client_shutdown": settings.client_shutdown,
            "init": settings.init,
        }
        own = os.path.join(prefix, self.instance.hex())
        self._spool = NodeSpool(own if settings.private else prefix, self.instance, settings.spool_size, self._on_spool)
        for history in self._spool.load(settings.spool_age) if not settings.private else ():
            self._rules.restore(history, self._began)
        gc.freeze()  # Or each full collection would look through all restored results, which slows short jobs.
        self._workers = ProcessManager(self._rules, self._pump, setting, self.instance)
        self._workers.backlog = lambda: max((each.connection.backlog for each in self._links.values()), default=0)
        self._workers.monitor.is_disk_full = lambda: is_disk_full(prefix, settings.disk_floor)
        self._workers.on_shutdown = self.shutdown_after_clients
        self._workers.on_failure = self._on_failure
        self._workers.on_defect = self._on_defect
        self._announcer: Announcer | None = None
        #: What it has logged last.
        self.log = LogBuffer()
        self._is_draining = False

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run until `stop` is called. Raises the error that broke the node."""
        with self.log.attached():
            self._run(on_ready)

    def _run(self, on_ready: Callable[[], None]) -> None:
        adopt_orphans()
        keep_freed_memory()
        try:
            self._workers.start()
            self._pump.start()
            if self._settings.init:
                # Jobs see its names. Without it nothing has to be awaited: the listener opens while processes start.
                gevent.wait([self._workers.is_up, self._stop], count=1)
            if not self._stop.is_set():
                self._open_doors()
                on_ready()
            self._stop.wait()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    def _open_doors(self) -> None:
        self.control.start()
        keep_running(self._tell_availability, what="the reports of free resources")
        keep_running(self._watch_disk, what="the monitor of the disk")
        self._listener.start()
        self._announce()
        for connector in self._connectors:
            connector.start()

    def stop(self) -> None:
        """Stop the node soon; from any greenlet of its loop, or a signal handler."""
        self._stop.set()

    def stop_gently(self, grace: float) -> None:
        """Stop when the running jobs have ended, `grace` seconds from now at the latest; jobs that have not begun are
        returned at once. The second call stops immediately."""
        if self._is_draining:
            self.stop()
            return
        self._is_draining = True
        self._pump.put(self._rules.shut, DRAINING)
        if grace and not self._rules.is_idle():
            logger.warning("stopping when the running jobs have ended, within %g s; a second signal stops now", grace)
        spawn(self._stop_when_idle, grace, what="the end of the node", on_failure=self._on_defect)

    def _stop_when_idle(self, grace: float) -> None:
        now = time.monotonic()
        until, last = now + grace, now + max(grace, RETURN_LIMIT)
        # Jobs in the sockets of workers are taken back within milliseconds.
        gevent.sleep(IDLE_INTERVAL)
        while not self._rules.is_idle() and (now := time.monotonic()) < last:
            if now >= until and self._rules.has_returned():
                break
            gevent.sleep(IDLE_INTERVAL)
        self.stop()

    def shutdown_after_clients(self) -> None:
        """Stop the node when the current computations have ended; accept no others."""
        self._pump.put(self._rules.finish)

    # Commands of its owner

    def release(self) -> str:
        """Release the jobs of schedulers that are away, instead of keeping them; returns the outcome as text."""
        here, away = self._rules.clients()
        if away:
            self._pump.put(self._rules.give_up)
            return printable(f"given up: {', '.join(away)}")
        return printable(
            f"nothing was released: {', '.join(here)} is connected" if here else "no client uses this node"
        )

    def status(self) -> list[str]:
        """The status of the node, as lines."""
        now = time.monotonic()
        minutes = int(now - self._began) // 60
        uptime = f"up {minutes // 1440} days, {minutes % 1440 // 60:02}:{minutes % 60:02}"
        return [
            f"{self._name} at {Address(self.host, self.port)}, {uptime}",
            *map(printable, self._rules.standing(now)),
        ]

    def watch_jobs(self, watch: JobWatch) -> None:
        """Tell `watch` of the jobs that arrive and end from now on."""
        self._rules.watch_jobs(watch)

    @property
    def spool_size(self) -> int:
        """Bytes of results on the disk that wait for schedulers."""
        return self._spool.size

    def overview(self) -> tuple[NodeOverviewRow, list[str], list[Work]]:
        """The node, why it takes no jobs, and its computations."""
        rows, _, reasons = self._rules.overview(self._name, self.host, self.port)
        return rows[0], reasons, self._rules.work()

    def free(self) -> list[float]:
        """Its free resources, as in `Availability`; empty without psutil."""
        return measure(self._prefix)

    def _close(self) -> None:
        self._listener.close()
        if self._announcer is not None:
            self._announcer.close()
        for connector in self._connectors:
            connector.close()
        for link in list(self._links.values()):
            link.connection.close(STOPPED)
        for _ in range(100):
            if not self._links:
                break
            gevent.sleep(0.01)
        self._pump.stop()
        self._workers.close()
        self._spool.close()
        unclaim(self._prefix, self.instance.hex(), self._claim)

    def _on_spool(self, trouble: str) -> None:
        self._pump.put(self._rules.shut if trouble else self._rules.reopen, _SPOOL_FULL)

    def _on_failure(self, reason: str) -> None:
        self._on_defect(ConfigError(f"--init: {reason}"))

    def _on_defect(self, error: BaseException) -> None:
        self._failure = error
        self._stop.set()

    def _announce(self) -> None:
        """Answer discovery requests, and announce the node to running clients."""
        settings = self._settings
        if settings.secret.insecure and not all(map(config.is_loopback, self._hosts or [self.host])):
            return
        try:
            self._announcer = Announcer(self, settings, self._hosts, self.port, self._name)
        except OSError as error:
            logger.warning("this node cannot be found by broadcast: %s", error.strerror)
            return
        self._announcer.start()

    # Connections

    def _on_connection(self, sock: ConnectedSocket, keys: Keys, roles: bytes) -> Connection:
        connection = Connection(
            sock, keys, self.handlers() if roles == SCHEDULER_TO_NODE else Handlers(self._on_visit, self._on_closed)
        )
        self._links[connection.peer] = _Link(connection)
        connection.start()
        return connection

    def handlers(self) -> Handlers:
        return Handlers(self._on_messages, self._on_closed, make_sink=self._make_sink)

    def use(self, connection: Connection, connector: SchedulerConnector | None) -> None:
        """A connection that this side has opened, so that it has to send the first frame."""
        self._links[connection.peer] = _Link(connection, is_own=True, connector=connector)
        connection.start()
        connection.introduce(self._hello(), self._identity)

    def connections(self) -> list[Connection]:
        return [link.connection for link in self._links.values()]

    def is_connected(self, instance: bytes) -> bool:
        return any(link.scheduler == instance for link in self._links.values())

    def is_busy(self) -> bool:
        return bool(self._rules.clients()[0])

    def _on_visit(self, connection: Connection, messages: list[Message]) -> None:
        """A peer requests the status of this node."""
        link = self._links.get(connection.peer)
        if link is None:  # It was closed meanwhile.
            return
        for message in messages:
            if isinstance(message, Hello):
                connection.check_identity(message)
                link.is_visitor = True
                connection.introduce(self._hello(), self._identity)
            elif not link.is_visitor:
                raise MessageRefused("the first message was not Hello")
            elif isinstance(message, NodeOrder):
                try:
                    action = self.control.prepared(message)
                except ConfigError as error:
                    raise MessageRefused(str(error)) from None
                self._pump.put(self._obey, connection, message, action)
            elif isinstance(message, OverviewRequest):
                connection.send(Availability(measure(self._prefix)))
                connection.answer(self._overview(message.question))

    def _obey(self, connection: Connection, order: NodeOrder, action: Action, now: float) -> Effects:
        """A visitor has given an order."""
        words = (order.word, str(order.number or ""), order.text)
        logger.info("%s: requested from %s", printable(" ".join(filter(None, words))), connection.address)
        return [*action(now), Send(connection.peer, self._overview(order.question))]

    def _overview(self, question: int) -> Overview:
        nodes, computations, reasons = self._rules.overview(self._name, self.host, self.port)
        return Overview(question, nodes, computations, reasons, [], self.control.limits())

    def _make_sink(self, size: int, purpose: int) -> Sink:
        if purpose == FILE:
            return FileSink(self._workers.directory, size, self._settings.max_file_size)
        sink = self._workers.memory_files.sink(size)
        if sink.fileno() >= descriptor_limit():  # Running work needs some.
            sink.abandon()
            raise ProtocolError("this node has no file descriptors left for payloads: too many jobs are waiting here")
        return sink

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        link = self._links.get(connection.peer)
        if link is None:  # It was closed meanwhile.
            return
        if not link.scheduler:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                raise MessageRefused("the first message was not Hello")
            self._greet(link, hello)
        self._pump.put(self._receive, connection, messages, connection.taken())

    def _watch_disk(self) -> None:
        """Accept no jobs while there is no space for their files."""
        was_full = False
        while True:
            is_full = is_disk_full(self._prefix, self._settings.disk_floor)
            if is_full != was_full:
                was_full = is_full
                logger.warning(
                    "the disk of %s has %s",
                    self._prefix,
                    "not enough free space" if is_full else "enough free space again",
                )
                self._pump.put(self._rules.shut if is_full else self._rules.reopen, _FULL)
            gevent.sleep(DISK_INTERVAL)

    def _tell_availability(self) -> None:
        gevent.sleep(AVAILABILITY_START)
        load()
        for turn in itertools.count():
            links = self._schedulers()
            free = measure(self._prefix) if links else []
            at_rest = [self._rules.rests(peer) for peer in links]
            if all(at_rest):
                self._workers.memory_files.clear()
            for link, rests in zip(links.values(), at_rest, strict=True):
                link.connection.rest(rests)
                if free and not (rests and turn % (MISSED_AT_REST + 1)):
                    link.connection.send(Availability(free))
            pulses = [link.pulse for link in links.values() if link.pulse]
            self._greeting.wait(AVAILABILITY_INTERVAL if all(at_rest) else min(pulses, default=1.0))
            self._greeting.clear()

    def _schedulers(self) -> dict[Peer, _Link]:
        """The connections of schedulers that have sent their Hello."""
        return {peer: link for peer, link in self._links.items() if link.scheduler}

    def _greet(self, link: _Link, hello: Hello) -> None:
        connection = link.connection
        connection.check_identity(hello)
        link.scheduler = hello.instance
        text = "connected: %s at %s, gdispy %s"
        self._log.log(logging.INFO, ("in", connection.address), text, hello.name, connection.address, hello.version)
        if 0.05 <= hello.pulse <= 1000:
            connection.set_pulse(hello.pulse)
            link.pulse = hello.pulse
        self._greeting.set()
        if link.connector is not None:
            link.connector.good = True
        if not link.is_own:
            connection.introduce(self._hello(), self._identity)
        self._pump.put(self._joined, connection.peer, hello)

    def _joined(self, peer: Peer, hello: Hello, now: float) -> Effects:
        effects = self._rules.joined(peer, hello, now)
        if self._rules.serves(peer):  # A refused scheduler reconnects repeatedly, and this is slow.
            free = measure(self._prefix)
            effects += [Send(peer, Availability(free))] if free else []
        return effects

    def _gone(self, peer: Peer, now: float) -> Effects:
        was_busy = self.is_busy()
        effects = self._rules.gone(peer, now)
        if was_busy and not self.is_busy():
            self._tell_free()
        return effects

    def _tell_free(self) -> None:
        """Waiting schedulers need not request repeatedly."""
        if self._announcer is not None:
            self._announcer.became_free()
        for connector in self._connectors:
            connector.wake()

    def _hello(self) -> Hello:
        address = self._settings.ext_ip_addr
        return hello(NODE, self.instance, self._name, cpus=self._rules.offered, address=address)

    def _receive(self, connection: Connection, messages: list[Message], size: int, now: float) -> Effects:
        connection.acknowledge(size)
        effects = self._rules.receive(connection.peer, messages, now)
        if connection.rests and not self._rules.rests(connection.peer):
            connection.rest(False)
        return effects

    def _on_closed(self, connection: Connection, reason: str) -> None:
        link = self._links.pop(connection.peer, None)
        if link is None:
            return
        if link.connector is not None:
            link.connector.closed(reason)
        if link.scheduler:
            level = logging.ERROR if reason.startswith(REFUSED) else logging.INFO
            key = ("out", connection.address, level)
            self._log.log(level, key, "disconnected from %s: %s", connection.address, reason)
            self._pump.put(self._gone, connection.peer)
            if not self._schedulers():
                self._workers.memory_files.clear()

    # Effects

    def _perform(self, effect: Effect) -> None:
        try:
            self._EFFECTS[type(effect)](self, effect)
        except Exception as error:
            self._fail(effect, error)

    def _fail(self, effect: Effect, error: Exception) -> None:
        """An effect could not be performed, because of a defect: only its computation or peer ends. Raises the error
        again if the effect concerns the node itself."""
        kind, reason = type(effect).__name__, f"gdispy has failed on the node: {error!r}\n"
        self._log.log_failure(logging.ERROR, (kind, type(error)), error, "gdispy: a defect while performing %s", kind)
        if isinstance(effect, Load | FindMissingFiles):
            self._pump.put(self._rules.loaded, effect.prepare.computation, reason)
        elif isinstance(effect, PutFiles):
            self._pump.put(self._rules.delivered, effect.prepare.computation, effect.deliver.question, reason)
        elif isinstance(effect, NewWorker):
            self._pump.put(self._rules.exited, effect.worker, [], reason)
        elif isinstance(effect, AssignJobs):
            self._workers.end(effect.worker, reason.rstrip("\n"))
        elif isinstance(effect, Send) and effect.peer in self._links:
            self._links[effect.peer].connection.abort(refusal(effect.message, error))
        else:
            raise error

    def _send(self, effect: Send) -> None:
        link = self._links.get(effect.peer)
        if link is not None:
            connection = link.connection
            send = connection.answer if isinstance(effect.message, _ANSWERS) else connection.send
            send(effect.message)

    def _drop(self, effect: Drop) -> None:
        link = self._links.get(effect.peer)
        if link is not None:
            link.connection.close(effect.reason)

    def _cleaned(self, prepare: Prepare) -> Prepare:
        """A computation, with its files removed at the end if the owner of the node requires that."""
        return replace(prepare, cleanup=True) if self._settings.force_cleanup else prepare

    def _unload(self, effect: Unload) -> None:
        self._workers.unload(effect.computation)

    def _show_log(self, effect: ShowLog) -> None:
        self._send(Send(effect.peer, log_events(effect.request, self.log, self.instance)))

    _EFFECTS: dict[type[Effect], Callable[..., None]] = {
        Send: _send,
        WriteFacts: lambda self, effect: self._spool.record(effect.computation, effect.facts),
        Drop: _drop,
        Load: lambda self, effect: self._workers.load(self._cleaned(effect.prepare), effect.arrived),
        FindMissingFiles: lambda self, effect: self._workers.look(self._cleaned(effect.prepare)),
        PutFiles: lambda self, effect: self._workers.deliver(effect.prepare, effect.deliver),
        AnswerFile: lambda self, effect: self._workers.answer_file(effect),
        Unload: _unload,
        Shutdown: lambda self, effect: self.stop(),
        NewWorker: lambda self, effect: self._workers.new_worker(effect.worker, effect.computation),
        AssignJobs: lambda self, effect: self._workers.hand(effect.worker, effect.jobs),
        RecallJobs: lambda self, effect: self._workers.take_back(effect.worker),
        FollowJob: lambda self, effect: self._workers.monitor.follow(effect.worker, effect.job, effect.attempt),
        ListJobs: lambda self, effect: self._workers.monitor.list_jobs(effect),
        ShowLog: _show_log,
        LookAt: lambda self, effect: self._workers.monitor.look_at(effect.worker, effect.question, effect.facts),
        Interrupt: lambda self, effect: self._workers.interrupt(effect.worker, effect.job, effect.attempt),
        Terminate: lambda self, effect: self._workers.terminate(effect.worker),
        Kill: lambda self, effect: self._workers.end(effect.worker),
    }


def _drop_faulty(peer: Peer, message: Message, error: Exception) -> Effects:
    """A message could not be handled: only its peer is disconnected."""
    log_fault(message, error)
    return [Drop(peer, refusal(message, error))]
