"""Counts of jobs that have ended, and their durations."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINISHED, TERMINATED
from gdispy.web.job_metrics import BOUNDS, MANY, OTHERS, Histogram, JobMetrics


def test_few_and_many_durations_are_counted_alike() -> None:
    seed = random.Random(5)
    values = [10 ** seed.uniform(-5, 6) for _ in range(500)] + [*BOUNDS, 0.0, -1.0, -0.5]
    seed.shuffle(values)
    wanted = [0] * (len(BOUNDS) + 1)
    for value in values:
        wanted[bisect_left(BOUNDS, value)] += 1
    one, all_at_once = Histogram(), Histogram()
    for value in values:
        one.add([value])
    assert len(values) > MANY
    all_at_once.add(list(values))
    assert one.counts == all_at_once.counts == wanted
    assert sum(one.counts) == len(values)
    total = sum(max(0.0, value) for value in values)
    assert one.total == pytest.approx(total) and all_at_once.total == pytest.approx(total)


def test_a_duration_on_a_bound_belongs_to_the_part_below() -> None:
    made = Histogram()
    made.add([BOUNDS[0]] * MANY)
    assert made.counts[0] == MANY


def test_jobs_are_counted_by_outcome_and_reason() -> None:
    made = JobMetrics()
    statuses = [FINISHED, TERMINATED, FINISHED, CANCELLED, ABANDONED]
    texts = ["", "Traceback (most recent call last):\n", "", "", "The node x that ran the job is lost: y.\n"]
    made.count("f", statuses, texts, [1.0, 2.0, 3.0, 0.0, 0.0], [2.0, 4.0, 3.5, 9.0, 9.0], [0.5] * 5, [10.0] * 5)
    assert made.ended == {
        ("finished", ""): 2,
        ("failed", "exception"): 1,
        ("cancelled", "cancel"): 1,
        ("abandoned", "node_lost"): 1,
    }
    assert made.ended_of == {("f", *kind): count for kind, count in made.ended.items()}
    assert sum(made.ran.counts) == 3 and made.ran.total == pytest.approx(3.5)
    assert sum(made.queued.counts) == 3 and made.queued.total == pytest.approx(0.5 + 1.5 + 2.5)
    assert sum(made.returned.counts) == 3 and made.returned.total == pytest.approx(8 + 6 + 6.5)


def test_jobs_whose_arrival_is_not_known_have_no_time_in_the_queue() -> None:
    made = JobMetrics()
    made.count("f", [FINISHED] * 2, [""] * 2, [5.0] * 2, [6.0] * 2, [0.0, 3.0], [6.0] * 2)
    assert sum(made.queued.counts) == 1 and made.queued.total == pytest.approx(2.0)
    made.count("f", [FINISHED], [""], [5.0], [6.0], [], [6.0])
    assert sum(made.queued.counts) == 1 and sum(made.ran.counts) == 3


def test_names_of_computations_are_bounded_and_plain() -> None:
    made = JobMetrics(2)
    names = ["/home/somebody/a job\n{x}é.sh", "f", "g", "f", "", "other/f"]
    assert [made.label(name) for name in names] == ["a_job__x_é.sh", "f", OTHERS, "f", OTHERS, "f"]
    for number in range(1000):
        assert made.label(f"/{number}/f") == "f"
        assert made.label(f"h{number}") == OTHERS
    assert len(made._labels) <= 8 and made.labels == [("a_job__x_é.sh",), ("f",)]
    assert len(JobMetrics().label("x" * 1000)) == 60
    assert JobMetrics(0).label("f") == "" and JobMetrics(0).labels == []
