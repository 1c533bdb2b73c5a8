"""Making connections: TCP, the handshake, a listener that bears strangers, pairs in memory.

Floor 2. Runs on one gevent loop. What is made is a `connection.Connection`.

Invariant: nothing happens for a peer before its first sealed frame has opened; see `Listener`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket

from gdispy import config
from gdispy.connection import Connection, Handlers, PairEnd, plain
from gdispy.core.admission import Admission
from gdispy.core.boxes import NONCE_BYTES
from gdispy.core.discovery import OPENED, PACKET_BYTES, THROUGH, Packet, pack, unpack
from gdispy.core.handshake import (
    FIRST_BYTES,
    MAGIC,
    NO_CERTIFICATE,
    SECOND_BYTES,
    Initiator,
    Keys,
    Responder,
    refuse_other_version,
)
from gdispy.core.messages import Message
from gdispy.core.patterns import join
from gdispy.core.shapes import INSTANCE_BYTES
from gdispy.errors import ConnectFailed, PeerRejected, ProtocolError
from gdispy.interfaces import host_of, resolve

if TYPE_CHECKING:
    from gdispy.tls import Tls

logger = logging.getLogger(__name__)

#: Seconds for a peer of another version to say which gdispy it is.
VERSION_LIMIT = 1.0
#: What a side with TLS says to one that speaks without: a fatal alert of TLS, protocol_version.
ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
#: Bytes of TCP in one packet, both ways, that pass wherever IPv6 does: some ways swallow longer ones without a word.
SMALL_SEGMENT = 1200


def pair(
    to_first: Callable[[list[Message]], None], to_second: Callable[[list[Message]], None]
) -> tuple[PairEnd, PairEnd]:
    """Two joined ends in memory. What goes into the first is given to `to_first`, and so on."""
    first, second = PairEnd(to_first), PairEnd(to_second)
    first.other, second.other = second, first
    return first, second


class SecretDiffers(PeerRejected):
    """The other side does not have this side's secret, or it is no gdispy at all."""


@dataclass(frozen=True)
class Relay:
    """A way to a peer that cannot be reached directly: through a relay, which knows the key of discovery only."""

    host: str
    port: int
    key: bytes


def connect(
    host: str,
    port: int,
    psk: bytes,
    roles: bytes,
    handlers: Handlers,
    source: str = "",
    what: str = "gdispy-node",
    relay: Relay | None = None,
    limit: float | None = None,
    small: bool = False,
    tls: Tls | None = None,
    advice: str = "",
) -> Connection:
    """Connect to a listener, a `what`, and shake hands.

    `limit` is seconds until the attempt is given up, where that is not `config.msg_timeout()`; `advice` is for users
    where the secrets differ, see `Secret.advice`. Raises ConnectFailed or PeerRejected, in plain words.
    """
    limit = config.msg_timeout() if limit is None else limit
    where = join(host, port)
    if relay is None:
        sock = reach(host, port, what, source, limit, small)
    else:
        sock = _reach_through(relay, where, source, limit, small)
        where = f"{where} through the relay at {join(relay.host, relay.port)}"
    try:
        _tune(sock)
        with gevent.Timeout(config.msg_timeout(), TimeoutError("no answer")):
            if tls is not None:
                sock = tls.connect(sock)
            keys = _shake_hands(sock, psk, roles)
    except SecretDiffers as error:
        sock.close()
        raise SecretDiffers(f"{error} ({advice})" if advice else str(error)) from error
    except TimeoutError as error:
        sock.close()
        text = f"{where} accepts connections but does not answer the handshake: does another program listen there?"
        raise ConnectFailed(text) from error
    except OSError as error:
        sock.close()
        raise SecretDiffers(f"{_CLOSED_EARLY} ({advice})" if advice else _CLOSED_EARLY) from error
    except BaseException:
        sock.close()
        raise
    return Connection(sock, keys, handlers)


def reach(host: str, port: int, what: str, source: str, limit: float, small: bool = False) -> Any:
    """A socket that is connected to the address; with `small`, for short packets. Raises ConnectFailed."""
    where = join(host, port)
    try:
        with gevent.Timeout(limit, TimeoutError(f"its address was not found within {limit:.0f} s")):
            rows = resolve(host, port, socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectFailed(_why_not(what, where, port, error)) from error
    trouble: OSError = TimeoutError("no answer")
    until = time.monotonic() + limit
    for tried, (family, _, _, _, sockaddr) in enumerate(rows):
        # Where a name has several addresses, one that swallows everything leaves time for the others.
        share = (until - time.monotonic()) / (len(rows) - tried)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if small:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
            if source and (":" in source) == (family == socket.AF_INET6):
                sock.bind((source, 0))
            with gevent.Timeout(max(0.1, share), TimeoutError(f"no answer within {limit:.0f} s")):
                sock.connect(sockaddr)
            return sock
        except OSError as error:
            sock.close()
            trouble = error
        except BaseException:
            sock.close()
            raise
    raise ConnectFailed(_why_not(what, where, port, trouble)) from trouble


def _reach_through(relay: Relay, where: str, source: str, limit: float, small: bool) -> Any:
    """A socket that a relay has joined to the address."""
    sock = reach(relay.host, relay.port, "relay", source, limit, small)
    ask = Packet(THROUGH, secrets.token_bytes(INSTANCE_BYTES), time.time(), 0, where, "")
    place = join(relay.host, relay.port)
    try:
        with gevent.Timeout(2 * config.msg_timeout(), TimeoutError("it does not answer")):
            sock.sendall(pack(relay.key, ask, secrets.token_bytes(NONCE_BYTES)))
            answer = unpack(relay.key, read_exactly(sock, PACKET_BYTES))
        if answer.kind != OPENED:
            raise ConnectFailed(f"the relay at {place} cannot reach {where}: {answer.name or 'it gives no reason'}")
    except (OSError, PeerRejected, ProtocolError) as error:
        sock.close()
        raise ConnectFailed(f"the relay at {place} does not join: {error}") from error
    except BaseException:
        sock.close()
        raise
    return sock


_WANTS_TLS = "it has a certfile and speaks TLS only: give this side a certfile as well"
_CLOSED_EARLY = (
    "it closed the connection during the handshake: its secret differs from this side's, or it is not a gdispy port"
)


def _shake_hands(sock: Any, psk: bytes, roles: bytes) -> Keys:
    initiator = Initiator(psk, roles, secrets.token_bytes(32), getattr(sock, "digest", NO_CERTIFICATE))
    sock.sendall(initiator.first)
    beginning = read_exactly(sock, len(MAGIC))
    refuse_other_version(beginning, lambda: _version_behind(sock))
    try:
        return initiator.finish(beginning + read_exactly(sock, SECOND_BYTES - len(MAGIC)))
    except ProtocolError as error:
        raise SecretDiffers(f"{error}: its secret differs, or it is not a gdispy port") from error


def _version_behind(sock: Any) -> str:
    """Which gdispy the other side is, where it says so behind its magic; else ''."""
    with gevent.Timeout(VERSION_LIMIT, False), contextlib.suppress(OSError, PeerRejected):
        text = read_exactly(sock, read_exactly(sock, 1)[0]).decode("ascii", "replace")
        return text if re.fullmatch(r"[0-9A-Za-z.+-]{1,32}", text) else ""
    return ""


def _read_to_the_end(sock: Any) -> None:
    """Let the peer read what was sent: what is closed on unread bytes is reset, and the answer with it."""
    with gevent.Timeout(VERSION_LIMIT, False), contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(PACKET_BYTES):
            pass


def read_exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise PeerRejected(_WANTS_TLS) if data.startswith(b"\x15\x03") else SecretDiffers(_CLOSED_EARLY)
        data += more
    return data


def _tune(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _why_not(what: str, where: str, port: int, error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"no {what} answers at {where} (connection refused): start it there"
    if isinstance(error, socket.gaierror):
        return f"the name in {where} is not known: {plain(error)}"
    if isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ECONNRESET):
        return f"{where} cannot be reached: {plain(error)}: is TCP {port} open in its firewall?"
    return f"{where} cannot be reached: {plain(error)}"


class Listener:
    """Accepts connections, and lets in those that have the secret: `doors` has the secret for each pair of roles.

    Where `host` is '0.0.0.0', it listens on all addresses of both kinds. `others` are more addresses, with the port of
    the first.

    A stranger gets no byte of an answer unless its first message fits the secret, a fixed few bytes of
    memory, ten seconds in all, and at most one line of the log each second for all strangers together.
    """

    def __init__(
        self,
        host: str,
        port: int,
        doors: dict[bytes, bytes],
        instance: bytes,
        on_connection: Callable[[Any, Keys, bytes], None],
        tls: Tls | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self._tls = tls
        self._doors = doors
        self._instance = instance
        self._on_connection = on_connection
        self._admission = Admission()
        self._strangers: dict[int, Any] = {}
        self._next_logs: dict[type, float] = {}
        self._numbers = itertools.count()
        self._sockets = listening_sockets(host, port)
        try:
            for other in others:
                self._sockets += _listening_too(other, self._sockets)
        except BaseException:
            for sock in self._sockets:
                sock.close()
            raise
        self.host, self.port = host_of(self._sockets[0].getsockname()), self._sockets[0].getsockname()[1]
        self._greenlets: list[Any] = [gevent.Greenlet(self._accept, each) for each in self._sockets]

    def start(self) -> None:
        for greenlet in self._greenlets:
            greenlet.start()

    def close(self) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        for sock in self._sockets:
            sock.close()

    def _accept(self, server: Any) -> None:
        for number in self._numbers:
            try:
                sock, address = server.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._log(f"cannot accept connections: {plain(error)}")
                    gevent.sleep(0.1)
                    continue
                if error.errno == errno.ECONNABORTED:
                    continue
                return
            for other in self._admission.arrive(number, host_of(address)):
                self._strangers[other].close()
            self._strangers[number] = sock
            gevent.spawn(self._admit, number, sock, host_of(address))

    def _admit(self, number: int, sock: Any, address: str) -> None:
        try:
            _tune(sock)
            with gevent.Timeout(config.msg_timeout(), TimeoutError("too slow")):
                way = sock if self._tls is None else self._enter_tunnel(self._tls, sock, address)
                keys, roles = self._answer(way, address)
        except (OSError, ProtocolError, PeerRejected) as error:
            sock.close()
            self._log(f"turned away a connection from {address}: {_stranger(error)}", type(error))
            return
        finally:
            self._admission.leave(number)
            self._strangers.pop(number, None)
        try:
            self._on_connection(way, keys, roles)
        except OSError as error:  # It has gone meanwhile.
            way.close()
            self._log(f"a connection from {address} broke at once: {plain(error)}")

    def _enter_tunnel(self, tls: Tls, sock: Any, address: str) -> Any:
        beginning = read_exactly(sock, len(MAGIC))
        if beginning == MAGIC:
            read_exactly(sock, FIRST_BYTES - len(MAGIC))  # Closing on unread bytes would overtake the answer.
            sock.sendall(ALERT)
            raise ProtocolError("it speaks without TLS, and this side has a certfile")
        if not beginning.startswith(b"\x16\x03"):
            raise ProtocolError("it does not speak TLS")
        if not self._may_answer(address):
            raise ProtocolError("too many attempts")
        return tls.accept(sock, beginning)

    def _answer(self, sock: Any, address: str) -> tuple[Keys, bytes]:
        beginning = read_exactly(sock, len(MAGIC))
        try:
            refuse_other_version(beginning)
        except PeerRejected:
            version = config.VERSION.encode()
            sock.sendall(MAGIC + bytes([len(version)]) + version)
            _read_to_the_end(sock)
            raise
        if beginning.startswith(b"\x16\x03"):
            raise ProtocolError("it speaks TLS, and this side has no certfile")
        if beginning != MAGIC:
            raise ProtocolError("it does not speak the gdispy protocol")
        first = beginning + read_exactly(sock, FIRST_BYTES - len(MAGIC))
        certificate = NO_CERTIFICATE if self._tls is None else self._tls.digest
        trouble = ProtocolError("the first message of a handshake does not fit the secret")
        for psk in dict.fromkeys(self._doors.values()):
            own = [roles for roles, key in self._doors.items() if key == psk]
            responder = Responder(psk, own, secrets.token_bytes(32), self._instance, certificate)
            try:
                # With TLS, that it may be answered was decided before.
                second, keys, roles = responder.answer(first, lambda: bool(self._tls) or self._may_answer(address))
            except ProtocolError as error:
                trouble = error
                continue
            sock.sendall(second)
            return keys, roles
        raise trouble

    def _may_answer(self, address: str) -> bool:
        return self._admission.may_answer(address, time.monotonic())

    def was_honest(self, connection: Connection) -> None:
        """The first sealed frame of a connection has opened."""
        self._admission.was_honest(connection.address)

    def _log(self, text: str, kind: type = OSError) -> None:
        """One line a second for each kind of trouble, so that a crowd does not hide a wrong version."""
        now = time.monotonic()
        if now >= self._next_logs.get(kind, 0.0):
            self._next_logs[kind] = now + 1.0
            logger.info(text)


def listening_sockets(host: str, port: int) -> list[Any]:
    """Sockets that listen, of the same port. Raises OSError."""
    first = _listening_socket(host, port)
    if host != "0.0.0.0":
        return [first]
    try:
        return [first, _listening_socket("::", first.getsockname()[1])]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            logger.warning("not listening by IPv6: port %d is in use there", first.getsockname()[1])
        return [first]


def _listening_too(host: str, there: list[Any]) -> list[Any]:
    """A socket that listens on one more address; none where that is one of those that are there, by another name."""
    port = there[0].getsockname()[1]
    address = resolve(host, port, socket.SOCK_STREAM)[0][4][0]
    return [] if address in [sock.getsockname()[0] for sock in there] else [_listening_socket(host, port)]


def _listening_socket(host: str, port: int) -> Any:
    family, _, _, _, sockaddr = resolve(host, port, socket.SOCK_STREAM)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(1024)
    except BaseException:
        sock.close()
        raise
    return sock


def _stranger(error: BaseException) -> str:
    # None of the peer's own bytes get into the log.
    if isinstance(error, TimeoutError):
        return "it did not finish the handshake in time"
    if isinstance(error, ProtocolError | PeerRejected) and str(error) != _CLOSED_EARLY:
        return str(error)
    return "it closed the connection during the handshake"
