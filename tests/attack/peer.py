"""Connections of attackers: plain blocking sockets, and the checkout's own handshake, so that they follow its protocol.

Called in the main thread, and in those of flooding processes. Every wait has a limit. What is sent goes around
`Sender.put`, which would bring it within its limits.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack

from gdispy.errors import GdispyError
from gdispy.protocol.handshake import FIRST_BYTES, NO_CERTIFICATE, SECOND_BYTES, Initiator, Keys, Responder, server_name
from gdispy.protocol.identity import SEED_BYTES, Identity
from gdispy.protocol.messages import Hello, Message
from gdispy.protocol.payload import Payload, joined
from gdispy.protocol.wire import LONG_MESSAGE, MESSAGES, STREAM, Bye, channel
from gdispy.transport.connection import any_sink

#: Seconds that an attacker waits for anything.
WAIT = 2.0
#: Bytes of a chunk that attackers make, and of a message that still goes into one.
PIECE = 60_000
#: Pieces that are read at once, from one who never ends.
READS = 100
FIRST, LAST = 1, 2

SCHEDULER, VISITOR, CLIENT, COMING = b"scheduler>node", b"visitor>node", b"client>scheduler", b"node>scheduler"


class Refused(Exception):
    """The other side did not answer as it does to those it lets in; or there is nothing at that address."""


def some_source(chance: random.Random) -> str:
    """One of the many addresses of this machine."""
    return f"127.{chance.randrange(10, 60)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def reach(place: tuple[str, int], source: str = "", wait: float = WAIT) -> socket.socket:
    """A socket that is connected. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(wait)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))
        sock.connect(place)
    except BaseException:
        sock.close()
        raise
    return sock


def open_tls(sock: socket.socket, psk: bytes) -> tuple[socket.socket, bytes]:
    """TLS over a connected socket, and the SHA-256 of the certificate that the other side has. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    tunnel = context.wrap_socket(sock, server_hostname=server_name(psk, os.urandom(16), time.time()))
    certificate = tunnel.getpeercert(binary_form=True)
    assert certificate is not None
    return tunnel, hashlib.sha256(certificate).digest()


def abort(sock: socket.socket) -> None:
    """Close with a reset, so that no port is kept for a minute."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_up_to(sock: socket.socket, size: int, within: float = WAIT) -> bytes:
    """So many bytes, or what came until the other side closed or the time was over."""
    until, data = time.monotonic() + within, b""
    with contextlib.suppress(OSError):
        while len(data) < size:
            sock.settimeout(max(0.001, until - time.monotonic()))
            more = sock.recv(size - len(data))
            if not more:
                break
            data += more
    return data


def pack(values: list[Any], refer: Callable[[Any], Any] | None = None) -> bytes:
    """A message in msgpack, whatever is in it that msgpack can express. `refer` makes something of what it cannot."""
    return bytes(msgpack.packb(values, unicode_errors="surrogatepass", default=refer))


def reference(number: int) -> msgpack.ExtType:
    """What stands in a message for a stream."""
    return msgpack.ExtType(1, struct.pack(">I", number & 0xFFFFFFFF))


#: Instances of honest processes, which attackers say to be.
POSED: set[bytes] = set()


class Peer:
    """A connection of somebody with the secret. Whatever it sends, `closed` says whether the other side has gone."""

    def __init__(self, sock: Any, keys: Keys, identity: Identity | None = None) -> None:
        self.sock = sock
        self.identity = identity or Identity(os.urandom(SEED_BYTES))
        self._keys = keys
        self.closed = False
        #: Why the other side has gone, as far as it said so.
        self.reason = ""
        self.instance = keys.instance
        self._sender, self._receiver = channel(keys, any_sink, lambda: None)
        self._next_stream = 1
        #: Not `select`, which knows no descriptors above 1023.
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._raw: Callable[..., Any] = self._sender._sealed  # What it seals is not looked at.

    @classmethod
    def connect(
        cls,
        place: tuple[str, int],
        psk: bytes,
        roles: bytes,
        source: str = "",
        tls: bool = False,
    ) -> Peer:
        """Connect and shake hands. Raises Refused."""
        try:
            sock = reach(place, source)
        except OSError as error:
            raise Refused(str(error)) from None
        try:
            sock, digest = open_tls(sock, psk) if tls else (sock, NO_CERTIFICATE)
            initiator = Initiator(psk, roles, os.urandom(32), time.time(), digest)
            sock.sendall(initiator.first)
            return cls(sock, initiator.finish(read_up_to(sock, SECOND_BYTES)))
        except (OSError, GdispyError) as error:
            sock.close()
            raise Refused(str(error)) from None

    @classmethod
    def accept(cls, server: socket.socket, psk: bytes, roles: bytes, within: float = WAIT) -> Peer:
        """Be connected to, as a false node or scheduler. Raises Refused."""
        sock: Any = None
        identity = Identity(os.urandom(SEED_BYTES))
        try:
            server.settimeout(within)
            sock = server.accept()[0]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            second, keys, _ = Responder(psk, [roles], os.urandom(32), identity.instance).answer(
                read_up_to(sock, FIRST_BYTES), time.time()
            )
            sock.sendall(second)
            return cls(sock, keys, identity)
        except (OSError, GdispyError) as error:
            if sock is not None:
                sock.close()
            raise Refused(str(error)) from None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        abort(self.sock)

    # Sending

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if self.closed:
            return
        try:
            self.sock.settimeout(WAIT)
            self.sock.sendall(data)
        except OSError as error:
            self.closed, self.reason = True, self.reason or str(error)

    def sealed(self, *parts: bytes) -> bytes:
        """A frame of these bytes, the first of which is the kind of chunk."""
        return b"".join(bytes(each) for each in self._raw(*parts))

    def chunk(self, *parts: bytes) -> None:
        self.write(self.sealed(*parts))

    def send(self, *messages: Message | list[Any]) -> None:
        """Messages, or arrays in the place of messages, the short ones together."""
        short: list[bytes] = []
        for each in messages:
            data = pack(each if isinstance(each, list) else self.own(each).values(), self._refer)
            if len(data) > PIECE:
                self._flush(short)
                self.stream(data, LONG_MESSAGE)
            elif sum(map(len, short)) + len(data) > PIECE:
                self._flush(short)
                short.append(data)
            else:
                short.append(data)
        self._flush(short)

    def own(self, message: Message) -> Message:
        """A message; as a `Hello`, with this peer's own instance and its proof, or else with that of somebody else."""
        if not isinstance(message, Hello) or message.proof:
            return message
        instance = message.instance if message.instance in POSED else self.identity.instance
        return replace(message, instance=instance, proof=self.identity.proof(self._keys.own_binding))

    def _refer(self, value: Any) -> Any:
        """Send a payload as a stream, and refer to that."""
        if isinstance(value, Payload):
            return reference(self.stream(joined(value)))
        return reference(self.stream(value.data, value.purpose))

    def _flush(self, packed: list[bytes]) -> None:
        if packed:
            self.chunk(bytes([MESSAGES]), *packed)
            packed.clear()

    def stream(self, data: bytes, purpose: int = 0) -> int:
        """A whole stream; its number."""
        number = self.new_stream()
        for offset in range(0, max(1, len(data)), PIECE):
            piece = data[offset : offset + PIECE]
            flags = (FIRST if offset == 0 else 0) | (LAST if offset + PIECE >= len(data) else 0)
            self.piece(number, flags, piece, len(data), purpose)
            if offset % (1 << 20) < PIECE:
                self.read()
        return number

    def new_stream(self) -> int:
        self._next_stream += 1
        return self._next_stream

    def piece(self, number: int, flags: int, data: bytes, size: int = 0, purpose: int = 0) -> None:
        """One chunk of a stream, as it may never be."""
        self.chunk(stream_head(number, flags, size, purpose), data)

    # Receiving

    def read(self, within: float = 0.0) -> list[Any]:
        """What has come; waits so long for the first of it."""
        found: list[Any] = []
        wait = within
        for _ in range(READS):
            if self.closed:
                break
            pending = getattr(self.sock, "pending", lambda: 0)()
            try:
                if not pending and not self._poll.poll(1000 * wait):
                    return found
                self.sock.settimeout(WAIT)
                data = self.sock.recv(262_144)
                found += self._receiver.receive(data) if data else []
                self.closed = not data
            except (OSError, GdispyError, ValueError) as error:
                self.closed, self.reason = True, self.reason or str(error)
            for each in found:
                if isinstance(each, Bye):
                    self.reason = each.reason
            wait = 0.0 if found else wait
        return found

    def until(self, kind: type[Any], within: float = WAIT) -> Any:
        """The first message of this kind that comes, or None."""
        until = time.monotonic() + within
        while not self.closed and (left := until - time.monotonic()) > 0:
            for each in self.read(left):
                if isinstance(each, kind):
                    return each
        return None

    def until_closed(self, within: float = WAIT) -> bool:
        """Whether the other side closes in time."""
        self.until(int, within)
        return self.closed


def stream_head(number: int, flags: int, size: int, purpose: int) -> bytes:
    """What a chunk of a stream begins with."""
    head = struct.pack(">BIB", STREAM, number & 0xFFFFFFFF, flags)
    return head + struct.pack(">QB", size & (1 << 64) - 1, purpose) if flags & FIRST else head
