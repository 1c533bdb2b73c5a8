"""Timers of rules.

Pure. Whether a timer is still relevant is checked when it is due, so timers are only ever set, and the work does not
grow with the number of nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from gdispy.rules.effects import Effects


class Timers:
    """A heap of moments, each with a function that tells whether it is still relevant, and the action."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], bool], Callable[[float], Effects]]] = []
        self._numbers = count()

    def set(self, moment: float, still_matters: Callable[[], bool], act: Callable[[float], Effects]) -> None:
        heapq.heappush(self._heap, (moment, next(self._numbers), still_matters, act))

    def due(self) -> float | None:
        """The first relevant moment, if there is one."""
        heap = self._heap
        while heap and not heap[0][2]():
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def ring(self, now: float) -> Effects:
        """Run all due actions."""
        effects: Effects = []
        while (moment := self.due()) is not None and moment <= now:
            effects += heapq.heappop(self._heap)[3](now)
        return effects
