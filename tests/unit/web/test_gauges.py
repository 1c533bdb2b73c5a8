"""Figures of the present."""

from __future__ import annotations

from gdispy.web.gauges import jobs_of, states
from gdispy.web.job_metrics import JobMetrics


def test_states_without_things_are_reported_as_zero() -> None:
    found = states("nodes", "Nodes.", ("ready", "offers no CPUs", "away"), ["away", "away", "ready"])
    assert found.values == {("ready",): 1, ("offers_no_CPUs",): 0, ("away",): 2}


def test_computations_that_have_no_jobs_any_more_stay() -> None:
    made = JobMetrics()
    jobs_of(made, [("f", 5, 2), ("f", 1, 1), ("g", 0, 1)])
    waiting, running = jobs_of(made, [("g", 3, 4)])
    assert waiting.values == {("f",): 0, ("g",): 3} and running.values == {("f",): 0, ("g",): 4}


def test_without_names_there_is_one_figure() -> None:
    made = JobMetrics(0)
    assert [each.values for each in jobs_of(made, [("f", 5, 2), ("g", 1, 1)])] == [{(): 6}, {(): 3}]
    assert [each.values for each in jobs_of(made, [])] == [{(): 0}, {(): 0}]
