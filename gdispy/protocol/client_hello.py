"""The first message of TLS, as far as a responder parses it before it allocates anything for the sender.

Pure. Formats as in RFC 8446, sections 4.1.2 and 5.1, and RFC 6066, section 3.
"""

from __future__ import annotations

from gdispy.errors import ProtocolError

#: Bytes before a record: its type, a version, its length.
RECORD_HEAD = 5
#: Maximum size of a first record. OpenSSL sends 300 to 1,800 bytes, depending on the kinds of keys that it offers.
RECORD_LIMIT = 4096

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


def record_length(head: bytes) -> int:
    """The length of the record with this head, including the head. Raises ProtocolError if it is not a first record of
    TLS."""
    if head[0] != _HANDSHAKE or head[1] != 3:
        raise ProtocolError("it does not speak TLS")
    length = RECORD_HEAD + int.from_bytes(head[3:RECORD_HEAD], "big")
    if length > RECORD_LIMIT:
        raise ProtocolError("its first message of TLS is too long")
    return length


def server_name_in(record: bytes) -> str:
    """The server name in a whole record, '' if there is none. Raises ProtocolError if it is not a ClientHello."""
    hello = _Reader(record[RECORD_HEAD:])
    if hello.number(1) != _CLIENT_HELLO:
        raise ProtocolError("it does not begin with a ClientHello")
    body = _Reader(hello.block(3))
    body.take(2 + 32)  # legacy_version, random
    for size in (1, 2, 1):  # legacy_session_id, cipher_suites, legacy_compression_methods
        body.block(size)
    extensions = _Reader(body.block(2))
    while extensions.is_left:
        kind, data = extensions.number(2), extensions.block(2)
        if kind == _SERVER_NAME:
            names = _Reader(_Reader(data).block(2))
            if names.number(1) == _HOST_NAME:
                return names.block(2).decode("ascii", "replace")
    return ""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def is_left(self) -> bool:
        return bool(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise ProtocolError("its ClientHello is incomplete")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> bytes:
        """Reads a length field of this many bytes, and the bytes after it."""
        return self.take(self.number(size))
