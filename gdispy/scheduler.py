"""The scheduler: keeps connections to nodes, and lets the rules decide which job runs where.

Runs on one gevent loop. A `JobCluster` has one in its own process, connected by a memory pair; clusters of one process
with the same settings share it and its nodes.

It connects the rules of `rules/scheduler/dispatch.py` with connections (`net.py`) and discovery
(`discovery/beacon.py`), and makes no decisions. Payloads are not parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import gevent
import gevent.lock

from gdispy import config
from gdispy.buffers.heap_sink import heap_sink
from gdispy.discovery.dialer import MOVED_AFTER, Dialer
from gdispy.discovery.node_finder import NodeFinder
from gdispy.discovery.route import Route
from gdispy.journal.router import JournalRouter
from gdispy.net import connect
from gdispy.protocol.address import Address
from gdispy.protocol.handshake import Keys
from gdispy.protocol.heartbeat import INTERVAL, LOST_AFTER
from gdispy.protocol.identity import Identity
from gdispy.protocol.ids import ComputationId, Peer
from gdispy.protocol.messages import Hello, Inventory, Message, OutcomesAcked, Prepare, Run
from gdispy.protocol.roles import NODE, SCHEDULER, SCHEDULER_TO_NODE
from gdispy.protocol.texts import REFUSED, STOPPED
from gdispy.protocol.wire import MakeSink, MessageRefused
from gdispy.rules.effects import Drop, Effect, Effects, Send, WriteFacts
from gdispy.rules.faults import OnFault, raise_fault, refusal
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.turns import FAIR
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.limited_log import LimitedLog
from gdispy.runtime.pump import Pump
from gdispy.transport.connection import CONNECTED, ConnectedSocket, Connection, Handlers, new_identity
from gdispy.transport.credentials import Secret
from gdispy.transport.greeting import hello, own_client_name
from gdispy.transport.memory_pair import PairEnd, pair

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

logger = logging.getLogger(__name__)

_CLOSED = "the client has closed"

#: Messages that make nodes start jobs, or forget outcomes: they must not be sent before their facts are written.
_PROMISES = (Run, OutcomesAcked)


class ClientEnd(Protocol):
    """The destination of messages from the rules to one client."""

    def send(self, message: Message) -> None: ...

    def drop(self, reason: str) -> None: ...

    def placed(self, run: Run) -> None:
        """Jobs of the client were sent to a node."""


class Scheduler:
    """Connections to nodes, and the rules that use them. All methods are called in its loop."""

    def __init__(
        self,
        secret: Secret,
        ip_addr: str | Sequence[str] = "",
        ext_ip_addr: str = "",
        port: int = config.CLIENT_PORT,
        pulse_interval: float | None = None,
        ping_interval: float | None = None,
        policy: str = FAIR,
        cooperative: bool = True,
        multicast: bool = False,
        identity: Identity | None = None,
        epoch: int = 0,
        journals: JournalRouter | None = None,
        make_sink: MakeSink = heap_sink,
    ) -> None:
        self._secret = secret
        self._psk = secret.for_tcp()
        #: The addresses of this machine to use, empty for all.
        addresses = [ip_addr] if isinstance(ip_addr, str) else ip_addr
        self._addresses = [each for each in addresses if each]
        self._ext_ip_addr = ext_ip_addr
        self._port = port
        self._make_sink = make_sink
        self._pulse = pulse_interval or INTERVAL
        self.identity = identity or new_identity()
        self.instance = self.identity.instance
        #: The number of its runs, according to its journal.
        self.epoch = epoch
        #: Records the facts of its rules.
        self.journals = journals or JournalRouter()
        self.rules = Dispatch(LOST_AFTER * self._pulse, policy, cooperative)
        self.rules.on_fault = self._drop_faulty
        #: Handles a message of a remote client that could not be handled.
        self.on_client_fault: OnFault = raise_fault
        #: Takes answers of nodes to questions that the rules do not know; returns whether it was one.
        self.on_answer: Callable[[Peer, Message], bool] | None = None
        #: Called when the rules have failed, and make no decisions any more.
        self.on_defect: list[Callable[[BaseException], None]] = []
        self._pump = Pump(self._perform, self.rules.tick, self.rules.due, self._tell_defect)
        #: Ends of the pairs to clients in this process, and proxies of remote clients.
        self._clients: dict[Peer, ClientEnd] = {}
        self._is_closed = False
        self._log = LimitedLog(logger)
        self._connections: dict[Peer, Connection] = {}
        self._dialer_of: dict[Peer, Dialer] = {}
        self._greeted: set[Peer] = set()
        #: Connections that nodes have opened, without a Hello yet.
        self._arrived: set[Peer] = set()
        interval = ping_interval or config.LOOK_INTERVAL
        self._finder = NodeFinder(self, secret, self._addresses, ext_ip_addr, port, interval, multicast, self._pulse)

    def start(self) -> None:
        self._pump.start()

    def close(self) -> None:
        """Send a goodbye to the nodes and stop."""
        self._is_closed = True
        self._finder.close()
        for connection in list(self._connections.values()):
            connection.close(_CLOSED)
        for _ in range(50):
            if not self._connections:
                break
            gevent.sleep(0.01)
        for connection in list(self._connections.values()):
            connection.abort(_CLOSED)
        self._pump.stop()

    def abandon_in_child(self) -> None:
        """In a forked child: close its copies of the connections."""
        for connection in self._connections.values():
            connection.forget_in_child()

    # Clients

    def attach(self, deliver: Callable[[list[Message]], None], on_placed: Callable[[Run], None]) -> PairEnd:
        """Join a client in this process; it sends through the end returned. `on_placed` is called when jobs of the
        client were sent to a node."""

        def to_scheduler(messages: list[Message]) -> None:
            self._pump.put(self.rules.receive_from_client, theirs.peer, messages)

        theirs, ours = pair(deliver, to_scheduler, on_placed)
        self._clients[theirs.peer] = theirs
        return ours

    def detach(self, client: PairEnd) -> None:
        """A client has left; its computation was released before."""
        self._clients = {peer: end for peer, end in self._clients.items() if end is not client.other}

    def restore(self, client: PairEnd, history: ComputationHistory, prepare: Prepare) -> None:
        """Continue a computation of a previous run of the client, and search for its nodes."""
        assert client.other is not None
        self._pump.put(self.rules.restore, client.other.peer, history, prepare)
        self.seek([(met.names[0], met.port) for met in history.nodes.values()], False, self._port)

    def admit(self, peer: Peer, end: ClientEnd) -> None:
        """A remote client, with this identifier in the rules; messages to it are sent through `end`."""
        self._clients[peer] = end

    def dismiss(self, peer: Peer) -> None:
        self._clients.pop(peer, None)

    def put(self, stimulus: Callable[[Unpack[Args], float], Effects], *args: Unpack[Args]) -> None:
        """Pass a stimulus to the next turn."""
        self._pump.put(stimulus, *args)

    # Nodes

    def seek(self, targets: list[tuple[str, int]], look: bool, node_port: int) -> None:
        """Connect to these addresses, and with `look` to all nodes that answer broadcasts."""
        self._finder.seek(targets, look, node_port)

    def seek_for(self, computation: bytes, targets: list[tuple[str, int]], turns: gevent.lock.BoundedSemaphore) -> None:
        """The same for a computation of a remote client, until `no_more`; `turns` are those of the client."""
        self._finder.seek_for(computation, targets, turns)

    def no_more(self, computation: bytes) -> None:
        self._finder.no_more(computation)

    def listens(self, port: int) -> None:
        """Nodes can connect to this port; its listener passes them to `arrived`."""
        self._finder.listening_port = port

    def have_refused(self, targets: list[tuple[str, int]], computation: ComputationId) -> bool:
        """Whether all these addresses belong to nodes that have permanently refused this program, or the
        computation."""
        refusing = {dialer.place for dialer in self._finder.dialers.values() if dialer.rejected}
        refusing |= {dialer.place for peer, dialer in self._dialer_of.items() if self.rules.refuses(peer, computation)}
        return bool(targets) and all(str(Address(*target)) in refusing for target in targets)

    def is_answered(self, computation: ComputationId) -> bool:
        """Whether the end of a job of a computation can be expected, because its node is connected."""
        return self.rules.is_answered(computation)

    def report(self, place: str, text: str) -> None:
        """The reason why an address is not a node; '' resets it."""
        self._pump.put(self._report, place, text)

    def _report(self, place: str, text: str, now: float) -> Effects:
        return self.rules.problem(place, text)

    def open(self, route: Route, limit: float, small: bool) -> Connection:
        """Connect to a node. Raises ConnectFailed or PeerRejected."""
        handlers = self._handlers()
        source = self._source(route.host)
        return connect(
            *(route.host, route.port, self._psk, SCHEDULER_TO_NODE, handlers, source),
            relay=route.relay,
            limit=limit,
            small=small,
            tls=self._secret.tls,
            advice=self._secret.advice(),
        )

    def take(self, connection: Connection, dialer: Dialer) -> None:
        """Use a connection to a node made by `open`."""
        self._dialer_of[connection.peer] = dialer
        self._use(connection)
        connection.introduce(self._hello(), self.identity)

    def _handlers(self) -> Handlers:
        return Handlers(self._on_messages, self._on_closed, self._on_silent, self._make_sink)

    def arrived(self, sock: ConnectedSocket, keys: Keys) -> Connection:
        """A node has connected to us; it sends first."""
        connection = Connection(sock, keys, self._handlers())
        self._arrived.add(connection.peer)
        self._use(connection)
        return connection

    def _use(self, connection: Connection) -> None:
        if self._is_closed:  # Both sides connected at the same time; the dialer is stopped only afterwards.
            connection.abort(_CLOSED)
            return
        connection.set_pulse(self._pulse)
        self._connections[connection.peer] = connection
        connection.start()

    def connection_to(self, instance: bytes) -> Connection | None:
        """The connection to a node, the newest."""
        found = [each for each in self._connections.values() if each.instance == instance]
        return found[-1] if found else None

    def _source(self, host: str) -> str:
        """The local address to connect from: the configured one, if any, except towards this machine."""
        if len(self._addresses) != 1 or config.is_loopback(host) or ":" in host:
            return ""
        return self._addresses[0]

    def _hello(self) -> Hello:
        return hello(
            SCHEDULER,
            self.instance,
            own_client_name(),
            address=self._ext_ip_addr,
            pulse=self._pulse,
            claims=self.rules.claims(),
            epoch=self.epoch,
        )

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        size = connection.taken()
        if connection.peer not in self._greeted:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                raise MessageRefused("the first message was not Hello")
            if not self._greet(connection, hello):
                return
        if messages:
            dialer = self._dialer_of.get(connection.peer)
            # Only then: a busy node may have sent other messages before it refuses.
            if dialer is not None and not dialer.good and any(type(each) is Inventory for each in messages):
                dialer.good = True
                self.report(dialer.place, "")
            self._pump.put(self._receive, connection, messages, size)

    def _greet(self, connection: Connection, hello: Hello) -> bool:
        """A node has sent its Hello; returns whether this connection is used. Raises MessageRefused."""
        connection.check_identity(hello)
        dialer = self._dialer_of.get(connection.peer)
        if dialer is None:
            if connection.peer not in self._arrived:
                return False
            self._arrived.discard(connection.peer)
            other = self.connection_to(hello.instance)
            if hello.role != NODE or (other is not None and other.quiet < MOVED_AFTER):
                connection.close(CONNECTED if hello.role == NODE else "only nodes may connect here")
                return False
            connection.instance = hello.instance
            connection.introduce(self._hello(), self.identity)
            key, text = ("in", connection.address), "the node %s has connected from %s"
            self._log.log(logging.INFO, key, text, hello.name, connection.address)
        names, port = [connection.address], 0
        if dialer is not None:
            relayed = dialer.route.relay is not None  # Then it is the connection of the relay.
            names, port = ([dialer.route.host], dialer.route.port) if relayed else (names, connection.port)
            if dialer.host not in names:
                names.append(dialer.host)
        self._greeted.add(connection.peer)
        self._pump.put(self.rules.joined, connection.peer, hello, names, port)
        return True

    def _receive(self, connection: Connection, messages: list[Message], size: int, now: float) -> Effects:
        connection.acknowledge(size)
        on_answer = self.on_answer
        if on_answer is not None:
            messages = [each for each in messages if not on_answer(connection.peer, each)]
        return self.rules.receive(connection.peer, messages, now)

    def _on_silent(self, connection: Connection, silent: bool) -> None:
        self._pump.put(self.rules.silent, connection.peer, silent)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        if self._connections.pop(connection.peer, None) is None:
            return
        self._arrived.discard(connection.peer)
        dialer = self._dialer_of.pop(connection.peer, None)
        if dialer is not None:
            dialer.closed(reason)
        if connection.peer not in self._greeted:
            return
        self._greeted.discard(connection.peer)
        if reason.startswith(REFUSED):
            self._tell_end(logging.ERROR, connection, reason)
            self._pump.put(self.rules.refused, connection.peer, reason)
            return
        self._pump.put(self.rules.left if reason == STOPPED else self.rules.gone, connection.peer)
        level = logging.DEBUG if reason == _CLOSED else logging.INFO
        self._tell_end(level, connection, reason)

    def _tell_end(self, level: int, connection: Connection, reason: str) -> None:
        key = ("out", connection.address, connection.port, level)  # Several nodes may have the same address.
        self._log.log(level, key, "disconnected from the node at %s: %s", connection.address, reason)

    # Effects

    def _send(self, peer: Peer, message: Message) -> None:
        if isinstance(message, _PROMISES) and self.journals.holds(
            message.computation, partial(self._send, peer, message)
        ):
            return
        client = self._clients.get(peer)
        if client is not None:
            client.send(message)
            return
        connection = self._connections.get(peer)
        if connection is not None:
            connection.send(message)
            if isinstance(message, Run):
                self._tell_placed(message)

    def _tell_placed(self, run: Run) -> None:
        computation = self.rules.state.computations.get(run.computation)
        client = self._clients.get(computation.client) if computation is not None else None
        if client is not None:
            client.placed(run)

    def _drop_faulty(self, peer: Peer, message: Message, error: Exception) -> Effects:
        """A message could not be handled: only its peer is disconnected. In the rules' turn."""
        if isinstance(self._clients.get(peer), PairEnd):
            raise error  # The only peer is this program.
        if peer in self._clients:
            return self.on_client_fault(peer, message, error)
        log_fault(message, error)
        return [Drop(peer, refusal(message, error))]

    def _tell_defect(self, error: BaseException) -> None:
        for tell in list(self.on_defect):
            tell(error)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            try:
                self._send(effect.peer, effect.message)
            except Exception as error:
                self._fail_to_send(effect, error)
        elif isinstance(effect, WriteFacts):
            self.journals.record(effect.computation, effect.facts)
        elif isinstance(effect, Drop):
            self._drop(effect.peer, effect.reason)

    def _fail_to_send(self, effect: Send, error: Exception) -> None:
        """A message could not be sent, because of a defect: its peer is disconnected. Raises the error if the peer is
        this program."""
        connection = self._connections.get(effect.peer)
        if connection is not None:
            log_fault(effect.message, error)
            connection.abort(refusal(effect.message, error))
        elif effect.peer in self._clients and not isinstance(self._clients[effect.peer], PairEnd):
            log_fault(effect.message, error)
            self._drop(effect.peer, refusal(effect.message, error))
        else:
            raise error

    def _drop(self, peer: Peer, reason: str) -> None:
        client, connection = self._clients.get(peer), self._connections.get(peer)
        if client is not None:
            client.drop(reason)
        elif connection is not None:
            connection.close(reason)
