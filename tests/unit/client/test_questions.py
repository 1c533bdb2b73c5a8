"""Questions to the scheduler, and their answers."""

from __future__ import annotations

import threading

import pytest

from gdispy.client import questions as module
from gdispy.client.questions import PendingQuestions
from gdispy.protocol.messages import Reply
from tests.unit.builders import C


def reply(question: int, value: float = 0.0) -> Reply:
    return Reply(C, question, "", value, [])


def test_each_question_gets_the_answer_with_its_number() -> None:
    questions = PendingQuestions()
    sent: list[int] = []

    def answer_both(number: int) -> None:
        sent.append(number)
        if len(sent) == 1:
            assert questions.ask(answer_both) == reply(sent[1], 2.0)
        else:
            questions.answer(reply(sent[1], 2.0))
            questions.answer(reply(sent[0], 1.0))

    assert questions.ask(answer_both) == reply(sent[0], 1.0)
    assert sent[0] != sent[1]


def test_answer_that_nobody_waits_for_is_dropped() -> None:
    PendingQuestions().answer(reply(7))


def test_nobody_waits_for_ever_where_nobody_can_answer() -> None:
    questions = PendingQuestions()
    sent, found = threading.Event(), list[object]()
    thread = threading.Thread(target=lambda: found.append(questions.ask(lambda number: sent.set())), daemon=True)
    thread.start()
    assert sent.wait(10)
    questions.give_up()
    thread.join(10)
    assert found == [None]


def test_nobody_waits_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.0)
    questions = PendingQuestions()
    assert questions.ask(lambda number: None) is None
    assert questions._waiting == {}


# Without waiting


def test_answer_is_passed_on_once_where_it_is_not_waited_for() -> None:
    questions = PendingQuestions()
    sent, taken = list[int](), list[object]()
    for _ in range(2):
        questions.ask_then(sent.append, taken.append)
    assert sent[0] != sent[1] and taken == []
    questions.answer(reply(sent[1], 2.0))
    questions.answer(reply(sent[1], 3.0))
    assert taken == [reply(sent[1], 2.0)]
    questions.answer(reply(sent[0], 1.0))
    assert taken == [reply(sent[1], 2.0), reply(sent[0], 1.0)] and questions._waiting == {}


def test_answer_that_arrives_while_the_question_is_sent_is_passed_on() -> None:
    questions, taken = PendingQuestions(), list[object]()
    questions.ask_then(lambda number: questions.answer(reply(number, 5.0)), taken.append)
    assert taken == [reply(1, 5.0)] and questions._waiting == {}


@pytest.mark.parametrize("is_at_once", [False, True])
def test_nothing_is_passed_on_where_nobody_can_answer(is_at_once: bool) -> None:
    questions, taken = PendingQuestions(), list[object]()
    questions.ask_then(lambda number: questions.give_up() if is_at_once else None, taken.append)
    questions.give_up()
    questions.answer(reply(1))
    assert taken == [] and questions._waiting == {}
