"""The figures of a run: what ran where and when, how well the CPUs were used, what failed, how long jobs waited.

Pure but for reading the records, twice; memory does not grow with the number of jobs.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gdispy.client.run_record import JobRecord
from gdispy.protocol import job_status

#: Parts of the timeline.
BINS = 200
#: The longest jobs, the last failures, and the nodes that are shown singly.
STRAGGLERS = 20
REASONS = 50
NODES = 500
#: Boundaries of the distribution of durations grow by this factor.
_STEP = 1.05


class Distribution:
    """Durations in seconds, by magnitude: percentiles are exact to a few per cent."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.most = 0.0
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        self.count += 1
        self.total += seconds
        self.most = max(self.most, seconds)
        self._counts[_magnitude(seconds)] += 1

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, part: float) -> float:
        """The duration that this part (0 to 1) of all does not exceed."""
        left = part * self.count
        for magnitude in sorted(self._counts):
            left -= self._counts[magnitude]
            if left <= 0:
                return min(self.most, _STEP**magnitude / 1e6)
        return self.most


def _magnitude(seconds: float) -> int:
    return math.ceil(math.log(max(1.0, seconds * 1e6), _STEP))


@dataclass
class NodeFigures:
    """The jobs of one node."""

    jobs: int = 0
    failed: int = 0
    busy: float = 0.0
    #: The most jobs that ran at the same time.
    lanes: int = 0
    first: float = math.inf
    last: float = 0.0
    #: Seconds of job time in each part of the timeline.
    bins: list[float] = field(default_factory=lambda: [0.0] * BINS)


@dataclass
class RunSummary:
    """All figures of a run. Times are seconds since the epoch."""

    name: str
    jobs: int = 0
    begin: float = math.inf
    end: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    waiting: Distribution = field(default_factory=Distribution)
    running: Distribution = field(default_factory=Distribution)
    nodes: dict[str, NodeFigures] = field(default_factory=dict)
    #: The longest jobs, the longest first.
    stragglers: list[JobRecord] = field(default_factory=list)
    left_out: int = 0
    #: Why further jobs may be missing, or ''.
    warning: str = ""

    @property
    def wall(self) -> float:
        """Seconds from the first submission to the last end."""
        return max(0.0, self.end - self.begin) if self.jobs else 0.0

    @property
    def lanes(self) -> int:
        """The most jobs that ran at the same time, of all nodes."""
        return sum(node.lanes for node in self.nodes.values())

    @property
    def efficiency(self) -> float:
        """The part of the CPUs' time in which jobs ran, 0 to 1; the CPUs of a node are the most that were used."""
        available = self.wall * self.lanes
        return min(1.0, self.running.total / available) if available else 0.0


class Lanes:
    """Distributes jobs of one node, in the order of their ends, over as few lanes as possible: in each lane one runs
    after the other."""

    def __init__(self) -> None:
        #: The end of the last job in each lane, with the lane.
        self._ends: list[float] = []

    def place(self, started: float, ended: float) -> int:
        """The lane of a job: the one that has been free for the shortest time."""
        free = [(end, lane) for lane, end in enumerate(self._ends) if end <= started]
        if not free:
            self._ends.append(ended)
            return len(self._ends) - 1
        lane = max(free)[1]
        self._ends[lane] = ended
        return lane

    def __len__(self) -> int:
        return len(self._ends)


def summarize(
    name: str, records: Callable[[], Iterator[JobRecord]], left_out: int = 0, warning: str = ""
) -> RunSummary:
    """The figures of a run; `records` is called twice."""
    summary = RunSummary(name, left_out=left_out, warning=warning)
    lanes: dict[str, Lanes] = {}
    longest: list[tuple[float, int, JobRecord]] = []
    for record in records():
        _count(summary, record)
        if not record.has_run:
            continue
        node = _node_of(summary, record)
        took = record.ended - record.started
        node.jobs += 1
        node.failed += record.status != job_status.FINISHED
        node.busy += max(0.0, took)
        node.first, node.last = min(node.first, record.started), max(node.last, record.ended)
        own = lanes.setdefault(_shown_node(summary, record), Lanes())
        own.place(record.started, record.ended)
        node.lanes = len(own)
        heapq.heappush(longest, (took, record.job, record))
        if len(longest) > STRAGGLERS:
            heapq.heappop(longest)
    summary.stragglers = [record for _, _, record in sorted(longest, reverse=True)]
    for record in records() if summary.wall else ():
        if record.has_run:
            _fill_bins(summary, _node_of(summary, record).bins, record)
    return summary


def _count(summary: RunSummary, record: JobRecord) -> None:
    summary.jobs += 1
    begin = record.submitted or record.started
    if begin:
        summary.begin = min(summary.begin, begin)
    summary.end = max(summary.end, record.ended, begin)
    summary.outcomes[job_status.NAMES.get(record.status, "?")] += 1
    if record.error and record.status != job_status.FINISHED:
        known = record.error if record.error in summary.reasons or len(summary.reasons) < REASONS else "other reasons"
        summary.reasons[known] += 1
    if record.has_run:
        if record.submitted:
            summary.waiting.add(record.started - record.submitted)
        summary.running.add(record.ended - record.started)


def _shown_node(summary: RunSummary, record: JobRecord) -> str:
    name = record.node or "?"
    return name if name in summary.nodes or len(summary.nodes) < NODES else "other nodes"


def _node_of(summary: RunSummary, record: JobRecord) -> NodeFigures:
    return summary.nodes.setdefault(_shown_node(summary, record), NodeFigures())


def _fill_bins(summary: RunSummary, bins: list[float], record: JobRecord) -> None:
    """Add the time of a job to the parts of the timeline in which it ran."""
    width = summary.wall / BINS
    begin, end = record.started - summary.begin, record.ended - summary.begin
    first, last = (min(BINS - 1, max(0, int(each / width))) for each in (begin, end))
    for place in range(first, last + 1):
        bins[place] += max(0.0, min(end, (place + 1) * width) - max(begin, place * width))
