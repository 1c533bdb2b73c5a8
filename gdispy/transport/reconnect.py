"""Pauses between attempts to connect. Called in the loop of whoever connects; waits for nothing itself."""

from __future__ import annotations

import random

#: Doublings at most, so that the number stays small however often it failed.
_DOUBLINGS = 10


class Backoff:
    """Pauses that double with each failure in a row, up to a limit, with a random part: many peers of one that has
    failed do not all come back at the same moment."""

    def __init__(self, first: float, limit: float) -> None:
        """`first` and `limit` in seconds."""
        self._first, self._limit = first, limit
        #: Failures in a row.
        self.failures = 0

    def next(self, failed: bool, *, first: float | None = None, limit: float | None = None) -> float:
        """Seconds until the next attempt, after one that has failed or not. `first` and `limit` are of this one."""
        self.failures = self.failures + 1 if failed else 0
        begin, most = self._first if first is None else first, self._limit if limit is None else limit
        return random.uniform(0.5, 1.0) * min(most, begin * 2.0 ** min(self.failures, _DOUBLINGS))
