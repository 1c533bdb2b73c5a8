"""Signs of life of one connection: when this side gives one, and how long the other may be quiet.

Pure. `transport/connection.py` asks it when a timer of the connection says so.

Each side gives a sign of life every interval. Where nothing is under way, that is work for nothing: a thousand idle
nodes kept a scheduler busy with it. So a side may be calm, and then gives one every `CALM` intervals only. Each sign
says in how many intervals the next one comes. A side that has no opinion of its own does as the other, and answers the
rare signs of that one with its own: so who has a thousand of such connections has one thing to do for both.

Invariants:
1. After a message both sides give, and expect, the next sign of life at the usual time, whatever was said before. So
   a node that is lost is noticed as soon after it was given work as any other.
2. A sign of life comes in time for what the one before has said.
"""

from __future__ import annotations

#: Seconds between two signs of life; and how many of them may be missing until the other side is taken for silent and
#: for lost.
INTERVAL = 5.0
SILENT_AFTER = 3
LOST_AFTER = 6
#: In how many intervals a calm side gives one, and the same of those.
CALM = 6
CALM_SILENT_AFTER = 2
CALM_LOST_AFTER = 3


class Heartbeat:
    """Signs of life in both directions. `interval` is in seconds, `now` a monotonic clock."""

    __slots__ = ("_answers", "_heard", "_promised", "_sent", "_told", "calm", "interval")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        #: Whether nothing is under way; None where the other side knows that.
        self.calm: bool | None = None
        self._sent = self._heard = now
        #: In how many intervals the next sign comes, of this side and of the other, as was said last.
        self._told = self._promised = 1
        #: A sign is due, being the answer to one.
        self._answers = False

    @property
    def is_slow(self) -> bool:
        """Whether either side may take longer than usual."""
        return self._promised > 1 or self._told > 1

    def wait(self, now: float) -> float:
        """Seconds after which to look whether a sign is due, or missing, if nothing happens before."""
        beat = min(self._told, self._beat)
        if beat == 1 or self._promised == 1:
            return 0.5 * self.interval
        # Who answers waits a little longer, for what there is to answer.
        due = self._sent + beat * self.interval * (0.98 if self.calm is None else 0.91)
        missing = self._heard + self._promised * self.interval * (CALM_SILENT_AFTER + 0.01)
        return max(0.1, min(due, missing) - now)

    @property
    def _beat(self) -> int:
        is_calm = self._promised > 1 if self.calm is None else self.calm
        return CALM if is_calm else 1

    def sent(self, now: float) -> None:
        """Something was sent, a message or a sign of life."""
        self._sent = now

    @property
    def answers(self) -> bool:
        """Whether a sign is due now, since the other side has given one."""
        return self._answers

    def heard(self, now: float, promised: int, has_messages: bool) -> None:
        """Something has arrived; `promised` is what a sign of life said, 1 for a message after it, 0 for neither."""
        self._heard = now
        if promised:
            self._promised = promised
            is_late = now - self._sent > 0.4 * self.interval * self._told
            self._answers = promised > 1 and self.calm is None and is_late
        if has_messages:
            self._told = 1

    def asked(self, now: float) -> None:
        """A message goes to the other side."""
        self._told = 1
        if self._promised > 1:
            self._promised, self._heard = 1, now

    def is_due(self, now: float) -> bool:
        """Whether to give a sign of life."""
        return self._answers or now - self._sent >= 0.9 * self.interval * min(self._told, self._beat)

    def sign(self) -> int:
        """What a sign of life says that leaves now."""
        self._told, self._answers = self._beat, False
        return self._told

    def missing(self, now: float) -> float:
        """How many signs of the other side are missing, fractions included."""
        return (now - self._heard) / (self.interval * self._promised)

    def is_silent(self, now: float) -> bool:
        """Whether the other side is to be taken for silent."""
        return self.missing(now) > (SILENT_AFTER if self._promised == 1 else CALM_SILENT_AFTER)

    def is_lost(self, now: float) -> bool:
        """Whether the other side is to be taken for lost."""
        return self.missing(now) > (LOST_AFTER if self._promised == 1 else CALM_LOST_AFTER)

    def quiet(self, now: float) -> float:
        """Seconds since the other side was heard."""
        return now - self._heard
