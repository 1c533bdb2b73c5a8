"""What the end of a job says about its program."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.protocol.job_status import ABANDONED, FINISHED, TERMINATED
from gdispy.protocol.texts import TOO_LONG

LINE = JobLine(1, (), ())


def ended(result: Any, status: int, exception: str | None, start: float | None = 5.0) -> Any:
    times = {"submit_time": 1.0, "start_time": start, "end_time": 7.0 if start else None}
    texts = {"stdout": b"", "stderr": None, "exception": exception, "ip_addr": None}
    return SimpleNamespace(result=result, status=status, **times, **texts)


@pytest.mark.parametrize(
    ("result", "status", "exception", "expected"),
    [
        (0, FINISHED, None, (0, 0, "", False)),
        (3, FINISHED, None, (3, 0, "exit code 3", True)),
        (-9, TERMINATED, "killed\n", (None, 9, "killed", True)),
        (None, TERMINATED, "too long", (None, 0, "too long", True)),
        (-2, TERMINATED, f"{TOO_LONG} of 1 s\n", (None, 0, f"{TOO_LONG} of 1 s", True)),
        (3, TERMINATED, f"{TOO_LONG} of 1 s\n", (None, 0, f"{TOO_LONG} of 1 s", True)),
        (0, TERMINATED, "its files changed", (None, 0, "its files changed", True)),
        (None, ABANDONED, "lost", (None, 0, "lost", True)),
        ("text", FINISHED, None, (None, 0, "exit code text", True)),
    ],
)
def test_exit_code_or_signal_or_reason(result: Any, status: int, exception: str | None, expected: Any) -> None:
    found = JobOutcome.of(LINE, ended(result, status, exception), 1)
    assert (found.exit_code, found.signal, found.error, found.has_failed) == expected
    assert (found.start, found.seconds, found.stderr) == (5.0, 2.0, b"")


def test_job_that_no_node_has_started_has_the_time_of_its_submission() -> None:
    found = JobOutcome.of(LINE, ended(None, ABANDONED, "lost", start=None), 1)
    assert (found.start, found.seconds, found.host) == (1.0, 0.0, "")
    assert JobOutcome.not_started(LINE, 3.0, "no file").has_failed
    assert len(JobOutcome.not_started(LINE, 3.0, "x" * 100_000).error) < 1100
