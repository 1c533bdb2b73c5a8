"""The closed list of reasons why jobs end: each text that gdispy writes belongs to one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from gdispy.execution.spawner_process import DEFECT, KILLED, cause_of
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINISHED, TERMINATED
from gdispy.rules.end_reason import REASONS, end_reason
from gdispy.rules.node.job import Job
from gdispy.rules.node.supervision import INVALID_ANSWER, _why_ended
from gdispy.rules.node.worker import Worker, WorkerStage
from gdispy.worker.failures import describe


def killed(number: int) -> int:
    """The wait status of a process that was killed by this signal."""
    return number


def raised(error: BaseException, cancelled: bool = False) -> str:
    try:
        raise error
    except BaseException as caught:
        return describe(caught, cancelled)


def raised_by(function: Any, *values: Any) -> str:
    """The text of an exception of a built-in function, which has no frame."""
    try:
        function(*values)
    except Exception as caught:
        return describe(caught.with_traceback(None), False)
    raise AssertionError("nothing was raised")


def cancelled_jobs() -> Iterator[tuple[Worker, Job]]:
    """One in each stage in which its worker can exit, and one whose node had a reason of its own."""
    computation: Any = None
    for stage, why in [*((stage, "") for stage in WorkerStage), (WorkerStage.ENDING, "the hours are over")]:
        worker, job = Worker(WorkerId(1), computation), Job(JobId(1), 1, b"")
        worker.stage, worker.why, job.cancelled = stage, why, True
        yield worker, job


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (FINISHED, "", ""),
        (CANCELLED, "", "cancel"),
        (TERMINATED, raised(ValueError("the node that ran the job is lost: no")), "exception"),
        (TERMINATED, raised(KeyboardInterrupt(), cancelled=True), "cancel"),
        (TERMINATED, "The job was cancelled.\n", "cancel"),
        *((TERMINATED, _why_ended(*cancelled, "its process was killed"), "cancel") for cancelled in cancelled_jobs()),
        (TERMINATED, KILLED, "killed"),
        (TERMINATED, DEFECT, "killed"),
        (TERMINATED, INVALID_ANSWER, "killed"),
        (TERMINATED, Job(JobId(1), 1, b"").took_too_long(), "time_limit"),
        (TERMINATED, cause_of(killed(signal.SIGKILL), "its process"), "killed"),
        (TERMINATED, cause_of(killed(signal.SIGSEGV), "its process"), "killed"),
        (TERMINATED, cause_of(3 << 8, "its process"), "exit"),
        (
            TERMINATED,
            "its process was killed by signal 9 (SIGKILL): by the kernel for lack of memory (it had used 5 MiB)\n",
            "memory",
        ),
        (TERMINATED, "The program was killed by signal 9 (SIGKILL): by the kernel for lack of memory (x)\n", "memory"),
        (
            TERMINATED,
            "The program was killed by signal 9 (SIGKILL): by another process (it had used 5 MiB)\n",
            "killed",
        ),
        (ABANDONED, "The node lab3 at 10.0.0.3 that ran the job is lost: it sends nothing.\n", "node_lost"),
        (ABANDONED, "The node lab3 that the job was submitted to is lost: it sends nothing.\n", "node_lost"),
        (ABANDONED, "The scheduler does not take the job: the client may have 5 jobs here.\n", "refused"),
        (ABANDONED, "something else", "other"),
        (TERMINATED, "", "other"),
        (TERMINATED, raised_by(int, "x"), "exception"),
        (TERMINATED, "KeyboardInterrupt\n", "exception"),
        (TERMINATED, "package.module.Error: the text\n", "exception"),
        (TERMINATED, "it used 300 bytes of memory, and the limit of this node is 200\n", "memory"),
        (TERMINATED, "it used 3.0 s of CPU time, and its limit (dispy_cpu_time) is 2 s\n", "time_limit"),
        (TERMINATED, "it had 300 processes, and the limit of this node is 200\n", "other"),
        (TERMINATED, "The result of the job cannot be pickled: ...\n", "other"),
    ],
)
def test_each_end_has_one_of_the_reasons(status: int, text: str, reason: str) -> None:
    assert end_reason(status, text) == reason
    assert reason in ("", *REASONS)


def test_exception_groups_are_exceptions() -> None:
    text = "  + Exception Group Traceback (most recent call last):\n  |   File ...\n"
    assert end_reason(TERMINATED, text) == "exception"
    assert os.WIFSIGNALED(killed(signal.SIGKILL))
