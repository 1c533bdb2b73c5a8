"""Limits how often an event that a peer can cause is reported: at most once in an interval for each key.

Pure.
"""

from __future__ import annotations

from collections import OrderedDict

#: Seconds between two lines that the same peer causes.
INTERVAL = 1.0
#: Maximum number of keys to remember.
MEMORY = 1024


class LogLimit:
    """The time of the last permission for each key, and the number of suppressions since."""

    def __init__(self, interval: float = INTERVAL, memory: int = MEMORY) -> None:
        self._interval = interval
        self._memory = memory
        #: Key -> time of the next permission, and number of suppressions; in order of use.
        self._known: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def admit(self, key: object, now: float) -> int | None:
        """None if the event must be suppressed at the time `now` (seconds, of any monotonic clock); else the number of
        suppressions since the last permission."""
        due, left_out = self._known.pop(key, (now, 0))
        if now < due:
            self._known[key] = due, left_out + 1
            return None
        self._known[key] = now + self._interval, 0
        if len(self._known) > self._memory:
            self._known.popitem(last=False)
        return left_out
