"""Lists of jobs on a page: a request names a kind, a text that is sought, and where the page of the list begins.

Pure. Invariant: a request takes a bounded time, however many jobs there are.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.web.ended_jobs import EndedJobs, Failure, Origin, Row
from gdispy.web.guard import Refused
from gdispy.web.request import Request

KINDS = ("running", "waiting", "failed", "ended")
#: Rows of a page of a list, and of an answer for the timeline.
PAGE_ROWS = 50
TIMELINE_ROWS = 4000
#: Jobs that one request looks through.
LOOKED_AT = 20_000
#: Jobs at both ends of a table whose numbers are read at once.
ENDS = 1000
#: Numbers of jobs are below this, and so are positions in a list of waiting jobs: they fit into a number of JSON.
TABLE = 1 << 40

T = TypeVar("T")
R = TypeVar("R")


class Query(NamedTuple):
    """What a request for a list wants."""

    kind: str
    #: In lower case; '' for all jobs.
    sought: str = ""
    #: The number of rows before the page; for jobs that wait, the index of the table times `TABLE`, and the number of
    #: the first job there.
    begin: int = 0

    @classmethod
    def of(cls, request: Request) -> Query:
        """Raises Refused."""
        kind = request.text("kind", "running")
        if kind not in KINDS:
            raise Refused(400, f"kind must be one of {', '.join(KINDS)}")
        return cls(kind, request.text("q").strip().lower()[:200], request.number("from", 0))

    @property
    def number(self) -> JobId | None:
        """The number that is sought; None if it is no number of a job."""
        is_number = self.sought.isascii() and self.sought.isdecimal() and len(self.sought) <= len(str(TABLE))
        return JobId(int(self.sought)) if is_number else None

    def fits(self, texts: Iterable[str]) -> bool:
        return not self.sought or any(self.sought in text.lower() for text in texts)

    def page(self, found: Sequence[T]) -> Sequence[T]:
        """The rows of the page, of all that fit, and one more if there are more."""
        return found[self.begin : self.begin + PAGE_ROWS + 1]

    def answer(self, rows: list[dict[str, object]]) -> dict[str, object]:
        """The answer with the rows of `page`."""
        after = self.begin + PAGE_ROWS if len(rows) > PAGE_ROWS else None
        return {"kind": self.kind, "jobs": rows[:PAGE_ROWS], "from": self.begin, "next": after}


def running(query: Query, tables: Sequence[Mapping[JobId, T]]) -> Iterator[tuple[int, JobId, T]]:
    """What is looked through for a list of running jobs: the index of the table, the number and its value. A job whose
    number is sought is the first."""
    wanted = query.number
    for at, table in enumerate(tables):
        if wanted is not None and wanted in table:
            yield at, wanted, table[wanted]
    left = LOOKED_AT
    for at, table in enumerate(tables):
        for number, value in islice(table.items(), left):
            left -= 1
            if number != wanted:
                yield at, number, value


def waiting(
    query: Query, tables: Sequence[dict[JobId, T]], row_of: Callable[[int, JobId, T], R | None]
) -> tuple[list[R], int | None]:
    """Jobs of one table after the other, by number, and where the next page begins. `row_of` gets the index of the
    table, the number and the job, and returns None for jobs that are not shown. Numbers are given in the order of
    submission, so the next page continues at a number, without passing those before it. A job whose number is sought is
    on the first page, before all others."""
    first, begin = divmod(query.begin, TABLE)
    wanted = query.number
    # One fewer than the rows of a page, so that each page makes progress.
    holders = [at for at, table in enumerate(tables) if wanted is not None and wanted in table][: PAGE_ROWS - 1]
    found = [] if wanted is None or query.begin else [row_of(at, wanted, tables[at][wanted]) for at in holders]
    rows = [row for row in found if row is not None]
    looked = 0
    for at in range(first, len(tables)):
        table, numbers = tables[at], _Numbers(tables[at])
        number = numbers.start(begin if at == first else 0)
        while number <= numbers.last:
            if looked >= LOOKED_AT or len(rows) == PAGE_ROWS:
                return rows, at * TABLE + number
            job = table.get(number)
            is_shown = number == wanted and at in holders
            row = row_of(at, number, job) if job is not None and not is_shown else None
            if row is not None:
                rows.append(row)
            number = numbers.after(number, job is not None)
            looked += 1
        looked += len(numbers.known)
    return rows, None


class _Numbers:
    """The numbers of the jobs of a table, as far as they are known without looking through it."""

    def __init__(self, table: dict[JobId, T]) -> None:
        front = list(islice(table, ENDS))
        self.known = sorted({*front, *islice(reversed(table), ENDS)})
        self.last = self.known[-1] if self.known else JobId(-1)
        #: The number up to which there are no others.
        self._bound = max(front) if len(table) > 2 * ENDS else math.inf

    def start(self, begin: int) -> JobId:
        return JobId(max(begin, self.known[0]) if self.known else 0)

    def after(self, number: JobId, is_there: bool) -> JobId:
        """The next number to look at. Between long jobs and those after them many may have ended: these numbers are
        passed at once."""
        place = bisect_right(self.known, number)
        if is_there or number >= self._bound or place == len(self.known):
            return JobId(number + 1)
        return self.known[place]


def failures(query: Query, found: Iterable[Failure]) -> Sequence[Failure]:
    """The page of those that fit, the newest first."""
    newest = sorted(found, key=lambda each: each.end, reverse=True)
    return query.page([each for each in newest if query.fits(_texts_of(each))])


def ended(query: Query, found: Iterable[tuple[EndedJobs, Row]]) -> list[dict[str, object]]:
    """The page of those that fit, in the given order."""
    rows: list[dict[str, object]] = []
    for jobs, row in islice(found, LOOKED_AT):
        place, origin = jobs.places[row.place], jobs.origins[row.origin]
        if query.fits((str(row.number), place, job_status.NAMES[row.status], *origin)):
            rows.append(ended_row(row, place, origin))
        if len(rows) > query.begin + PAGE_ROWS:
            break
    return rows[query.begin :]


def ended_row(row: Row, place: str, origin: Origin) -> dict[str, object]:
    known: dict[str, object] = {"number": row.number, "id": str(row.number), **names_of(origin)}
    return {**known, "status": job_status.NAMES[row.status], "node": place, "start": row.start, "end": row.end}


def failed_row(each: Failure) -> dict[str, object]:
    known = {"number": each.number, "id": each.name, **names_of(each.origin), "status": each.status}
    known |= {"node": each.place, "start": each.start or None, "end": each.end or None}
    return {**known, "error": each.error, "trace": each.trace, "stdout": each.output, "stderr": each.errors}


def names_of(origin: Origin) -> dict[str, object]:
    return {"computation": origin.computation, **({"client": origin.client} if origin.client else {})}


def _texts_of(each: Failure) -> tuple[str, ...]:
    return (str(each.number), each.name, *each.origin, each.place, each.status, each.trace, each.output, each.errors)


def priority_in(order: dict[str, Any]) -> float:
    """The priority in a request. Raises Refused."""
    priority = order.get("priority")
    if not isinstance(priority, int | float) or isinstance(priority, bool) or not abs(priority) <= 1e9:
        raise Refused(400, "priority must be a number, at most 1e9")
    return float(priority)
