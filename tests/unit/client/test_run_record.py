"""Records of jobs, in memory and in a file."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from gdispy.client import run_record
from gdispy.client.run_record import JobRecord, NodeLabels, RunRecord
from gdispy.protocol.ids import JobId


@pytest.fixture
def record() -> RunRecord:
    return RunRecord()


@pytest.fixture(autouse=True)
def packed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "PENDING_LIMIT", 1)


def note(record: RunRecord, *jobs: int, node: str = "lab1", errors: dict[int, str] | None = None) -> None:
    count = len(jobs)
    exceptions = [(errors or {}).get(place, "") for place in range(count)]
    record.note(node, list(jobs), [11] * count, [1.0] * count, [2.0] * count, [3.5] * count, exceptions)


def test_records_come_back_in_the_order_of_the_ends(record: RunRecord) -> None:
    note(record, 3, 1, errors={1: "ValueError: 5"})
    note(record, 2, node="lab2")
    rows = list(record.rows())
    assert all(0 <= time.time() - row.received < 60 for row in rows)
    assert [row._replace(received=0.0) for row in rows] == [
        JobRecord(3, 11, 1.0, 2.0, 3.5, "lab1", ""),
        JobRecord(1, 11, 1.0, 2.0, 3.5, "lab1", "ValueError: 5"),
        JobRecord(2, 11, 1.0, 2.0, 3.5, "lab2", ""),
    ]
    assert (record.count, record.left_out) == (3, 0)


def test_many_records_are_read_in_pieces_also_while_others_are_added(
    record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "MEMORY_LIMIT", 100)
    for number in range(500):
        note(record, number)
    rows = record.rows()
    first = next(rows)
    note(record, 1000)
    assert [first.job, *(each.job for each in rows)] == list(range(500))
    assert [each.job for each in record.rows()][-1] == 1000


def test_what_does_not_fit_is_counted(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "MEMORY_LIMIT", 50)
    monkeypatch.setattr(run_record, "DISK_LIMIT", 100)
    for number in range(1, 10):
        note(record, number)
    kept = [each.job for each in record.rows()]
    assert kept == list(range(1, record.count + 1)) and 1 < record.count < 9 == record.count + record.left_out


def test_disk_without_room_is_no_error_of_the_program(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise OSError("no space")

    note(record, 1)
    monkeypatch.setattr(run_record, "MEMORY_LIMIT", 50)
    monkeypatch.setattr(run_record, "_unnamed_file", fail)
    note(record, 2)
    note(record, 3)
    assert [each.job for each in record.rows()] == [1, 2] and (record.count, record.left_out) == (2, 1)


def test_few_records_are_packed_when_they_are_read(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "PENDING_LIMIT", 100)
    note(record, 1)
    note(record, 2, errors={0: "Traceback\nValueError: 5"})
    assert [(each.job, each.error) for each in record.rows()] == [(1, ""), (2, "ValueError: 5")]
    assert record.count == 2 and len(list(record.rows())) == 2


def test_jobs_are_told_with_when_they_were_sent_last(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.5, 1.75, 9.0, 10.0])
    monkeypatch.setattr(run_record, "time", SimpleNamespace(time=lambda: next(times)))
    record.sent([JobId(1), JobId(2)])
    record.sent([JobId(2)])  # Its first node was lost.
    note(record, 1, 2)
    note(record, 3)
    for _ in range(2):
        assert [(each.job, each.sent) for each in record.rows()] == [(1, 1.5), (2, 1.75), (3, 0.0)]
    assert (record.count, record.left_out) == (3, 0)


def test_nodes_of_one_name_have_different_labels() -> None:
    labels = NodeLabels()
    nodes = [("lab (2)", "10.0.0.3", 1), ("lab", "10.0.0.1", 1), ("lab", "10.0.0.1", 2), ("lab", "10.0.0.2", 1)]
    expected = ["lab (2)", "lab", "lab (3)", "lab (4)"]
    for _ in range(2):
        assert [labels.of(*node, bytes([place])) for place, node in enumerate(nodes)] == expected
    assert [labels.of("x", "10.0.0.9", 0, each) for each in (b"a", b"b", b"a")] == ["x", "x (2)", "x"]
