"""What a page remembers of jobs that have ended, where there are many clients, nodes and short jobs."""

from __future__ import annotations

import pytest

from gdispy.protocol.job_status import TERMINATED
from gdispy.web import ended_jobs
from gdispy.web.ended_jobs import EndedJobs, Origin
from tests.unit.builders import ended, outcome


def nodes(node: bytes) -> tuple[str, int] | None:
    return (f"node{node[0]}", 51348) if node else None


def note(jobs: EndedJobs, *numbers: int, node: bytes = b"\1", origin: str = "f", status: int = TERMINATED) -> None:
    rows = [outcome(number, status=status, exception="x", start=0.5) for number in numbers]
    jobs.note(ended(*rows, node=node, address="10.0.0.1"), None, Origin(origin, "ann"))


def test_of_many_short_jobs_in_one_message_the_last_are_remembered() -> None:
    jobs = EndedJobs(nodes, 3)
    note(jobs, *range(10))
    note(jobs, 10)
    assert [row.number for row in jobs.newest()] == [10, 9, 8, 7]
    assert [each.number for each in jobs.failures] == [7, 8, 9, 10]


def test_jobs_of_several_clients_are_told_apart() -> None:
    jobs = EndedJobs(nodes)
    note(jobs, 1, origin="f")
    note(jobs, 1, origin="g", node=b"")
    assert [(jobs.origins[row.origin].computation, jobs.places[row.place]) for row in jobs.newest()] == [
        ("g", "10.0.0.1"),
        ("f", "node1"),
    ]


@pytest.mark.parametrize("what", ["node", "origin"])
def test_names_are_bounded_and_browsers_notice_that_rows_are_gone(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_jobs, "PLACES", 3)
    jobs = EndedJobs(nodes)
    for number in range(3):
        note(jobs, number, **{what: bytes([number + 1]) if what == "node" else str(number)})  # type: ignore[arg-type]
    before = jobs.timeline(0, 10)["next"]
    note(jobs, 9, **{what: b"\7" if what == "node" else "other"})  # type: ignore[arg-type]
    assert len(jobs.places) <= 3 and len(jobs.origins) <= 3
    after = jobs.timeline(3, 10)
    assert before == 3 and after["first"] == 4
    (row,) = jobs.newest()
    assert row.number == 9 and jobs.places[row.place] == ("node7" if what == "node" else "node1")
    assert len(jobs.failures) == 4
