"""A connection of an independent peer: a plain socket, TLS or not, and what frames.py makes of its bytes.

One thread. All waiting happens in `receive`, which gives signs of life meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import time
from collections import deque
from typing import Any

from tests.independent import frames
from tests.independent.frames import Bye, Opener, Reader, Sealer, Writer
from tests.independent.keys import (
    NO_CERTIFICATE,
    Identity,
    Initiator,
    Keys,
    Refused,
    Responder,
    check_proof,
    server_name,
)
from tests.independent.messages import Message

VERSION = "0.1.0"
REFUSAL = "a message is refused: "
#: Seconds that it waits for anything.
PATIENCE = 20.0


class Closed(Exception):
    """The connection is over; the message is the reason of BYE, or ''."""


def now_ms() -> int:
    return int(time.time() * 1000)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise Refused(f"closed in the handshake after {data.hex()}")
        data += more
    return data


def _tls(psk: bytes, sock: socket.socket, certfile: str) -> tuple[socket.socket, bytes]:
    """TLS 1.3 as a client, and the SHA-256 of the responder's certificate, which must be in the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    tunnel = context.wrap_socket(sock, server_hostname=server_name(psk, now_ms()))
    certificate = tunnel.getpeercert(binary_form=True) or b""
    with open(certfile) as file:
        known = ssl.PEM_cert_to_DER_cert(file.read())
    if certificate != known:
        raise Refused("another certificate")
    return tunnel, hashlib.sha256(certificate).digest()


class Link:
    """A connection whose handshake is done."""

    def __init__(self, sock: socket.socket, keys: Keys, identity: Identity) -> None:
        self._sock, self._keys, self.identity = sock, keys, identity
        self._sealer, self._opener = Sealer(keys.send), Opener(keys.receive)
        self._writer, self._reader = Writer(), Reader()
        self._arrived: deque[Message | Bye] = deque()
        self.interval = 5.0
        self._sent = self._heard = time.monotonic()
        #: The `Hello` of the other side, when it has come.
        self.hello: dict[str, Any] = {}

    @classmethod
    def connect(
        cls, place: tuple[str, int], psk: bytes, roles: str, identity: Identity | None = None, certfile: str = ""
    ) -> Link:
        """Connect and shake hands. Raises Refused, OSError."""
        sock = socket.create_connection(place, PATIENCE)
        try:
            digest = NO_CERTIFICATE
            if certfile:
                sock, digest = _tls(psk, sock, certfile)
            initiator = Initiator(psk, roles, now_ms(), certificate=digest)
            sock.sendall(initiator.first)
            beginning = exactly(sock, 8)
            if beginning[:8] != initiator.first[:8]:
                initiator.finish(beginning)
            return cls(sock, initiator.finish(beginning + exactly(sock, 72)), identity or Identity())
        except BaseException:
            sock.close()
            raise

    @classmethod
    def accept(cls, sock: socket.socket, responder: Responder, identity: Identity) -> Link:
        """Shake hands with a peer that has connected. Raises Refused, OSError."""
        sock.settimeout(PATIENCE)
        try:
            second, keys, _ = responder.answer(exactly(sock, 64), now_ms())
            sock.sendall(second)
        except Refused as refusal:
            if refusal.answer:
                sock.sendall(refusal.answer)
            raise
        return cls(sock, keys, identity)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    # Sending

    def introduce(self, role: str, cpus: int = 0, pulse: float = 0.0, **fields: Any) -> None:
        """Say who this is."""
        about = {"role": role, "instance": self.identity.instance, "name": f"independent {role}", "version": VERSION}
        about |= {"python": "3.10", "platform": "linux", "cpus": cpus, "address": "", "pulse": pulse}
        self.send("Hello", **about, proof=self.identity.proof(self._keys.own_binding), **fields)

    def send(self, name: str, /, follows: bool = False, **fields: Any) -> None:
        """Send a message, as far as the window allows; the rest leaves in `receive`."""
        self._writer.put(name, fields, follows)
        self._flush()

    def chunk(self, chunk: bytes) -> None:
        """Send a chunk, whatever is in it."""
        self.write(self._sealer.frame(chunk))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.settimeout(PATIENCE)
        self._sock.sendall(data)
        self._sent = time.monotonic()

    def close(self, reason: str) -> None:
        while not self._writer.is_idle:
            self._take(0.1)
        self.chunk(bytes([frames.BYE]) + reason.encode())
        self._sock.close()

    def _flush(self) -> None:
        while chunk := self._writer.chunk():
            self.chunk(chunk)

    # Receiving

    def receive(self, *names: str, within: float = PATIENCE) -> Message:
        """The next message, or the next of these; those before it are dropped. Raises Closed, Refused, TimeoutError."""
        until = time.monotonic() + within
        while True:
            while self._arrived:
                found = self._arrived.popleft()
                if isinstance(found, Bye):
                    raise Closed(found.reason)
                if not names or found[0] in names:
                    return found
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {' or '.join(names)} came")
            self._take(min(left, self.interval / 5))

    def _take(self, wait: float) -> None:
        """Read what comes, for as long as this, and give signs of life."""
        pending = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        if not pending and not select.select([self._sock], [], [], wait)[0]:
            if time.monotonic() - self._sent > 0.9 * self.interval:
                self.chunk(bytes([frames.PULSE, 1]))
            if time.monotonic() - self._heard > self.interval * (6 if self._reader.promised == 1 else 18):
                raise Closed("nothing was heard")
            return
        try:
            data = self._sock.recv(262_144)
        except (ConnectionError, TimeoutError):
            data = b""
        if not data:
            raise Closed("")
        self._heard = time.monotonic()
        self._read(data)

    def _read(self, data: bytes) -> None:
        for chunk in self._opener.chunks(data):
            try:
                self._arrived += map(self._checked, self._reader.read(chunk))
            except Refused as refusal:
                self.refuse(str(refusal))
                raise
        self._writer.window += self._reader.granted
        self._reader.granted = 0
        if self._reader.owed >= frames.CREDIT_STEP:
            self.chunk(bytes([frames.CREDIT]) + self._reader.owed.to_bytes(8, "big"))
            self._reader.owed = 0
        self._flush()

    def _checked(self, found: Message | Bye) -> Message | Bye:
        """What has come, after a look at who says so. Raises Refused."""
        if isinstance(found, Bye):
            return found
        name, fields = found
        if name == "Hello":
            check_proof(fields["instance"], fields["proof"], self._keys)
            self.hello = fields
        elif not self.hello:
            raise Refused("the first message was not Hello")
        return found

    def refuse(self, reason: str) -> None:
        """Say why the connection ends."""
        with contextlib.suppress(OSError):
            self.chunk(bytes([frames.BYE]) + f"{REFUSAL}{reason}".encode())
