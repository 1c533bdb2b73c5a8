"""TLS around connections, for sites that require it: certificate files, and the tunnel between a socket and a
connection.

Imported only if a certificate file is given: `tls_files` checks the files in the user's thread or at the start of a
daemon.

TLS does not authenticate peers here. The handshake of `protocol/handshake.py` runs inside, with the SHA-256 of the
server's certificate in its prologue: it succeeds only if both sides see the same certificate and have the secret, so a
self-signed certificate is as good as any, and a man in the middle with another certificate fails.

Invariants:
1. Both sides use TLS 1.3, or there is no connection.
2. A server's certificate is one of those in this side's file: all sides have the same file, or each has its own
   certificate first in it, followed by those of the others.
3. All output goes through `seal` in order; nothing else is written to the socket.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import logging
import os
import re
from dataclasses import dataclass, field

from gevent import socket, ssl

from gdispy.errors import ConfigError, PeerRejected, ProtocolError

logger = logging.getLogger("gdispy")

#: Bytes read from the socket, and returned, at once.
READ_SIZE = 256 * 1024
#: The same during the handshake.
STRANGER_SIZE = 16 * 1024

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_CLOSED = "it closed the connection"
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


@dataclass(frozen=True)
class Tls:
    """The certificate files of one side."""

    certfile: str
    #: '' if the key is in the certificate's file, or there is none.
    keyfile: str
    #: SHA-256 of this side's certificate, and of all accepted certificates of servers.
    digest: bytes
    known: frozenset[bytes]
    for_clients: ssl.SSLContext = field(repr=False, compare=False)
    #: None without a key: then this side can connect, but not accept connections.
    for_servers: ssl.SSLContext | None = field(repr=False, compare=False)

    def connect(self, sock: socket.socket, name: str) -> Tunnel:
        """TLS over a connected socket; `name` is the requested server name. Raises PeerRejected, OSError."""
        tunnel = Tunnel(sock, self.for_clients, is_server=False, name=name)
        tunnel.shake_hands()
        if tunnel.digest not in self.known:
            raise PeerRejected(
                f"its certificate (SHA-256 {tunnel.digest.hex()[:16]}...) is not in {self.certfile}: it has a "
                "different certificate file, or the connection is intercepted"
            )
        return tunnel

    def accept(self, sock: socket.socket, beginning: bytes) -> Tunnel:
        """TLS over an accepted socket, of which `beginning` was read. Raises ProtocolError, OSError."""
        if self.for_servers is None:
            raise ProtocolError("this side has a certificate without its private key, so no peer can connect to it")
        tunnel = Tunnel(sock, self.for_servers, is_server=True)
        tunnel.shake_hands(beginning)
        tunnel.digest = self.digest
        return tunnel


class Tunnel:
    """TLS over a connected socket, with the interface of a socket that a handshake and a `Connection` use."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, is_server: bool, name: str | None = None) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=is_server, server_hostname=name)
        self._is_server = is_server
        #: SHA-256 of the server's certificate.
        self.digest = b""
        self.fileno, self.close, self.shutdown = sock.fileno, sock.close, sock.shutdown
        self.getpeername, self.getsockname = sock.getpeername, sock.getsockname

    def shake_hands(self, beginning: bytes = b"") -> None:
        """The handshake of TLS. `beginning` was read from the socket before."""
        self._in.write(beginning)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._give()
            except ssl.SSLError as error:
                raise self._failure(_reason(error)) from error
            try:
                data = self._sock.recv(STRANGER_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                raise self._failure(_CLOSED)
            self._in.write(data)
        self._give()
        if not self._is_server:
            self.digest = hashlib.sha256(self._tls.getpeercert(binary_form=True)).digest()

    def _failure(self, reason: str) -> ProtocolError | PeerRejected:
        if self._is_server:
            return ProtocolError(f"the TLS handshake failed: {reason}")
        if reason == _CLOSED:
            return PeerRejected(
                "it does not answer in TLS but closes the connection: its secret differs from this side's, or it has "
                "no certfile (give it one, or omit it on this side), or the clocks differ by more than an hour"
            )
        return PeerRejected(
            f"it does not answer in TLS ({reason}): give it a certfile as well, or omit it on this side"
        )

    def _give(self) -> None:
        data = self._out.read()
        if data:
            self._sock.sendall(data)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(self.seal(data))

    def seal(self, data: bytes) -> bytes:
        """The bytes to write to the socket for this data."""
        self._tls.write(data)
        return self._out.read()  # type: ignore[no-any-return]

    def recv(self, size: int) -> bytes:
        """At most `size` bytes from the peer; waits for the first. Empty at the end."""
        while True:
            data = self._opened(size)
            if data:
                return data
            more = self._sock.recv(READ_SIZE)
            if not more:
                return b""
            self._in.write(more)

    def _opened(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._tls.read(size)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def tls_files(certfile: str | None, keyfile: str | None, serves: bool, what: str = "") -> Tls | None:
    """The settings from these files; None if there are none. `serves`: this side accepts connections, which needs a
    key.

    `what` precedes the names of the parameters in messages. Raises ConfigError.
    """
    if not certfile and not keyfile:
        return None
    if not certfile:
        raise ConfigError(f"{what}keyfile is given without {what}certfile: give the certificate too")
    text = _read(certfile, f"{what}certfile")
    certificates = _certificates(text, certfile)
    key_text = _read(keyfile, f"{what}keyfile") if keyfile else text
    has_key = _KEY.search(key_text) is not None
    if not has_key and (keyfile or serves):
        where = keyfile or certfile
        raise ConfigError(f"{where} does not contain a private key: give the file that contains it with {what}keyfile")
    _tell_about(certfile, certificates[0], (keyfile or certfile) if has_key else "")
    for_clients = _context(ssl.PROTOCOL_TLS_CLIENT)
    for_servers = _context(ssl.PROTOCOL_TLS_SERVER) if has_key else None
    if for_servers is not None:
        _load_key(for_servers, certfile, keyfile or certfile)
    digests = [hashlib.sha256(each).digest() for each in certificates]
    paths = (os.path.abspath(certfile), os.path.abspath(keyfile) if keyfile else "")
    return Tls(*paths, digests[0], frozenset(digests), for_clients, for_servers)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # The handshake inside proves more than a signature would.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # Sessions are not resumed.
    return context


def _load_key(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
    def no_phrase() -> str:
        raise ConfigError(f"the private key in {keyfile} has a pass phrase: use a key without one (mode 0600)")

    try:
        context.load_cert_chain(certfile, keyfile, no_phrase)
    except ssl.SSLError as error:
        reason = _reason(error)
        if "mismatch" in reason:
            reason = "they do not match"
        raise ConfigError(f"the certificate in {certfile} and the key in {keyfile} cannot be used: {reason}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _read(path: str, name: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise ConfigError(f"{name} {path} cannot be read: {error.strerror}") from error


def _certificates(text: bytes, path: str) -> list[bytes]:
    """The certificates in a file of PEM text, in DER."""
    try:
        found = [base64.b64decode(b"".join(each.split()), validate=True) for each in _PEM.findall(text)]
    except binascii.Error:
        found = []
    if not found:
        raise ConfigError(
            f"{path} does not contain a certificate: it must be in PEM format (-----BEGIN CERTIFICATE-----)"
        )
    return found


def _tell_about(certfile: str, der: bytes, keyfile: str) -> None:
    """Warn of defects of the files that do no harm to peers with the secret."""
    end = expiry(der)
    if end is not None and end < datetime.datetime.now(datetime.timezone.utc):
        logger.warning(
            "the certificate in %s expired on %s; connections still work, since the secret authenticates both sides",
            certfile,
            end.date(),
        )
    if keyfile and os.stat(keyfile).st_mode & 0o007:
        logger.warning("other users can read the private key in %s: run chmod 600 on it", keyfile)


def expiry(der: bytes) -> datetime.datetime | None:
    """When a certificate expires; None if it is not structured as in RFC 5280."""
    try:
        place = _inside(der, _inside(der, 0))  # Certificate, TBSCertificate
        if der[place] == 0xA0:  # version
            place = _after(der, place)
        for _ in range(3):  # serialNumber, signature, issuer
            place = _after(der, place)
        end = _after(der, _inside(der, place))  # validity: notBefore, notAfter
        text = der[_inside(der, end) : _after(der, end)].decode("ascii")
        if der[end] == _UTC_TIME:
            text = ("19" if text >= "50" else "20") + text
        elif der[end] != _GENERALIZED_TIME:
            return None
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except (IndexError, ValueError):
        return None


def _header(der: bytes, place: int) -> tuple[int, int]:
    """Offset and length of the contents of the element at `place`."""
    length = der[place + 1]
    if length < 0x80:
        return place + 2, length
    size = length & 0x7F
    return place + 2 + size, int.from_bytes(der[place + 2 : place + 2 + size], "big")


def _inside(der: bytes, place: int) -> int:
    return _header(der, place)[0]


def _after(der: bytes, place: int) -> int:
    begin, length = _header(der, place)
    return begin + length
