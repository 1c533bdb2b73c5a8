"""Drives one rules object: take all that has come in, decide, then act.

Floor 2. Each role has one; it runs in one greenlet, so the rules need no locks.

    put(stimulus) ──> inbox ──> turn: effects = stimulus(now) for each ──> perform(effects)
                                      tick(now) when due() says so

Batching comes from load by itself: the longer a turn takes, the more the next one takes in. Rules
cannot switch greenlets (they import nothing that could), so a turn sees one consistent state.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event

from gdispy.core.effects import Effects

logger = logging.getLogger(__name__)

#: Called in a turn with the time; returns what is to be done.
Stimulus = Callable[[float], Effects]

#: Turns kept for the log when a defect shows.
_REMEMBERED = 32


class Pump:
    """One rules object's inbox and its turns."""

    def __init__(
        self,
        perform: Callable[[Any], None],
        tick: Callable[[float], Effects] | None = None,
        due: Callable[[], float | None] | None = None,
        on_defect: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._perform = perform
        self._tick = tick
        self._due = due
        self._on_defect = on_defect
        self._inbox: deque[tuple[Callable[..., Effects], tuple[Any, ...]]] = deque()
        self._wake = gevent.event.Event()
        self._recent: deque[str] = deque(maxlen=_REMEMBERED)
        self._greenlet: Any = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def put(self, stimulus: Callable[..., Effects], *args: Any) -> None:
        """Have `stimulus(*args, now)` decide in the next turn. From greenlets of the same loop."""
        self._inbox.append((stimulus, args))
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wait()
            self._wake.clear()
            try:
                self._turn()
            except Exception as error:
                # Rules that have lost their way must not go on deciding.
                logger.critical("gdispy: a defect; recent turns: %s", list(self._recent), exc_info=True)
                self._on_defect(error)
                return

    def _wait(self) -> None:
        if self._inbox:
            gevent.sleep(0)  # Let readers and writers go on between two turns.
            return
        due = self._due() if self._due is not None else None
        if due is None:
            self._wake.wait()
        else:
            self._wake.wait(max(0.0, due - time.monotonic()))

    def _turn(self) -> None:
        now = time.monotonic()
        inbox, self._inbox = self._inbox, deque()
        for stimulus, args in inbox:
            self._recent.append(stimulus.__name__)
            for effect in stimulus(*args, now):
                self._perform(effect)
        if self._tick is not None and self._due is not None:
            due = self._due()
            if due is not None and due <= now:
                for effect in self._tick(now):
                    self._perform(effect)
