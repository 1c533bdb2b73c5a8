"""Finding nodes without being told where they are: broadcasts on UDP.

Floor 2. Runs on one gevent loop. Each side has an ear, which hears broadcasts on a well-known port
that several processes of a machine share, and a mouth, which sends and hears what is meant for it
alone. An address given as `ip_addr` keeps both to its interface; a loopback one keeps them to this
machine. A beacon yields addresses; who gets them decides whether to connect.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import secrets
import time
from collections.abc import Callable

import gevent
from gevent import socket

from gdispy.config import is_loopback
from gdispy.core import discovery
from gdispy.core.discovery import HERE, LOOK, Packet
from gdispy.errors import ProtocolError

logger = logging.getLogger(__name__)

_LOOPBACK_BROADCAST = "127.255.255.255"
_ANY_BROADCAST = "255.255.255.255"


class Beacon:
    """One side of discovery. `on_packet(packet, address)` is called for each that is new."""

    def __init__(
        self,
        key: bytes,
        instance: bytes,
        ip_addr: str,
        ear_port: int,
        on_packet: Callable[[Beacon, Packet, tuple[str, int]], None],
    ) -> None:
        self._key = key
        self._instance = instance
        self._on_packet = on_packet
        self._memory = discovery.Memory()
        self._targets = broadcast_addresses(ip_addr)
        self._mouth = _udp(ip_addr, 0)
        self._sockets = [self._mouth]
        ears = [""] if not ip_addr else self._targets
        for host in ears:
            with contextlib.suppress(OSError):  # Without an ear, what looks around still finds.
                self._sockets.append(_udp(host, ear_port))

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._listen, sock) for sock in self._sockets]

    def close(self) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        for sock in self._sockets:
            sock.close()

    def broadcast(self, kind: int, port: int, to_port: int, address: str = "", name: str = "") -> None:
        """Tell all who hear broadcasts on `to_port`; `port` is where this side listens on TCP."""
        for target in self._targets:
            self.tell(kind, port, (target, to_port), address, name)

    def tell(self, kind: int, port: int, to: tuple[str, int], address: str = "", name: str = "") -> None:
        """Tell one."""
        packet = Packet(kind, self._instance, time.time(), port, address, name)
        data = discovery.pack(self._key, packet, secrets.token_bytes(discovery.NONCE_BYTES))
        try:
            self._mouth.sendto(data, to)
        except OSError as error:
            logger.debug("no broadcast to %s: %s", to[0], error)

    def _listen(self, sock: socket.socket) -> None:
        while True:
            try:
                data, address = sock.recvfrom(discovery.PACKET_LIMIT + 1)
            except OSError as error:
                if sock.fileno() < 0:
                    return
                logger.debug("UDP: %s", error)
                continue
            with contextlib.suppress(ProtocolError):
                packet = discovery.unpack(self._key, data)
                if packet.instance != self._instance and self._memory.is_new(data, packet, time.time()):
                    self._on_packet(self, packet, address[:2])


def _udp(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def broadcast_addresses(ip_addr: str) -> list[str]:
    """Where to send broadcasts: on the interface of `ip_addr`, or on all where it is ''."""
    if is_loopback(ip_addr):
        return [_LOOPBACK_BROADCAST]
    found = _by_interface(ip_addr)
    if ip_addr:
        return found or [_ANY_BROADCAST]
    return [*(found or [_ANY_BROADCAST]), _LOOPBACK_BROADCAST]


def _by_interface(ip_addr: str) -> list[str]:
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:  # The kernel then picks one interface.
        return []
    found = []
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and each.broadcast and ip_addr in ("", each.address):
                found.append(each.broadcast)
    return sorted(set(found))


__all__ = ["HERE", "LOOK", "Beacon", "Packet", "broadcast_addresses"]
