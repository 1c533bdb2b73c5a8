"""How much each user has used the nodes of a scheduler, by day.

Pure. Counted when a node reports the end of a job. A job that ended without a node, as one that was cancelled while it
waited, has used nothing; neither has an attempt whose node was lost, since it is not known for how long it ran.

Invariant: there are at most `ROWS` rows; the oldest days are forgotten first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.protocol.messages import Ended
from gdispy.protocol.rows import UsageRow
from gdispy.rules.end_reason import CANCEL, end_reason

#: Maximum number of rows: 27 users for a year.
ROWS = 10_000
#: Users of a day with a separate row each; the others share one.
DAY_USERS = 500
OTHERS = "(others)"


class _Key(NamedTuple):
    day: str
    user: str


class UsageHistory:
    """The jobs and the CPU seconds of each user on each day."""

    def __init__(self, rows: list[UsageRow] | None = None) -> None:
        self._rows = {_Key(row.day, row.user): row for row in rows or ()}
        #: The number of rows of each day.
        self._users = Counter(key.day for key in self._rows)
        self._forget()

    def count(self, day: str, user: str, ended: Ended, widths: Mapping[JobId, int]) -> None:
        """Jobs of a user have ended on a node; `widths` are the CPUs of those that have several."""
        finished, failed = ended.statuses.count(FINISHED), ended.statuses.count(TERMINATED)
        if failed:  # A job that was cancelled while it ran has not failed.
            ends = zip(ended.statuses, ended.exceptions, strict=True)
            failed -= sum(status == TERMINATED and end_reason(status, text) == CANCEL for status, text in ends)
        other = len(ended.statuses) - finished - failed
        if widths or min(ended.starts) <= 0:  # Those that have not begun have no time of start.
            rows = zip(ended.jobs, ended.starts, ended.ends, strict=True)
            seconds = sum((end - start) * widths.get(job, 1) for job, start, end in rows if start > 0)
        else:
            seconds = sum(ended.ends) - sum(ended.starts)
        key = _Key(day, user)
        row = self._rows.get(key)
        if row is None:
            row = self._begin(key)
            key = _Key(day, row.user)
        added = (row.finished + finished, row.failed + failed, row.other + other, row.seconds + max(0.0, seconds))
        self._rows[key] = UsageRow(day, row.user, *added)

    def _begin(self, key: _Key) -> UsageRow:
        """The row of a user who has none on this day."""
        if self._users[key.day] >= DAY_USERS:
            key = _Key(key.day, OTHERS)
        if key not in self._rows:
            self._rows[key] = UsageRow(*key, 0, 0, 0, 0.0)
            self._users[key.day] += 1
            self._forget()
        return self._rows.get(key) or UsageRow(*key, 0, 0, 0, 0.0)

    def _forget(self) -> None:
        if len(self._rows) > ROWS:
            for key in sorted(self._rows)[: len(self._rows) - ROWS]:
                del self._rows[key]
                self._users[key.day] -= 1

    def rows(self, first_day: str = "") -> list[UsageRow]:
        """The rows from this day on, in the order of days and users. Days are ISO dates."""
        return [self._rows[key] for key in sorted(self._rows) if key.day >= first_day]
