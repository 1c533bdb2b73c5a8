"""The timer of one connection: its heartbeats, those of the other side, and the age of its key.

Runs in callbacks of the connection's loop.

Invariants:
1. Silence is reported once when it starts and once when it ends, in this order.
2. A timer runs from `start` to `stop`, at the interval at which the next action may be due.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from gdispy.protocol.heartbeat import Heartbeat
from gdispy.runtime.event_loop import Watcher
from gdispy.runtime.greenlets import guarded, spawn

#: Maximum age of a key in seconds; see also `wire.KEY_FRAMES`.
REKEY_INTERVAL = 3600.0


class Liveness:
    """Sends heartbeats, and detects missed ones."""

    def __init__(
        self,
        pulse: float,
        give_sign: Callable[[], None],
        report: Callable[[bool], None],
        end: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`pulse` in seconds. `give_sign` is called when a heartbeat is due or the key is old, `report` with whether
        the other side is silent (in a greenlet if it is), and `end`, in a greenlet, when it is lost."""
        self.heartbeat = Heartbeat(pulse, time.monotonic())
        self._give_sign, self._report, self._end, self._on_failure = give_sign, report, end, on_failure
        self.is_silent = False
        #: When the present key was first used; and whether it is old.
        self._keyed_at = time.monotonic()
        self.is_key_old = False
        self._timer: Watcher | None = None
        #: Seconds between two checks.
        self._wait = 0.0
        self._is_stopped = False

    def start(self) -> None:
        self.look_again()

    def stop(self) -> None:
        self._is_stopped = True
        if self._timer is not None:
            self._timer.stop()

    def asked(self) -> None:
        """Data was sent on a connection with rare heartbeats."""
        self.heartbeat.asked(time.monotonic())
        self.look_again()

    def heard(self, promised: int, is_news: bool) -> None:
        """Data has arrived: whether it is more than a heartbeat, and the announced number of intervals until the next
        one."""
        heartbeat = self.heartbeat
        heartbeat.heard(time.monotonic(), promised, is_news)
        if self.is_silent:
            self.is_silent = False
            self._report(False)
        if promised > 1 or self._wait > heartbeat.interval:
            if heartbeat.answers:
                self._give_sign()
            self.look_again()

    def set_interval(self, pulse: float) -> None:
        self.heartbeat.interval = pulse
        if self._timer is not None:
            self.look_again()

    def rest(self, rests: bool) -> None:
        if rests != self.heartbeat.calm:
            self.heartbeat.calm = rests
            self.look_again()

    def renew_key(self) -> None:
        """A new key is used from now on."""
        self.is_key_old, self._keyed_at = False, time.monotonic()

    def look_again(self) -> None:
        """Schedule the next check."""
        wait = self.heartbeat.wait(time.monotonic())
        if self._is_stopped or (wait == self._wait and wait < self.heartbeat.interval):
            return  # The running timer repeats.
        self._wait = wait
        if self._timer is not None:
            self._timer.stop()
        self._timer = gevent.get_hub().loop.timer(wait, wait, ref=False)
        self._timer.start(guarded(self.check, "the heartbeats of a connection", self._on_failure))

    def check(self) -> None:
        """Check whether anything is due."""
        now, heartbeat = time.monotonic(), self.heartbeat
        if now >= self._keyed_at + REKEY_INTERVAL:
            self.is_key_old = True
            self._give_sign()
        if heartbeat.is_due(now):
            self._give_sign()
        if heartbeat.is_lost(now):
            reason = f"no data from the other side for {heartbeat.quiet(now):.0f} s"
            spawn(self._end, reason, what="the end of a connection")
        elif heartbeat.is_silent(now) and not self.is_silent:
            self.is_silent = True
            spawn(self._report_silence, what="a connection that is silent", on_failure=self._on_failure)
        self.look_again()

    def _report_silence(self) -> None:
        # Data may have arrived between the timer and this greenlet, and the end of silence was reported already: in the
        # wrong order, the peer would count as silent for ever, and get no jobs.
        if self.is_silent:
            self._report(True)
