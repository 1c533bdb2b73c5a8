"""The relay: makes the nodes of one network known in another, and forwards connections if there is no direct route.

Runs on one gevent loop, until `stop` is called. Discovery requests are forwarded to the networks of this machine, and
answers are returned to the sender (section 9.1 of docs/protocol.md). Forwarded connections are encrypted end to end;
the relay has no keys for them.

Invariants: only packets encrypted with the key of discovery have any effect; connections are forwarded only to
addresses of nodes that have answered here (`relay_targets.py`); the memory used is bounded.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import gevent
import gevent.event
from gevent import socket

from gdispy import config
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Packet
from gdispy.discovery.node_finder import LINK_LOCAL_DELAY
from gdispy.discovery.relay_pairs import KEEP_ALIVE, JoinedConnections
from gdispy.discovery.relay_pairs import join as join_pair
from gdispy.discovery.relay_targets import NODES, RelayTargets, is_plausible, is_source
from gdispy.discovery.route import Route, routes_of
from gdispy.errors import ConnectFailed, PeerRejected, ProtocolError
from gdispy.net import reach, read_exactly
from gdispy.protocol.address import Address
from gdispy.protocol.discovery import (
    OPENED,
    PACKET_BYTES,
    REFUSED,
    RELAY,
    THROUGH,
    ReplayCache,
    pack,
    unpack,
)
from gdispy.protocol.secretbox import NONCE_BYTES
from gdispy.runtime.greenlets import keep_running, spawn, spawn_later
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.acceptor import Acceptor
from gdispy.transport.admission import Places
from gdispy.transport.credentials import Secret, listening_address
from gdispy.transport.interfaces import SocketAddress, host_of, is_here, is_numeric, resolve
from gdispy.transport.listener import listening_sockets, tune

logger = logging.getLogger(__name__)

#: Maximum number of connections without a request, in all and from one address.
PLACES, PLACES_EACH = 128, 64

#: Seconds for which the sender of a request is notified of nodes that start later; and the maximum number of senders.
ASKER_LIFE = 1200.0
ASKERS = 256
#: Seconds for a connection to a node.
REACH_LIMIT = 5.0
#: Times of the relay's own requests after its start, in seconds.
LOOK_PAUSES = (0.0, 0.3, 1.0)
#: Seconds between two packets on behalf of a scheduler that does not send requests itself.
SCHEDULER_INTERVAL = 10.0


class RelaySettings(NamedTuple):
    """The settings of a relay."""

    #: The address to listen on; "" is all addresses of this machine. Port 0 is any free port.
    ip_addr: str
    relay_port: int
    #: The UDP and TCP port of the nodes.
    node_port: int
    #: Schedulers that the nodes here should connect to.
    schedulers: Sequence[tuple[str, int]]
    multicast: bool


class Relay:
    """A running relay. Raises ConfigError or OSError if it cannot run."""

    def __init__(self, secret: Secret, settings: RelaySettings) -> None:
        self._key = secret.for_udp()
        self._node_port = settings.node_port
        self._schedulers = list(settings.schedulers)
        host = listening_address(secret, settings.ip_addr, "relay")
        self._sockets = listening_sockets(host, settings.relay_port)
        self.host, self.port = host_of(self._sockets[0].getsockname()), int(self._sockets[0].getsockname()[1])
        ip_addr = "" if host == "0.0.0.0" else host
        own = (secrets.token_bytes(16), ip_addr)
        multicast = settings.multicast
        self._beacon = Beacon(self._key, *own, self.port, self._on_packet, multicast)
        #: Receives announcements of nodes to programs, for programs elsewhere.
        self._client_beacon = Beacon(self._key, *own, config.CLIENT_PORT, self._on_packet, multicast)
        #: Senders of requests -> the packet, and where and when it arrived.
        self._askers: OrderedDict[bytes, tuple[Packet, tuple[str, int], float]] = OrderedDict()
        self._targets = RelayTargets()
        #: Nodes that have addresses other than link-local ones.
        self._better: OrderedDict[bytes, None] = OrderedDict()
        self._memory = ReplayCache()
        self._acceptor = Acceptor(self._sockets, self._arrive)
        self._numbers = itertools.count()
        self._admission = Places(PLACES, PLACES_EACH)
        self._strangers: dict[int, socket.socket] = {}
        self._pairs = JoinedConnections()
        self._log = LimitedLog(logger)
        self._stop = gevent.event.Event()
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        for beacon in (self._beacon, self._client_beacon):
            beacon.start()
        self._acceptor.start()
        self._greenlets = [keep_running(self._look, what="the discovery of nodes")]
        self._greenlets += [
            keep_running(self._tell_of, *place, what=f"the announcements of {Address(*place)}")
            for place in self._schedulers
        ]

    def stop(self) -> None:
        self._stop.set()

    def wait(self) -> None:
        """Wait until `stop` is called; then close."""
        self._stop.wait()
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        self._acceptor.close()
        for thing in (self._beacon, self._client_beacon, *self._sockets):
            thing.close()

    # Packets

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind == LOOK and not packet.via:  # A packet that another relay has forwarded is not forwarded again.
            self._ask(packet, address)
        elif packet.kind == HERE and packet.port:
            self._answer(packet, address)

    def _ask(self, packet: Packet, address: tuple[str, int]) -> None:
        self._beacon.tell(RELAY, self.port, address)
        self._askers.pop(packet.instance, None)
        self._askers[packet.instance] = (packet, address, time.monotonic())
        if len(self._askers) > ASKERS:
            self._askers.popitem(last=False)
        # Answers are sent to the packet's source; its TCP address may be in the packet.
        host = packet.address or address[0]
        on = replace(packet, time=time.time(), address=host, udp=address[1], via=str(self.port))
        self._beacon.broadcast_packet(on, self._node_port)

    def _answer(self, packet: Packet, address: tuple[str, int]) -> None:
        if packet.via:  # From another relay, which programs should use instead.
            return
        routes = [each for each in routes_of(packet, address[0], self._key) if self._is_node(each, address[0])]
        for route in routes:
            self._targets.hear(route.host, route.port, time.monotonic())
        if not routes:
            return
        if "%" not in address[0]:
            self._better[packet.instance] = None
            if len(self._better) > NODES:
                self._better.popitem(last=False)
            self._pass_on(packet, address, routes)
        elif packet.instance not in self._better:
            what = "a packet of a node"
            spawn_later(LINK_LOCAL_DELAY, self._pass_link_local, packet, address, routes, what=what)

    def _is_node(self, route: Route, source: str) -> bool:
        """Whether a node can be at the address in a packet from `source`."""
        if route.host == source:
            return is_source(source) and not (route.port == self.port and is_here(source))
        return is_plausible(route.host) and not (is_numeric(route.host) and is_here(route.host))

    def _pass_link_local(self, packet: Packet, address: tuple[str, int], routes: list[Route]) -> None:
        """A link-local address is useful only for the relay; if there is another, that is reported."""
        if packet.instance not in self._better:
            self._pass_on(packet, address, routes)

    def _pass_on(self, packet: Packet, address: tuple[str, int], routes: list[Route]) -> None:
        now = time.monotonic()
        for instance, (_, asker, since) in list(self._askers.items()):
            if now - since > ASKER_LIFE:
                del self._askers[instance]
            elif asker[0] != address[0]:
                own = str(Address(self._own_address(asker[0]), self.port))
                for route in reversed(routes):  # The last address is tried first.
                    self._beacon.send(replace(packet, time=time.time(), address=route.place, via=own), asker)

    def _own_address(self, towards: str) -> str:
        """The address of this machine as seen by another."""
        family = socket.AF_INET6 if ":" in towards else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((towards, self.port))
            return host_of(sock.getsockname())
        return self.host

    def _look(self) -> None:
        """Discover nodes before any request: after a restart there are connections to restore."""
        for pause in LOOK_PAUSES:
            gevent.sleep(pause)
            self._beacon.broadcast(LOOK, 0, self._node_port)

    def _tell_of(self, host: str, port: int) -> None:
        """Make nodes connect to a remote scheduler."""
        instance = secrets.token_bytes(16)
        while True:
            packet = Packet(LOOK, instance, time.time(), port, str(Address(host, port)), "", port, str(self.port))
            self._beacon.broadcast_packet(packet, self._node_port)
            gevent.sleep(SCHEDULER_INTERVAL)

    # Connections

    def _arrive(self, fd: int, sockaddr: SocketAddress) -> None:
        """A connection was accepted. In a callback of the loop."""
        family = socket.AF_INET6 if len(sockaddr) == 4 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
        number = next(self._numbers)
        loser = self._admission.arrive(number, host_of(sockaddr))
        if loser is not None:
            self._strangers[loser].close()
        self._strangers[number] = sock
        spawn(self._pass, number, sock, host_of(sockaddr), what="a connection to the relay")

    def _pass(self, number: int, sock: socket.socket, address: str) -> None:
        """Connect a connection to the requested node, if allowed."""
        try:
            packet = self._question(sock)
        except (OSError, PeerRejected, ProtocolError):
            # A program that takes the relay for a node connects here too; it is corrected by UDP.
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        finally:
            self._admission.leave(number)
            self._strangers.pop(number, None)
        try:
            self._join(sock, address, packet.address)
        finally:
            sock.close()

    def _question(self, sock: socket.socket) -> Packet:
        with gevent.Timeout(config.msg_timeout(), TimeoutError("too slow")):
            data = read_exactly(sock, PACKET_BYTES)
        packet = unpack(self._key, data)
        if packet.kind != THROUGH or not self._memory.is_new(data, packet, time.time()):
            raise ProtocolError("not a relay request")
        return packet

    def _join(self, sock: socket.socket, address: str, goal_address: str) -> None:
        goal = None
        try:
            with self._pairs.place():
                goal = self._open(goal_address)
                self._answer_question(sock, OPENED, "")
                self._log.log(
                    logging.INFO, ("joined", address, goal_address), "joined: %s to %s", address, goal_address
                )
                for each in (sock, goal):
                    tune(each, KEEP_ALIVE)
                join_pair(sock, goal)
        except (ConnectFailed, PeerRejected, ProtocolError, OSError) as error:
            self._log.log(logging.INFO, ("asks", address), "%s asks for %s: %s", address, goal_address, str(error))
            if goal is None:
                with contextlib.suppress(OSError):
                    self._answer_question(sock, REFUSED, str(error))
        finally:
            if goal is not None:
                goal.close()

    def _open(self, place: str) -> socket.socket:
        try:
            host, port = Address.parse(place)
        except ValueError as error:
            raise ProtocolError(str(error)) from None
        if not port or not self._targets.may_connect(host, port, time.monotonic()):
            raise ProtocolError(f"no node at {place} has answered")
        return reach(host if is_numeric(host) else self._looked_up(host, port), port, "gdispy-node", "", REACH_LIMIT)

    def _looked_up(self, host: str, port: int) -> str:
        """The address of a name that a node has announced, which is checked like an announced address."""
        with gevent.Timeout(REACH_LIMIT, TimeoutError(f"the address of {host} was not found")):
            rows = resolve(host, port, socket.SOCK_STREAM)
        for row in rows:
            address = host_of(row[4])
            if is_plausible(address) and not is_here(address):
                return address
        raise ProtocolError(f"no node can be at the address of {host}")

    def _answer_question(self, sock: socket.socket, kind: int, text: str) -> None:
        with gevent.Timeout(REACH_LIMIT, TimeoutError("too slow")):
            sock.sendall(self._sealed(kind, text))

    def _sealed(self, kind: int, text: str) -> bytes:
        packet = Packet(kind, secrets.token_bytes(16), time.time(), 0, "", text)
        return pack(self._key, packet, secrets.token_bytes(NONCE_BYTES))
