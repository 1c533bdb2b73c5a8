"""Rules about how long jobs are expected to take."""

from __future__ import annotations

import pytest

from gdispy.rules.moving_average import averaged


def test_the_first_jobs_are_all_that_is_known() -> None:
    assert averaged(None, 0.25, 3) == 0.25


def test_recent_jobs_count_more() -> None:
    assert averaged(1.0, 0.0, 1) == pytest.approx(0.7)


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_many_at_once_weigh_as_much_as_one_after_the_other(count: int) -> None:
    pace: float | None = 3.0
    for _ in range(count):
        pace = averaged(pace, 0.5, 1)
    assert averaged(3.0, 0.5, count) == pytest.approx(pace)


def test_many_short_jobs_leave_nothing_of_a_slow_first_one() -> None:
    assert averaged(0.002, 0.000004, 100) == pytest.approx(0.000004)
