"""Moments at which rules want to look at something again.

Pure. Used by the scheduler's rules. What has changed meanwhile is found out when the moment comes first in
line, so setting an alarm is all that is ever to be done, and the work does not grow with the number of nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from gdispy.rules.effects import Effects


class Timers:
    """A heap of moments, each with what tells whether it still matters, and what to do then."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], bool], Callable[[float], Effects]]] = []
        self._numbers = count()

    def set(self, moment: float, still_matters: Callable[[], bool], act: Callable[[float], Effects]) -> None:
        heapq.heappush(self._heap, (moment, next(self._numbers), still_matters, act))

    def due(self) -> float | None:
        """The first moment that still matters, if there is one."""
        heap = self._heap
        while heap and not heap[0][2]():
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def ring(self, now: float) -> Effects:
        """Do all that is due."""
        effects: Effects = []
        while (moment := self.due()) is not None and moment <= now:
            effects += heapq.heappop(self._heap)[3](now)
        return effects
