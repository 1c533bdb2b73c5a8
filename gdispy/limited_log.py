"""Lines of the log that a peer can bring about: each kind at most once a second, with how many were left out.

Floor 2. Used by listeners, the beacon, the relay, the node and the scheduler, each in its loop. What is left out and
followed by no line of the same key is never told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gdispy.core.limits import printable, printable_lines
from gdispy.core.log_limit import INTERVAL, LogLimit


class LimitedLog:
    """Writes to a logger, at most one line in an interval for each key."""

    def __init__(
        self, logger: logging.Logger, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._limit = LogLimit(interval)
        self._clock = clock

    def log(self, level: int, key: object, text: str, *args: object) -> None:
        """Write a line about a peer, or a kind of peers, that `key` stands for. Texts among `args` are those of peers:
        they are made printable."""
        shown = [printable(each) if isinstance(each, str) else each for each in args]
        self._write(level, key, text, shown)

    def log_lines(self, level: int, key: object, text: str) -> None:
        """The same of a text of a peer that may have several lines."""
        self._write(level, key, "%s", [printable_lines(text)])

    def _write(self, level: int, key: object, text: str, args: list[object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        left_out = self._limit.admit(key, self._clock())
        if left_out is None:
            return
        if left_out:
            text, args = f"{text} (%d such lines were left out before)", [*args, left_out]
        self._logger.log(level, text, *args)
