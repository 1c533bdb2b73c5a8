"""Jobs that wait for a node: the highest priority first, within one in the order in which they came.

Floor 1: pure. Used by `placing.py`. Almost all programs use one priority, so that one line is kept at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdispy.core.placing import Task


class JobQueue:
    """A queue with a line for each priority; work per job does not grow with the number of jobs."""

    __slots__ = ("_first", "_lines", "_size")

    def __init__(self) -> None:
        #: None is empty, but for one that is alone.
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
        """The next job, left where it is; None where there is none."""
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
