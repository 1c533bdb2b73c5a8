"""Makes a node known to schedulers. Runs in the node's loop.

An `Announcer` answers discovery requests, and announces the node to running programs when it starts or its addresses
change."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import gevent
import gevent.event

from gdispy import config
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Beacons, Packet
from gdispy.discovery.dialer import ROUTE_LIMIT
from gdispy.discovery.scheduler_connector import Home, use
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.execution.node_settings import NodeSettings
from gdispy.net import connect
from gdispy.protocol.address import Address
from gdispy.protocol.roles import NODE_TO_SCHEDULER
from gdispy.runtime.greenlets import keep_running, spawn, spawn_later
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import is_here, is_numeric, is_reachable, own_addresses

logger = logging.getLogger(__name__)

#: Times of announcements, in seconds after the start and after a change of addresses.
MOMENTS = (0.0, 0.3, 1.0, 3.0)
#: Minimum number of seconds between two announcements that the node is free.
FREE_INTERVAL = 0.2
#: Seconds between two checks of this machine's addresses.
ADDRESS_INTERVAL = 3.0
#: Seconds that a scheduler which sent a request has to connect, before the node connects to it.
CALL_AFTER = 3.0
#: Maximum number of concurrent connections of that kind.
CALLS = 16
#: Maximum number of schedulers to remember for that at the same time.
DUE = 1024


class Announcer:
    """Makes a node known. Raises OSError if UDP cannot be used."""

    def __init__(self, home: Home, settings: NodeSettings, hosts: Sequence[str], port: int, name: str) -> None:
        self._home = home
        self._settings = settings
        #: The addresses that the node uses; empty for all.
        self._hosts, self._port = hosts, port
        self._name = name
        self._psk, self._tls = settings.secret.for_tcp(), settings.secret.tls
        self._calls: set[bytes] = set()
        #: Schedulers to connect to if they do not connect first.
        self._due: set[bytes] = set()
        self._log = LimitedLog(logger)
        self._freed = gevent.event.Event()
        own_port = settings.node_port or config.NODE_PORT
        key = settings.secret.for_udp()
        others = settings.secret.others_for_udp()
        self._beacon = Beacons(key, home.instance, hosts, own_port, self._on_packet, settings.multicast, others)
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        self._beacon.start()
        self._greenlets = [
            keep_running(self._tell, what="the announcements of this node"),
            keep_running(self._tell_when_free, what="the announcements that this node is free"),
            keep_running(self._watch_addresses, what="the monitor of this machine's addresses"),
        ]

    def close(self) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        self._beacon.close()

    def _tell(self) -> None:
        """Announce the node to running clients; if wanted, repeatedly while no client uses it."""
        self._tell_now()
        while self._settings.ping_interval:
            gevent.sleep(self._settings.ping_interval)
            if not self._home.connections():
                self._broadcast()

    def _tell_now(self) -> None:
        """Repeated, since packets are lost, and switches need time before they forward the first."""
        before = 0.0
        for moment in MOMENTS:
            gevent.sleep(moment - before)
            before = moment
            if not self._home.connections():
                self._broadcast()

    def became_free(self) -> None:
        """The node became free."""
        self._freed.set()

    def _tell_when_free(self) -> None:
        """Announce that the node is free, a few times, until a scheduler uses it."""
        while True:
            self._freed.wait()
            self._freed.clear()
            before = 0.0
            for moment in MOMENTS:
                if self._freed.wait(moment - before) or self._home.is_busy():
                    break
                before = moment
                self._broadcast()
            gevent.sleep(FREE_INTERVAL)

    def _broadcast(self) -> None:
        self._beacon.broadcast(HERE, self._port, config.CLIENT_PORT, self._settings.ext_ip_addr, self._name)

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind != LOOK:
            return
        ours = (self._settings.ext_ip_addr, self._name)
        beacon.tell(HERE, self._port, address, *ours)
        asker = (packet.address or address[0], packet.port)
        if packet.via and packet.udp and is_numeric(packet.address):
            # The answer above goes to the relay, which forwards it; this one is sent directly.
            beacon.tell(HERE, self._port, (packet.address, packet.udp), *ours)
        if packet.port and packet.instance not in self._due and len(self._due) < DUE:
            self._due.add(packet.instance)
            spawn_later(CALL_AFTER, self._call, packet.instance, *asker, what="a call to a program")

    def _call(self, instance: bytes, address: str, port: int) -> None:
        """A scheduler that sent a request has not connected: perhaps it cannot, but this side can."""
        home = self._home
        self._due.discard(instance)
        if home.is_connected(instance) or home.is_busy() or instance in self._calls or len(self._calls) >= CALLS:
            return
        try:
            host, own = Address.parse(address)
        except ValueError:
            return
        if not is_reachable(host):
            return
        self._calls.add(instance)
        try:
            connection = connect(
                *(host, own or port, self._psk, NODE_TO_SCHEDULER, home.handlers()),
                what="gdispy program",
                limit=ROUTE_LIMIT,
                tls=self._tls,
            )
        except (ConnectFailed, PeerRejected) as error:
            text = "a program at %s is looking for nodes but cannot be reached: %s"
            self._log.log(logging.DEBUG, "call", text, str(Address(host, own or port)), str(error))
        else:
            use(home, connection, None)
        finally:
            self._calls.discard(instance)

    def _watch_addresses(self) -> None:
        """Addresses change: announce new ones. Connections of a removed address are dead without notification."""
        if self._hosts and all(map(config.is_loopback, self._hosts)):
            return
        before = own_addresses()
        while True:
            gevent.sleep(ADDRESS_INTERVAL)
            for connection in self._home.connections():
                if not config.is_loopback(connection.local) and not is_here(connection.local):
                    connection.abort(f"this machine no longer has the address {connection.local}")
            now = own_addresses()
            if now - before:
                logger.info("new addresses: %s", ", ".join(sorted(now - before)))
                spawn(self._tell_now, what="the announcement of new addresses")
            before = now
