"""Keeps a worker's descriptors open if a job closes all descriptors, as daemonising code does; and detects descriptors
that jobs leave open.

Standard library. To a job they seem not to be open: closing one fails as for a closed descriptor, and closing a range
skips them. C code can still close them.
"""

from __future__ import annotations

import errno
import os
import resource
import select
from collections.abc import Callable, Iterable

_STANDARD = 2
#: Number of descriptors that jobs may leave open in a worker, unless its limit is low.
_LEFT_OPEN = 256
#: Number of descriptors to check: some in use may just be free.
_NUMBERS = 2


def protect(fds: Iterable[int], on_closing: Callable[[], object]) -> None:
    """From now on `os.close` and `os.closerange` skip these; `on_closing` is called if a standard descriptor is closed.
    Once per process."""
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
            if low < fd:  # Some versions of Python treat an empty range from 0 as the full range.
                close_range(low, fd)
            low = fd + 1
        on_closing()

    os.close, os.closerange = close_one, close_many


class LeftOpen:
    """Whether jobs have left many descriptors open. New descriptors get the lowest free numbers, so it is enough to
    check numbers that are not reached otherwise."""

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
