"""How long the jobs of a computation take: an average in which recent ones count more.

Pure. A scheduler keeps one for each assignment (`rules/scheduler/assignment.py`), a node for itself
(`rules/node/computation.py`); from it both conclude how many jobs to send, or hand over, ahead."""

from __future__ import annotations

#: How much of an average is left after one more job.
KEEP = 0.7


def averaged(pace: float | None, seconds: float, count: int) -> float:
    """The average `pace`, None before the first, after `count` more jobs that took `seconds` each.

    Many at once weigh as much as one after the other: a hundred short jobs leave nothing of a slow first one.
    """
    if pace is None:
        return seconds
    return seconds + KEEP**count * (pace - seconds)
