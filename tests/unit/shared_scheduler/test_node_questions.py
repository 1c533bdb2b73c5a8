"""Questions to nodes: each ends once, when all have answered or the time is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gdispy.protocol.ids import Peer
from gdispy.protocol.messages import Explained, LogEvents, RunningJobs, RunningJobsRequest
from gdispy.rules.effects import Send
from gdispy.shared_scheduler import node_questions as module
from gdispy.shared_scheduler.node_questions import ANSWER_LIMIT, FIRST, NodeQuestions, absences, label
from tests.unit.builders import C
from tests.unit.rules.scheduler.builders import A, B, Parts


class Timer:
    """Stands for the greenlet of a time limit."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.killed = 0

    def later(self, seconds: float, work: Callable[..., None], *args: Any, what: str) -> Timer:
        assert seconds == ANSWER_LIMIT
        self.calls.append(lambda: work(*args))
        return self

    def kill(self, block: bool) -> None:
        self.killed += 1


class Asked:
    """A question to two nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timer = Timer()
        monkeypatch.setattr(module, "spawn_later", self.timer.later)
        parts = Parts()
        self.nodes = [parts.join(A), parts.join(B)]
        self.questions = NodeQuestions()
        self.taken: list[tuple[str, int]] = []
        self.ended: list[list[str]] = []

    def ask(self) -> list[Any]:
        effects = self.questions.ask(
            self.nodes, lambda node, number: RunningJobsRequest(number, 5), RunningJobs, self.take, self.end
        )
        return list(effects)

    def take(self, node: Any, answer: Any) -> None:
        if answer.left_out == 99:
            raise ValueError("odd")
        self.taken.append((node.name, answer.left_out))

    def end(self, unanswered: Any) -> None:
        self.ended.append([each.name for each in unanswered])


def test_question_ends_with_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    assert asked.ask() == [Send(A, RunningJobsRequest(FIRST, 5)), Send(B, RunningJobsRequest(FIRST, 5))]
    assert asked.questions.answered(A, RunningJobs(FIRST, [], 1))
    assert asked.ended == [] and len(asked.questions) == 1
    assert asked.questions.answered(B, RunningJobs(FIRST, [], 2))
    assert asked.ended == [[]] and asked.taken == [("node1", 1), ("node2", 2)]
    assert asked.timer.killed == 1 and len(asked.questions) == 0


def test_nodes_that_have_not_answered_in_time_are_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.ask()
    asked.questions.answered(A, RunningJobs(FIRST, [], 1))
    asked.timer.calls[0]()
    asked.timer.calls[0]()
    assert asked.ended == [["node2"]]
    assert asked.questions.answered(B, RunningJobs(FIRST, [], 2))  # It is late, and the rules are not to see it.
    assert asked.taken == [("node1", 1)]


def test_unasked_repeated_and_other_answers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.ask()
    assert asked.questions.answered(A, RunningJobs(FIRST, [], 1))
    for answer in (RunningJobs(FIRST, [], 3), RunningJobs(7, [], 3), LogEvents(FIRST, "", [], 0)):
        assert asked.questions.answered(A, answer)
    assert asked.questions.answered(Peer(77), RunningJobs(FIRST, [], 3))
    assert asked.taken == [("node1", 1)] and asked.ended == []
    # These are perhaps for a client, so the rules have to see them.
    assert not asked.questions.answered(B, Explained(C, FIRST, []))
    assert not asked.questions.answered(B, RunningJobsRequest(1, 1))


def test_answer_that_cannot_be_handled_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.ask()
    assert asked.questions.answered(A, RunningJobs(FIRST, [], 99))
    asked.questions.answered(B, RunningJobs(FIRST, [], 2))
    asked.timer.calls[0]()
    assert asked.ended == [["node1"]]


def test_nodes_that_are_away_or_silent_are_not_asked_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.nodes[0].peer, asked.nodes[1].silent = None, True
    assert asked.ask() == [] and asked.ended == [[]] and asked.timer.calls == []
    assert absences(asked.nodes, []) == [
        "10.0.0.1:51348 (node1) is away",
        "10.0.0.2:51348 (node2) sends no heartbeat at present",
    ]
    asked.nodes[1].silent = False
    assert absences(asked.nodes[1:], asked.nodes[1:]) == [f"{label(asked.nodes[1])} has not answered within 2 s"]
