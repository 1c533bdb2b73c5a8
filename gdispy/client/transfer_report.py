"""Logs what a computation sends to each node, and warns if it is large."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from typing import NamedTuple

#: Size in bytes above which the user is warned.
LARGE = 10 * 1024 * 1024
#: Maximum number of entries in the warning, and in the summary.
_NAMED = 3
_LISTED = 1000

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One file, or one part of the message itself."""

    name: str
    #: In bytes.
    size: int
    #: Why it is sent.
    reason: str
    #: Whether most nodes do not get it.
    is_rare: bool = False


def report(computation: str, entries: Sequence[Entry]) -> None:
    """Log what is sent to each node, and warn about more than `LARGE` bytes, naming the largest entries."""
    total = sum(each.size for each in entries if not each.is_rare)
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s sends %s to each node", computation, shown_size(total))
        for each in entries[:_LISTED]:
            logger.debug("%s sends %s: %s, %s", computation, each.name, shown_size(each.size), each.reason)
        if len(entries) > _LISTED:
            logger.debug("%s sends %s more files", computation, f"{len(entries) - _LISTED:,}")
    if total > LARGE:
        largest = heapq.nlargest(_NAMED, [each for each in entries if not each.is_rare], key=lambda each: each.size)
        named = ", ".join(f"{each.name} ({shown_size(each.size)})" for each in largest if each.size * 20 > total)
        logger.warning(
            "%s sends %s to each node; the largest parts: %s. Remove what jobs do not need; large data that a function "
            "refers to can be passed as an argument or a file",
            computation,
            shown_size(total),
            named or f"{len(entries):,} files",
        )


def shown_size(size: int) -> str:
    """A human-readable size."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
