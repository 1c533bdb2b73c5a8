"""Simulated time, turns of rules objects in it, and what is told when a promise is broken."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from gdispy.rules.effects import Effects

#: A job of a client: the client's place and the job's number.
JobKey = tuple[int, int]

#: Things that may happen in one world at most; a world that needs more never comes to rest.
STEP_LIMIT = 50_000
#: Lines of a job's history that are shown.
HISTORY_LIMIT = 80


class Broken(AssertionError):
    """A promise is broken; `job` names the job that it was given for, if it was for one."""

    def __init__(self, text: str, job: JobKey | None = None) -> None:
        super().__init__(text)
        self.job = job


class Timeline:
    """What will happen, in the order of its time. Also keeps what has happened to each job."""

    def __init__(self) -> None:
        self.now = 0.0
        self._steps = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._histories: dict[JobKey | None, list[tuple[float, str]]] = defaultdict(list)

    def after(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        self.at(self.now + delay, action, *args)

    def at(self, moment: float, action: Callable[..., None], *args: Any) -> None:
        """The same for a moment; of several at the same one, the first that was asked for goes first."""
        heapq.heappush(self._heap, (moment, next(self._numbers), action, args))

    def run(self, until: float = math.inf) -> None:
        """Have everything happen, in its order, until a time or until nothing is left to happen."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, args = heapq.heappop(heap)
            self._steps += 1
            if self._steps > STEP_LIMIT:
                raise Broken(f"the world does not come to rest: {action}")
            action(*args)

    def note(self, job: JobKey | None, text: str) -> None:
        """Remember what happened to a job; None is for what concerns all."""
        self._histories[job].append((self.now, text))

    def history(self, job: JobKey | None) -> str:
        """The last that happened to a job, with what happened to all meanwhile."""
        own = self._histories[job] if job is not None else []
        since = own[0][0] if own else 0.0
        common = [line for line in self._histories[None] if line[0] >= since]
        lines = sorted([*own, *common], key=lambda line: line[0])
        return "\n".join(f"{when:12.5f}  {text}" for when, text in lines[-HISTORY_LIMIT:])


class Turns:
    """Drives one rules object as `runtime/pump.py` does: takes all that has come in, decides, then acts."""

    def __init__(self, timeline: Timeline, random: Random, rules: Any, perform: Callable[[Any], None]) -> None:
        self._timeline = timeline
        self._random = random
        self._check = rules.check
        self._tick: Callable[[float], Effects] | None = getattr(rules, "tick", None)
        self._due: Callable[[], float | None] = getattr(rules, "due", lambda: None)
        self._perform = perform
        self._inbox: deque[tuple[Callable[..., Effects], tuple[Any, ...]]] = deque()
        self._scheduled = False
        self._stopped = False
        self._timer_at: float | None = None

    def put(self, stimulus: Callable[..., Effects], *args: Any) -> None:
        """Have a stimulus decide in the next turn."""
        self._inbox.append((stimulus, args))
        self._schedule()

    def stop(self) -> None:
        self._stopped = True

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            # Now and then the loop is elsewhere, and much comes in meanwhile.
            lag = 0.05 * self._random.random() if self._random.random() < 0.05 else 0.00001
            self._timeline.after(lag, self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        now = self._timeline.now
        inbox, self._inbox = self._inbox, deque()
        for stimulus, args in inbox:
            self._act(stimulus(*args, now))
        due = self._due()
        if due is not None and due <= now and self._tick is not None:
            self._act(self._tick(now))
        self._set_timer()

    def _act(self, effects: Effects) -> None:
        self._check()
        for effect in effects:
            self._perform(effect)

    def _set_timer(self) -> None:
        due, now = self._due(), self._timeline.now
        if due != self._timer_at:
            self._timer_at = due
            if due is not None:
                self._timeline.after(max(0.0, due - now) + 0.0005, self._on_timer, due)

    def _on_timer(self, due: float) -> None:
        if due == self._timer_at:
            self._timer_at = None
            self._schedule()
