"""When jobs that no node can run end."""

from __future__ import annotations

from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Ended, Notice
from gdispy.rules.scheduler.refusals import NAMED_PATIENCE, NODE_PATIENCE
from tests.unit.builders import sent
from tests.unit.rules.scheduler.builders import CLIENT, A, B, Parts


def test_jobs_end_when_all_nodes_have_said_that_they_cannot_run_them() -> None:
    parts = Parts()
    computation = parts.open(nodes=("10.0.0.1",))
    assignment = parts.join(A).assignment_of(computation)
    assignment.error = "no module x"
    parts.submit(computation, 1)
    parts.inability.note(computation, assignment, 5.0)
    assert sent(parts.state.timers.ring(5.0 + NAMED_PATIENCE - 0.1), CLIENT, Ended) == []
    effects = parts.state.timers.ring(5.0 + NAMED_PATIENCE)
    [end] = sent(effects, CLIENT, Ended)
    assert (end.jobs, end.statuses, end.exceptions) == ([1], [TERMINATED], ["no module x\n"])
    assert len(sent(effects, CLIENT, Notice)) == 1 and not parts.turns.waiting


def test_jobs_wait_as_long_as_one_node_may_run_them() -> None:
    parts = Parts()
    computation = parts.open()
    assignment = parts.join(A).assignment_of(computation)
    parts.join(B)
    parts.submit(computation, 1)
    parts.inability.note(computation, assignment, 0.0)
    assert sent(parts.state.timers.ring(NODE_PATIENCE), CLIENT, Ended) == []


def test_nothing_ends_of_a_computation_that_waits_for_a_node_or_is_over() -> None:
    for options, forget in (({"waits": True}, False), ({}, True)):
        parts = Parts()
        computation = parts.open(**options)
        assignment = parts.join(A).assignment_of(computation)
        parts.submit(computation, 1)
        parts.inability.note(computation, assignment, 0.0)
        if forget:
            parts.inability.forget(computation)
        assert sent(parts.state.timers.ring(NODE_PATIENCE), CLIENT, Ended) == []
