"""Pauses between attempts to connect. Does not wait."""

from __future__ import annotations

import random

#: Maximum number of doublings, which limits the number.
_DOUBLINGS = 10


class Backoff:
    """Pauses that double with each consecutive failure, up to a limit, with a random part: the peers of a failed
    process do not all reconnect at the same time."""

    def __init__(self, first: float, limit: float) -> None:
        """`first` and `limit` in seconds."""
        self._first, self._limit = first, limit
        #: Consecutive failures.
        self.failures = 0

    def next(self, failed: bool, *, first: float | None = None, limit: float | None = None) -> float:
        """Seconds until the next attempt, after a failed or successful one. `first` and `limit` override the
        defaults."""
        self.failures = self.failures + 1 if failed else 0
        begin, most = self._first if first is None else first, self._limit if limit is None else limit
        return random.uniform(0.5, 1.0) * min(most, begin * 2.0 ** min(self.failures, _DOUBLINGS))
