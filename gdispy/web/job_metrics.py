"""Counts of the jobs that have ended, and how long they took, for metrics.

Pure. Counted in the loop that is notified of the ends; read in the same loop when metrics are requested.

Invariants:
1. Memory is bounded: one entry for each outcome, reason and named computation, and at most `most_computations` of the
   latter. Counts only rise.
2. Nothing of a job is kept: no id, no argument, no text.
3. A message about many jobs costs little more than one about a single job.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from operator import sub

from gdispy.protocol import job_status
from gdispy.rules.end_reason import (
    CANCEL,
    EXCEPTION,
    EXIT,
    KILLED,
    MEMORY,
    NODE_LOST,
    OTHER,
    REFUSED,
    TIME_LIMIT,
    end_reason,
)

#: Upper bounds of the parts of a histogram, in seconds.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
#: Computations that are named, if nothing else is wanted; the name of all others; and characters of a name.
MOST_COMPUTATIONS = 20
OTHERS = "other"
NAME_LIMIT = 60
#: Durations that are sorted before they are counted.
MANY = 24

_OUTCOMES = {
    job_status.FINISHED: "finished",
    job_status.TERMINATED: "failed",
    job_status.CANCELLED: "cancelled",
    job_status.ABANDONED: "abandoned",
}
#: All outcomes with their reasons. They are reported from the start, as 0: a counter that begins with 1 has not risen.
KINDS = (
    ("finished", ""),
    *(("failed", reason) for reason in (EXCEPTION, TIME_LIMIT, MEMORY, KILLED, EXIT, CANCEL, OTHER)),
    ("cancelled", CANCEL),
    *(("abandoned", reason) for reason in (NODE_LOST, REFUSED, OTHER)),
)


class Histogram:
    """Durations in seconds, by magnitude."""

    def __init__(self) -> None:
        #: One count for each of `BOUNDS`, and one for longer durations.
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, durations: list[float]) -> None:
        """Count durations. Negative ones, of clocks that differ, count as 0."""
        if len(durations) < MANY:
            for each in durations:
                self.counts[bisect_left(BOUNDS, each)] += 1
                self.total += max(0.0, each)
            return
        durations.sort()
        done = 0
        for place, bound in enumerate(BOUNDS):
            upto = bisect_right(durations, bound, done)
            self.counts[place] += upto - done
            done = upto
            if done == len(durations):
                break
        self.counts[-1] += len(durations) - done
        self.total += sum(durations[bisect_left(durations, 0.0) :])


class JobMetrics:
    """The jobs of one daemon, or of one program."""

    def __init__(self, most_computations: int = MOST_COMPUTATIONS) -> None:
        """`most_computations` is the number of computations that are told apart by name; 0 for none."""
        self.most_computations = most_computations
        #: By outcome and reason; and by computation, outcome and reason, if computations are named.
        self.ended: Counter[tuple[str, str]] = Counter()
        self.ended_of: Counter[tuple[str, str, str]] = Counter()
        #: Seconds from the arrival of a job to its start, from its start to its end, and from its end until its result
        #: was here.
        self.queued, self.ran, self.returned = Histogram(), Histogram(), Histogram()
        self._labels: dict[str, str] = {}
        self._named: set[str] = set()

    def label(self, computation: str) -> str:
        """The name of a computation in metrics: one of a bounded number. '' if none are named."""
        if not self.most_computations:
            return ""
        known = self._labels.get(computation)
        if known is not None:
            return known
        name = re.sub(r"[^\w.-]", "_", computation.rpartition("/")[2])[:NAME_LIMIT] or "unnamed"
        if name not in self._named and len(self._named) >= self.most_computations:
            return OTHERS
        self._named.add(name)
        if len(self._labels) >= 4 * self.most_computations:  # Many that differ in their directories only.
            self._labels.clear()
        self._labels[computation] = name
        return name

    @property
    def labels(self) -> list[tuple[str]]:
        """The names of all computations that were counted or shown, as values of a label."""
        return [(name,) for name in sorted(self._named)]

    def count(
        self,
        computation: str,
        statuses: Sequence[int],
        exceptions: Sequence[str],
        starts: Sequence[float],
        ends: Sequence[float],
        arrivals: Sequence[float],
        seen: Sequence[float],
    ) -> None:
        """Jobs of a computation have ended; an entry for each job in each column. Times are seconds since the epoch, 0
        if they are not known or the job has not started; `arrivals` may be empty; `seen` is when their ends were
        learned here."""
        finished = statuses.count(job_status.FINISHED)
        counted = Counter({("finished", ""): finished})
        if finished < len(statuses):
            rows = zip(statuses, exceptions, strict=True)
            failed = ((status, text) for status, text in rows if status != job_status.FINISHED)
            counted.update((_OUTCOMES.get(status, "failed"), end_reason(status, text)) for status, text in failed)
        self.ended += counted
        label = self.label(computation)
        for (outcome, reason), count in counted.items() if label else ():
            self.ended_of[label, outcome, reason] += count
        if min(starts) > 0:
            self._count_times(list(starts), list(ends), list(arrivals), list(seen))
            return
        begun = [place for place, start in enumerate(starts) if start > 0]
        if begun:
            columns = (
                [column[place] for place in begun] if column else [] for column in (starts, ends, arrivals, seen)
            )
            self._count_times(*columns)

    def _count_times(self, starts: list[float], ends: list[float], arrivals: list[float], seen: list[float]) -> None:
        self.ran.add(list(map(sub, ends, starts)))
        self.returned.add(list(map(sub, seen, ends)))
        if arrivals:
            if min(arrivals) > 0:
                self.queued.add(list(map(sub, starts, arrivals)))
            else:
                pairs = zip(starts, arrivals, strict=True)
                self.queued.add([start - arrival for start, arrival in pairs if arrival > 0])
