"""What a page remembers of jobs that have ended: the last ones, for the timeline, and the last that failed.

Runs in the loop that is notified of the ends. It exists only while a page is served.

Invariants:
1. Memory is bounded: `ROWS` jobs, `FAILURES` failures, and the names of `PLACES` nodes and computations.
2. Nothing is unpickled: arguments stay as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from gdispy.protocol import job_status
from gdispy.protocol.error_lines import error_line
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import shortened
from gdispy.protocol.messages import Ended
from gdispy.protocol.payload import Bulk, bulk_size

#: Failures and ended jobs that are remembered.
FAILURES = 200
ROWS = 20_000
#: Nodes and computations whose names are remembered; with more of them, the rows begin anew.
PLACES = 2000
#: Bytes of the end of an output, lines of it, and characters of a traceback.
TAIL_BYTES = 2000
TAIL_LINES = 12
TRACE_LIMIT = 4000
#: Bytes of pickled arguments that are kept with a failure.
ARGUMENTS_KEPT = 4096
#: CPUs of one node that are told apart.
LANES = 1024
#: Seconds by which a job may begin before the end of the one before it on the same CPU: clocks are rounded.
OVERLAP = 0.002


class Origin(NamedTuple):
    """The computation of a job, and its client if the page has several."""

    computation: str = ""
    client: str = ""


class Row(NamedTuple):
    """A job that has ended, for the timeline."""

    #: The index in `EndedJobs.places`, and the number of the CPU there; CPUs are numbered as jobs overlap.
    place: int
    lane: int
    #: By the clock of the node.
    start: float
    end: float
    status: int
    number: int
    #: The index in `EndedJobs.origins`.
    origin: int


class Failure(NamedTuple):
    """A job without a result, as it is shown."""

    number: int
    name: str
    origin: Origin
    status: str
    place: str
    start: float
    end: float
    #: The error in one line, and the end of its text.
    error: str
    trace: str
    output: str
    errors: str
    #: Pickled; b"" if they are large or not known.
    arguments: bytes


#: The name of a job, and its pickled arguments or b"".
About = Callable[[JobId], tuple[str, bytes]]


def number_only(number: JobId) -> tuple[str, bytes]:
    """Of a job of which nothing but its number is known."""
    return str(number), b""


class EndedJobs:
    """The last jobs that have ended, and the last failures."""

    def __init__(self, node_of: Callable[[bytes], tuple[str, int | None] | None], most: int | None = None) -> None:
        """`node_of` gives the name and the port of a node. Of the jobs of one message, the last `most` are remembered,
        None for all: a message about very many short jobs then costs no more than one about some."""
        self._node_of, self._most = node_of, most
        self.failures: deque[Failure] = deque(maxlen=FAILURES)
        self._rows: deque[Row] = deque(maxlen=ROWS)
        #: The number of rows ever added.
        self.row_count = 0
        #: The names of nodes, and the computations, as rows refer to them, and their indices.
        self.places: list[str] = []
        self.origins: list[Origin] = []
        self._place_of: dict[bytes, int] = {}
        self._origin_of: dict[Origin, int] = {}
        #: For each place, when the last job on each of its CPUs ended.
        self._lanes: list[list[float]] = []

    def note(self, ended: Ended, picks: Sequence[int] | None, origin: Origin, about: About = number_only) -> None:
        """Jobs have ended; `picks` are their indices in the message, None for all."""
        chosen = range(len(ended.jobs)) if picks is None else picks
        place, group = self._index_of(ended.node, ended.address), self._group(origin)
        for each in chosen if self._most is None else chosen[-self._most :]:
            start, end = ended.starts[each], ended.ends[each]
            if start and end:
                self._add(place, start, end, ended.statuses[each], ended.jobs[each], group)
        statuses = ended.statuses
        if statuses.count(job_status.FINISHED) == len(statuses):
            return
        failed = [each for each in chosen if statuses[each] != job_status.FINISHED]
        for each in failed[-(self._most or FAILURES) :]:
            self.failures.append(self._failure(ended, each, self.places[place], origin, about))

    def _index_of(self, node: bytes, address: str) -> int:
        index = self._place_of.get(node)
        if index is None:
            if len(self.places) >= PLACES:
                self._begin_anew()
            known = self._node_of(node)
            index = self._place_of[node] = len(self.places)
            name = known[0] if known is not None else address or "no node"
            if name in self.places and known is not None:
                name = f"{name}:{known[1]}"
            self.places.append(name)
            self._lanes.append([])
        return index

    def _group(self, origin: Origin) -> int:
        index = self._origin_of.get(origin)
        if index is None:
            if len(self.origins) >= PLACES:
                self.origins.clear()
                self._origin_of.clear()
                self._forget_rows()
            index = self._origin_of[origin] = len(self.origins)
            self.origins.append(origin)
        return index

    def _begin_anew(self) -> None:
        self.places.clear()
        self._place_of.clear()
        self._lanes.clear()
        self._forget_rows()

    def _forget_rows(self) -> None:
        self._rows.clear()
        self.row_count += 1  # A browser that has all of them must notice that they are gone.

    def _add(self, index: int, start: float, end: float, status: int, number: int, group: int) -> None:
        lanes = self._lanes[index]
        free = [lane for lane, until in enumerate(lanes) if until <= start + OVERLAP]
        lane = max(free, key=lanes.__getitem__) if free else min(len(lanes), LANES - 1)
        if lane == len(lanes):
            lanes.append(end)
        lanes[lane] = end
        self._rows.append(Row(index, lane, start, end, status, number, group))
        self.row_count += 1

    def _failure(self, ended: Ended, each: int, place: str, origin: Origin, about: About) -> Failure:
        number, trace = ended.jobs[each], ended.exceptions[each]
        name, arguments = about(number)
        return Failure(
            number,
            name,
            origin,
            job_status.NAMES[ended.statuses[each]],
            place,
            ended.starts[each],
            ended.ends[each],
            shortened(error_line(trace), 300) if trace else "",
            trace[-TRACE_LIMIT:],
            tail(ended.outputs[each]),
            tail(ended.errors[each]),
            arguments if len(arguments) <= ARGUMENTS_KEPT else b"",
        )

    def rows(self, since: int, limit: int) -> tuple[int, list[Row]]:
        """Rows from the number `since`, at most `limit`, and the number of the first of them."""
        first = self.row_count - len(self._rows)
        since = max(first, min(since, self.row_count))
        return since, list(islice(self._rows, since - first, since - first + limit))

    def timeline(self, since: int, limit: int) -> dict[str, object]:
        """The same, as the page reads it."""
        first, rows = self.rows(since, limit)
        return {"places": self.places, "rows": rows, "next": first + len(rows), "first": first}

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
