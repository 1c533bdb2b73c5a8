"""Jobs that wait for a node: the highest priority first, jobs of equal priority in order of arrival; and jobs of
several CPUs by the number that they request.

Pure. Almost all programs use one priority, so the line of the highest priority is kept in an attribute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gdispy.protocol.ids import Instance, JobId

if TYPE_CHECKING:
    from gdispy.rules.scheduler.job import Task


class JobQueue:
    """A queue with a line for each priority; work per job does not grow with the number of jobs."""

    __slots__ = ("_first", "_lines", "_size")

    def __init__(self) -> None:
        #: A line is empty only if it is the only one.
        self._lines: dict[float, deque[Task]] = {}
        #: The line of the highest priority.
        self._first: deque[Task] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Task]:
        for priority in sorted(self._lines, reverse=True):
            yield from self._lines[priority]

    def append(self, task: Task) -> None:
        line = self._lines.get(task.priority)
        if line is None:
            line = self._line(task.priority)
        line.append(task)
        self._size += 1

    def appendleft(self, task: Task) -> None:
        self._line(task.priority).appendleft(task)
        self._size += 1

    def head(self) -> Task | None:
        """The next job, which stays in the queue; None if there is none."""
        return self._first[0] if self._first else None

    def popleft(self) -> Task:
        line = self._first
        task = line.popleft()
        self._size -= 1
        if not line and self._size:
            del self._lines[task.priority]
            self._choose()
        return task

    def clear(self) -> None:
        self._lines.clear()
        self._first, self._size = deque(), 0

    def _line(self, priority: float) -> deque[Task]:
        line = self._lines.get(priority)
        if line is None:
            if not self._size:
                self._lines.clear()
            line = self._lines[priority] = deque()
            self._choose()
        return line

    def _choose(self) -> None:
        self._first = self._lines[max(self._lines)]


class ByCpus:
    """Jobs by the only node that may run them, None if any may, and the CPUs that they request."""

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        #: In order of arrival; no entry is empty.
        self._jobs: dict[tuple[Instance | None, int], dict[JobId, Task]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._jobs.values())) if self._jobs else 0

    def __iter__(self) -> Iterator[Task]:
        for jobs in self._jobs.values():
            yield from jobs.values()

    def wishes(self) -> list[tuple[Instance | None, int]]:
        """The pairs of node and number of CPUs that jobs request."""
        return list(self._jobs)

    def least(self, node: Instance) -> int:
        """The lowest number of CPUs requested by a job that the node might run; 0 if there is none."""
        return min((cpus for pinned, cpus in self._jobs if pinned in (None, node)), default=0)

    def add(self, task: Task) -> None:
        self._jobs.setdefault((task.pinned, task.cpus), {})[task.job] = task

    def discard(self, task: Task) -> bool:
        """Remove a job if it is present; returns whether it was."""
        key = task.pinned, task.cpus
        jobs = self._jobs.get(key)
        if jobs is None or jobs.get(task.job) is not task:
            return False
        del jobs[task.job]
        if not jobs:
            del self._jobs[key]
        return True

    def pop_where(self, is_wanted: Callable[[Instance | None, int], bool]) -> list[Task]:
        """Remove and return the jobs of these nodes and numbers of CPUs."""
        keys = [key for key in self._jobs if is_wanted(*key)]
        return [task for key in keys for task in self._jobs.pop(key).values()]

    def pop(self, node: Instance | None, cpus: int) -> list[Task]:
        """Remove and return the jobs of one node and number of CPUs."""
        return list(self._jobs.pop((node, cpus), {}).values())

    def clear(self) -> None:
        self._jobs.clear()
