"""Reports the ends of jobs to clients, after writing them to the journal."""

from __future__ import annotations

from gdispy.protocol.messages import Ended, ended_without_node
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task


def end_jobs(computation: Computation, tasks: list[Task], status: int, text: str, address: str = "") -> Effects:
    """Report the end of jobs whose end no node will report."""
    for task in tasks:
        del computation.tasks[task.job]
    jobs, attempts = [task.job for task in tasks], [task.attempt for task in tasks]
    return report_ended(computation, ended_without_node(computation.id, jobs, status, text, address, attempts))


def report_ended(computation: Computation, ended: Ended) -> Effects:
    """Jobs have ended: the report to the client is written to the journal first."""
    effects: Effects = [WriteFacts(computation.id, [ended])] if computation.kept else []
    return [*effects, Send(computation.client, ended)]
