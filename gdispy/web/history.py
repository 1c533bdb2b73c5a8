"""Samples of the counts of jobs, for the chart and the rate. Pure: the caller gives the time."""

from __future__ import annotations

from collections import deque

#: Seconds between two samples at first, and the number of samples; when there are more, every second one is dropped.
SAMPLE_INTERVAL = 1.0
SAMPLES = 1200
#: Seconds over which the rate is measured, and for which jobs must have run before the time left is told.
RATE_SPAN = 30.0
LEFT_SPAN = 5.0


class History:
    """Samples of the counts since the page was started: `[time, ended, failed, running]`."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int, int, int]] = []
        self._interval = SAMPLE_INTERVAL
        self._recent: deque[tuple[float, int]] = deque(maxlen=int(RATE_SPAN / SAMPLE_INTERVAL) + 1)
        #: The same since jobs run.
        self._busy: deque[tuple[float, int]] = deque(maxlen=self._recent.maxlen)

    def add(self, now: float, ended: int, failed: int, running: int) -> None:
        if not running and self._recent and ended == self._recent[-1][1]:
            self._busy.clear()
        self._recent.append((now, ended))
        self._busy.append((now, ended))
        if self.samples and now - self.samples[-1][0] < self._interval * 0.9:
            return
        self.samples.append((now, ended, failed, running))
        if len(self.samples) > SAMPLES:
            del self.samples[1::2]
            self._interval *= 2

    def rate(self) -> float:
        """Jobs per second that have ended of late."""
        return _rate(self._recent)

    def left(self, pending: int) -> float | None:
        """Seconds until the last job ends, as far as the rate tells; None while too little has been seen."""
        rate = _rate(self._busy, LEFT_SPAN)
        return round(pending / rate, 1) if pending and rate > 0 else None


def _rate(samples: deque[tuple[float, int]], least: float = 0.0) -> float:
    """Jobs per second; 0 if the samples are of no more than `least` seconds."""
    if len(samples) < 2:
        return 0.0
    (first, before), (last, after) = samples[0], samples[-1]
    return max(0.0, (after - before) / (last - first)) if last - first > least else 0.0
