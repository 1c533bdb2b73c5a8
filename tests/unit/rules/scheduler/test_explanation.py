"""What the scheduler tells a user about a job that waits."""

from __future__ import annotations

import pytest

from gdispy.rules.scheduler import explanation
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.turns import EARLIEST
from tests.unit.builders import C, D
from tests.unit.rules.scheduler.builders import CLIENT, OTHER, A, B, Parts


def told(parts: Parts, computation: Computation | None, task: Task | None = None) -> list[tuple[str, str]]:
    facts = explanation.explain(parts.state, parts.turns, parts.reminders, computation, task, 0.0)
    return list(zip(facts[::2], facts[1::2], strict=True))


def busy(parts: Parts, cpus: int = 1) -> Computation:
    """A computation whose node has a job for each CPU."""
    computation = parts.open()
    parts.load(parts.join(cpus=cpus), computation)
    parts.submit(computation, *range(1, cpus + 1))
    parts.placement.place(0.0)
    return computation


def test_job_waits_for_a_free_cpu_behind_others() -> None:
    parts = Parts()
    computation = busy(parts)
    tasks = parts.submit(computation, 2, 3, 4)
    text = "a free CPU: 1 of 1 CPUs of 10.0.0.1:51348 are busy, 1 of them with its own jobs"
    assert told(parts, computation, tasks[0]) == [("waits for", text)]
    assert told(parts, computation, tasks[2])[1] == ("ahead of it", "2 jobs of this computation")
    assert told(parts, computation) == [("waits for", text)]


def test_share_of_the_client_is_told_if_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    computation = busy(parts)
    other = parts.open(D, OTHER)
    parts.load(parts.state.nodes[computation.places.copy().pop()], other)
    [task] = parts.submit(other, 7)
    parts.submit(computation, 8)
    turn = "its turn: 2 clients wait, and its share is 50% of the CPUs; its jobs have 0 CPUs now"
    assert told(parts, other, task)[1] == ("waits for", turn)
    parts.turns.policy = EARLIEST
    assert "computations that were opened earlier go first" in told(parts, other, task)[1][1]


def test_job_on_a_node_has_its_place_and_what_is_wrong_there() -> None:
    parts = Parts()
    computation = busy(parts, cpus=2)
    task, node = computation.tasks[1], computation.tasks[1].node  # type: ignore[index]
    assert node is not None
    assert told(parts, computation, task) == [("node", "node1 at 10.0.0.1:51348")]
    node.silent = True
    assert told(parts, computation, task)[1] == ("problem", "the node sends no heartbeat at present")
    node.peer = None
    assert "the connection to the node broke" in told(parts, computation, task)[1][1]
    task.attempt, task.losses = 3, 2
    assert told(parts, computation, task)[1] == ("attempt", "3; 2 of its nodes were lost")


def test_job_that_no_node_can_run_has_the_reasons() -> None:
    parts = Parts()
    computation = parts.open()
    [task] = parts.submit(computation, 1)
    assert told(parts, computation, task) == [("waits for", "a node: none has loaded the computation yet")]
    assignment = parts.join().assignment_of(computation)
    assignment.error = "no module named x"
    assert told(parts, computation, task) == [("waits for", "10.0.0.1:51348: no module named x")]
    computation.objection = "too large"
    assert told(parts, computation, task) == [("waits for", "too large")]


def test_job_for_one_node_waits_for_that() -> None:
    parts = Parts()
    computation = busy(parts)
    [instance] = computation.places
    [task] = parts.submit(computation, 5, node=instance, cpus=1, priority=2.0)
    place = "the node 10.0.0.1:51348, the only one that may run it"
    assert told(parts, computation, task) == [("priority", "2"), ("waits for", place)]


def test_exclusive_computations_and_slow_clients_are_obstacles() -> None:
    parts = Parts()
    first = parts.open(C, CLIENT, exclusive=True)
    second = parts.open(D, OTHER)
    [task] = parts.submit(second, 1)
    end = "the end of f, which was opened earlier and has all nodes for itself"
    assert told(parts, second, task) == [("waits for", end)]
    parts.turns.close(first)
    parts.turns.slow_down(OTHER, True)
    assert "does not take its results as fast" in told(parts, second, task)[0][1]
    parts.turns.slow_down(OTHER, False)
    second.held = True
    assert "the reports of nodes of a previous run" in told(parts, second, task)[0][1]


def test_nothing_waits_and_nothing_is_known() -> None:
    parts = Parts()
    assert told(parts, None) == [("problem", "the scheduler does not have this computation")]
    computation = busy(parts, cpus=2)
    assert told(parts, computation) == [("waiting", "no job waits for a node"), ("on nodes", "2 jobs")]


def test_very_many_jobs_ahead_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "LOOK_LIMIT", 3)
    parts = Parts()
    computation = busy(parts)
    parts.load(parts.join(B, cpus=0), computation)
    tasks = parts.submit(computation, *range(10, 20))
    assert told(parts, computation, tasks[-1])[-1] == ("ahead of it", "more than 3 jobs of this computation")
    assert A != B
