"""When jobs have arrived, or were submitted: for their times in the queue. Pure.

Invariant: memory is bounded, for any number of jobs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from gdispy.protocol.ids import JobId

#: The number of entries, and the shortest interval between two of them in seconds.
ARRIVALS = 4096
AT_ONCE = 0.001


class Arrivals:
    """When jobs of a computation have arrived. Their numbers rise; a job that was placed again, with a lower number
    than others before it, counts as one of those. The longer the time since the first job that has not ended, the
    rougher the times: they are exact to a two-thousandth of it."""

    def __init__(self, interval: float = AT_ONCE) -> None:
        """`interval` is the shortest between two entries, in seconds."""
        self._firsts: list[JobId] = []
        self._times: list[float] = []
        self._least = self._interval = interval

    def is_due(self, now: float) -> bool:
        """Whether jobs that arrive now need an entry."""
        return not self._times or not 0 <= now - self._times[-1] < self._interval

    def note(self, first: JobId, now: float) -> bool:
        """Jobs from the number `first` on arrive now; returns whether that was not known."""
        if self._firsts and (first <= self._firsts[-1] or not self.is_due(now)):
            return False
        self._firsts.append(first)
        self._times.append(now)
        if len(self._firsts) > ARRIVALS:
            self._thin()
        return True

    def entries(self) -> tuple[list[JobId], list[float]]:
        """The first jobs, and when they have arrived."""
        return list(self._firsts), list(self._times)

    def _thin(self) -> None:
        self._interval = 2 * (self._times[-1] - self._times[0]) / ARRIVALS
        kept = [0]
        for place, time in enumerate(self._times):
            if time - self._times[kept[-1]] >= self._interval:
                kept.append(place)
        self._firsts = [self._firsts[place] for place in kept]
        self._times = [self._times[place] for place in kept]

    def forget_before(self, job: JobId | None) -> None:
        """All jobs before this one have ended; None: all have."""
        gone = len(self._firsts) if job is None else bisect_right(self._firsts, job)
        if gone > 1:
            del self._firsts[: gone - 1], self._times[: gone - 1]
            self._interval = max(self._least, 2 * (self._times[-1] - self._times[0]) / ARRIVALS)

    def times(self, jobs: Sequence[JobId]) -> list[float]:
        """When these jobs have arrived; 0 for those before the first that was noted."""
        firsts, times = self._firsts, self._times
        places = [bisect_right(firsts, job) for job in jobs]
        return [times[place - 1] if place else 0.0 for place in places]
