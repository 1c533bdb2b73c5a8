"""The run time of jobs of a computation: an average in which recent jobs count more.

Pure. From it, schedulers and nodes derive the number of jobs to send ahead."""

from __future__ import annotations

#: The weight of the previous average after one more job.
KEEP = 0.7


def averaged(pace: float | None, seconds: float, count: int) -> float:
    """The average `pace`, None before the first, after `count` more jobs that took `seconds` each.

    Many at once weigh as much as one after the other: after a hundred short jobs, a slow first one has no weight.
    """
    if pace is None:
        return seconds
    return seconds + KEEP**count * (pace - seconds)
