"""Provisional results that arrive out of order, twice, or after the end of their job."""

from __future__ import annotations

import itertools

import pytest

from gdispy.protocol.ids import JobId
from gdispy.rules.scheduler.shown_results import NOTHING_SHOWN, ShownResults

JOB = JobId(1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_count_is_what_has_arrived_without_a_gap(order: tuple[int, ...]) -> None:
    shown = ShownResults()
    for place, index in enumerate(order):
        arrived = set(order[: place + 1])
        expected = next(count for count in itertools.count() if count not in arrived)
        assert shown.note(JOB, 1, index) == expected
    assert shown.note(JOB, 1, 0) == 4


def test_jobs_and_attempts_are_counted_apart() -> None:
    shown = ShownResults()
    assert [shown.note(JOB, 1, 0), shown.note(JOB, 2, 0), shown.note(JobId(2), 1, 1)] == [1, 1, 0]


def test_job_that_ended_owes_results_until_the_last_has_arrived() -> None:
    shown = ShownResults()
    shown.note(JOB, 1, 0)
    shown.note_end(JOB, 1, 3)
    assert shown.owed == {(JOB, 1): 3}
    assert shown.note(JOB, 1, 2) == 1 and shown.owed
    assert shown.note(JOB, 1, 1) == 3
    assert shown.owed == {} and shown._counts == {}


@pytest.mark.parametrize("count", [0, 2])
def test_job_of_which_all_have_arrived_owes_nothing_and_is_forgotten(count: int) -> None:
    shown = ShownResults()
    for index in range(count):
        shown.note(JOB, 1, index)
    shown.note_end(JOB, 1, count)
    assert shown.owed == {} and shown._counts == {}


def test_results_before_the_first_of_a_previous_runs_job_had_arrived_then() -> None:
    shown = ShownResults()
    shown.inherited.add((JOB, 1))
    assert [shown.note(JOB, 1, index) for index in (5, 6)] == [6, 7]
    shown.note_end(JOB, 1, 9)
    assert shown.owed == {} and shown._counts == {}


def test_common_instance_is_empty() -> None:
    assert (NOTHING_SHOWN._counts, NOTHING_SHOWN.owed, NOTHING_SHOWN.inherited) == ({}, {}, set())
