"""Writes frames to the socket of one connection. Runs in the connection's loop.

Invariant: bytes are sent in order; after a partial write, the rest is sent first.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from gevent import socket

from gdispy.protocol.wire import Frame

#: Maximum number of pieces in one write; the system accepts at most 1024.
WRITE_PIECES = 64


class SocketWriter:
    """The output of one connection."""

    def __init__(self, fd: int, seal: Callable[[bytes], bytes] | None) -> None:
        """`seal`, of a TLS tunnel, encrypts bytes before they are written."""
        self._fd = fd
        self._seal = seal
        #: Whether bytes are encrypted by a TLS tunnel.
        self.is_tunnel = seal is not None
        #: Bytes that did not fit into the socket.
        self.rest: Frame = b""
        #: Total number of bytes written.
        self.sent = 0

    def sealed(self, frames: list[Frame]) -> list[Frame]:
        """The bytes to write for these frames."""
        return frames if self._seal is None or not frames else [self._seal(b"".join(frames))]

    def write_at_once(self, pieces: list[Frame]) -> None:
        """Write what fits into the socket; the rest is kept."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        try:
            written = os.write(self._fd, data)
        except OSError:  # The socket is full, or broken: the writer greenlet meets the same error and handles it.
            written = 0
        self.sent += written
        if written < len(data):
            self.rest = data[written:]

    def write_all(self, pieces: list[Frame]) -> int:
        """Write pieces without joining them, as many as the system accepts, and wait for room; returns the number of
        bytes. Raises OSError."""
        size = sum(map(len, pieces))
        left = size
        while left:
            try:
                written = os.writev(self._fd, pieces[:WRITE_PIECES])
            except BlockingIOError:
                socket.wait_write(self._fd)
                continue
            left -= written
            while written and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = memoryview(pieces[0])[written:]
        self.sent += size
        return size
