"""Accepting connections for as long as the listening socket is open, whatever accept(2) says meanwhile.

Floor 2. Used by whoever listens, in a greenlet of its own for each socket.

Linux passes errors on that were pending on the new connection (EPROTO, ENETDOWN, EHOSTUNREACH and others, see
accept(2)): they concern that connection only. Where the system has no descriptor or memory for one, there may be later.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from typing import Any

import gevent

from gdispy.connection import plain
from gdispy.limited_log import LimitedLog

#: Seconds until the next attempt where the system lacks something, and after any other error: other greenlets run then.
LACK_PAUSE = 0.1
PAUSE = 0.001
_LACKS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
#: The socket was closed, or never listened.
_OVER = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))


def connections(server: Any, log: LimitedLog) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each connection with its address, until the socket is closed."""
    while True:
        try:
            found = server.accept()
        except OSError as error:
            if server.fileno() < 0 or error.errno in _OVER:
                return
            log.log(logging.WARNING, ("accept", error.errno), "cannot accept a connection: %s", plain(error))
            gevent.sleep(LACK_PAUSE if error.errno in _LACKS else PAUSE)
            continue
        yield found
