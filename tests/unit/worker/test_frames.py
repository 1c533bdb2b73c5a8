"""The layouts that a node and its workers share."""

from __future__ import annotations

from gdispy.protocol import job_status
from gdispy.protocol.limits import INLINE
from gdispy.worker import frames


def test_statuses_are_those_of_the_protocol() -> None:
    assert (frames.TERMINATED, frames.FINISHED) == (job_status.TERMINATED, job_status.FINISHED)
    assert frames.INLINE == INLINE


def test_job_to_interrupt_is_its_number_and_attempt() -> None:
    assert frames.TARGET.unpack(frames.target(1 << 40, 3)) == (1 << 40, 3)
    assert frames.target(1, 2) != frames.target(2, 1)


def test_each_attempt_of_a_job_has_a_directory() -> None:
    assert frames.job_directory("/base", 12, 3) == "/base/12-3"
    assert frames.job_directory("/base", 1, 23) != frames.job_directory("/base", 12, 3)


def test_kinds_of_frames_differ() -> None:
    kinds = [frames.RESULT, frames.PROGRESS, frames.FILE, frames.TOGETHER, frames.RETURNED, frames.FREED, frames.LOG]
    assert len(set(kinds)) == len(kinds)
