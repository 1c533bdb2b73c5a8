"""Finding nodes and reaching them: addresses that users name, packets that tell of others, nodes that come here.

Made by `scheduler.py`, which gets every connection that comes about and says what has become of it. A node may
be known by several routes: the address that it announces (`ext_ip_addr`), the one that its packet came from, and one
through a relay. They are tried in this order, and one connection is kept.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
import gevent.event
import gevent.lock

from gdispy import config
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Beacons, Packet
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import Listener, RelayAddress
from gdispy.protocol.address import join, split
from gdispy.protocol.discovery import RELAY
from gdispy.protocol.handshake import Keys
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import NAME_LIMIT, printable
from gdispy.protocol.roles import NODE_TO_SCHEDULER
from gdispy.protocol.texts import BUSY, GIVEN_UP
from gdispy.runtime.greenlets import keep_running, spawn, spawn_later
from gdispy.transport.connection import CONNECTED, Connection
from gdispy.transport.credentials import Secret, listening_address
from gdispy.transport.interfaces import is_numeric, is_reachable

logger = logging.getLogger(__name__)

#: Seconds between two attempts to reach a node: at first, and at most.
RETRY_FIRST = 0.5
RETRY_LIMIT = 30.0
#: Seconds of the first attempt after which the user may hear that it takes long.
IMPATIENT_AFTER = 1.0
#: The same for a node that was reached and did not keep the connection; and at most for one that works for another
#: program, since it says HERE when it is free.
REFUSED_FIRST = 0.1
REFUSED_LIMIT = 2.0
BUSY_LIMIT = 5.0
#: Failed attempts after which an address that was found by broadcast is forgotten.
FORGET_AFTER = 8
#: Seconds for each route of a node that has several.
ROUTE_LIMIT = 2.0
#: Routes of one node, and nodes that are sought at the same time because packets told of them.
ROUTES = 4
FOUND_LIMIT = 4096
#: Addresses that one client of a shared scheduler names and that are tried at the same time; the others wait.
CLIENT_DIALS = 32
#: Intervals of signs of life without one, after which another address of the node is tried.
MOVED_AFTER = 1.4
#: Seconds that an address of the link alone waits for a better one of the same node, which users' patterns may name.
LINK_LOCAL_DELAY = 0.2
_LOOPBACK = "127.0.0.1"
#: Seconds at least between two attempts that packets bring about.
WAKE_INTERVAL = 0.5


@dataclass(frozen=True)
class Route:
    """One way to a node."""

    host: str
    port: int
    relay: RelayAddress | None = None

    @property
    def place(self) -> str:
        return join(self.host, self.port)


class ConnectionOwner(Protocol):
    """What a scheduler does with connections. All are called in its loop."""

    instance: Instance

    def open(self, route: Route, limit: float, small: bool) -> Connection: ...

    def take(self, connection: Connection, dialer: Dialer) -> None: ...

    def connection_to(self, instance: bytes) -> Connection | None: ...

    def report(self, place: str, text: str) -> None: ...

    def arrived(self, sock: Any, keys: Keys) -> Connection: ...


class Dialer:
    """Keeps one node connected, as long as that makes sense."""

    def __init__(
        self,
        seeker: NodeFinder,
        owner: ConnectionOwner,
        routes: list[Route],
        instance: bytes = b"",
        name: str = "",
        turns: gevent.lock.BoundedSemaphore | None = None,
    ) -> None:
        #: Its turn to connect, where others must not wait for it.
        self._turns = turns
        self.routes = routes
        self.host, self.port = routes[0].host, routes[0].port
        self.place = routes[0].place
        #: The one that has worked.
        self.route = routes[0]
        #: Found by a packet, of this node; else the user has named it.
        self.found = bool(instance)
        self.instance = instance
        self._name = printable(name, NAME_LIMIT)
        self._seeker = seeker
        self._owner = owner
        self._over = gevent.event.Event()
        self._wake = gevent.event.Event()
        self._reason = ""
        self._warned = False
        #: The next connection is to use short packets, since long ones may be swallowed.
        self._small = False
        #: Refused for a reason that remains, such as another secret.
        self.rejected = self._refused = False
        self._impatient: Any = None
        #: Whether any connection to it was good.
        self._proven = False
        #: Whether the connection came so far that the node told what it holds.
        self.good = False
        self.connection: Connection | None = None
        self.greenlet = keep_running(self._run, what=f"the dialer of {self.place}")

    def _run(self) -> None:
        failures = unreached = 0
        was_near = False
        if self._impatient is not None:  # This is started again, after a failure.
            self._impatient.kill(block=False)
        self._impatient = spawn_later(
            *(IMPATIENT_AFTER, self._owner.report, self.place, self._no_answer()),
            what="a report about a node",
        )
        while True:
            self._wake.clear()
            reached, text = self._attempt()
            self._impatient.kill(block=False)
            # What looks like another secret may be a forwarder in front of a node that is being started again: no more
            # than rarer and rarer, too.
            is_near = reached and not self.rejected
            failures = 0 if self.good or (is_near and not was_near) else failures + 1
            unreached = 0 if reached else unreached + 1
            was_near = is_near
            self._proven = self._proven or self.good
            self.good = False
            self._owner.report(self.place, text)
            if self.found and unreached > FORGET_AFTER:
                self._seeker.forget(self)
                return
            self._pause(random.uniform(0.5, 1.0) * self._interval(is_near, text.startswith(BUSY), failures))

    def _interval(self, is_near: bool, is_busy: bool, failures: int) -> float:
        """Seconds until the next attempt, at most. Each costs both sides a handshake and a signature."""
        first, limit = (REFUSED_FIRST, REFUSED_LIMIT) if is_near else (RETRY_FIRST, RETRY_LIMIT)
        if is_near and is_busy:
            limit = BUSY_LIMIT
            self._seeker.hear_of_free_nodes()
        return min(limit, first * 2.0 ** min(failures, 10))

    def _no_answer(self) -> str:
        return f"no answer yet: is TCP {self.port} open in its firewall, and no other program there?"

    def _pause(self, seconds: float) -> None:
        gevent.sleep(min(seconds, WAKE_INTERVAL))
        self._wake.wait(max(0.0, seconds - WAKE_INTERVAL))

    def wake(self) -> None:
        """There is news of the node: no need to wait any longer."""
        self._wake.set()

    def learn(self, routes: list[Route]) -> None:
        """These are its routes now; former ones are kept behind them."""
        self.routes = [*routes, *(each for each in self.routes if each not in routes)][:ROUTES]

    def _attempt(self) -> tuple[bool, str]:
        """Connect, and stay so as long as it lasts: whether it was reached, and what went wrong."""
        troubles = []
        self.rejected = False
        for route in self.routes:
            try:
                limit = ROUTE_LIMIT if len(self.routes) > 1 else config.msg_timeout()
                with self._turns or contextlib.nullcontext():
                    connection = self._owner.open(route, limit, self._small)
            except (PeerRejected, ConnectFailed) as error:
                # From an address that has been a node, it is more likely that the link is bad; and the first time, that
                # it was killed in the middle of it.
                self.rejected = isinstance(error, PeerRejected) and not self._proven and self._refused
                self._refused = isinstance(error, PeerRejected)
                troubles.append((route, str(error)))
                continue
            self.rejected = False
            self._impatient.kill(block=False)
            self.route = route
            self.routes = [route, *(each for each in self.routes if each != route)]  # What has worked goes first.
            if troubles:
                self._warn(troubles[0][0], route, troubles[0][1])
            return self._stay(connection)
        return False, "; ".join(self._told(*each) for each in troubles)

    def _told(self, route: Route, text: str) -> str:
        """What is wrong, with where the address came from: the user has not written it."""
        sources = [each.host for each in self.routes if each.relay is None and each.host != route.host]
        if self.found and route is self.routes[0] and route.relay is None and sources:
            return f"{text} (the address that the node {self._name} at {sources[-1]} announces)"
        return text

    def _warn(self, bad: Route, good: Route, text: str) -> None:
        if not self._warned and bad.relay is None and good.relay is None:
            self._warned = True
            form = "the node %s announces an address that does not work: %s. Reached at %s instead"
            text = text if bad.place in text else f"{bad.place}: {text}"
            logger.warning(form, self._name or printable(good.place), printable(text), printable(good.place))

    def _stay(self, connection: Connection) -> tuple[bool, str]:
        other = self._owner.connection_to(connection.instance)
        if other is not None and other.quiet < MOVED_AFTER:
            connection.abort(CONNECTED)
            self._owner.report(self.place, "")
            self._seeker.wait_for_end(connection.instance, other)
            return True, ""
        self._over.clear()
        self.connection = connection
        try:
            self._owner.take(connection, self)
        except Exception:  # This is started again, and would leave it open.
            self.connection = None
            connection.abort("a defect of gdispy on this side")
            raise
        self._over.wait()
        # The next one with short packets, and if that does not help, the one after it with long ones again.
        self._small = connection.stuck and not self._small
        self.connection = None
        self.rejected = self._reason.startswith(GIVEN_UP)
        return True, self._reason

    @property
    def is_proven(self) -> bool:
        """Whether there has been a node."""
        return self._proven or self.good

    def stop(self) -> None:
        for greenlet in (self.greenlet, self._impatient):
            if greenlet is not None:
                greenlet.kill(block=False)

    def closed(self, reason: str) -> None:
        self._reason = reason
        self._over.set()


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
        #: Where nodes can come to by TCP; 0 as long as they cannot.
        self.listening_port = 0
        self.dialers: dict[Route, Dialer] = {}
        #: Addresses that computations of clients elsewhere have named, and which of them still want each; one that the
        #: owner of this scheduler has named is none of these.
        self._wanted_by: dict[Route, set[bytes]] = {}
        self._by_instance: dict[bytes, Dialer] = {}
        self._beacon: Beacons | None = None
        #: Where all nodes are on this machine: it hears of those that become free.
        self._near_beacon: Beacons | None = None
        self._looker: Any = None
        self._listener: Listener | None = None
        self._opener: Any = None
        #: Ports where nodes hear broadcasts.
        self._look_ports: set[int] = set()
        #: Addresses that LOOK was sent to -> which dialer they belong to; and those of them that are relays.
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
        """Connect to these addresses, and with `look` to whoever answers broadcasts."""
        for target in targets:
            route = Route(*target)
            self._wanted_by.pop(route, None)
            if route.port and route not in self.dialers and target not in self._relays:
                self.dialers[route] = Dialer(self, self._owner, [route])
        if look:
            self._look_ports.add(node_port)
        is_wanted = look or not all(config.is_loopback(host) for host, _ in targets)
        if is_wanted and (self._opener is None or (look and self._looker is None)):
            # Not now: the user's thread waits for this, and not for that.
            self._opener = keep_running(self._open_doors, self._opener, what="the listener and beacon of a program")

    def seek_for(self, computation: bytes, targets: list[tuple[str, int]], turns: gevent.lock.BoundedSemaphore) -> None:
        """Connect to addresses that a client elsewhere has named for a computation, as long as it wants them."""
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
        """A computation is over: addresses that only it has named are forgotten, where there is no node."""
        for route in [each for each, by in self._wanted_by.items() if computation in by]:
            self._wanted_by[route].discard(computation)
            dialer = self.dialers.get(route)
            if self._wanted_by[route] or (dialer is not None and dialer.is_proven):
                continue
            del self._wanted_by[route]
            if dialer is not None:
                dialer.stop()
                self.forget(dialer)

    def _open_doors(self, former: Any) -> None:
        if former is not None:
            former.join()
        if not self.listening_port:
            self._listen()
        self._start_hearing()
        if self._look_ports and self._beacon is not None and self._looker is None:
            self._looker = keep_running(self._look, self._beacon, what="the look for nodes")

    def forget(self, dialer: Dialer) -> None:
        """An address that was found by a packet is not there any more."""
        self.dialers = {route: each for route, each in self.dialers.items() if each is not dialer}
        self._by_instance = {number: each for number, each in self._by_instance.items() if each is not dialer}
        self._owner.report(dialer.place, "")

    def wait_for_end(self, instance: bytes, connection: Connection) -> None:
        """Return when that connection to a node is over, or nothing is heard by it."""
        while self._owner.connection_to(instance) is connection and connection.quiet < MOVED_AFTER:
            gevent.sleep(self._pulse / 5)

    # Nodes that come by themselves

    def _listen(self) -> None:
        """Let nodes come that this side cannot reach. A program works without."""
        secret = self._secret
        # What nobody else can have yet, and no secret at all, stay on this machine.
        own = self._addresses[0] if self._addresses else ""
        loopback = "127.0.0.1" if (secret.is_new or secret.insecure) and not own else own
        try:
            host = listening_address(secret, loopback, "client")
            for port in (self._port, 0):
                try:
                    self._listener = Listener(
                        *(host, port, {NODE_TO_SCHEDULER: secret.for_tcp()}, self._owner.instance, self._on_connection),
                        tls=secret.tls,
                    )
                    break
                except OSError:
                    if not port:
                        raise
        except (OSError, ValueError) as error:
            logger.info("nodes cannot come to this program: %s", printable(str(error)))
            return
        assert self._listener is not None
        self._listener.start()
        self.listening_port = self._listener.port

    def _on_connection(self, sock: Any, keys: Keys, roles: bytes) -> Connection:
        return self._owner.arrived(sock, keys)

    # Discovery

    def _start_hearing(self) -> None:
        """Hear of nodes that start, also where all are named: then they are tried again at once."""
        if self._beacon is None:
            key = self._secret.for_udp()
            try:
                self._beacon = Beacons(
                    *(key, self._owner.instance, self._addresses, self._port or config.CLIENT_PORT),
                    *(self._on_packet, self._multicast),
                )
            except OSError as error:
                if self._look_ports:
                    self._owner.report("broadcast", f"no node can be found by broadcast: {error.strerror}")
                return
            self._beacon.start()

    def hear_of_free_nodes(self) -> None:
        """A node is busy, and says HERE when it is free: hear that, also where all are on this machine."""
        if self._beacon is None and self._near_beacon is None and self._opener is None:
            own = (self._secret.for_udp(), self._owner.instance, [_LOOPBACK], config.CLIENT_PORT)
            with contextlib.suppress(OSError):  # Then it is tried again at intervals only.
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
        """Ask an address that the user has named; it may be a relay."""
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
            if dialer.instance != packet.instance:  # Another life at the same place.
                self._by_instance.pop(dialer.instance, None)
                dialer.instance = packet.instance
                self._by_instance[packet.instance] = dialer
            fresh = [each for each in routes if each not in dialer.routes]
            if fresh and not (connection is not None and any(each.relay for each in fresh)):
                dialer.learn(routes)
                if connection is not None:
                    wait = (MOVED_AFTER + 0.1) * self._pulse
                    spawn_later(wait, self._check_moved, connection, what="a look whether a node has moved")
        if connection is None:
            dialer.wake()

    def _wake_names(self) -> None:
        """A node has started, and may be one that is known by its name only."""
        for dialer in self.dialers.values():
            if dialer.connection is None and not is_numeric(dialer.host):
                dialer.wake()

    def _check_moved(self, connection: Connection) -> None:
        """A node has announced another address: is it still at the one where it was?"""
        if connection.quiet >= MOVED_AFTER and self._owner.connection_to(connection.instance) is connection:
            connection.abort("nothing is heard of it there, and it has announced another address")


def routes_of(packet: Packet, source: str, key: bytes) -> list[Route]:
    """The routes to a node that has said HERE, the best first."""
    places: list[tuple[str, int]] = []
    if packet.address:
        try:
            host, port = split(packet.address)
        except ValueError:
            host, port = "", None
        if is_reachable(host):
            places.append((host, port or packet.port))
    relay = None
    if packet.via:
        try:
            host, port = split(packet.via)
        except ValueError:
            host, port = "", None
        relay = RelayAddress(host, port, key) if port and is_reachable(host) else None
        return [Route(*each) for each in places] + [Route(*each, relay) for each in places if relay is not None]
    if (source, packet.port) not in places:
        places.append((source, packet.port))
    return [Route(*each) for each in places]
