"""How a cluster is closed: what is waited for, in which order, and what becomes of jobs that have not ended."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client.closing import ABSENT_LIMIT, RELEASE_LIMIT, ClosingSequence
from gdispy.client.engine import Stage
from gdispy.errors import ClusterClosed
from gdispy.protocol.messages import Status
from gdispy.protocol.rows import NodeRow
from tests.unit.builders import C

ROW = NodeRow("worker", "10.0.0.9", 51348, 4, 0, 0, 0.0, 0, 0)


class Made:
    """A cluster of which only the steps of its closing are recorded."""

    def __init__(
        self, jobs: int = 0, has_cleanup: bool = False, recovery: Any = None, stage: Stage = Stage.OPEN
    ) -> None:
        self.steps: list[Any] = []
        self.is_answered = self.is_released = True
        self.waits: list[float | None] = []
        table = SimpleNamespace(jobs=dict.fromkeys(range(jobs)), give_up=self._note("give up"))
        self.engine: Any = SimpleNamespace(
            computation=C,
            name="f",
            stage=stage,
            defect="",
            queue=SimpleNamespace(refuse=self._note("refuse")),
            count=SimpleNamespace(await_callbacks=self._note("await callbacks"), made=5),
            released=SimpleNamespace(wait=self._wait),
            table=table,
            is_answered=lambda: self.is_answered,
            release="release",
            part=self._note("part"),
            end_the_rest=self._note("end the rest"),
            question=lambda ask: Status(C, ask(7).question, [ROW], jobs, []),
        )
        hub: Any = SimpleNamespace(call=lambda function, *args: function(*args), post=self.steps.append)
        self.closing = ClosingSequence(self.engine, hub, recovery, has_cleanup)

    def _note(self, step: str) -> Any:
        return lambda *args: self.steps.append((step, *args) if args else step)

    def _wait(self, limit: float | None) -> bool:
        self.waits.append(limit)
        self.steps.append("wait")
        return self.is_released

    def words(self) -> list[str]:
        return [step if isinstance(step, str) else step[0] for step in self.steps]


def recovery(missing: int = 0) -> Any:
    return SimpleNamespace(stays=False, missing=missing, path="/f.recover")


def test_nodes_are_released_before_callbacks_are_waited_for_and_the_cluster_parts_last() -> None:
    made = Made()
    assert made.closing.leave(RELEASE_LIMIT, patience=3.0)
    assert made.steps == [("refuse", ClusterClosed), "release", "wait", ("await callbacks", 3.0), "part"]
    assert made.closing.is_closed and made.closing.end_time is not None


def test_cluster_is_closed_once() -> None:
    made = Made()
    assert made.closing.leave(RELEASE_LIMIT)
    made.steps.clear()
    assert not made.closing.leave(RELEASE_LIMIT) and made.steps == []


def test_thread_that_closes_meanwhile_does_nothing() -> None:
    made = Made()
    found: list[bool] = []
    made.engine.released.wait = lambda limit: found.append(made.closing.leave(RELEASE_LIMIT)) or True
    assert made.closing.leave(RELEASE_LIMIT)
    assert found == [False] and made.words().count("part") == 1


def test_closing_that_was_interrupted_starts_again_at_the_next_call() -> None:
    made = Made()

    def interrupted(limit: float | None) -> bool:
        raise KeyboardInterrupt

    wait, made.engine.released.wait = made.engine.released.wait, interrupted
    with pytest.raises(KeyboardInterrupt):
        made.closing.leave(RELEASE_LIMIT)
    assert not made.closing.is_closed and made.closing.end_time is None
    made.engine.released.wait = wait
    assert made.closing.leave(RELEASE_LIMIT) and made.closing.is_closed


@pytest.mark.parametrize(
    ("limit", "is_answered", "has_cleanup", "wait"),
    [
        (RELEASE_LIMIT, True, False, RELEASE_LIMIT),
        (RELEASE_LIMIT, False, False, ABSENT_LIMIT),
        (RELEASE_LIMIT, True, True, None),
        (RELEASE_LIMIT, False, True, ABSENT_LIMIT),
        (2.0, True, True, 2.0),
        (2.0, False, False, 2.0),
    ],
)
def test_time_for_the_release_depends_on_the_scheduler_and_on_cleanup(
    limit: float, is_answered: bool, has_cleanup: bool, wait: float | None
) -> None:
    made = Made(has_cleanup=has_cleanup)
    made.is_answered = is_answered
    made.closing.leave(limit)
    assert made.waits == [wait]


def test_node_that_does_not_confirm_is_reported_and_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    made = Made()
    made.is_released = False
    assert made.closing.leave(2.0)
    assert caplog.messages == ["f: a node did not confirm in time that it has cleaned up"]


def test_jobs_without_an_outcome_end_with_the_reason_and_their_callbacks_are_waited_for() -> None:
    made = Made(jobs=2)
    made.closing.leave(RELEASE_LIMIT, patience=1.0)
    assert made.words()[-3:] == ["part", "end the rest", "await callbacks"]
    text = "The cluster was closed before the node reported this job's outcome.\n"
    assert made.steps[-2] == ("end the rest", text)


def test_detached_jobs_continue_and_their_nodes_are_not_released() -> None:
    file = recovery()
    made = Made(jobs=2, recovery=file)
    made.closing.leave(RELEASE_LIMIT, to_return=True)
    assert made.words() == ["refuse", "await callbacks", "part", "give up"]
    text = "The program detached from this job; its recovery file records where it runs.\n"
    assert made.steps[-1] == ("give up", [], text) and file.stays


def test_cluster_that_has_parted_already_releases_nothing() -> None:
    made = Made(stage=Stage.PARTED)
    made.closing.leave(RELEASE_LIMIT)
    assert "release" not in made.words() and made.closing.is_closed


@pytest.mark.parametrize(("jobs", "missing", "stays"), [(0, 0, False), (1, 0, True), (0, 2, True)])
def test_recovery_file_stays_while_any_job_lacks_a_result(
    jobs: int, missing: int, stays: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    file = recovery(missing)
    Made(jobs=jobs, recovery=file).closing.leave(RELEASE_LIMIT)
    assert file.stays is stays
    text = "f: 2 of 5 jobs have no result, so /f.recover is kept; with resume='failed' the program runs them again"
    assert caplog.messages == ([text] if missing else [])


def test_recovery_file_that_stays_already_is_not_given_up() -> None:
    file = recovery()
    file.stays = True
    Made(recovery=file).closing.leave(RELEASE_LIMIT)
    assert file.stays


# The status


def test_status_is_that_of_the_scheduler_until_the_cluster_is_closed_and_the_last_one_then() -> None:
    made = Made(jobs=3)
    assert made.closing.status() == Status(C, 7, [ROW], 3, [])
    made.closing.leave(RELEASE_LIMIT)
    made.engine.question = lambda ask: pytest.fail("it was asked")
    assert made.closing.status() == Status(C, 0, [ROW], 0, [])


def test_status_without_an_answer_is_empty() -> None:
    made = Made()
    made.engine.question = lambda ask: None
    assert made.closing.status() == Status(C, 0, [], 0, [])


def test_defect_is_the_problem_that_the_status_shows() -> None:
    made = Made()
    made.engine.defect = "a defect of gdispy\n"
    assert made.closing.status().problems == ["a defect of gdispy"]


def test_forked_child_has_a_closed_cluster() -> None:
    made = Made(stage=Stage.FORKED)
    assert made.closing.is_closed and not made.closing.leave(RELEASE_LIMIT) and made.steps == []


def test_cluster_without_a_reference_is_closed() -> None:
    made = Made()
    made.closing.forget()
    assert made.closing.is_closed and not made.closing.leave(RELEASE_LIMIT)
