"""The interface of networking: connecting over TCP with the handshake, listeners (`transport/listener.py`), memory
pairs.

Runs on one gevent loop. Its results are `connection.Connection` objects.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import ConnectFailed, PeerRejected, ProtocolError
from gdispy.protocol.address import Address
from gdispy.protocol.discovery import OPENED, PACKET_BYTES, THROUGH, Packet, pack, unpack
from gdispy.protocol.field_checks import INSTANCE_BYTES
from gdispy.protocol.handshake import (
    MAGIC,
    NO_CERTIFICATE,
    SECOND_BYTES,
    Initiator,
    Keys,
    refuse_other_version,
    server_name,
)
from gdispy.protocol.limits import printable
from gdispy.protocol.secretbox import NONCE_BYTES
from gdispy.transport.connection import ConnectedSocket, Connection, Handlers, plain
from gdispy.transport.interfaces import resolve
from gdispy.transport.listener import Listener as Listener
from gdispy.transport.listener import tune

if TYPE_CHECKING:
    from gdispy.transport.tls import Tls

#: Seconds for a peer of another version to send its version of gdispy.
VERSION_LIMIT = 1.0
#: TCP segment size, in both directions, that passes wherever IPv6 does: some paths drop longer packets silently.
SMALL_SEGMENT = 1200


class SecretDiffers(PeerRejected):
    """The other side does not have this side's secret, or is not gdispy."""


@dataclass(frozen=True)
class RelayAddress:
    """The address of a relay for a peer that cannot be reached directly; the relay has only the key of discovery."""

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
    relay: RelayAddress | None = None,
    limit: float | None = None,
    small: bool = False,
    tls: Tls | None = None,
    advice: str = "",
) -> Connection:
    """Connect to a listener, described by `what`, and perform the handshake.

    `limit` is the timeout of the attempt in seconds, by default `config.msg_timeout()`; `advice` is for users if the
    secrets differ, see `Secret.advice`. Raises ConnectFailed or PeerRejected.
    """
    limit = config.msg_timeout() if limit is None else limit
    try:
        keys, sock = _open(host, port, psk, roles, source, what, relay, limit, small, tls, advice)
        try:
            return Connection(sock, keys, handlers)
        except BaseException:
            sock.close()
            raise
    except _FAILURES as error:
        raise ConnectFailed(f"{Address(host, port)} cannot be reached: {_reason(error)}") from error


#: Exceptions of a step of connecting, besides those of this module: from sockets and names that the system, the codec
#: of host names or Python refuse, and from invalid data of the other side.
_FAILURES = (OSError, ValueError, OverflowError, ProtocolError)


def _reason(error: Exception) -> str:
    return printable(plain(error) if isinstance(error, OSError) else str(error))


def _open(
    host: str,
    port: int,
    psk: bytes,
    roles: bytes,
    source: str,
    what: str,
    relay: RelayAddress | None,
    limit: float,
    small: bool,
    tls: Tls | None,
    advice: str,
) -> tuple[Keys, ConnectedSocket]:
    """Keys, and a socket after the handshake."""
    where = str(Address(host, port))
    if relay is None:
        sock = reach(host, port, what, source, limit, small)
    else:
        sock = _reach_through(relay, where, source, limit, small)
        where = f"{where} through the relay at {Address(relay.host, relay.port)}"
    try:
        tune(sock)
        with gevent.Timeout(config.msg_timeout(), TimeoutError("no answer")):
            if tls is not None:
                name = server_name(psk, secrets.token_bytes(16), time.time())
                sock = tls.connect(sock, name)
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
    return keys, sock


def reach(host: str, port: int, what: str, source: str, limit: float, small: bool = False) -> socket.socket:
    """A socket connected to the address; with `small`, for short packets. Raises ConnectFailed."""
    where = str(Address(host, port))
    try:
        with gevent.Timeout(limit, TimeoutError(f"its address was not resolved within {limit:.0f} s")):
            rows = resolve(host, port, socket.SOCK_STREAM)
    except _FAILURES as error:
        raise ConnectFailed(_why_not(what, where, port, error)) from error
    trouble: Exception = TimeoutError("no answer")
    until = time.monotonic() + limit
    for tried, (family, _, _, _, sockaddr) in enumerate(rows):
        # If a name has several addresses, an address that drops all packets leaves time for the others.
        share = (until - time.monotonic()) / (len(rows) - tried)
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            if small:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
            if source and (":" in source) == (family == socket.AF_INET6):
                sock.bind((source, 0))
            with gevent.Timeout(max(0.1, share), TimeoutError(f"no answer within {limit:.0f} s")):
                sock.connect(sockaddr)
            return sock
        except _FAILURES as error:
            _close(sock)
            trouble = error
        except BaseException:
            _close(sock)
            raise
    raise ConnectFailed(_why_not(what, where, port, trouble)) from trouble


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()


def _reach_through(relay: RelayAddress, where: str, source: str, limit: float, small: bool) -> socket.socket:
    """A socket that a relay has connected to the address."""
    sock = reach(relay.host, relay.port, "relay", source, limit, small)
    ask = Packet(THROUGH, secrets.token_bytes(INSTANCE_BYTES), time.time(), 0, where, "")
    place = str(Address(relay.host, relay.port))
    try:
        with gevent.Timeout(2 * config.msg_timeout(), TimeoutError("it does not answer")):
            sock.sendall(pack(relay.key, ask, secrets.token_bytes(NONCE_BYTES)))
            answer = unpack(relay.key, read_exactly(sock, PACKET_BYTES))
        if answer.kind != OPENED:
            reason = printable(answer.name) or "no reason given"
            raise ConnectFailed(f"the relay at {place} cannot reach {where}: {reason}")
    except (*_FAILURES, PeerRejected) as error:
        sock.close()
        raise ConnectFailed(f"the relay at {place} does not connect: {printable(str(error))}") from error
    except BaseException:
        sock.close()
        raise
    return sock


_WANTS_TLS = "it has a certfile and accepts only TLS: give this side a certfile as well"
_CLOSED_EARLY = (
    "it closed the connection during the handshake: its secret differs from this side's, or it is not a gdispy port"
)


def _shake_hands(sock: ConnectedSocket, psk: bytes, roles: bytes) -> Keys:
    initiator = Initiator(psk, roles, secrets.token_bytes(32), time.time(), getattr(sock, "digest", NO_CERTIFICATE))
    sock.sendall(initiator.first)
    beginning = read_exactly(sock, len(MAGIC))
    refuse_other_version(beginning, lambda: _version_behind(sock))
    try:
        return initiator.finish(beginning + read_exactly(sock, SECOND_BYTES - len(MAGIC)))
    except ProtocolError as error:
        raise SecretDiffers(f"{printable(str(error))}: its secret differs, or it is not a gdispy port") from error


def _version_behind(sock: ConnectedSocket) -> str:
    """The version of gdispy of the other side, if it sends it after its magic; else ''."""
    with gevent.Timeout(VERSION_LIMIT, False), contextlib.suppress(OSError, PeerRejected):
        text = read_exactly(sock, read_exactly(sock, 1)[0]).decode("ascii", "replace")
        return text if re.fullmatch(r"[0-9A-Za-z.+-]{1,32}", text) else ""
    return ""


def read_exactly(sock: ConnectedSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise PeerRejected(_WANTS_TLS) if data.startswith(b"\x15\x03") else SecretDiffers(_CLOSED_EARLY)
        data += more
    return data


def _why_not(what: str, where: str, port: int, error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"{where} cannot be reached: {_reason(error)}"
    if error.errno == errno.ECONNREFUSED:
        return f"no {what} is listening at {where} (connection refused): start it there"
    if isinstance(error, socket.gaierror):
        return f"the host name in {where} cannot be resolved: {plain(error)}"
    if isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ECONNRESET):
        return f"{where} cannot be reached: {plain(error)}: is TCP {port} open in its firewall?"
    return f"{where} cannot be reached: {plain(error)}"
