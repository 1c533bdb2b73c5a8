"""What running jobs use."""

from __future__ import annotations

import os

from gdispy.execution.running_jobs import measured
from gdispy.protocol.ids import JobId
from gdispy.protocol.rows import RunningJobRow
from tests.unit.builders import C


def row(job: int, pid: int) -> RunningJobRow:
    return RunningJobRow(C, JobId(job), pid, 1.0, -1.0, 0)


def test_cpu_time_and_memory_of_a_process_are_measured() -> None:
    pauses: list[None] = []
    own, unknown = measured([row(1, os.getpid()), row(2, 0)], pause=lambda: pauses.append(None))
    assert own.processor > 0 and own.memory >= 0 and own.job == 1
    assert unknown == row(2, 0) and len(pauses) == 2


def test_processes_that_are_not_reached_in_time_are_left_out() -> None:
    times = iter([0.0, 0.5, 2.0])
    first, second = measured([row(1, os.getpid()), row(2, os.getpid())], lambda: next(times), lambda: None)
    assert first.processor > 0 and second.processor == -1.0


def test_process_that_is_gone_has_used_nothing() -> None:
    [found] = measured([row(1, 1 << 30)], pause=lambda: None)
    assert (found.processor, found.memory) == (0.0, 0)
