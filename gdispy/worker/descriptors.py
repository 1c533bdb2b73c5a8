"""Keeps a worker's own descriptors open where a job closes all that there are, as code that makes daemons does.

Floor 1: standard library. A job finds them to be no open files: closing one by one fails as for those, and closing a
range passes over them. What C code closes, is closed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

_STANDARD = 2


def protect(fds: Iterable[int], on_closing: Callable[[], object]) -> None:
    """From now on `os.close` and `os.closerange` do not close these; `on_closing` is called where a standard one is
    closed. Once in a process."""
    kept = sorted(fds)
    known = frozenset(kept)
    close, close_range = os.close, os.closerange

    def close_one(fd: int) -> None:
        if fd in known:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        close(fd)
        if fd <= _STANDARD:
            on_closing()

    def close_many(low: int, high: int, /) -> None:
        for fd in [*(each for each in kept if low <= each < high), high]:
            if low < fd:  # An empty range that begins with 0, some versions of Python take for all there is.
                close_range(low, fd)
            low = fd + 1
        on_closing()

    os.close, os.closerange = close_one, close_many
