"""Accepts connections from listening sockets, in any number.

Runs in callbacks of one gevent loop: no greenlet waits, so a connection costs only its descriptor until it is
processed.

Invariants:
1. Pending connections are accepted in slices of time, between which the loop serves everything else.
2. An error of accept(2) never stops accepting: errors caused by a network or a peer are ignored, and without
   descriptors or memory it pauses.
3. If few descriptors are left, new connections are refused, so that running work can continue.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import time
from collections.abc import Callable, Sequence

import gevent
from gevent import socket

from gdispy.runtime.event_loop import Watcher
from gdispy.runtime.greenlets import guarded
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import SocketAddress

logger = logging.getLogger(__name__)

#: Seconds of accepting after which the loop continues.
SLICE = 0.004
#: Minimum number of connections accepted before the clock is checked.
BATCH = 32
#: Seconds of a pause if descriptors or memory are missing.
PAUSE = 0.1
#: The share of all descriptors that new connections do not get, and its minimum.
RESERVED_PART = 8
RESERVED_LEAST = 64

#: Errors of a closed connection, or network errors that accept(2) reports for it: see accept(2).
_PASSING = frozenset(
    (
        *(errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM, errno.EINTR),
    )
)

#: A descriptor, and an address as accept(2) gives it.
OnAccepted = Callable[[int, SocketAddress], None]


def descriptor_limit() -> int:
    """The first number that no descriptor of a new connection may have: the system assigns the lowest free number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 1 << 31
    return int(limit) - max(RESERVED_LEAST, int(limit) // RESERVED_PART)


class Acceptor:
    """Accepts connections on listening sockets of this process. `on_accepted` owns each descriptor that it receives."""

    def __init__(self, servers: Sequence[socket.socket], on_accepted: OnAccepted) -> None:
        self._servers = servers
        self._on_accepted = on_accepted
        self._watchers: list[Watcher] = []
        self._timer: Watcher | None = None
        self._limit = descriptor_limit()
        self._limited = LimitedLog(logger)

    def start(self) -> None:
        loop = gevent.get_hub().loop
        self._timer = loop.timer(PAUSE, ref=False)
        for server in self._servers:
            server.setblocking(False)
            self._watchers.append(loop.io(server.fileno(), 1))
        self._listen()

    def _listen(self) -> None:
        accept = guarded(self._accept, "accepting connections", self._pause)
        for watcher, server in zip(self._watchers, self._servers, strict=True):
            watcher.start(accept, server)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers.clear()

    def _accept(self, server: socket.socket) -> None:
        until = time.monotonic() + SLICE
        while True:
            for _ in range(BATCH):
                try:
                    fd, address = server._accept()
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno not in _PASSING:  # Usually descriptors or memory are missing.
                        self._pause(error)
                        return
                    continue
                self._take(fd, address)
            if time.monotonic() >= until:
                return

    def _take(self, fd: int, address: SocketAddress) -> None:
        if fd >= self._limit:
            os.close(fd)
            text = "refusing connections: this process has %d open files, near its limit (ulimit -n)"
            self._limited.log(logging.WARNING, "refuse", text, fd)
            return
        try:
            self._on_accepted(fd, address)
        except Exception as error:
            self._limited.log_failure(logging.CRITICAL, type(error), error, "gdispy: a defect with a new connection")

    def _pause(self, error: BaseException) -> None:
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        self._limited.log(logging.WARNING, "pause", "cannot accept connections: %s", reason)
        for watcher in self._watchers:
            watcher.stop()
        assert self._timer is not None
        self._timer.start(guarded(self._resume, "accepting connections again", self._pause))

    def _resume(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._listen()
