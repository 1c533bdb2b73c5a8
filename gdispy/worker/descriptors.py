"""Keeps a worker's own descriptors open where a job closes all that there are, as code that makes daemons does; and
notices those that jobs leave open.

Standard library. A job finds them to be no open files: closing one by one fails as for those, and closing a
range passes over them. What C code closes, is closed.
"""

from __future__ import annotations

import errno
import os
import resource
import select
from collections.abc import Callable, Iterable

_STANDARD = 2
#: Descriptors that jobs may leave open in a worker, where its limit is not low.
_LEFT_OPEN = 256
#: How many numbers are looked at: some of those that are used may just be free.
_NUMBERS = 2


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


class LeftOpen:
    """Whether jobs have left many descriptors open. New ones get the lowest free numbers, so it is enough to look at
    some number that is not reached otherwise; that takes 0.3 us."""

    def __init__(self) -> None:
        highest = _highest()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = limit - highest if limit != resource.RLIM_INFINITY else 4 * _LEFT_OPEN
        first = highest + 1 + max(1, min(_LEFT_OPEN, free // 4))
        numbers = range(first, first + _NUMBERS)
        looking = select.poll()
        for number in numbers:
            looking.register(number, 0)
        self._poll = looking.poll
        self._all_free = [(number, select.POLLNVAL) for number in numbers]

    def are_many(self) -> bool:
        return self._poll(0) != self._all_free


def _highest() -> int:
    """The greatest number of an open descriptor of this process."""
    try:
        return max(map(int, os.listdir("/dev/fd")))
    except (OSError, ValueError):
        return _STANDARD
