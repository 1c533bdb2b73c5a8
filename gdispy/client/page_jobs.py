"""What a page remembers of the jobs of one cluster: those that run, the last that failed, and the last that ended.

Runs in the hub. It is attached to a `JobTable` while a page shows the cluster; without a page it does not exist.

Invariants:
1. Memory is bounded: `FAILURES` failures, `ROWS` jobs that have ended, and an entry for each job that runs.
2. No code of the user runs here: arguments stay pickled, and an id is shown only if it is of a plain type.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from gdispy.client.job import STATUS_NAMES, DispyJob
from gdispy.client.job_errors import error_line
from gdispy.client.node_table import NodeTable
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import shortened
from gdispy.protocol.messages import Ended, Started
from gdispy.protocol.payload import Bulk, bulk_size

#: Failures and ended jobs that are remembered.
FAILURES = 200
ROWS = 20_000
#: Bytes of the end of an output, lines of it, and characters of a traceback.
TAIL_BYTES = 2000
TAIL_LINES = 12
TRACE_LIMIT = 4000
#: Characters of an id, and bytes of pickled arguments that are kept with a failure.
ID_LIMIT = 80
ARGUMENTS_KEPT = 4096
#: CPUs of one node that are told apart.
LANES = 1024
#: Seconds by which a job may begin before the end of the one before it on the same CPU: clocks are rounded.
OVERLAP = 0.002


class Row(NamedTuple):
    """A job that has ended, for the timeline."""

    #: The index in `PageJobs.places`, and the number of the CPU there; CPUs are numbered as jobs overlap.
    place: int
    lane: int
    #: By the clock of the node.
    start: float
    end: float
    status: int
    number: int


class Failure(NamedTuple):
    """A job without a result, as it is shown."""

    number: int
    name: str
    status: str
    place: str
    start: float
    end: float
    #: The error in one line, and the whole of it.
    error: str
    trace: str
    output: str
    errors: str
    #: Pickled; b"" if they are large.
    arguments: bytes


class PageJobs:
    """The jobs of one cluster, as `JobTable` reports them."""

    def __init__(self, jobs: dict[JobId, DispyJob], nodes: NodeTable) -> None:
        self._jobs, self._nodes = jobs, nodes
        #: The nodes of the running jobs, in the order in which they have started; b"" if it is not known.
        self.running: dict[JobId, bytes] = {}
        self.failures: deque[Failure] = deque(maxlen=FAILURES)
        self._rows: deque[Row] = deque(maxlen=ROWS)
        #: The number of rows ever added.
        self.row_count = 0
        #: The names of nodes, as rows refer to them, and their indices by instance.
        self.places: list[str] = []
        self._indices: dict[bytes, int] = {}
        #: For each place, when the last job on each of its CPUs ended.
        self._lanes: list[list[float]] = []
        for number, job in jobs.items():  # Once: those that have started before the page.
            if job.start_time is not None:
                self.running[number] = b""

    def started_jobs(self, started: Started) -> None:
        for number in started.jobs:
            if number in self._jobs:
                self.running[number] = started.node

    def lost_node(self, node: bytes) -> None:
        for number in [number for number, place in self.running.items() if place == node]:
            del self.running[number]

    def ended_jobs(self, ended: Ended, picks: list[int] | None) -> None:
        chosen: Iterable[int] = range(len(ended.jobs)) if picks is None else picks
        index = self._place(ended.node, ended.address)
        failed: deque[int] = deque(maxlen=FAILURES)
        for each in chosen:
            number, status = ended.jobs[each], ended.statuses[each]
            self.running.pop(number, None)
            start, end = ended.starts[each], ended.ends[each]
            if start and end:
                self._add(index, start, end, status, number)
            if status != job_status.FINISHED:
                failed.append(each)
        for each in failed:
            self.failures.append(self._failure(ended, each, index))

    def _place(self, node: bytes, address: str) -> int:
        index = self._indices.get(node)
        if index is None:
            known = self._nodes.get(node)
            index = self._indices[node] = len(self.places)
            name = known.name if known is not None else address or "no node"
            if name in self.places and known is not None:
                name = f"{name}:{known.port}"
            self.places.append(name)
            self._lanes.append([])
        return index

    def _add(self, index: int, start: float, end: float, status: int, number: int) -> None:
        lanes = self._lanes[index]
        free = [lane for lane, until in enumerate(lanes) if until <= start + OVERLAP]
        lane = max(free, key=lanes.__getitem__) if free else min(len(lanes), LANES - 1)
        if lane == len(lanes):
            lanes.append(end)
        lanes[lane] = end
        self._rows.append(Row(index, lane, start, end, status, number))
        self.row_count += 1

    def _failure(self, ended: Ended, each: int, index: int) -> Failure:
        number, trace = ended.jobs[each], ended.exceptions[each]
        job = self._jobs.get(number)
        known = job._arguments if job is not None else None
        arguments = known if type(known) is bytes and len(known) <= ARGUMENTS_KEPT else b""
        return Failure(
            number,
            shown_id(job.id) if job is not None else str(number),
            STATUS_NAMES[ended.statuses[each]],
            self.places[index],
            ended.starts[each],
            ended.ends[each],
            shortened(error_line(trace), 300) if trace else "",
            trace[-TRACE_LIMIT:],
            tail(ended.outputs[each]),
            tail(ended.errors[each]),
            arguments,
        )

    def rows(self, since: int, limit: int) -> tuple[int, list[Row]]:
        """Rows from the number `since`, at most `limit`, and the number of the first of them."""
        first = self.row_count - len(self._rows)
        since = max(first, min(since, self.row_count))
        return since, list(islice(self._rows, since - first, since - first + limit))

    def newest(self) -> Iterator[Row]:
        """The rows, the newest first."""
        return reversed(self._rows)


def tail(output: Bulk) -> str:
    """The last lines of an output."""
    size = bulk_size(output)
    if not size:
        return ""
    begin = max(0, size - TAIL_BYTES)
    data = output[begin:] if isinstance(output, bytes) else bytes(output.read(begin, TAIL_BYTES))
    lines = data.decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def shown_id(value: Any) -> str:
    """An id of a job as text, without code of its class."""
    if type(value) is str:
        return shortened(value, ID_LIMIT)
    if value is None or type(value) in (float, bool) or (type(value) is int and value.bit_length() < 256):
        return shortened(repr(value), ID_LIMIT)
    if type(value) in (tuple, list) and len(value) <= 8:
        return shortened(f"({', '.join(shown_id(each) for each in value)})", ID_LIMIT)
    return f"<{type(value).__name__}>"
