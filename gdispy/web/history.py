"""Samples of the counts of jobs, for the chart and the rate. Pure: the caller gives the time."""

from __future__ import annotations

from collections import deque

#: Seconds between two samples at first, and the number of samples; when there are more, every second one is dropped.
SAMPLE_INTERVAL = 1.0
SAMPLES = 1200
#: Seconds over which the rate is measured.
RATE_SPAN = 30.0


class History:
    """Samples of the counts since the page was started: `[time, ended, failed, running]`."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int, int, int]] = []
        self._interval = SAMPLE_INTERVAL
        self._recent: deque[tuple[float, int]] = deque(maxlen=int(RATE_SPAN / SAMPLE_INTERVAL) + 1)

    def add(self, now: float, ended: int, failed: int, running: int) -> None:
        self._recent.append((now, ended))
        if self.samples and now - self.samples[-1][0] < self._interval * 0.9:
            return
        self.samples.append((now, ended, failed, running))
        if len(self.samples) > SAMPLES:
            del self.samples[1::2]
            self._interval *= 2

    def rate(self) -> float:
        """Jobs per second that have ended of late."""
        if len(self._recent) < 2:
            return 0.0
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        return max(0.0, (after - before) / (last - first)) if last > first else 0.0


def time_left(pending: int, rate: float) -> float | None:
    """Seconds until the last job ends, as far as the rate tells."""
    return round(pending / rate, 1) if pending and rate > 0 else None
