"""Discovery of nodes by broadcasts and multicasts over UDP.

Runs on one gevent loop. Each side has receivers on a well-known port that several processes of a machine share, and
senders, which also receive packets addressed to them; a pair for IPv4 and one for IPv6. Packets for all are sent on
every interface: to its broadcast address, or with `multicast` to a group; with IPv6 always to a link-local group. An
address given as `ip_addr` limits both to its interface; a loopback address limits them to this machine.

A beacon only yields addresses; its user decides whether to connect. The address of a packet is its source address on
the receiving interface, which works between the two machines.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import struct
import time
from collections.abc import Callable, Sequence

import gevent
from gevent import socket

from gdispy.config import is_loopback
from gdispy.errors import ProtocolError
from gdispy.protocol import discovery
from gdispy.protocol.discovery import CLOCK_LIMIT, HERE, LOOK, Packet
from gdispy.protocol.secretbox import NONCE_BYTES
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import SocketAddress, host_of, interfaces, resolve

logger = logging.getLogger(__name__)

#: Groups: site-local, and link-local.
GROUP = "239.255.71.68"
GROUP6 = "ff12::6764:6973"
#: Hop limit of multicasts; routers forward them only if configured.
MULTICAST_HOPS = 8

#: Packets read before other greenlets run; seconds until the next read after an error.
TOGETHER = 16
ERROR_PAUSE = 0.01
#: Addresses of peers with another key that are remembered.
ADDRESSES_LIMIT = 1024

_LOOPBACK_BROADCAST = "127.255.255.255"
_ANY_BROADCAST = "255.255.255.255"


class Beacon:
    """One side of discovery. `on_packet(beacon, packet, address)` is called for each new packet.

    Raises OSError if neither kind of address can be used.
    """

    def __init__(
        self,
        key: bytes,
        instance: bytes,
        ip_addr: str,
        ear_port: int,
        on_packet: Callable[[Beacon, Packet, tuple[str, int]], None],
        multicast: bool = False,
        others: Sequence[bytes] = (),
    ) -> None:
        """`others` are keys that peers may have besides `key`."""
        self._key = key
        self._others = others
        #: The keys of peers whose key is one of the others, by their addresses.
        self._keys_of: dict[tuple[str, int], bytes] = {}
        self._instance = instance
        self._ip_addr = ip_addr
        self._ear_port = ear_port
        self._on_packet = on_packet
        #: On this machine alone, broadcasts suffice.
        self._multicast = multicast and not is_loopback(ip_addr)
        self._memory = discovery.ReplayCache()
        self._told_of_clock = False
        self._log = LimitedLog(logger)
        self._greenlets: list[gevent.Greenlet] = []
        #: Group memberships: (family, interface).
        self._joined: set[tuple[int, int]] = set()
        self._senders: dict[int, socket.socket] = {}
        self._receivers: list[socket.socket] = []
        self._group_receivers: dict[int, socket.socket] = {}
        families = [socket.AF_INET, socket.AF_INET6] if not ip_addr else [_family(ip_addr)]
        trouble: OSError | None = None
        for family in families:
            try:
                self._senders[family] = _udp(family, ip_addr, 0)
            except OSError as error:
                trouble = error
        if not self._senders:
            raise trouble or OSError("no address")
        for family in self._senders:
            self._open_receivers(family)
        self._refresh()

    def _open_receivers(self, family: int) -> None:
        """Discovery requests work even without a receiver."""
        if not self._ip_addr:
            hosts = [""]
        elif family == socket.AF_INET:
            hosts = [*self._broadcasts(), self._ip_addr]
        else:
            hosts = [self._ip_addr]
        group = GROUP if family == socket.AF_INET else GROUP6
        if self._ip_addr and (family == socket.AF_INET6 or not is_loopback(self._ip_addr)):
            hosts.append(group)
        for host in hosts:
            with contextlib.suppress(OSError):
                receiver = _udp(family, host, self._ear_port)
                self._receivers.append(receiver)
                if host in ("", group):
                    self._group_receivers[family] = receiver

    def start(self) -> None:
        for sock in (*self._senders.values(), *self._receivers):
            self._greenlets.append(keep_running(self._listen, sock, what="the beacon's listener"))

    def close(self) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        for sock in (*self._senders.values(), *self._receivers):
            sock.close()

    # Sending

    def broadcast(
        self, kind: int, port: int, to_port: int, address: str = "", name: str = "", udp: int = 0, via: str = ""
    ) -> None:
        """Send a packet to all that listen on `to_port`; `port` is this side's TCP port."""
        packet = Packet(kind, self._instance, time.time(), port, address, name, udp, via)
        self.broadcast_packet(packet, to_port)

    def broadcast_packet(self, packet: Packet, to_port: int) -> None:
        """Send a packet to all that listen on `to_port`, on every current interface."""
        self._refresh()
        if socket.AF_INET in self._senders and not self._multicast:
            for target in self._broadcasts():
                self._send_to_all(packet, (target, to_port))
        for family, group in ((socket.AF_INET, GROUP), (socket.AF_INET6, GROUP6)):
            if family in self._senders and (self._multicast or family == socket.AF_INET6):
                for index in self._group_interfaces():
                    with contextlib.suppress(OSError):
                        _send_by(self._senders[family], family, index)
                        self._send_to_all(packet, (group, to_port))

    def tell(
        self, kind: int, port: int, to: tuple[str, int], address: str = "", name: str = "", udp: int = 0, via: str = ""
    ) -> None:
        """Send a packet to one peer."""
        self.send(Packet(kind, self._instance, time.time(), port, address, name, udp, via), to)

    def send(self, packet: Packet, to: tuple[str, int]) -> None:
        """Send a packet to an address."""
        self._send_with(self._keys_of.get(to, self._key), packet, to)

    def _send_to_all(self, packet: Packet, to: tuple[str, int]) -> None:
        for key in (self._key, *self._others):
            self._send_with(key, packet, to)

    def _send_with(self, key: bytes, packet: Packet, to: tuple[str, int]) -> None:
        sender = self._senders.get(_family(to[0]))
        if sender is None:
            return
        data = discovery.pack(key, packet, secrets.token_bytes(NONCE_BYTES))
        try:
            sender.sendto(data, to)
        except OSError as error:
            self._log.log(logging.DEBUG, "send", "no packet to %s: %s", to[0], error)

    def resolve(self, host: str, port: int) -> tuple[str, int] | None:
        """The socket address of a host that may be a name, as its packets will show it; waits for the resolution."""
        try:
            rows = resolve(host, port, socket.SOCK_DGRAM)
        except OSError as error:
            self._log.log(logging.DEBUG, "resolve", "no packet to %s: %s", host, error)
            return None
        return host_of(rows[0][4]), port

    def _broadcasts(self) -> list[str]:
        return broadcast_addresses(self._ip_addr)

    def _group_interfaces(self) -> list[int]:
        return sorted({each.index for each in interfaces(self._ip_addr)} or {0})

    def _refresh(self) -> None:
        """Join the groups also on new interfaces."""
        for family, receiver in self._group_receivers.items():
            for index in self._group_interfaces():
                if (family, index) not in self._joined:
                    with contextlib.suppress(OSError):
                        _join(receiver, family, index)
                        self._joined.add((family, index))

    # Receiving

    def _listen(self, sock: socket.socket) -> None:
        for number in itertools.count(1):
            # While packets are available, `recvfrom` does not switch greenlets.
            if number % TOGETHER == 0:
                gevent.sleep(0)
            try:
                data, address = sock.recvfrom(discovery.PACKET_LIMIT + 1)
            except OSError as error:
                if sock.fileno() < 0:
                    return
                self._log.log(logging.DEBUG, "receive", "UDP: %s", error)
                gevent.sleep(ERROR_PAUSE)
                continue
            self._hear(data, address)

    def _hear(self, data: bytes, address: SocketAddress) -> None:
        """Handle one packet; an error does not stop receiving."""
        try:
            self._take(self._opened(data, (host_of(address), address[1])), data, address)
        except ProtocolError:
            pass
        except Exception as error:
            text = "gdispy: a packet from %s could not be handled"
            self._log.log_failure(logging.ERROR, ("packet", type(error)), error, text, host_of(address))

    def _opened(self, data: bytes, place: tuple[str, int]) -> Packet:
        """A packet that was sealed with any of the keys; the answer is sealed with the same. Raises ProtocolError."""
        for key in self._others:
            with contextlib.suppress(ProtocolError):
                packet = discovery.unpack(key, data)
                while len(self._keys_of) >= ADDRESSES_LIMIT:
                    del self._keys_of[next(iter(self._keys_of))]
                self._keys_of[place] = key
                return packet
        packet = discovery.unpack(self._key, data)
        self._keys_of.pop(place, None)
        return packet

    def _take(self, packet: Packet, data: bytes, address: SocketAddress) -> None:
        if packet.instance == self._instance:
            return
        now = time.time()
        if self._memory.is_new(data, packet, now):
            self._on_packet(self, packet, (host_of(address), address[1]))
        elif abs(packet.time - now) > CLOCK_LIMIT and not self._told_of_clock:
            self._told_of_clock = True
            text = "a packet from %s is ignored: its clock differs by %.0f s, or the packet was replayed"
            logger.warning(text, host_of(address), abs(packet.time - now))


class Beacons:
    """The same side of discovery on several addresses of this machine, one `Beacon` for each; by default on all.

    Raises OSError if none of the addresses can be used.
    """

    def __init__(
        self,
        key: bytes,
        instance: bytes,
        addresses: Sequence[str],
        ear_port: int,
        on_packet: Callable[[Beacon, Packet, tuple[str, int]], None],
        multicast: bool = False,
        others: Sequence[bytes] = (),
    ) -> None:
        self._beacons: list[Beacon] = []
        trouble: OSError | None = None
        for address in addresses or [""]:
            try:
                self._beacons.append(Beacon(key, instance, address, ear_port, on_packet, multicast, others))
            except OSError as error:
                trouble = error
                if len(addresses) > 1:
                    logger.warning("no broadcasts from the address %s: %s", address, error.strerror)
        if trouble is not None and not self._beacons:
            raise trouble

    def start(self) -> None:
        for beacon in self._beacons:
            beacon.start()

    def close(self) -> None:
        for beacon in self._beacons:
            beacon.close()

    def broadcast(self, kind: int, port: int, to_port: int, address: str = "", name: str = "") -> None:
        """As `Beacon.broadcast`, on each."""
        for beacon in self._beacons:
            beacon.broadcast(kind, port, to_port, address, name)

    def tell(self, kind: int, port: int, to: tuple[str, int], address: str = "", name: str = "") -> None:
        """As `Beacon.tell`, on each, since it is not known which of them has a route."""
        for beacon in self._beacons:
            beacon.tell(kind, port, to, address, name)

    def resolve(self, host: str, port: int) -> tuple[str, int] | None:
        """As `Beacon.resolve`."""
        return self._beacons[0].resolve(host, port)


def _family(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _udp(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_HOPS)
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        any_host = "::" if family == socket.AF_INET6 else "0.0.0.0"
        sock.bind(resolve(host or any_host, port, socket.SOCK_DGRAM)[0][4])
    except OSError:
        sock.close()
        raise
    return sock


def _join(sock: socket.socket, family: int, index: int) -> None:
    group = socket.inet_pton(family, GROUP6 if family == socket.AF_INET6 else GROUP)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + bytes(4) + struct.pack("@i", index))


def _send_by(sock: socket.socket, family: int, index: int) -> None:
    """Select the interface of the next multicast; 0 leaves it to the kernel."""
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + struct.pack("@i", index))


def broadcast_addresses(ip_addr: str) -> list[str]:
    """The destinations of broadcasts: on the interface of `ip_addr`, or on all if it is ''."""
    if is_loopback(ip_addr):
        return [_LOOPBACK_BROADCAST]
    found = sorted({address for each in interfaces(ip_addr) for address in each.broadcast})
    if ip_addr:
        return found or [_ANY_BROADCAST]
    return [*(found or [_ANY_BROADCAST]), _LOOPBACK_BROADCAST]


__all__ = ["GROUP", "GROUP6", "HERE", "LOOK", "Beacon", "Beacons", "Packet", "broadcast_addresses"]
