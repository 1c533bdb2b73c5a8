"""Writes frames into the socket of one connection. Runs in the connection's loop.

Invariant: bytes leave in the order in which they were given; of a write that took a part, the rest goes first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from gevent import socket

#: Pieces in one write; the system takes no more than 1024.
WRITE_PIECES = 64


class SocketWriter:
    """The way out of one connection."""

    def __init__(self, fd: int, seal: Callable[[bytes], bytes] | None) -> None:
        """`seal`, of a TLS tunnel, makes what is to be written from bytes."""
        self._fd = fd
        self._seal = seal
        #: Bytes that did not fit into the socket.
        self.rest: Any = b""
        #: Bytes written so far.
        self.sent = 0

    @property
    def is_tunnel(self) -> bool:
        return self._seal is not None

    def sealed(self, frames: list[Any]) -> list[Any]:
        """What is to be written for these frames."""
        return frames if self._seal is None or not frames else [self._seal(b"".join(frames))]

    def write_at_once(self, pieces: list[Any]) -> None:
        """Write what fits into the socket; the rest is kept."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        try:
            written = os.write(self._fd, data)
        except OSError:  # The socket is full, or broken: whoever waits to write meets that too, and deals with it.
            written = 0
        self.sent += written
        if written < len(data):
            self.rest = data[written:]

    def write_all(self, pieces: list[Any]) -> int:
        """Write as they are, without joining them, as many pieces as the system takes, and wait for room; how many
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
