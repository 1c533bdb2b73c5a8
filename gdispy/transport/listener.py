"""A listener: admits peers that have the secret, and withstands strangers.

Runs on one gevent loop.

    accepted ──> the beginning is read and judged, in callbacks ──> answered, in a greenlet ──> first sealed frame
                 a stranger, one of `Places`                        one of few that only prove                in

Invariants:
1. A peer that has not proved the secret gets no byte of an answer, and costs a descriptor and a few hundred bytes, but
   no greenlet; likewise with TLS, whose ClientHello must have a server name that is made with the secret.
2. Nothing is done for a peer before its first sealed frame was decrypted; until then it occupies a place, for at most
   ten seconds.
3. Strangers in any number displace each other, but no peer that was admitted or is about to be.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import PeerRejected, ProtocolError
from gdispy.protocol.client_hello import RECORD_HEAD, record_length, server_name_in
from gdispy.protocol.handshake import (
    FIRST_BYTES,
    MAGIC,
    NO_CERTIFICATE,
    ClockRefused,
    Keys,
    ReplayMemory,
    Responder,
    check_server_name,
    refuse_other_version,
)
from gdispy.runtime.event_loop import EventLoop, Watcher
from gdispy.runtime.greenlets import guarded, spawn
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.acceptor import Acceptor, descriptor_limit
from gdispy.transport.admission import PLACES, PROVING, Answers, Places
from gdispy.transport.connection import ConnectedSocket, Connection, plain
from gdispy.transport.interfaces import SocketAddress, host_of, resolve

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    from gdispy.transport.tls import Tls, Tunnel

    Args = TypeVarTuple("Args")

logger = logging.getLogger(__name__)

#: Sent by a side with TLS to a peer that has the secret but does not use TLS: the fatal TLS alert protocol_version.
ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
#: Connections that the system queues until they are accepted.
BACKLOG = 4096
#: The share of this process's descriptors that strangers may have in all.
DESCRIPTORS_PART = 4
#: Seconds between two checks for expired strangers.
SWEEP_INTERVAL = 0.25
#: TCP keep-alive: seconds until the first probe, between probes, and the number of unanswered probes; and milliseconds
#: for which sent data may remain unacknowledged.
KEEP_ALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30000))
#: Number of bytes read and discarded from a peer that is told why it is refused.
_UNREAD = 4096

OnConnection = Callable[[ConnectedSocket, Keys, bytes], Connection]

#: A socket after the handshake, its keys, and the roles.
_Answered = tuple[ConnectedSocket, Keys, bytes]


class _Stranger:
    """A connection of which only the source address is known."""

    __slots__ = ("address", "data", "fd", "host", "until", "watcher")

    def __init__(self, fd: int, host: str, address: str, until: float) -> None:
        self.fd = fd
        self.host = host
        #: The address that its place counts for.
        self.address = address
        #: The deadline for proving the secret.
        self.until = until
        self.data = b""
        self.watcher: Watcher | None = None

    def stop_reading(self) -> None:
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher.close()
            self.watcher = None

    def close(self) -> None:
        self.stop_reading()
        os.close(self.fd)


class _Prover:
    """A connection with a valid first message and without a first sealed frame."""

    __slots__ = ("address", "connection", "greenlet", "host", "sock", "until")

    def __init__(self, sock: socket.socket, address: str, host: str, until: float) -> None:
        self.sock = sock
        self.address, self.host = address, host
        self.until = until
        self.greenlet: gevent.Greenlet | None = None
        self.connection: Connection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.abort(_NOT_PROVEN)
            return
        if self.greenlet is not None:
            self.greenlet.kill(block=False)
        self.sock.close()


class _Again(ProtocolError):
    """A peer with the secret that must not be answered: other secrets of this side need not be tried."""


class _SpeaksWithoutTls(ProtocolError):
    """A peer with the secret must be told that it needs a certificate."""


_NOT_PROVEN = "it has not proved that it has the secret"


class Listener:
    """Accepts connections, and admits peers that have the secret: `doors` has the secrets for each pair of roles.

    If `host` is '0.0.0.0', it listens on all addresses of both kinds. `others` are additional addresses, with the port
    of the first. `on_connection` receives a socket, its keys and roles; it creates a `Connection`, which counts as
    admitted when its first frame was decrypted. Raises OSError.
    """

    def __init__(
        self,
        host: str,
        port: int,
        doors: Mapping[bytes, Sequence[bytes]],
        instance: bytes,
        on_connection: OnConnection,
        tls: Tls | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self._tls = tls
        self._instance = instance
        self._on_connection = on_connection
        #: The pairs of roles for each secret.
        self._roles: dict[bytes, list[bytes]] = {}
        for roles, keys in doors.items():
            for psk in keys:
                self._roles.setdefault(psk, []).append(roles)
        self._certificate = NO_CERTIFICATE if tls is None else tls.digest
        self._numbers = itertools.count()
        self._strangers: dict[int, _Stranger] = {}
        places = min(PLACES, descriptor_limit() // DESCRIPTORS_PART)
        self._places = Places(places, places // 2)
        self._provers: dict[int, _Prover] = {}
        proving = min(PROVING, places // 2)
        self._proving = Places(proving, proving // 2)
        self._answers = Answers()
        self._memory = ReplayMemory()
        self._limited = LimitedLog(logger)
        self._loop: EventLoop | None = None
        self._timer: Watcher | None = None
        self._sockets = listening_sockets(host, port)
        try:
            for other in others:
                self._sockets += _listening_too(other, self._sockets)
        except BaseException:
            for sock in self._sockets:
                sock.close()
            raise
        self.host, self.port = host_of(self._sockets[0].getsockname()), self._sockets[0].getsockname()[1]
        self._acceptor = Acceptor(self._sockets, self._arrive)

    def start(self) -> None:
        self._loop = gevent.get_hub().loop
        self._timer = self._loop.timer(SWEEP_INTERVAL, SWEEP_INTERVAL, ref=False)
        self._timer.start(guarded(self._sweep, "the check for slow strangers"))
        self._acceptor.start()

    def close(self) -> None:
        """Accept no more connections, and close those not admitted."""
        self._acceptor.close()
        if self._timer is not None:
            self._timer.stop()
        for number in list(self._strangers):
            self._forget(number)
        for number in list(self._provers):
            self._dismiss(number)
        for sock in self._sockets:
            sock.close()

    # Strangers: in callbacks of the loop

    def _arrive(self, fd: int, sockaddr: SocketAddress) -> None:
        os.set_blocking(fd, False)
        host = host_of(sockaddr)
        until = time.monotonic() + config.msg_timeout()
        stranger = _Stranger(fd, host, _network_of(host), until)
        if self._read(stranger):
            return
        number = next(self._numbers)
        loser = self._places.arrive(number, stranger.address)
        if loser is not None:
            self._strangers.pop(loser).close()
        self._strangers[number] = stranger
        assert self._loop is not None
        stranger.watcher = self._loop.io(fd, 1)
        stranger.watcher.start(guarded(self._go_on, "a new connection", lambda error: self._lose(number)), number)

    def _go_on(self, number: int) -> None:
        if self._read(self._strangers[number]):
            self._places.leave(number)
            del self._strangers[number]

    def _lose(self, number: int) -> None:
        """It cannot be processed, because of a defect."""
        if number in self._strangers:
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._places.leave(number)
        self._strangers.pop(number).close()

    def _sweep(self) -> None:
        """Close expired strangers. They are in their table in order of arrival."""
        now = time.monotonic()
        while self._strangers:
            number, stranger = next(iter(self._strangers.items()))
            if stranger.until > now:
                break
            self._log("it did not finish the handshake in time", stranger.host, TimeoutError)
            self._forget(number)
        for number in [number for number, prover in self._provers.items() if prover.until <= now]:
            self._dismiss(number)

    def _read(self, stranger: _Stranger) -> bool:
        """Read the available part of its beginning; returns whether it is no longer a stranger: refused, or
        processed."""
        try:
            while True:
                wanted = self._wanted(stranger.data)
                if not wanted:
                    self._judge(stranger)
                    return True
                data = os.read(stranger.fd, wanted)
                if not data:
                    raise ProtocolError("it closed the connection during the handshake")
                stranger.data += data
        except BlockingIOError:
            return False
        except (ProtocolError, PeerRejected, OSError) as error:
            self._log(_reason(error), stranger.host, type(error))
            self._answer_last(stranger, error)
            stranger.close()
            return True

    def _wanted(self, data: bytes) -> int:
        """The number of missing bytes of a beginning. Raises ProtocolError and PeerRejected for one that cannot become
        valid."""
        if len(data) < len(MAGIC):
            return len(MAGIC) - len(data)
        refuse_other_version(data)
        if data.startswith(MAGIC):
            return FIRST_BYTES - len(data)
        if not data.startswith(b"\x16\x03"):
            raise ProtocolError("it does not speak the gdispy protocol")
        if self._tls is None:
            raise ProtocolError("it speaks TLS, and this side has no certfile")
        return record_length(data[:RECORD_HEAD]) - len(data)

    def _answer_last(self, stranger: _Stranger, error: Exception) -> None:
        """The answer for a peer with the secret, or with another version, that is refused."""
        if isinstance(error, PeerRejected):
            answer = _version_answer()
        elif isinstance(error, ClockRefused):
            answer = error.answer
        elif isinstance(error, _SpeaksWithoutTls):
            answer = ALERT
        else:
            return
        if self._answers.may_answer(stranger.address, time.monotonic()):
            with contextlib.suppress(OSError):
                os.write(stranger.fd, answer)
                os.read(
                    stranger.fd, _UNREAD
                )  # Closing with unread bytes resets the connection, and the answer would be lost.

    def _judge(self, stranger: _Stranger) -> None:
        """Its beginning is complete. Raises ProtocolError if it does not prove the secret."""
        now, first = time.time(), stranger.data
        if not first.startswith(MAGIC):
            name = server_name_in(first)
            self._admit(self._key_of(name, now), stranger)
            self._begin(stranger, self._enter_tunnel)
            return
        if self._tls is not None:
            self._open(first, now, NO_CERTIFICATE, lambda key: None)
            raise _SpeaksWithoutTls("it speaks without TLS, and this side has a certfile")
        second, keys, roles = self._open(first, now, NO_CERTIFICATE, lambda key: self._admit(key, stranger))
        self._begin(stranger, self._answer, second, keys, roles)

    def _key_of(self, name: str, now: float) -> bytes:
        """The identifier of a ClientHello with this server name. Raises ProtocolError if it is not made with the
        secret."""
        for psk in self._roles:
            with contextlib.suppress(ProtocolError):
                return check_server_name(psk, name, now)
        raise ProtocolError("the server name of its ClientHello does not fit the secret, or its clock this one")

    def _open(
        self, first: bytes, now: float, certificate: bytes, admit: Callable[[bytes], None]
    ) -> tuple[bytes, Keys, bytes]:
        """The answer to a first message, the keys, and the roles. Raises ProtocolError."""
        trouble = ProtocolError("the first message of a handshake does not fit the secret")
        for psk, roles in self._roles.items():
            responder = Responder(psk, roles, secrets.token_bytes(32), self._instance, certificate)
            try:
                return responder.answer(first, now, admit)
            except (ClockRefused, _Again):
                raise
            except ProtocolError as error:
                trouble = error
        raise trouble

    def _admit(self, key: bytes, stranger: _Stranger) -> None:
        """Raise ProtocolError for a valid first message that must not be answered: a replay, or one too many."""
        self._note(key)
        if not self._answers.may_answer(stranger.address, time.monotonic()):
            raise _Again("too many attempts")

    def _note(self, key: bytes) -> None:
        if not self._memory.note(key, time.monotonic()):
            raise _Again("its first message was seen before, so it is a replay")

    # Peers with a valid first message: in greenlets

    def _begin(
        self, stranger: _Stranger, work: Callable[[_Prover, bytes, Unpack[Args]], _Answered], *args: Unpack[Args]
    ) -> None:
        """It has proved the secret, or is a replay; it gets one of the places for those."""
        stranger.stop_reading()
        family = socket.AF_INET6 if ":" in stranger.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, 0, fileno=stranger.fd)
        prover = _Prover(sock, stranger.address, stranger.host, stranger.until)
        number = next(self._numbers)
        loser = self._proving.arrive(number, prover.address)
        if loser is not None:
            self._dismiss(loser)
        self._provers[number] = prover
        prover.greenlet = spawn(self._prove, number, prover, work, stranger.data, *args, what="a new connection")

    def _prove(
        self,
        number: int,
        prover: _Prover,
        work: Callable[[_Prover, bytes, Unpack[Args]], _Answered],
        beginning: bytes,
        *args: Unpack[Args],
    ) -> None:
        try:
            with gevent.Timeout(max(0.0, prover.until - time.monotonic()), TimeoutError("too slow")):
                way, keys, roles = work(prover, beginning, *args)
            connection = self._on_connection(way, keys, roles)
        except (OSError, ProtocolError, PeerRejected) as error:
            self._log(_reason(error), prover.host, type(error))
        except Exception as error:
            text = "gdispy: a defect with a new connection"
            self._limited.log_failure(logging.CRITICAL, type(error), error, text)
        else:
            prover.greenlet, prover.connection = None, connection
            connection.when_proven(lambda proven: self._proved(number, proven))
            return
        prover.greenlet = None
        self._dismiss(number)

    def _answer(self, prover: _Prover, first: bytes, second: bytes, keys: Keys, roles: bytes) -> _Answered:
        tune(prover.sock)
        prover.sock.sendall(second)
        return prover.sock, keys, roles

    def _enter_tunnel(self, prover: _Prover, beginning: bytes) -> _Answered:
        assert self._tls is not None
        tune(prover.sock)
        tunnel = self._tls.accept(prover.sock, beginning)
        first = b""
        while len(first) < FIRST_BYTES:
            more = tunnel.recv(FIRST_BYTES - len(first))
            if not more:
                raise ProtocolError("it closed the connection during the handshake")
            first += more
            if len(first) >= len(MAGIC):
                self._refuse_within(tunnel, first)
        second, keys, roles = self._open(first, time.time(), self._certificate, self._note)
        tunnel.sendall(second)
        return tunnel, keys, roles

    def _refuse_within(self, tunnel: Tunnel, first: bytes) -> None:
        """Tell a peer of another version the version of this side."""
        try:
            refuse_other_version(first)
        except PeerRejected:
            tunnel.sendall(_version_answer())
            raise
        if not first.startswith(MAGIC):
            raise ProtocolError("it does not speak the gdispy protocol within TLS")

    def _proved(self, number: int, proven: bool) -> None:
        """The first sealed frame of a connection was decrypted, or the connection has ended before."""
        prover = self._provers.pop(number, None)
        if prover is not None:
            self._proving.leave(number)
            if proven:
                self._answers.give_back(prover.address)

    def _dismiss(self, number: int) -> None:
        self._proving.leave(number)
        prover = self._provers.pop(number, None)
        if prover is not None:
            prover.close()

    def _log(self, reason: str, host: str, kind: type) -> None:
        """At most one line per second for each kind of problem, so that a flood does not hide a wrong version. It
        contains no bytes of the peer."""
        self._limited.log(logging.INFO, kind, "refused a connection from %s: %s", host, reason)


def _network_of(host: str) -> str:
    """The unit of addresses for limits: for IPv6 the network of a link, in which one host may have any number of
    them."""
    if ":" not in host:
        return host
    with contextlib.suppress(OSError):
        return str(socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex())
    return host


def tune(sock: socket.socket, keep_alive: Sequence[tuple[str, int]] = KEEP_ALIVE) -> None:
    """Options of each connection: no delay, and early detection of a lost peer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in keep_alive:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _version_answer() -> bytes:
    """The message that tells a program of another version the version of this side."""
    version = config.VERSION.encode()
    return MAGIC + bytes([len(version)]) + version


def _reason(error: Exception) -> str:
    """The reason why a connection is refused."""
    return f"the connection broke: {plain(error)}" if isinstance(error, OSError) else str(error)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets with the same port. Raises OSError."""
    first = _listening_socket(host, port)
    if host != "0.0.0.0":
        return [first]
    try:
        return [first, _listening_socket("::", first.getsockname()[1])]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            logger.warning("not listening on IPv6: port %d is in use there", first.getsockname()[1])
        return [first]


def _listening_too(host: str, there: list[socket.socket]) -> list[socket.socket]:
    """A listening socket on one more address; None if that is an address of an existing one under another name."""
    port = there[0].getsockname()[1]
    address = resolve(host, port, socket.SOCK_STREAM)[0][4][0]
    return [] if address in [sock.getsockname()[0] for sock in there] else [_listening_socket(host, port)]


def _listening_socket(host: str, port: int) -> socket.socket:
    family, _, _, _, sockaddr = resolve(host, port, socket.SOCK_STREAM)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
