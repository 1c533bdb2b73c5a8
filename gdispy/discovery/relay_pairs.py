"""Pairs of connections of a relay: all bytes are copied in both directions.

Runs in the relay's loop; each direction has a greenlet.

Invariants: at most `PAIRS` pairs are open or being opened; an idle pair is closed, and so is a pair with one direction
closed and the other idle. Only connections of gdispy are forwarded, as far as their first bytes show.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import ProtocolError
from gdispy.net import read_exactly
from gdispy.protocol.handshake import MAGIC
from gdispy.runtime.greenlets import spawn

#: Maximum number of pairs.
PAIRS = 1024
#: Seconds without data after which a pair is closed. Heartbeats of idle connections are at most 6000 s apart.
IDLE_LIMIT = 7200.0
#: The same if one direction has ended.
HALF_OPEN_LIMIT = 60.0
#: Seconds between two checks.
CHECK_INTERVAL = 10.0
#: Valid first bytes of a connection: of gdispy's handshake in any version, or of TLS.
_BEGINNINGS = (MAGIC[:6], b"\x16\x03")
#: As `listener.KEEP_ALIVE`, for the connections of a pair.
KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_PIECE = 256 * 1024


class JoinedConnections:
    """All pairs of a relay."""

    def __init__(self, limit: int = PAIRS) -> None:
        self._limit = limit
        self._open = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Reserves one pair, from before the second connection is opened until both are closed. Raises ProtocolError if
        all are in use."""
        if self._open >= self._limit:
            raise ProtocolError(f"{self._limit} connections are relayed already")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def join(
    asker: socket.socket, goal: socket.socket, idle: float = IDLE_LIMIT, half_open: float = HALF_OPEN_LIMIT
) -> None:
    """Copy all bytes in both directions until both have ended, or are idle. Closes neither. Raises OSError,
    PeerRejected or ProtocolError if the first bytes are not those of a connection of gdispy."""
    with gevent.Timeout(config.msg_timeout(), TimeoutError("too slow")):
        goal.sendall(_beginning(asker))
    pair = _Pair(asker, goal)
    greenlets = [
        spawn(pair.copy, *ends, what="a relayed connection", on_failure=pair.end)
        for ends in ((asker, goal), (goal, asker))
    ]
    try:
        while len(gevent.joinall(greenlets, timeout=min(CHECK_INTERVAL, idle, half_open))) < len(greenlets):
            if time.monotonic() - pair.last > (half_open if pair.is_half_open else idle):
                return
    finally:
        gevent.killall(greenlets)


def _beginning(asker: socket.socket) -> bytes:
    data = read_exactly(asker, len(_BEGINNINGS[0]))
    if not data.startswith(_BEGINNINGS):
        raise ProtocolError("the data to relay is not a gdispy connection")
    return data


class _Pair:
    """Two connections."""

    def __init__(self, asker: socket.socket, goal: socket.socket) -> None:
        self._sockets = asker, goal
        #: Time of the last copied data.
        self.last = time.monotonic()
        self.is_half_open = False

    def copy(self, source: socket.socket, goal: socket.socket) -> None:
        """Copy one direction; its end is passed on, so that no data is lost and each side sees the end."""
        try:
            while data := source.recv(_PIECE):
                self.last = time.monotonic()
                goal.sendall(data)
                self.last = time.monotonic()
            self.is_half_open = True
            goal.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.end(error)

    def end(self, error: BaseException) -> None:
        """One direction has failed: stop both."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
