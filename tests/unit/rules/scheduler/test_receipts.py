"""What is acknowledged to a node, and when."""

from __future__ import annotations

from gdispy.protocol.messages import OutcomesAcked, Progress, ProgressAcked
from gdispy.rules.scheduler.receipts import MANY_RECEIPTS, Receipts
from tests.unit.builders import Announced, C, ended, outcome


def test_receipts_are_due_once_and_gone_when_they_are_taken() -> None:
    receipts = Receipts()
    assert receipts.note_ended(ended(outcome(1), outcome(2)), 5.0)
    assert not receipts.note_progress(Progress(C, 3, 1, 0, b"", ""), 1, 6.0)  # type: ignore[arg-type]
    assert receipts.due_at == 5.0 and not receipts.are_many()
    assert receipts.take() == [ProgressAcked(C, [3], [1], [1]), OutcomesAcked(C, [1, 2], [1, 1])]  # type: ignore[list-item]
    assert receipts.due_at is None and receipts.take() == []


def test_receipts_are_many_where_outcomes_are_many_or_large() -> None:
    receipts = Receipts()
    receipts.note_ended(ended(*[outcome(job) for job in range(MANY_RECEIPTS - 1)]), 5.0)
    assert not receipts.are_many()
    receipts.note_ended(ended(outcome(99)), 5.0)
    assert receipts.are_many()
    receipts.clear()
    receipts.note_ended(ended(outcome(1, result=Announced(10))), 5.0)
    assert receipts.are_many()
