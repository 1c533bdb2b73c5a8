"""Making connections: TCP, the handshake, a listener that bears strangers, pairs in memory.

Floor 2. Runs on one gevent loop. What is made is a `connection.Connection`.

Invariant: nothing happens for a peer before its first sealed frame has opened; see `Listener`.
"""

from __future__ import annotations

import errno
import itertools
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket

from gdispy.connection import Connection, Handlers, PairEnd, plain
from gdispy.core.admission import Admission
from gdispy.core.handshake import (
    FIRST_BYTES,
    MAGIC,
    SECOND_BYTES,
    Initiator,
    Keys,
    Responder,
    refuse_other_version,
)
from gdispy.core.messages import Message
from gdispy.core.patterns import join
from gdispy.errors import ConnectFailed, PeerRejected, ProtocolError

logger = logging.getLogger(__name__)

#: Seconds that a handshake may take in all.
HANDSHAKE_LIMIT = 10.0
#: Seconds until a connection attempt is given up.
CONNECT_LIMIT = 10.0


def pair(
    to_first: Callable[[list[Message]], None], to_second: Callable[[list[Message]], None]
) -> tuple[PairEnd, PairEnd]:
    """Two joined ends in memory. What goes into the first is given to `to_first`, and so on."""
    first, second = PairEnd(to_first), PairEnd(to_second)
    first.other, second.other = second, first
    return first, second


def connect(
    host: str,
    port: int,
    psk: bytes,
    roles: bytes,
    handlers: Handlers,
    source: str = "",
    what: str = "gdispy-node",
) -> Connection:
    """Connect to a listener, a `what`, and shake hands. Raises ConnectFailed or PeerRejected, in plain words."""
    where = join(host, port)
    try:
        with gevent.Timeout(CONNECT_LIMIT, TimeoutError("no answer")):
            sock = socket.create_connection((host, port), source_address=(source, 0) if source else None)
    except OSError as error:
        raise ConnectFailed(_why_not(what, where, error)) from error
    try:
        _tune(sock)
        with gevent.Timeout(HANDSHAKE_LIMIT, TimeoutError("no answer")):
            keys = _shake_hands(sock, psk, roles)
    except TimeoutError as error:
        sock.close()
        raise ConnectFailed(f"{where} accepts connections but does not answer the handshake") from error
    except OSError as error:
        sock.close()
        raise PeerRejected(_CLOSED_EARLY) from error
    except BaseException:
        sock.close()
        raise
    return Connection(sock, keys, handlers)


_CLOSED_EARLY = (
    "it closed the connection during the handshake: its secret differs from this side's, or it is not a gdispy port"
)


def _shake_hands(sock: Any, psk: bytes, roles: bytes) -> Keys:
    initiator = Initiator(psk, roles, secrets.token_bytes(32))
    sock.sendall(initiator.first)
    beginning = _read_exactly(sock, len(MAGIC))
    refuse_other_version(beginning)
    try:
        return initiator.finish(beginning + _read_exactly(sock, SECOND_BYTES - len(MAGIC)))
    except ProtocolError as error:
        raise PeerRejected(f"{error}: its secret differs, or it is not a gdispy port") from error


def _read_exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise PeerRejected(_CLOSED_EARLY)
        data += more
    return data


def _tune(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _why_not(what: str, where: str, error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"no {what} answers at {where} (connection refused): start it there"
    if isinstance(error, socket.gaierror):
        return f"the name in {where} is not known: {plain(error)}"
    return f"{where} cannot be reached: {plain(error)}"


class Listener:
    """Accepts connections, and lets in those that have the secret.

    A stranger gets no byte of an answer unless its first message fits the secret, a fixed few bytes of
    memory, ten seconds in all, and at most one line of the log each second for all strangers together.
    """

    def __init__(
        self,
        host: str,
        port: int,
        psk: bytes,
        roles: list[bytes],
        instance: bytes,
        on_connection: Callable[[Any, Keys], None],
    ) -> None:
        self._psk = psk
        self._roles = roles
        self._instance = instance
        self._on_connection = on_connection
        self._admission = Admission()
        self._strangers: dict[int, Any] = {}
        self._next_logs: dict[type, float] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self._socket.listen(1024)
        self.host, self.port = self._socket.getsockname()[:2]
        self._greenlet: Any = gevent.Greenlet(self._accept)

    def start(self) -> None:
        self._greenlet.start()

    def close(self) -> None:
        self._greenlet.kill(block=False)
        self._socket.close()

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                sock, address = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._log(f"cannot accept connections: {plain(error)}")
                    gevent.sleep(0.1)
                    continue
                if error.errno == errno.ECONNABORTED:
                    continue
                return
            for other in self._admission.arrive(number, address[0]):
                self._strangers[other].close()
            self._strangers[number] = sock
            gevent.spawn(self._admit, number, sock, address[0])

    def _admit(self, number: int, sock: Any, address: str) -> None:
        try:
            _tune(sock)
            with gevent.Timeout(HANDSHAKE_LIMIT, TimeoutError("too slow")):
                keys = self._answer(sock, address)
        except (OSError, ProtocolError, PeerRejected) as error:
            sock.close()
            self._log(f"turned away a connection from {address}: {_stranger(error)}", type(error))
            return
        finally:
            self._admission.leave(number)
            self._strangers.pop(number, None)
        self._on_connection(sock, keys)

    def _answer(self, sock: Any, address: str) -> Keys:
        beginning = _read_exactly(sock, len(MAGIC))
        try:
            refuse_other_version(beginning)
        except PeerRejected:
            sock.sendall(MAGIC)
            raise
        if beginning != MAGIC:
            raise ProtocolError("it does not speak the gdispy protocol")
        first = beginning + _read_exactly(sock, FIRST_BYTES - len(MAGIC))
        responder = Responder(self._psk, self._roles, secrets.token_bytes(32), self._instance)
        second, keys, _ = responder.answer(first, lambda: self._admission.may_answer(address, time.monotonic()))
        sock.sendall(second)
        return keys

    def was_honest(self, connection: Connection) -> None:
        """The first sealed frame of a connection has opened."""
        self._admission.was_honest(connection.address)

    def _log(self, text: str, kind: type = OSError) -> None:
        """One line a second for each kind of trouble, so that a crowd does not hide a wrong version."""
        now = time.monotonic()
        if now >= self._next_logs.get(kind, 0.0):
            self._next_logs[kind] = now + 1.0
            logger.info(text)


def _stranger(error: BaseException) -> str:
    # None of the peer's own bytes get into the log.
    if isinstance(error, TimeoutError):
        return "it did not finish the handshake in time"
    if isinstance(error, ProtocolError | PeerRejected) and str(error) != _CLOSED_EARLY:
        return str(error)
    return "it closed the connection during the handshake"
