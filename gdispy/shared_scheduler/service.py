"""The shared scheduler: clients connect to it, and it keeps the nodes for all of them.

`run` works in the main greenlet. This is the scheduler of `scheduler.py` with clients at the other end of connections
(`net.py`): each has a `ClientMailbox` (`rules/scheduler/client_mailbox.py`), which keeps the messages that the client
has not yet collected. It decides nothing itself and never unpickles anything.

Invariant: each message of the rules to a client passes through its `ClientMailbox`, whether the client is connected or
not.
"""

from __future__ import annotations

import gc
import logging
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import gevent
import gevent.event
import gevent.lock

from gdispy import config
from gdispy.buffers.heap_sink import heap_sink
from gdispy.buffers.memory_file import FileSink
from gdispy.buffers.native import keep_freed_memory, memory_size
from gdispy.discovery import targets
from gdispy.errors import ConfigError, ProtocolError
from gdispy.execution.dependency_files import refusal
from gdispy.net import Listener
from gdispy.protocol import client_names
from gdispy.protocol.field_checks import INSTANCE_BYTES
from gdispy.protocol.handshake import Keys
from gdispy.protocol.identity import computation_token
from gdispy.protocol.ids import ComputationId, Instance, Peer
from gdispy.protocol.messages import (
    Accepted,
    Ended,
    Fenced,
    Hello,
    JobFactsRequest,
    JobNames,
    LogRequest,
    Message,
    Open,
    OutcomesAcked,
    Overview,
    OverviewRequest,
    Prepare,
    ProgressAcked,
    Release,
    RunningJobsRequest,
    Usage,
    UsageRequest,
)
from gdispy.protocol.roles import CLIENT, CLIENT_TO_SCHEDULER, NODE_TO_SCHEDULER, RECOVERER, SCHEDULER
from gdispy.protocol.rows import ComputationOverviewRow
from gdispy.protocol.texts import REFUSED
from gdispy.protocol.wire import FILE, MessageRefused, Sink
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import refusal as refusal_of
from gdispy.rules.history.facts import Owned
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.client_mailbox import NO_QUOTAS, ClientMailbox
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.quotas import Quotas
from gdispy.rules.scheduler.turns import FAIR
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.limited_log import LimitedLog
from gdispy.runtime.log_buffer import LogBuffer
from gdispy.scheduler import Scheduler
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.inquiries import Inquiries
from gdispy.shared_scheduler.store import SchedulerStore
from gdispy.shared_scheduler.usage_file import UsageFile
from gdispy.transport import greeting
from gdispy.transport.connection import ConnectedSocket, Connection, Handlers, next_peer
from gdispy.transport.credentials import Secret, listening_addresses

logger = logging.getLogger(__name__)

#: A message that makes a computation known.
Opening = TypeVar("Opening", bound=Open | Prepare)

#: Messages with which a peer only asks about the scheduler.
_QUESTIONS = (OverviewRequest, UsageRequest, RunningJobsRequest, JobFactsRequest, LogRequest)

#: Seconds between two checks for clients that stay away.
CLIENT_LOOK_INTERVAL = 5.0
#: Bytes pending for a client above which no more of its jobs are placed, and seconds between two checks of that.
BACKLOG_LIMIT = 64 * 1024 * 1024
BACKLOG_INTERVAL = 0.5
#: The part of this machine's memory that jobs of all clients may fill.
CLIENTS_PART = 0.5


@dataclass(frozen=True)
class SharedSchedulerSettings:
    """The configuration of a shared scheduler; the options of `gdispy-scheduler`."""

    #: Towards nodes, and towards clients.
    node_secret: Secret
    client_secret: Secret
    #: Which nodes to use, as `nodes` of a cluster.
    nodes: list[str] = field(default_factory=lambda: ["*"])
    #: Addresses to listen on and for discovery, none for all; and the address to announce if it differs.
    ip_addrs: tuple[str, ...] = ()
    ext_ip_addr: str = ""
    port: int = config.CLIENT_PORT
    node_port: int = config.NODE_PORT
    pulse_interval: float | None = None
    ping_interval: float | None = None
    #: Timeout in seconds for connecting and for authentication.
    msg_timeout: float = config.MsgTimeout
    policy: str = FAIR
    #: Seconds for which the jobs and results of a disconnected client are kept.
    lease: float = 3600.0
    #: Whether clients may change how many CPUs of a node are used.
    cooperative: bool = False
    #: Have nodes remove files of computations even if clients want to keep them.
    cleanup_nodes: bool = False
    max_file_size: int = 0
    #: The quotas of one client.
    quotas: Quotas = NO_QUOTAS
    #: The shares of clients, by their users, hosts or addresses, if they are not 1.
    weights: dict[str, float] = field(default_factory=dict)
    #: The directory of its journal, '' for none: then it forgets everything when it ends.
    journal: str = ""
    #: Discover nodes by a multicast group instead of by broadcast.
    multicast: bool = False


class SharedScheduler:
    """One shared scheduler."""

    def __init__(self, settings: SharedSchedulerSettings) -> None:
        self._settings = settings
        hosts = listening_addresses(settings.client_secret, settings.ip_addrs, "scheduler")
        place = (settings.ip_addrs, settings.ext_ip_addr, settings.port)
        intervals = (settings.pulse_interval, settings.ping_interval)
        temporary = "" if settings.journal else tempfile.mkdtemp(prefix="gdispy-scheduler-")
        self._store = store = SchedulerStore(settings.journal, temporary)
        ways = (settings.policy, settings.cooperative)
        self._scheduler = Scheduler(
            settings.node_secret,
            *place,
            *intervals,
            *ways,
            settings.multicast,
            store.identity,
            store.epoch,
            store.journals,
        )
        self._scheduler.rules.local_advice = ""
        self._scheduler.on_client_fault = self._end_faulty
        self._scheduler.on_defect.append(self._on_defect)
        self._usage = UsageFile(settings.journal)
        self._scheduler.rules.watch_use(self._usage.count)
        self._failure: BaseException | None = None
        self._log = LimitedLog(logger)
        self._proxies: dict[Instance, ClientProxy] = {}
        #: What it has logged last.
        self.log = LogBuffer()
        run = Instance(secrets.token_bytes(INSTANCE_BYTES))  # With a journal, its own instance outlives it.
        self._inquiries = Inquiries(self._scheduler.rules, self._proxies, self.log, run)
        self._scheduler.on_answer = self._inquiries.nodes.answered
        self._proxy_of: dict[Peer, ClientProxy] = {}
        self._connections: dict[Peer, Connection] = {}
        self._stop = gevent.event.Event()
        #: Told of the jobs that end; None while no page counts them.
        self.on_ended: Callable[[Ended], None] | None = None
        self._listener = Listener(
            hosts[0],
            settings.port,
            self._doors(settings),
            self._scheduler.instance,
            self._on_connection,
            settings.client_secret.tls,
            hosts[1:],
        )
        self._scheduler.listens(self._listener.port)

    def _doors(self, settings: SharedSchedulerSettings) -> dict[bytes, list[bytes]]:
        """Open the ports for clients, and for nodes that this side cannot reach."""
        clients, nodes = settings.client_secret, settings.node_secret
        doors = {CLIENT_TO_SCHEDULER: [clients.for_tcp(), *clients.others_for_tcp()]}
        if clients.insecure or not nodes.insecure:
            doors[NODE_TO_SCHEDULER] = [nodes.for_tcp(), *nodes.others_for_tcp()]
        return doors

    @property
    def host(self) -> str:
        return str(self._listener.host)

    @property
    def port(self) -> int:
        return int(self._listener.port)

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called."""
        with self.log.attached():
            self._run(on_ready)
        if self._failure is not None:
            raise self._failure

    def _run(self, on_ready: Callable[[], None]) -> None:
        keep_freed_memory()
        try:
            self._scheduler.start()
            self._store.keep()
            self._usage.keep()
            self._scheduler.rules.keeps_progress = self._store.remembers
            for history in self._store.histories:
                self._scheduler.put(self._restore, history)
            self._scheduler.put(_exempt_restored)
            self._listener.start()
            wanted = targets.parse(self._settings.nodes, self._settings.node_port)
            self._scheduler.seek(wanted.targets, wanted.look, self._settings.node_port)
            keep_running(self._look_for_absent, what="the look for clients that stay away")
            keep_running(self._watch_backlogs, what="the watch over what waits for clients")
            on_ready()
            self._stop.wait()
        finally:
            self._listener.close()
            for connection in list(self._connections.values()):
                connection.close("the scheduler ends")
            self._scheduler.close()
            self._usage.write()
            self._store.close()

    def stop(self) -> None:
        """End soon; from any greenlet of the loop, or a signal handler."""
        self._stop.set()

    def _on_defect(self, error: BaseException) -> None:
        """End, to be restarted by a supervisor, rather than stay up and do nothing."""
        self._failure = error
        self._stop.set()

    def overview(self, question: int = 0) -> Overview:
        rules = self._scheduler.rules
        rows: list[ComputationOverviewRow] = []
        notes = rules.node_notes()
        for proxy in self._proxies.values():
            where = proxy.address if proxy.connection is not None else ""
            found = rules.computation_rows(proxy.mailbox.peer)
            rows += [ComputationOverviewRow(proxy.mailbox.name, where, *row) for row in found]
            notes += [f"{proxy.mailbox.name}: {line}" for line in rules.waits(proxy.mailbox.peer, time.monotonic())]
        return Overview(question, rules.node_rows(), rows, notes, rules.node_states(time.monotonic()))

    # For the web page

    @property
    def rules(self) -> Dispatch:
        return self._scheduler.rules

    @property
    def clients(self) -> dict[Instance, ClientProxy]:
        """The clients, by instance; to be read only."""
        return self._proxies

    @property
    def directory(self) -> str:
        """The directory of the journal, '' for none."""
        return self._settings.journal

    @property
    def journal_size(self) -> int:
        """Bytes of the journal, without large payloads; 0 without one."""
        return self._store.size

    def submissions(self, computation: ComputationId) -> Arrivals | None:
        """When the jobs of a computation were submitted; None if none was."""
        return self._store.submissions(computation)

    def order(self, stimulus: Callable[[float], Effects]) -> None:
        """Let the rules do something soon, in order with the messages of clients."""
        self._scheduler.put(stimulus)

    def act_for(self, proxy: ClientProxy, message: Message) -> None:
        """Handle a message as if the client had sent it; it is recorded as such."""
        self._scheduler.put(lambda now: self._forward(proxy, [message], now))

    def _note_end(self, message: Ended) -> None:
        if self.on_ended is None:
            return
        try:
            self.on_ended(message)
        except Exception as error:  # A defect in what is shown must not concern the jobs.
            self._log.log_failure(logging.ERROR, type(error), error, "gdispy: a defect in counting ended jobs")

    # Connections

    def _on_connection(self, sock: ConnectedSocket, keys: Keys, roles: bytes) -> Connection:
        if roles == NODE_TO_SCHEDULER:
            return self._scheduler.arrived(sock, keys)
        handlers = Handlers(self._on_messages, self._on_closed, make_sink=self._make_sink)
        connection = Connection(sock, keys, handlers)
        self._connections[connection.peer] = connection
        connection.start()
        return connection

    def _make_sink(self, size: int, purpose: int) -> Sink:
        if purpose == FILE:
            return FileSink(self._store.files, size, self._settings.max_file_size, "scheduler")
        return heap_sink(size, purpose)

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        proxy = self._proxy_of.get(connection.peer)
        if proxy is None:
            hello = messages.pop(0)
            if not isinstance(hello, Hello) or hello.role not in (CLIENT, RECOVERER):
                raise MessageRefused("the first message was not Hello of a client")
            proxy = self._greet(connection, hello)
        self._scheduler.put(self._receive, proxy, connection, messages, connection.taken())

    def _greet(self, connection: Connection, hello: Hello) -> ClientProxy:
        connection.check_identity(hello)
        proxy = self._proxies.get(hello.instance)
        if proxy is None:
            proxy = self._new_proxy(hello.instance, hello.name, connection.address)
        elif proxy.connection is not None:
            self._proxy_of.pop(proxy.connection.peer, None)
            proxy.connection.close("a newer connection took its place")
        self._proxy_of[connection.peer] = proxy
        proxy.address = connection.address
        proxy.mailbox.connected(connection.peer)
        proxy.claims, proxy.recovers = hello.claims, hello.role == RECOVERER
        proxy.has_asked, proxy.is_active, proxy.version = False, False, hello.version
        if 0.05 <= hello.pulse <= 1000:
            connection.set_pulse(hello.pulse)
        address, epoch = self._settings.ext_ip_addr, self._store.epoch
        ours = greeting.hello(SCHEDULER, self._scheduler.instance, address=address, epoch=epoch)
        connection.introduce(ours, self._scheduler.identity)
        return proxy

    def _receive(
        self, proxy: ClientProxy, connection: Connection, messages: list[Message], size: int, now: float
    ) -> Effects:
        connection.acknowledge(size)
        if proxy.mailbox.link not in (connection.peer, None):
            return []  # A newer connection has replaced it. If there is none, its last messages count.
        self._take_over(proxy, connection)
        if proxy.mailbox.link is not None:
            # Only now, not after `Hello`: messages of the rules in the meantime are part of its resumption.
            proxy.connection = connection
        effects: Effects = []
        for message in messages:
            self._note_kind(proxy, message)
            if isinstance(message, OverviewRequest):
                connection.answer(self.overview(message.question))
                continue
            if isinstance(message, UsageRequest):
                connection.answer(Usage(message.question, self._usage.rows(message.days)))
                continue
            try:
                asked = self._inquiries.take(connection, message, now)
                if asked is not None:
                    effects += asked
                    continue
                self._check_owner(proxy, message)
                forward, answers = proxy.mailbox.incoming(message)
            except ProtocolError as error:
                connection.close(f"{REFUSED}{error}")
                break
            except Exception as error:
                effects += self._end_faulty(proxy.mailbox.peer, message, error)
                break
            effects += self._forward(proxy, forward, now)
            if (
                isinstance(message, OutcomesAcked | JobNames | ProgressAcked)
                and message.computation in proxy.mailbox.computations
            ):
                self._store.record(message.computation, message)
            for answer in answers:
                self._answer(connection, answer)
        return effects

    def _note_kind(self, proxy: ClientProxy, message: Message) -> None:
        """Log the connection of a peer that does more than ask about the scheduler: those that only ask may come each
        second."""
        if isinstance(message, _QUESTIONS):
            proxy.has_asked = True
        elif not proxy.is_active:
            proxy.is_active = True
            key, text = ("in", proxy.address), "connected: client %s at %s, gdispy %s"
            self._log.log(logging.INFO, key, text, proxy.mailbox.name, proxy.address, proxy.version)

    def _check_owner(self, proxy: ClientProxy, message: Message) -> None:
        """Raise ProtocolError if a client submits a computation that belongs to another client."""
        if not isinstance(message, Open) or message.computation in proxy.mailbox.computations:
            return
        if any(message.computation in each.mailbox.computations for each in self._proxies.values()):
            raise ProtocolError("another client has this computation")

    def _end_faulty(self, peer: Peer, message: Message, error: Exception) -> Effects:
        """A client's message could not be handled: end its computation, or else its connection."""
        log_fault(message, error)
        reason = refusal_of(message, error)
        proxy = next(each for each in self._proxies.values() if each.mailbox.peer == peer)
        computation = getattr(message, "computation", None)
        if computation is None:
            return [Drop(peer, reason)]
        effects = self._scheduler.rules.discard(computation)
        for ended in proxy.mailbox.fail(computation, f"{reason}\n"):
            self._store.record(computation, ended)
            effects.append(Send(peer, ended))
        return effects

    def _forward(self, proxy: ClientProxy, messages: list[Message], now: float) -> Effects:
        """Pass a client's messages to the rules, after writing them to the journal."""
        if not messages:
            return []
        for each in messages:
            self._store.accept(proxy.mailbox.instance, proxy.mailbox.name, each)
            proxy.keep_files(each)
            self._seek_for(proxy, each)
            if isinstance(each, Prepare):
                self._scheduler.rules.object_to(each.computation, refusal(each.files, each.contents))
        forward = [self._for_nodes(each) if isinstance(each, Open | Prepare) else each for each in messages]
        return self._scheduler.rules.receive_from_client(proxy.mailbox.peer, forward, now)

    def _answer(self, connection: Connection, answer: Message) -> None:
        if isinstance(answer, Ended):
            self._store.record(answer.computation, answer)
        if isinstance(answer, Accepted) and self._store.journals.holds(
            answer.computation, partial(self._answer, connection, answer)
        ):
            return
        connection.send(answer)

    def _for_nodes(self, message: Opening) -> Opening:
        """A client's message in the form for nodes: they know the computation as this scheduler's."""
        if isinstance(message, Prepare) and self._settings.cleanup_nodes:
            message = replace(message, cleanup=True)
        if not self._store.remembers:
            return replace(message, token=b"", epoch=0)
        token = computation_token(self._store.seed, message.computation)
        return replace(message, token=token, epoch=self._store.epoch)

    # Previous runs, and clients that take over the computations of others

    def _new_proxy(self, client: Instance, name: str, address: str = "") -> ClientProxy:
        proxy = self._proxies[client] = ClientProxy(
            ClientMailbox(next_peer(), client, name, self._settings.quotas), self._scheduler.no_more, self._note_end
        )
        self._usage.admit(proxy.mailbox.peer, name)
        weight = weight_of(name, address, self._settings.weights)
        if weight is not None:
            self._scheduler.rules.weights[proxy.mailbox.peer] = weight
        self._scheduler.admit(proxy.mailbox.peer, proxy)
        return proxy

    def _restore(self, history: ComputationHistory, now: float) -> Effects:
        """Take up a computation of a previous run of this scheduler; set it aside if that is not possible."""
        try:
            return self._take_up(history, now)
        except Exception as error:
            self._log.log_failure(logging.ERROR, history.id, error, "gdispy: a computation cannot be taken up")
            self._store.set_aside(history.id, error)
            for proxy in self._proxies.values():
                proxy.mailbox.forget(history.id)
            return self._scheduler.rules.discard(history.id)

    def _take_up(self, history: ComputationHistory, now: float) -> Effects:
        assert history.owned is not None
        client = Instance(history.owned.client)
        proxy = self._proxies.get(client) or self._new_proxy(client, history.owned.name)
        proxy.mailbox.restore(history)
        proxy.mailbox.expires = time.monotonic() + self._settings.lease
        prepare = None
        if history.prepare is not None:
            proxy.keep_files(history.prepare)
            prepare = self._for_nodes(history.prepare)
        history.open = self._for_nodes(history.open)
        nodes = [(met.names[0], met.port) for met in history.nodes.values()]
        self._scheduler.seek(nodes, False, self._settings.node_port)
        return self._scheduler.rules.restore(proxy.mailbox.peer, history, prepare, now)

    def _take_over(self, proxy: ClientProxy, connection: Connection) -> None:
        """Assign to a client its claims. In a turn of the pump, so that the previous one gets no message in between."""
        claims, proxy.claims = proxy.claims, []
        for computation, token, epoch in claims:
            for former in list(self._proxies.values()):
                may = former.mailbox.may_claim(computation, token, epoch)
                if may is None or former is proxy:
                    continue
                if not may:
                    connection.send(Fenced(computation))
                    continue
                opened = former.mailbox.hand_over(computation, proxy.mailbox, epoch)
                proxy.files[computation] = former.files.pop(computation, [])
                mailbox = proxy.mailbox
                self._store.record(computation, opened, Owned(computation, mailbox.instance, mailbox.name, ""))
                self._scheduler.rules.hand_over(computation, mailbox.peer)
                if former.connection is not None:
                    former.connection.send(Fenced(computation))
        if proxy.recovers:
            proxy.recovers = False
            for message in proxy.mailbox.holding():
                connection.send(message)

    def _seek_for(self, proxy: ClientProxy, message: Message) -> None:
        """Look for the nodes that a client names, as for those of this scheduler's own list."""
        if isinstance(message, Open):
            named = [each for each in message.nodes if "*" not in each]
            try:
                wanted = targets.parse(named or ["*"], self._settings.node_port)
            except ConfigError as error:
                key, text = ("names", proxy.address), "the client %s names invalid nodes: %s"
                self._log.log(logging.INFO, key, text, proxy.mailbox.name, error)
                return
            self._scheduler.seek_for(message.computation, wanted.targets, proxy.turns)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self._connections.pop(connection.peer, None)
        proxy = self._proxy_of.pop(connection.peer, None)
        if proxy is None or proxy.mailbox.link != connection.peer:
            return
        level = logging.DEBUG if proxy.has_asked and not proxy.is_active else logging.INFO
        level = logging.ERROR if reason.startswith(REFUSED) else level
        key, text = ("out", proxy.address, level), "disconnected: client %s at %s: %s"
        self._log.log(level, key, text, proxy.mailbox.name, proxy.address, reason)
        proxy.connection, proxy.mailbox.link = None, None
        proxy.mailbox.expires = time.monotonic() + self._settings.lease

    def _look_for_absent(self) -> None:
        """Forget clients that have nothing here any more, or stay away too long."""
        while True:
            gevent.sleep(CLIENT_LOOK_INTERVAL)
            now = time.monotonic()
            for instance, proxy in list(self._proxies.items()):
                mailbox = proxy.mailbox
                if mailbox.expires is None:
                    continue
                if not mailbox.computations:
                    del self._proxies[instance]
                    self._scheduler.rules.weights.pop(mailbox.peer, None)
                    self._usage.users.pop(mailbox.peer, None)
                    self._scheduler.dismiss(mailbox.peer)
                elif mailbox.expires <= now:
                    self._scheduler.put(self._release_all, proxy)

    def _watch_backlogs(self) -> None:
        """Protect the memory from a client that does not read: meanwhile no more of its jobs are placed."""
        while True:
            gevent.sleep(BACKLOG_INTERVAL)
            self._watch_memory()
            for proxy in self._proxies.values():
                waiting = proxy.connection.backlog if proxy.connection is not None else 0
                is_slow = waiting > (BACKLOG_LIMIT // 2 if proxy.is_slow else BACKLOG_LIMIT)
                limit = self._settings.quotas.bytes
                is_slow = is_slow or (limit > 0 and proxy.mailbox.uncollected_bytes() > limit)
                if is_slow != proxy.is_slow:
                    proxy.is_slow = is_slow
                    what = "does not take its results" if is_slow else "continues"
                    self._log.log(logging.INFO, ("slow", proxy.address), "client %s %s", proxy.mailbox.name, what)
                    self._scheduler.put(self._scheduler.rules.slow_down, proxy.mailbox.peer, is_slow)

    def _watch_memory(self) -> None:
        """Protect the memory from any number of clients, each within its quota, that fill it together."""
        mailboxes = [proxy.mailbox for proxy in self._proxies.values()]
        total, limit = sum(each.kept_bytes for each in mailboxes), int(CLIENTS_PART * memory_size())
        is_full = 0 < limit < total
        why = f"jobs of all clients have {total:,} bytes, and this scheduler keeps {limit:,}" if is_full else ""
        for mailbox in mailboxes:
            mailbox.closed_because = why

    def _release_all(self, proxy: ClientProxy, now: float) -> Effects:
        return self._forward(proxy, [Release(each) for each in proxy.mailbox.computations], now)


def _exempt_restored(now: float) -> Effects:
    """Exempt restored jobs from garbage collection: each full one would look through all of them."""
    gc.freeze()
    return []


def weight_of(name: str, address: str, weights: dict[str, float]) -> float | None:
    """The weight of a client: that of its user, else of its host, else of its address; None for the default."""
    parts = client_names.parse(name)
    return next((weights[each] for each in (parts.user, parts.host, address) if each in weights), None)
