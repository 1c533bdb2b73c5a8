"""Running jobs of several nodes."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import RunningJobs
from gdispy.protocol.rows import RunningJobRow
from gdispy.shared_scheduler.running_jobs import JOBS_LIMIT, JobCollection
from tests.unit.builders import C, D
from tests.unit.shared_scheduler.building import Site


def row(job: int, age: float = 1.0, computation: object = C) -> RunningJobRow:
    return RunningJobRow(computation, JobId(job), 7, age, 1.0, 1)  # type: ignore[arg-type]


def collection(site: Site, limit: int = 3) -> JobCollection:
    return JobCollection(site.rules.state.computations, {C: ("c0c0", "ann")}, limit)


def test_longest_running_jobs_come_first_and_the_others_are_counted() -> None:
    site = Site(cpus=6)
    site.submit(*range(1, 7))
    found = collection(site)
    found.take(site.node, RunningJobs(1, [row(1, 10.0), row(2, 30.0)], 4))
    found.take(site.node, RunningJobs(1, [row(3, 40.0), row(4, 20.0)], 1))
    assert [(each.job, each.prefix, each.client) for each in found.rows] == [
        (3, "c0c0", "ann"),
        (2, "c0c0", "ann"),
        (4, "c0c0", "ann"),
    ]
    assert found.left_out == 6


def test_jobs_that_are_not_placed_on_the_node_are_left_out() -> None:
    site = Site(cpus=1)
    site.submit(1, 2)
    found = collection(site)
    found.take(site.node, RunningJobs(1, [row(1), row(2), row(9), row(1, computation=D)], 0))
    assert [each.job for each in found.rows] == [1]


def test_node_cannot_send_more_than_was_asked_for() -> None:
    site = Site(cpus=6)
    site.submit(*range(1, 7))
    found = collection(site)
    found.take(site.node, RunningJobs(1, [row(job) for job in range(1, 7)], 1 << 52))
    assert len(found.rows) == 3 and found.left_out <= 1 << 40
    assert collection(site, 1 << 52).limit == JOBS_LIMIT
