"""The jobs of one computation that no node has."""

from __future__ import annotations

from gdispy.protocol.ids import Instance
from gdispy.rules.scheduler.backlog import Backlog
from tests.unit.rules.scheduler.builders import task

NODE = Instance(b"n" * 16)


def test_jobs_for_one_node_have_a_queue_of_their_own() -> None:
    backlog = Backlog()
    for each in (task(1), task(2, node=bytes(NODE)), task(3, cpus=2)):
        backlog.add(each)
    backlog.add(task(4), first=True)
    assert [each.job for each in backlog.queue] == [4, 1, 3]
    assert [each.job for each in backlog.pinned[NODE]] == [2]
    assert [each.job for each in backlog.wide] == [3] and len(backlog) == 4


def test_cancelled_jobs_are_counted_until_they_are_dropped_at_the_head() -> None:
    backlog = Backlog()
    tasks = [task(1), task(2, cpus=2), task(3)]
    for each in tasks:
        backlog.add(each)
    for each in tasks[:2]:
        backlog.cancel(each)
    assert (backlog.cancelled, len(backlog), len(backlog.wide)) == (2, 3, 0)
    assert backlog.pop_cancelled() and not backlog.pop_cancelled()
    assert (backlog.cancelled, [each.job for each in backlog.jobs()]) == (0, [3])


def test_jobs_of_a_lost_node_are_taken_out_but_for_cancelled_ones() -> None:
    backlog = Backlog()
    tasks = [task(1, node=bytes(NODE)), task(2, cpus=2, node=bytes(NODE)), task(3)]
    for each in tasks:
        backlog.add(each)
    backlog.cancel(tasks[0])
    assert [each.job for each in backlog.pop_pinned(NODE)] == [2]
    assert (backlog.cancelled, len(backlog), len(backlog.wide)) == (0, 1, 0)
    assert backlog.pop_pinned(NODE) == []


def test_clearing_the_queues_leaves_what_is_oversized() -> None:
    backlog = Backlog()
    backlog.add(task(1))
    backlog.oversized.add(task(2, cpus=9))
    backlog.clear()
    assert not backlog and len(backlog.oversized) == 1
