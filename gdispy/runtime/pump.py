"""Drives one rules object: take all pending input, decide, then act.

Each role has one; its turns run in the loop itself, never two at once, so the rules need no locks. Effects must not
block; the role runs blocking work in separate greenlets.

    put(stimulus) ──> inbox ──> turn: effects = stimulus(now) for each ──> perform(effects)
                                      tick(now) when due() says so

Load forms batches: a turn takes all input that arrived while the loop was busy. Rules cannot switch greenlets (they
import nothing that could), so a turn sees one consistent state.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent

from gdispy.rules.effects import Effect, Effects
from gdispy.runtime.event_loop import EventLoop, Watcher
from gdispy.runtime.limited_log import traceback_text

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

logger = logging.getLogger(__name__)

#: Number of turns kept for the log in case of a defect.
_REMEMBERED = 32


class Pump:
    """The inbox and the turns of one rules object. `stimulus(*args, now)` returns effects."""

    def __init__(
        self,
        perform: Callable[[Effect], None],
        tick: Callable[[float], Effects] | None = None,
        due: Callable[[], float | None] | None = None,
        on_defect: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.perform = perform
        self._tick = tick
        self._due = due
        self._on_defect = on_defect
        self._inbox: deque[tuple[Callable[..., Effects], tuple[object, ...]]] = deque()
        self._loop: EventLoop | None = None
        self._scheduled = False
        self._stopped = False
        self._timer: Watcher | None = None
        self._timer_at: float | None = None
        self._recent: deque[str] = deque(maxlen=_REMEMBERED)

    def start(self) -> None:
        """Start turns, in the loop of the calling thread."""
        self._loop = gevent.get_hub().loop
        self._timer = self._loop.timer(0, ref=False)
        if self._inbox:
            self._scheduled = True
            self._loop.run_callback(self._turn)

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.stop()

    def put(self, stimulus: Callable[[Unpack[Args], float], Effects], *args: Unpack[Args]) -> None:
        """Pass a stimulus to the next turn. In the pump's loop."""
        self._inbox.append((stimulus, args))
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.run_callback(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        inbox, self._inbox = self._inbox, deque()
        perform, recent = self.perform, self._recent
        try:
            now = time.monotonic()
            for stimulus, args in inbox:
                recent.append(stimulus.__name__)
                for effect in stimulus(*args, now):
                    perform(effect)
        except Exception as error:
            self._fail(error)
        if (
            self._due is not None and self._loop is not None
        ):  # After work that the turn has scheduled in the loop, such as sending.
            self._loop.run_callback(self._look_at_time)

    def _look_at_time(self) -> None:
        """Perform actions that are due by time, and schedule the next ones."""
        if self._stopped or self._due is None:
            return
        try:
            due, now = self._due(), time.monotonic()
            if due is not None and due <= now and self._tick is not None:
                for effect in self._tick(now):
                    self.perform(effect)
                due = self._due()
            if due != self._timer_at:
                self._set_timer(due, now)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        # Rules with a violated invariant must not make further decisions.
        self.stop()
        logger.critical("gdispy: a defect; recent turns: %s\n%s", list(self._recent), traceback_text(error))
        self._on_defect(error)

    def _set_timer(self, due: float | None, now: float) -> None:
        # No timer is left to fire unnecessarily: setting one is much cheaper than a wake-up.
        assert self._loop is not None and self._timer is not None
        self._timer_at = due
        self._timer.stop()
        if due is not None:
            self._timer = self._loop.timer(max(0.0, due - now) + 0.0005, ref=False)
            self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._timer_at = None
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.run_callback(self._turn)
