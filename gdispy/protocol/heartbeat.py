"""Heartbeats of one connection: when this side sends one, and how long the other side may be silent.

Pure; a timer of the connection calls it.

Each side sends a heartbeat every interval. On idle connections that would keep a scheduler with many nodes busy for
nothing, so an idle side sends one only every `CALM` intervals. Each heartbeat announces the number of intervals until
the next one. A side without a preference adopts that of the other side, and answers its rare heartbeats immediately: so
a process with many such connections handles both directions in one wake-up.

Invariants:
1. After a message both sides send, and expect, the next heartbeat at the usual time, whatever was announced before. So
   the loss of a node is detected equally fast for each job that it is given.
2. A heartbeat arrives within the time that the previous one announced.
"""

from __future__ import annotations

#: Seconds between two heartbeats; and the number of missed heartbeats after which the other side is silent, and lost.
INTERVAL = 5.0
SILENT_AFTER = 3
LOST_AFTER = 6
#: The same for idle sides: number of intervals between heartbeats, and missed heartbeats until silent and lost.
CALM = 6
CALM_SILENT_AFTER = 2
CALM_LOST_AFTER = 3


class Heartbeat:
    """Heartbeats in both directions. `interval` is in seconds, `now` a monotonic clock."""

    __slots__ = ("_answers", "_heard", "_promised", "_sent", "_told", "calm", "interval")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        #: Whether the connection is idle; None to adopt the state of the other side.
        self.calm: bool | None = None
        self._sent = self._heard = now
        #: Intervals until the next heartbeat of this side and of the other, as announced last.
        self._told = self._promised = 1
        #: A heartbeat is due as an answer.
        self._answers = False

    @property
    def is_slow(self) -> bool:
        """Whether either side may send heartbeats rarely."""
        return self._promised > 1 or self._told > 1

    def wait(self, now: float) -> float:
        """Seconds until the next check for a due or missed heartbeat, if nothing happens before."""
        beat = min(self._told, self._beat)
        if beat == 1 or self._promised == 1:
            return 0.5 * self.interval
        # The answering side waits a little longer, for the heartbeat to answer.
        due = self._sent + beat * self.interval * (0.98 if self.calm is None else 0.91)
        missing = self._heard + self._promised * self.interval * (CALM_SILENT_AFTER + 0.01)
        return max(0.1, min(due, missing) - now)

    @property
    def _beat(self) -> int:
        is_calm = self._promised > 1 if self.calm is None else self.calm
        return CALM if is_calm else 1

    def sent(self, now: float) -> None:
        """A message or a heartbeat was sent."""
        self._sent = now

    @property
    def answers(self) -> bool:
        """Whether a heartbeat is due now, as an answer to the other side's."""
        return self._answers

    def heard(self, now: float, promised: int, has_messages: bool) -> None:
        """Data has arrived; `promised` is the announcement of a heartbeat, 1 for a message after it, 0 for neither."""
        self._heard = now
        if promised:
            self._promised = promised
            is_late = now - self._sent > 0.4 * self.interval * self._told
            self._answers = promised > 1 and self.calm is None and is_late
        if has_messages:
            self._told = 1

    def asked(self, now: float) -> None:
        """A message is sent to the other side."""
        self._told = 1
        if self._promised > 1:
            self._promised, self._heard = 1, now

    def is_due(self, now: float) -> bool:
        """Whether to send a heartbeat."""
        return self._answers or now - self._sent >= 0.9 * self.interval * min(self._told, self._beat)

    def sign(self) -> int:
        """The announcement in a heartbeat that is sent now."""
        self._told, self._answers = self._beat, False
        return self._told

    def missing(self, now: float) -> float:
        """The number of missed heartbeats of the other side, including fractions."""
        return (now - self._heard) / (self.interval * self._promised)

    def is_silent(self, now: float) -> bool:
        """Whether the other side counts as silent."""
        return self.missing(now) > (SILENT_AFTER if self._promised == 1 else CALM_SILENT_AFTER)

    def is_lost(self, now: float) -> bool:
        """Whether the other side counts as lost."""
        return self.missing(now) > (LOST_AFTER if self._promised == 1 else CALM_LOST_AFTER)

    def quiet(self, now: float) -> float:
        """Seconds since data of the other side arrived."""
        return now - self._heard
