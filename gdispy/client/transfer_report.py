"""What a computation sends to each node: a summary for the log, and a warning where it is much.

Called by `packaging.py`, once for each cluster.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from typing import NamedTuple

#: Bytes beyond which the user is warned.
LARGE = 10 * 1024 * 1024
#: How many entries the warning names, and the summary.
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
    """Write to the log what goes to each node, and warn of more than `LARGE` bytes, naming the largest entries."""
    total = sum(each.size for each in entries if not each.is_rare)
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s sends %s to each node", computation, shown_size(total))
        for each in entries[:_LISTED]:
            logger.debug("%s sends %s: %s, %s", computation, each.name, shown_size(each.size), each.reason)
        if len(entries) > _LISTED:
            logger.debug("%s sends %s files more", computation, f"{len(entries) - _LISTED:,}")
    if total > LARGE:
        largest = heapq.nlargest(_NAMED, [each for each in entries if not each.is_rare], key=lambda each: each.size)
        named = ", ".join(f"{each.name} ({shown_size(each.size)})" for each in largest if each.size * 20 > total)
        logger.warning(
            "%s takes %s to send to each node; the largest of it: %s. Leave out what jobs do not need; "
            "large data that a function refers to can be an argument, or a file",
            computation,
            shown_size(total),
            named or f"{len(entries):,} files",
        )


def shown_size(size: int) -> str:
    """A number of bytes, for people."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
