"""The history of use: sums by day and user, and their bounds."""

from __future__ import annotations

import pytest

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINISHED, TERMINATED
from gdispy.protocol.messages import Ended
from gdispy.protocol.rows import UsageRow
from gdispy.rules.scheduler import usage as module
from gdispy.rules.scheduler.usage import OTHERS, UsageHistory
from tests.unit.builders import ended as ended_columns
from tests.unit.builders import outcome

TODAY = "2026-03-02"


def ended(*rows: tuple[int, int, float, float]) -> Ended:
    """Ends of jobs: number, status, start and end."""
    return ended_columns(*(outcome(job, 1, status, start=start, end=end) for job, status, start, end in rows))


def test_jobs_are_counted_by_how_they_ended_and_their_time_is_added() -> None:
    history = UsageHistory()
    history.count(TODAY, "ann", ended((1, FINISHED, 10.0, 12.0), (2, TERMINATED, 11.0, 12.5)), {})
    history.count(TODAY, "ann", ended((3, CANCELLED, 20.0, 21.0), (4, ABANDONED, 20.0, 20.5)), {})
    history.count(TODAY, "bob", ended((1, FINISHED, 1.0, 2.0)), {})
    assert history.rows() == [UsageRow(TODAY, "ann", 1, 1, 2, 5.0), UsageRow(TODAY, "bob", 1, 0, 0, 1.0)]


def test_time_of_a_job_counts_for_each_of_its_cpus() -> None:
    history = UsageHistory()
    history.count(TODAY, "ann", ended((1, FINISHED, 10.0, 12.0), (2, FINISHED, 10.0, 11.0)), {JobId(2): 4})
    assert history.rows()[0].seconds == 6.0


def test_jobs_that_have_not_begun_used_no_time() -> None:
    history = UsageHistory()
    history.count(TODAY, "ann", ended((1, FINISHED, 10.0, 12.0), (2, CANCELLED, 0.0, 1e9)), {})
    assert history.rows() == [UsageRow(TODAY, "ann", 1, 0, 1, 2.0)]


def test_clock_that_was_set_back_takes_no_time_away() -> None:
    history = UsageHistory([UsageRow(TODAY, "ann", 1, 0, 0, 7.0)])
    history.count(TODAY, "ann", ended((1, FINISHED, 100.0, 20.0)), {})
    assert history.rows() == [UsageRow(TODAY, "ann", 2, 0, 0, 7.0)]


def test_rows_are_selected_by_their_day() -> None:
    rows = [UsageRow(day, "ann", 1, 0, 0, 1.0) for day in ("2025-12-31", "2026-01-01", "2026-01-02")]
    history = UsageHistory(rows[::-1])
    assert history.rows() == rows
    assert history.rows("2026-01-01") == rows[1:]


def test_oldest_days_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 3)
    history = UsageHistory()
    for day in range(1, 7):
        history.count(f"2026-01-0{day}", "ann", ended((1, FINISHED, 1.0, 2.0)), {})
    assert [row.day for row in history.rows()] == ["2026-01-04", "2026-01-05", "2026-01-06"]


def test_users_beyond_the_bound_of_a_day_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DAY_USERS", 2)
    history = UsageHistory()
    for user in ("a", "b", "c", "d", "a"):
        history.count(TODAY, user, ended((1, FINISHED, 1.0, 2.0)), {})
    assert [(row.user, row.finished) for row in history.rows()] == [(OTHERS, 2), ("a", 2), ("b", 1)]


def test_job_that_was_cancelled_while_it_ran_has_not_failed() -> None:
    history = UsageHistory()
    made = ended((1, TERMINATED, 10.0, 12.0), (2, TERMINATED, 10.0, 12.0), (3, FINISHED, 10.0, 11.0))
    made.exceptions[:2] = ["The job was cancelled.\n", "Traceback (most recent call last):\n"]
    history.count(TODAY, "ann", made, {})
    assert history.rows() == [UsageRow(TODAY, "ann", 1, 1, 1, 5.0)]
