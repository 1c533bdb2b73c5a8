"""Jobs that ask for more CPUs than any node of their computation has."""

from __future__ import annotations

from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Ended, Notice
from gdispy.rules.scheduler.refusals import NAMED_PATIENCE
from gdispy.rules.scheduler.reminders import PATIENCE
from tests.unit.builders import sent
from tests.unit.rules.scheduler.builders import CLIENT, A, B, Parts


def test_job_that_no_node_has_enough_cpus_for_is_set_aside_until_one_has() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join(A, 2)
    parts.load(node, computation)
    parts.submit(computation, 1, cpus=3)
    parts.submit(computation, 2)
    parts.wide_jobs.separate(0.0)
    assert [each.job for each in computation.backlog.oversized] == [1]
    assert [each.job for each in computation.backlog.jobs() if not each.cancelled] == [2]
    parts.load(parts.join(B, 4), computation)
    parts.wide_jobs.separate(0.0)
    assert not computation.backlog.oversized
    # It keeps its turn before what came later.
    assert [each.job for each in computation.backlog.jobs() if not each.cancelled] == [1, 2]
    parts.check()


def test_job_waits_with_all_others_where_no_node_is_there_at_all() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join(A, 2)
    parts.load(node, computation)
    parts.submit(computation, 1, cpus=3)
    parts.wide_jobs.separate(0.0)
    node.silent = True
    parts.wide_jobs.note_node(node)
    parts.wide_jobs.review(0.0)
    assert not computation.backlog.oversized and computation.id in parts.turns.waiting
    parts.check()


def test_user_is_told_of_a_job_that_is_set_aside() -> None:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(A, 2), computation)
    parts.submit(computation, 1, cpus=3, now=10.0)
    parts.wide_jobs.separate(10.0)
    [told] = sent(parts.state.timers.ring(10.0 + PATIENCE), CLIENT, Notice)
    assert "no node has enough CPUs for it" in told.text


def test_job_ends_where_it_is_certain_that_no_node_will_have_its_cpus() -> None:
    parts = Parts()
    computation = parts.open(nodes=("10.0.0.1",))
    parts.load(parts.join(A, 2), computation)
    parts.submit(computation, 1, cpus=3)
    parts.wide_jobs.separate(0.0)
    [end] = sent(parts.state.timers.ring(NAMED_PATIENCE), CLIENT, Ended)
    assert (end.jobs, end.statuses) == ([1], [TERMINATED])
    assert not computation.tasks
    parts.check()
