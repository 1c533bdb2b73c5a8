"""When jobs have arrived, in little memory."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.rules.arrivals import ARRIVALS, Arrivals


def test_times_of_arrival_are_those_of_the_message() -> None:
    made = Arrivals()
    made.note(JobId(5), 10.0)
    made.note(JobId(9), 11.0)
    made.note(JobId(7), 12.0)  # It was placed again.
    assert made.times([JobId(4), JobId(5), JobId(8), JobId(9), JobId(100)]) == [0.0, 10.0, 10.0, 11.0, 11.0]


def test_times_of_arrival_take_little_memory_and_are_as_exact_as_the_oldest_job_is_new() -> None:
    made, wrong = Arrivals(), 0.0
    for number in range(100 * ARRIVALS):
        made.note(JobId(number), number * 0.01)
    assert len(made._firsts) == len(made._times) <= ARRIVALS
    span = 100 * ARRIVALS * 0.01
    for number in (0, 5, 1000, 200_000, 100 * ARRIVALS - 1):
        wrong = number * 0.01 - made.times([JobId(number)])[0]
        assert 0 <= wrong <= 4 * span / ARRIVALS
    made.forget_before(JobId(100 * ARRIVALS - 10))
    assert len(made._firsts) < 3
    for number in range(100 * ARRIVALS, 100 * ARRIVALS + 100):
        made.note(JobId(number), number * 0.01)
        assert 0 <= number * 0.01 - made.times([JobId(number)])[0] <= 0.02
    made.forget_before(None)
    assert len(made._firsts) == 1
