"""Finds and connects nodes: addresses given by users, packets of nodes, nodes that connect to us.

A node may be known by several routes: the address that it announces (`ext_ip_addr`), the source address of its packet,
and a route through a relay. They are tried in this order, and one connection is kept.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import gevent
import gevent.event
import gevent.lock

from gdispy import config
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Beacons, Packet
from gdispy.discovery.dialer import MOVED_AFTER, ConnectionOwner, Dialer
from gdispy.discovery.route import Route, routes_of
from gdispy.net import Listener
from gdispy.protocol.discovery import RELAY
from gdispy.protocol.handshake import Keys
from gdispy.protocol.limits import printable
from gdispy.protocol.roles import NODE_TO_SCHEDULER
from gdispy.runtime.greenlets import keep_running, spawn, spawn_later
from gdispy.transport.connection import ConnectedSocket, Connection
from gdispy.transport.credentials import Secret, listening_address
from gdispy.transport.interfaces import is_numeric

logger = logging.getLogger(__name__)

FOUND_LIMIT = 4096
#: Addresses of one client of a shared scheduler that are tried at the same time; the others wait.
CLIENT_DIALS = 32
#: Seconds that a link-local address waits for a better address of the same node, which users' patterns may name.
LINK_LOCAL_DELAY = 0.2
_LOOPBACK = "127.0.0.1"


class NodeFinder:
    """All dialers of a scheduler, its beacon and its listener. All methods are called in its loop."""

    def __init__(
        self,
        owner: ConnectionOwner,
        secret: Secret,
        addresses: Sequence[str],
        ext_ip_addr: str,
        port: int,
        look_interval: float,
        multicast: bool,
        pulse: float,
    ) -> None:
        self._owner = owner
        self._secret = secret
        self._addresses = addresses
        self._ext_ip_addr = ext_ip_addr
        self._port = port
        self._look_interval = look_interval
        self._multicast = multicast
        self._pulse = pulse
        #: The TCP port to which nodes can connect; 0 if they cannot.
        self.listening_port = 0
        self.dialers: dict[Route, Dialer] = {}
        #: Addresses named by computations of remote clients -> the computations that still want them; without addresses
        #: named by the owner of this scheduler.
        self._wanted_by: dict[Route, set[bytes]] = {}
        self._by_instance: dict[bytes, Dialer] = {}
        self._beacon: Beacons | None = None
        #: If all nodes are on this machine: receives announcements of free nodes.
        self._near_beacon: Beacons | None = None
        self._looker: gevent.Greenlet | None = None
        self._listener: Listener | None = None
        self._opener: gevent.Greenlet | None = None
        #: Ports on which nodes receive broadcasts.
        self._look_ports: set[int] = set()
        #: Addresses that LOOK was sent to -> their dialers; and those of them that are relays.
        self._asked: dict[tuple[str, int], Dialer] = {}
        self._relays: set[tuple[str, int]] = set()

    def close(self) -> None:
        for dialer in self.dialers.values():
            dialer.stop()
        for greenlet in (self._opener, self._looker):
            if greenlet is not None:
                greenlet.kill(block=False)
        for beacon in (self._beacon, self._near_beacon):
            if beacon is not None:
                beacon.close()
        if self._listener is not None:
            self._listener.close()

    def seek(self, targets: list[tuple[str, int]], look: bool, node_port: int) -> None:
        """Connect to these addresses, and with `look` to all nodes that answer broadcasts."""
        for target in targets:
            route = Route(*target)
            self._wanted_by.pop(route, None)
            if route.port and route not in self.dialers and target not in self._relays:
                self.dialers[route] = Dialer(self, self._owner, [route])
        if look:
            self._look_ports.add(node_port)
        is_wanted = look or not all(config.is_loopback(host) for host, _ in targets)
        if is_wanted and (self._opener is None or (look and self._looker is None)):
            # Not now: the user's thread waits for this call, but not for that.
            self._opener = keep_running(self._open_doors, self._opener, what="the listener and beacon of a program")

    def seek_for(self, computation: bytes, targets: list[tuple[str, int]], turns: gevent.lock.BoundedSemaphore) -> None:
        """Connect to addresses that a remote client has named for a computation, as long as it wants them."""
        for target in targets:
            route = Route(*target)
            if not route.port or target in self._relays:
                continue
            if route not in self.dialers:
                self.dialers[route] = Dialer(self, self._owner, [route], turns=turns)
                self._wanted_by[route] = set()
            if route in self._wanted_by:
                self._wanted_by[route].add(computation)

    def no_more(self, computation: bytes) -> None:
        """A computation has ended: drop the addresses that only it has named, unless there is a node."""
        for route in [each for each, by in self._wanted_by.items() if computation in by]:
            self._wanted_by[route].discard(computation)
            dialer = self.dialers.get(route)
            if self._wanted_by[route] or (dialer is not None and dialer.is_proven):
                continue
            del self._wanted_by[route]
            if dialer is not None:
                dialer.stop()
                self.forget(dialer)

    def _open_doors(self, former: gevent.Greenlet | None) -> None:
        if former is not None:
            former.join()
        if not self.listening_port:
            self._listen()
        self._start_hearing()
        if self._look_ports and self._beacon is not None and self._looker is None:
            self._looker = keep_running(self._look, self._beacon, what="the discovery of nodes")

    def forget(self, dialer: Dialer) -> None:
        """An address found by a packet no longer works."""
        self.dialers = {route: each for route, each in self.dialers.items() if each is not dialer}
        self._by_instance = {number: each for number, each in self._by_instance.items() if each is not dialer}
        self._owner.report(dialer.place, "")

    def wait_for_end(self, instance: bytes, connection: Connection) -> None:
        """Return when that connection to a node has ended, or is silent."""
        while self._owner.connection_to(instance) is connection and connection.quiet < MOVED_AFTER:
            gevent.sleep(self._pulse / 5)

    # Nodes that connect to us

    def _listen(self) -> None:
        """Let nodes connect that this side cannot reach. Optional for a program."""
        secret = self._secret
        # With a secret that no other machine can have yet, or without one, listen only on this machine.
        own = self._addresses[0] if self._addresses else ""
        loopback = "127.0.0.1" if (secret.is_new or secret.insecure) and not own else own
        try:
            host = listening_address(secret, loopback, "client")
            keys = [secret.for_tcp(), *secret.others_for_tcp()]
            for port in (self._port, 0):
                try:
                    self._listener = Listener(
                        *(host, port, {NODE_TO_SCHEDULER: keys}, self._owner.instance, self._on_connection),
                        tls=secret.tls,
                    )
                    break
                except OSError:
                    if not port:
                        raise
        except (OSError, ValueError) as error:
            logger.info("nodes cannot connect to this program: %s", printable(str(error)))
            return
        assert self._listener is not None
        self._listener.start()
        self.listening_port = self._listener.port

    def _on_connection(self, sock: ConnectedSocket, keys: Keys, roles: bytes) -> Connection:
        return self._owner.arrived(sock, keys)

    # Discovery

    def _start_hearing(self) -> None:
        """Receive announcements of nodes that start, even if all are named: then they are retried immediately."""
        if self._beacon is None:
            key = self._secret.for_udp()
            try:
                self._beacon = Beacons(
                    *(key, self._owner.instance, self._addresses, self._port or config.CLIENT_PORT),
                    *(self._on_packet, self._multicast, self._secret.others_for_udp()),
                )
            except OSError as error:
                if self._look_ports:
                    self._owner.report("broadcast", f"broadcasts cannot be sent: {error.strerror}")
                return
            self._beacon.start()

    def hear_of_free_nodes(self) -> None:
        """A node is busy and announces when it is free: receive that, even if all nodes are on this machine."""
        if self._beacon is None and self._near_beacon is None and self._opener is None:
            own = (self._secret.for_udp(), self._owner.instance, [_LOOPBACK], config.CLIENT_PORT)
            with contextlib.suppress(OSError):  # Then it is only retried at intervals.
                self._near_beacon = Beacons(*own, self._on_packet)
                self._near_beacon.start()

    def _look(self, beacon: Beacons) -> None:
        before = 0.0
        for moment in config.LOOK_INTERVALS:
            gevent.sleep(moment - before)
            before = moment
            self._look_once(beacon)
        while True:
            gevent.sleep(self._look_interval)
            self._look_once(beacon)

    def _look_once(self, beacon: Beacons) -> None:
        for port in self._look_ports:
            beacon.broadcast(LOOK, self.listening_port, port, self._ext_ip_addr)
        for place in self._relays:
            beacon.tell(LOOK, self.listening_port, place, self._ext_ip_addr)
        for dialer in self.dialers.values():
            if not dialer.found and dialer.connection is None:
                spawn(self._ask, beacon, dialer, what=f"a question to {dialer.place}")

    def _ask(self, beacon: Beacons, dialer: Dialer) -> None:
        """Query an address that the user has named; it may be a relay."""
        place = beacon.resolve(dialer.host, dialer.port)
        if place is not None:
            self._asked[place] = dialer
            beacon.tell(LOOK, self.listening_port, place, self._ext_ip_addr)

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind == RELAY:
            dialer = self._asked.pop((address[0], packet.port), None)
            if dialer is not None:
                self._relays.add((address[0], packet.port))
                dialer.stop()
                self.forget(dialer)
        elif packet.kind == HERE and packet.port:
            if "%" in address[0]:
                spawn_later(LINK_LOCAL_DELAY, self._on_here, packet, address[0], what="a packet of a node")
            else:
                self._on_here(packet, address[0])

    def _on_here(self, packet: Packet, source: str) -> None:
        routes = routes_of(packet, source, self._secret.for_udp())
        dialer = self._by_instance.get(packet.instance) or next(
            (self.dialers[each] for each in routes if each in self.dialers), None
        )
        if dialer is None:
            if not self._look_ports:
                self._wake_names()
                return
            other = self._owner.connection_to(packet.instance)
            if routes and len(self._by_instance) < FOUND_LIMIT and (other is None or other.quiet >= MOVED_AFTER):
                dialer = Dialer(self, self._owner, routes, packet.instance, packet.name)
                self._by_instance[packet.instance] = self.dialers[routes[0]] = dialer
            return
        connection = dialer.connection
        if dialer.found:
            if dialer.instance != packet.instance:  # Another run at the same address.
                self._by_instance.pop(dialer.instance, None)
                dialer.instance = packet.instance
                self._by_instance[packet.instance] = dialer
            fresh = [each for each in routes if each not in dialer.routes]
            if fresh and not (connection is not None and any(each.relay for each in fresh)):
                dialer.learn(routes)
                if connection is not None:
                    wait = (MOVED_AFTER + 0.1) * self._pulse
                    spawn_later(wait, self._check_moved, connection, what="a check whether a node has moved")
        if connection is None:
            dialer.wake()

    def _wake_names(self) -> None:
        """A node has started, and may be one that is known only by its name."""
        for dialer in self.dialers.values():
            if dialer.connection is None and not is_numeric(dialer.host):
                dialer.wake()

    def _check_moved(self, connection: Connection) -> None:
        """A node has announced another address: check whether it is still at the previous one."""
        if connection.quiet >= MOVED_AFTER and self._owner.connection_to(connection.instance) is connection:
            connection.abort("no answer at that address, and the node has announced another")
