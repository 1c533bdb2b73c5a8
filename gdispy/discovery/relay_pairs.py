"""Connections that a relay has joined in pairs: all bytes pass both ways, as long as both sides have something to say.

Called by `relay.py`, in its loop; each direction has a greenlet.

Invariants: at most `PAIRS` pairs are open or being opened; one over which nothing passes ends, and so does one of which
one direction has ended, when the other is idle. Only what begins as a connection of gdispy does passes.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import ProtocolError
from gdispy.net import read_exactly
from gdispy.protocol.handshake import MAGIC
from gdispy.runtime.greenlets import spawn

#: Pairs at the same time.
PAIRS = 1024
#: Seconds without a byte after which a pair ends. Signs of life of connections at rest are 6000 s apart at most.
IDLE_LIMIT = 7200.0
#: The same where one direction has ended.
HALF_OPEN_LIMIT = 60.0
#: Seconds between two looks.
CHECK_INTERVAL = 10.0
#: What the first bytes of a connection are: those of gdispy's handshake in each of its versions, or of one of TLS.
_BEGINNINGS = (MAGIC[:6], b"\x16\x03")
#: What `listener.KEEP_ALIVE` is, for the connections of a pair.
KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_PIECE = 256 * 1024


class JoinedConnections:
    """All pairs of a relay."""

    def __init__(self, limit: int = PAIRS) -> None:
        self._limit = limit
        self._open = 0

    @contextlib.contextmanager
    def place(self) -> Any:
        """A place for one pair, from before the second connection is opened until both are closed. Raises ProtocolError
        where all are taken."""
        if self._open >= self._limit:
            raise ProtocolError(f"{self._limit} connections are relayed already")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def join(asker: Any, goal: Any, idle: float = IDLE_LIMIT, half_open: float = HALF_OPEN_LIMIT) -> None:
    """Pass on all bytes both ways until both directions have ended, or nothing passes any more. Closes neither. Raises
    OSError, PeerRejected or ProtocolError where what the asker says first is not a connection of gdispy."""
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


def _beginning(asker: Any) -> bytes:
    data = read_exactly(asker, len(_BEGINNINGS[0]))
    if not data.startswith(_BEGINNINGS):
        raise ProtocolError("the data to relay is not a gdispy connection")
    return data


class _Pair:
    """Two connections."""

    def __init__(self, asker: Any, goal: Any) -> None:
        self._sockets = asker, goal
        #: When something passed last.
        self.last = time.monotonic()
        self.is_half_open = False

    def copy(self, source: Any, goal: Any) -> None:
        """All bytes of one direction; its end is the end of the goal's, so that none is lost and each side sees it."""
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
        """One direction has failed: none goes on."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
