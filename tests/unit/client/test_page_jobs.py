"""What a page remembers of jobs."""

from __future__ import annotations

import pytest

from gdispy.client.job import DispyJob
from gdispy.client.node_table import NodeTable
from gdispy.client.page_jobs import PageJobs, shown_id
from gdispy.client.status import DispyNode
from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import ABANDONED, TERMINATED
from gdispy.protocol.messages import Event, Started
from gdispy.protocol.payload import MemoryPayload
from gdispy.protocol.rows import NodeRow
from gdispy.web.ended_jobs import FAILURES, ROWS, TAIL_LINES, tail
from tests.unit.builders import C, ended, outcome

NODE = b"n" * 16


class Made:
    def __init__(self, count: int = 3) -> None:
        self.jobs = {JobId(number): DispyJob._new(number, 0.5, b"args") for number in range(1, count + 1)}
        self.records = PageJobs(self.jobs, NodeTable(), "f")

    def start(self, *numbers: int) -> None:
        jobs = [JobId(number) for number in numbers]
        self.records.started_jobs(Started(C, jobs, [1] * len(jobs), [1.0] * len(jobs), "10.0.0.1", NODE))

    def end(self, *rows: tuple[object, ...], picks: list[int] | None = None) -> None:
        self.records.ended_jobs(ended(*rows, address="10.0.0.1", node=NODE), picks)


def test_jobs_that_started_before_the_page_are_running() -> None:
    job = DispyJob._new(1, 0.5, b"")
    job.start_time = 2.0
    records = PageJobs({JobId(1): job, JobId(2): DispyJob._new(2, 0.5, b"")}, NodeTable(), "f")
    assert list(records.running) == [1]


def test_running_jobs_are_those_that_have_started_and_not_ended_or_been_lost() -> None:
    made = Made()
    made.start(1, 2, 3, 99)
    made.end(outcome(2))
    assert list(made.records.running) == [1, 3]
    made.records.lost_node(b"o" * 16)
    assert list(made.records.running) == [1, 3]
    made.records.lost_node(NODE)
    assert not made.records.running


def test_jobs_at_the_same_time_are_on_different_cpus_and_others_follow_each_other() -> None:
    made = Made()
    made.end(outcome(1, start=1.0, end=2.0), outcome(2, start=2.0, end=3.0), outcome(3, start=1.0, end=9.0))
    first, rows = made.records.past.rows(0, 10)
    assert first == 0 and [(row.lane, row.number) for row in rows] == [(0, 1), (0, 2), (1, 3)]
    assert made.records.past.places == ["10.0.0.1"]


def test_nodes_with_the_same_name_are_told_apart() -> None:
    nodes = NodeTable()
    for port in (1, 2):
        row = NodeRow("worker", "10.0.0.1", port, 4, 0, 0, 0.0, 0, 0)
        nodes.take(Event(C, DispyNode.Initialized, bytes([port]) * 16, [row], []))
    records = PageJobs({}, nodes, "f")
    for port in (1, 2):
        records.ended_jobs(ended(outcome(1, start=0.5), address="10.0.0.1", node=bytes([port]) * 16), None)
    assert records.past.places == ["worker", "worker:2"]


def test_only_picked_jobs_are_recorded_and_those_that_never_began_have_no_row() -> None:
    made = Made()
    made.end(
        outcome(1, start=0.5), outcome(2, start=0.5), outcome(3, status=ABANDONED, start=0.0, end=0.0), picks=[1, 2]
    )
    assert [row.number for row in made.records.past.newest()] == [2]
    assert [each.number for each in made.records.past.failures] == [3]


def test_failure_has_its_error_its_output_and_its_name() -> None:
    made = Made()
    made.jobs[JobId(2)].id = "row <2>"
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: bad\n'
    made.end(outcome(2, status=TERMINATED, exception=trace, stdout=b"one\ntwo", stderr=b"\xff"))
    (found,) = made.records.past.failures
    assert (found.name, found.status, found.error) == ("row <2>", "Terminated", "ValueError: bad")
    assert (found.trace, found.output, found.errors, found.arguments) == (trace, "one\ntwo", "\ufffd", b"args")


def test_memory_is_bounded() -> None:
    made = Made(0)
    count = 500
    for _ in range(ROWS // count + 2):
        made.end(*(outcome(number, status=TERMINATED, exception="x", start=0.5) for number in range(count)))
    assert len(made.records.past.failures) == FAILURES
    first, rows = made.records.past.rows(0, 10)
    assert first == made.records.past.row_count - ROWS and len(rows) == 10
    assert made.records.past.rows(made.records.past.row_count, 10) == (made.records.past.row_count, [])
    assert made.records.past.rows(1 << 60, 10) == (made.records.past.row_count, [])


def test_end_of_an_output_is_short_from_bytes_and_from_memory() -> None:
    text = "\n".join(f"line {number} {'x' * 50}" for number in range(1000))
    assert tail(text.encode()) == tail(MemoryPayload([text.encode()]))
    assert tail(text.encode()).splitlines() == text.splitlines()[-TAIL_LINES:]
    assert tail(b"") == ""


class Hostile:
    def __repr__(self) -> str:
        raise AssertionError("code of the user ran in the hub")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), (5, "5"), (None, "None"), ((1, "b"), "(1, b)"), (Hostile(), "<Hostile>"), (10**5000, "<int>")],
    ids=["text", "number", "none", "tuple", "class", "large"],
)
def test_ids_are_shown_without_code_of_their_classes(value: object, wanted: str) -> None:
    assert shown_id(value) == wanted
