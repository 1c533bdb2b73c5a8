"""The scheduler: keeps connections to nodes, and lets the rules decide what runs where.

Floor 3. Runs on one gevent loop. A `JobCluster` has one within its own process, joined to it by a
pair in memory; clusters of one process with the same settings share it, and so the nodes.

It joins the rules of `core/dispatch.py` to connections (`net.py`) and discovery (`beacon.py`), and
decides nothing itself. Payloads pass through unopened.
"""

from __future__ import annotations

import logging
import platform
import random
import secrets
import sys
from collections.abc import Callable
from typing import Any, Protocol

import gevent
import gevent.event

from gdispy import config
from gdispy.beacon import HERE, LOOK, Beacon, Packet
from gdispy.connection import LOST_AFTER, PULSE_INTERVAL, Connection, Handlers, PairEnd
from gdispy.core.board import FAIR
from gdispy.core.dispatch import Dispatch
from gdispy.core.effects import Drop, Effects, Peer, Send
from gdispy.core.messages import STOPPED, ComputationId, Hello, Instance, Message
from gdispy.core.patterns import join
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.keys import Secret
from gdispy.net import connect, pair
from gdispy.pump import Pump

logger = logging.getLogger(__name__)

ROLES = b"scheduler>node"

#: Seconds between two attempts to reach a node: at first, and at most.
RETRY_FIRST = 0.5
RETRY_LIMIT = 30.0
#: Seconds of the first attempt after which the user may hear that it takes long.
IMPATIENT_AFTER = 1.0
#: The same for a node that was reached and did not keep the connection, being busy for another: it
#: may be free at any moment.
REFUSED_FIRST = 0.1
REFUSED_LIMIT = 2.0
#: Failed attempts after which an address that was found by broadcast is forgotten.
FORGET_AFTER = 8


class ClientEnd(Protocol):
    """Where what the rules say to one client goes."""

    def send(self, message: Message) -> None: ...


class _Dialer:
    """Keeps one address connected, as long as that makes sense."""

    def __init__(self, scheduler: Scheduler, host: str, port: int, found: bool) -> None:
        self.host = host
        self.port = port
        #: Found by broadcast; else the user has named it.
        self.found = found
        self.place = join(host, port)
        self._scheduler = scheduler
        self._over = gevent.event.Event()
        self._reason = ""
        #: Refused for a reason that remains, such as another secret.
        self.rejected = False
        self._impatient: Any = None
        #: Whether any connection to it was good.
        self._proven = False
        #: Whether the connection came so far that the node told what it holds.
        self.good = False
        self.greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        failures = 0
        self._impatient = gevent.spawn_later(IMPATIENT_AFTER, self._scheduler.report, self.place, "no answer yet")
        while True:
            reached, text = self._attempt()
            self._impatient.kill(block=False)
            if text is None:
                return
            failures = 0 if self.good else failures + 1
            self._proven = self._proven or self.good
            self.good = False
            self._scheduler.report(self.place, text)
            if self.found and not reached and failures > FORGET_AFTER:
                self._scheduler.forget(self)
                return
            if self.rejected:  # It would be so again, unless somebody changes something over there.
                gevent.sleep(RETRY_LIMIT)
                continue
            first, limit = (REFUSED_FIRST, REFUSED_LIMIT) if reached else (RETRY_FIRST, RETRY_LIMIT)
            gevent.sleep(random.uniform(0.5, 1.0) * min(limit, first * 2 ** min(failures, 10)))

    def _attempt(self) -> tuple[bool, str | None]:
        """Connect, and stay so as long as it lasts: whether it was reached, and what went wrong.

        None as the latter: trying again makes no sense.
        """
        try:
            connection = self._scheduler.dial(self)
        except PeerRejected as error:
            # From an address that has been a node, it is more likely that the link is bad.
            self.rejected = not self._proven
            return False, str(error)
        except ConnectFailed as error:
            self.rejected = False
            return False, str(error)
        self.rejected = False
        if connection is None:  # Known already by another address.
            return False, None
        self._impatient.kill(block=False)
        self._over.wait()
        self._over.clear()
        return True, self._reason

    def closed(self, reason: str) -> None:
        self._reason = reason
        self._over.set()


class Scheduler:
    """Connections to nodes, and the rules that use them. All methods are called in its loop."""

    def __init__(
        self,
        secret: Secret,
        ip_addr: str = "",
        ext_ip_addr: str = "",
        port: int = config.CLIENT_PORT,
        pulse_interval: float | None = None,
        ping_interval: float | None = None,
        policy: str = FAIR,
        cooperative: bool = True,
    ) -> None:
        self._secret = secret
        self._psk = secret.for_tcp()
        self._ip_addr = ip_addr
        self._ext_ip_addr = ext_ip_addr
        self._port = port
        self._pulse = pulse_interval or PULSE_INTERVAL
        self._look_interval = ping_interval or config.LOOK_INTERVAL
        self.instance = Instance(secrets.token_bytes(16))
        self.rules = Dispatch(LOST_AFTER * self._pulse, policy, cooperative)
        self._pump = Pump(self._perform, self.rules.tick, self.rules.due)
        #: Ends of the pairs to clients in this process, and what stands for clients elsewhere.
        self._clients: dict[Peer, ClientEnd] = {}
        self._connections: dict[Peer, Connection] = {}
        self._dialers: dict[tuple[str, int], _Dialer] = {}
        self._dialer_of: dict[Peer, _Dialer] = {}
        self._greeted: set[Peer] = set()
        self._beacon: Beacon | None = None
        self._looker: Any = None
        #: Ports where nodes hear broadcasts.
        self._look_ports: set[int] = set()

    def start(self) -> None:
        self._pump.start()

    def close(self) -> None:
        """Say goodbye to the nodes and stop."""
        for greenlet in (self._looker, *(dialer.greenlet for dialer in self._dialers.values())):
            if greenlet is not None:
                greenlet.kill(block=False)
        if self._beacon is not None:
            self._beacon.close()
        for connection in list(self._connections.values()):
            connection.close("the client has closed")
        for _ in range(50):
            if not self._connections:
                break
            gevent.sleep(0.01)
        for connection in list(self._connections.values()):
            connection.abort("the client has closed")
        self._pump.stop()

    def abandon_in_child(self) -> None:
        """This is a forked child: close its copies of the connections."""
        for connection in self._connections.values():
            connection.forget_in_child()

    # Clients

    def attach(self, deliver: Callable[[list[Message]], None]) -> PairEnd:
        """Join a client in this process; what it sends goes into the end returned."""

        def to_scheduler(messages: list[Message]) -> None:
            self._pump.put(self.rules.receive_from_client, theirs.peer, messages)

        theirs, ours = pair(deliver, to_scheduler)
        self._clients[theirs.peer] = theirs
        return ours

    def detach(self, client: PairEnd) -> None:
        """A client is gone; its computation was released before."""
        self._clients = {peer: end for peer, end in self._clients.items() if end is not client.other}

    def admit(self, peer: Peer, end: ClientEnd) -> None:
        """A client elsewhere, which the rules are to know by this name; what they say to it goes into the end."""
        self._clients[peer] = end

    def dismiss(self, peer: Peer) -> None:
        self._clients.pop(peer, None)

    def put(self, stimulus: Callable[..., Effects], *args: Any) -> None:
        """Have a stimulus decide in the next turn."""
        self._pump.put(stimulus, *args)

    # Nodes

    def seek(self, targets: list[tuple[str, int]], look: bool, node_port: int) -> None:
        """Connect to these addresses, and with `look` to whoever answers broadcasts."""
        for host, port in targets:
            self._dial(host, port, found=False)
        if look:
            self._look_ports.add(node_port)
            self._start_looking()

    def _dial(self, host: str, port: int, found: bool) -> None:
        if (host, port) not in self._dialers:
            self._dialers[host, port] = _Dialer(self, host, port, found)

    def have_refused(self, targets: list[tuple[str, int]], computation: ComputationId) -> bool:
        """Whether all these are addresses of nodes that have refused this program, or the computation, for good."""
        refusing = {dialer.place for dialer in self._dialers.values() if dialer.rejected}
        refusing |= {dialer.place for peer, dialer in self._dialer_of.items() if self.rules.refuses(peer, computation)}
        return bool(targets) and all(join(*target) in refusing for target in targets)

    def forget(self, dialer: _Dialer) -> None:
        """An address that was found by broadcast is not there any more."""
        self._dialers.pop((dialer.host, dialer.port), None)
        self.report(dialer.place, "")

    def report(self, place: str, text: str) -> None:
        """What keeps an address from being a node; '' takes it back."""
        self._pump.put(self._report, place, text)

    def _report(self, place: str, text: str, now: float) -> Effects:
        return self.rules.problem(place, text)

    def dial(self, dialer: _Dialer) -> Connection | None:
        """Connect to a node. None where it is connected already by another address."""
        handlers = Handlers(self._on_messages, self._on_closed, self._on_silent)
        connection = connect(dialer.host, dialer.port, self._psk, ROLES, handlers, self._source(dialer.host))
        if any(other.instance == connection.instance for other in self._connections.values()):
            connection.abort("connected already")
            return None
        connection.set_pulse(self._pulse)
        self._connections[connection.peer] = connection
        self._dialer_of[connection.peer] = dialer
        connection.start()
        connection.send(self._hello())
        return connection

    def _source(self, host: str) -> str:
        """The address to connect from: ours, except towards this machine itself."""
        if not self._ip_addr or config.is_loopback(host) or ":" in host:
            return ""
        return self._ip_addr

    def _hello(self) -> Hello:
        name = platform.node() or "client"
        ours = ("scheduler", self.instance, name, config.VERSION, config.PYTHON, sys.platform)
        return Hello(*ours, 0, self._ext_ip_addr, self._pulse)

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        size = connection.taken()
        if connection.peer not in self._greeted:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                connection.abort("the first message was not Hello")
                return
            self._greeted.add(connection.peer)
            dialer = self._dialer_of[connection.peer]
            names = [connection.address]
            if dialer.host != connection.address:
                names.append(dialer.host)
            self._pump.put(self.rules.joined, connection.peer, hello, names, connection.port)
            self.report(dialer.place, "")
        if messages:
            self._dialer_of[connection.peer].good = True
            self._pump.put(self._receive, connection, messages, size)

    def _receive(self, connection: Connection, messages: list[Message], size: int, now: float) -> Effects:
        connection.acknowledge(size)
        return self.rules.receive(connection.peer, messages, now)

    def _on_silent(self, connection: Connection, silent: bool) -> None:
        self._pump.put(self.rules.silent, connection.peer, silent)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        if self._connections.pop(connection.peer, None) is None:
            return
        self._greeted.discard(connection.peer)
        self._pump.put(self.rules.left if reason == STOPPED else self.rules.gone, connection.peer)
        logger.info("disconnected from the node at %s: %s", connection.address, reason)
        self._dialer_of.pop(connection.peer).closed(reason)

    # Discovery

    def _start_looking(self) -> None:
        if self._beacon is None:
            key = self._secret.for_udp()
            try:
                self._beacon = Beacon(key, self.instance, self._ip_addr, self._port, self._on_packet)
            except OSError as error:
                self.report("broadcast", f"no node can be found by broadcast: {error.strerror}")
                return
            self._beacon.start()
            self._looker = gevent.spawn(self._look)

    def _look(self) -> None:
        before = 0.0
        for moment in config.LOOK_INTERVALS:
            gevent.sleep(moment - before)
            before = moment
            self._broadcast()
        while True:
            gevent.sleep(self._look_interval)
            self._broadcast()

    def _broadcast(self) -> None:
        assert self._beacon is not None
        for port in self._look_ports:
            self._beacon.broadcast(LOOK, 0, port, self._ext_ip_addr)

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind == HERE and packet.port:
            self._dial(packet.address or address[0], packet.port, found=True)

    # Effects

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, Send):
            client = self._clients.get(effect.peer)
            if client is not None:
                client.send(effect.message)
                return
            connection = self._connections.get(effect.peer)
            if connection is not None:
                connection.send(effect.message)
        elif isinstance(effect, Drop):
            connection = self._connections.get(effect.peer)
            if connection is not None:
                connection.close(effect.reason)
