"""Questions of visitors: each is answered once, and they are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import (
    Explain,
    Explained,
    JobFacts,
    JobFactsRequest,
    LogEvents,
    LogRequest,
    OverviewRequest,
    RunningJobs,
    RunningJobsRequest,
)
from gdispy.protocol.rows import RunningJobRow
from gdispy.rules.effects import Send
from gdispy.shared_scheduler.inquiries import ALL_LIMIT, OPEN_LIMIT
from gdispy.shared_scheduler.node_questions import FIRST
from tests.unit.builders import C
from tests.unit.rules.scheduler.builders import A
from tests.unit.shared_scheduler.building import Site, Visitor

JOBS = RunningJobsRequest(3, 10)


def test_other_messages_are_left_to_others() -> None:
    site = Site()
    assert site.inquiries.take(site.visitor, OverviewRequest(1), 0.0) is None  # type: ignore[arg-type]


def test_running_jobs_are_asked_from_nodes_and_completed() -> None:
    site = Site()
    site.submit(1)
    assert site.ask(JOBS) == [Send(A, RunningJobsRequest(FIRST, 10))]
    assert site.visitor.answers == []
    site.inquiries.nodes.answered(A, RunningJobs(FIRST, [RunningJobRow(C, JobId(1), 7, 2.0, 1.5, 4096)], 0))
    name, place = "lab3 (ann: fit.py)", "10.0.0.1:51348 (node1)"
    row = RunningJobRow(C, JobId(1), 7, 2.0, 1.5, 4096, C.hex()[:4], "f", name, place)
    assert site.visitor.answers == [RunningJobs(3, [row], 0, [])]


def test_job_of_a_node_is_explained_by_both() -> None:
    site = Site()
    site.submit(5)
    assert site.ask(JobFactsRequest(3, f"{C.hex()}:5")) == [Send(A, Explain(C, FIRST, JobId(5), True))]
    site.inquiries.nodes.answered(A, Explained(C, FIRST, ["running for", "1 s"]))
    [answer] = site.visitor.answers
    assert answer.facts[-2:] == ["running for", "1 s"] and answer.question == 3 and not answer.error


def test_logs_of_all_are_gathered_or_an_error_is_told() -> None:
    site = Site()
    assert site.ask(LogRequest(3, 0.0, 100_000, "nowhere", [])) == []
    [answer] = site.visitor.answers
    assert answer.rows == [] and "has no node 'nowhere'" in answer.error
    [sent] = site.ask(LogRequest(4, 60.0, 100_000, "", []))
    assert sent == Send(A, LogRequest(FIRST, 60.0, 50_000, "", []))
    site.inquiries.nodes.answered(A, LogEvents(FIRST, "", [], 7))
    assert site.visitor.answers[1] == LogEvents(4, "", [], 7, [])


@pytest.mark.parametrize("message", [JOBS, LogRequest(3, 0.0, 100, "", [])])
def test_questions_of_a_connection_are_bounded_until_they_are_answered(message: Any) -> None:
    site = Site()
    for _ in range(OPEN_LIMIT):
        site.ask(message)
    with pytest.raises(ProtocolError, match="more than 4 questions of one connection are not answered yet"):
        site.ask(message)
    other = Visitor(501)
    site.ask(message, other)
    answer = RunningJobs if message is JOBS else (lambda number, rows, left: LogEvents(number, "", rows, left))
    site.inquiries.nodes.answered(A, answer(FIRST, [], 0))
    assert len(site.visitor.answers) == 1
    site.ask(message)
    with pytest.raises(ProtocolError):
        site.ask(message)


@pytest.mark.parametrize(
    "message", [JOBS, LogRequest(3, 0.0, 100, "", []), JobFactsRequest(3, f"{C.hex()}:1")], ids=lambda each: each.tag
)
def test_questions_of_all_connections_are_bounded(message: Any) -> None:
    site = Site()
    site.submit(1)
    for number in range(ALL_LIMIT):
        site.ask(JOBS, Visitor(1000 + number))
    assert site.ask(message) == []
    [answer] = site.visitor.answers
    texts = [getattr(answer, "error", ""), *getattr(answer, "problems", [])]
    assert "the scheduler has too many such questions at present; ask again" in texts


def test_question_that_cannot_be_handled_is_not_open_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    monkeypatch.setattr(site.inquiries, "_names", lambda: 1 / 0)
    for _ in range(2 * OPEN_LIMIT):
        with pytest.raises(ZeroDivisionError):
            site.ask(JOBS)


def test_all_computations_are_explained_at_once() -> None:
    site = Site(cpus=1)
    site.submit(1, 2)
    assert site.ask(JobFactsRequest(3, "")) == []
    [answer] = site.visitor.answers
    assert isinstance(answer, JobFacts) and answer.facts[:2] == ["computation", f"{C.hex()[:4]}: f"]
