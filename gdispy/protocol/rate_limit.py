"""How often something may be said that a peer can bring about: at most once in an interval for each key.

Pure. Used by `runtime/limited_log.py`.
"""

from __future__ import annotations

from collections import OrderedDict

#: Seconds between two lines of one peer's making.
INTERVAL = 1.0
#: Keys remembered at most.
MEMORY = 1024


class LogLimit:
    """When each key was let through last, and how many times it was not since."""

    def __init__(self, interval: float = INTERVAL, memory: int = MEMORY) -> None:
        self._interval = interval
        self._memory = memory
        #: Key -> when it may be let through again, and how many times it was not; the key used last is the last one.
        self._known: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def admit(self, key: object, now: float) -> int | None:
        """None where nothing is to be said at the time `now` (seconds, of any clock that only goes on); else how many
        times it was not said since it was said last."""
        due, left_out = self._known.pop(key, (now, 0))
        if now < due:
            self._known[key] = due, left_out + 1
            return None
        self._known[key] = now + self._interval, 0
        if len(self._known) > self._memory:
            self._known.popitem(last=False)
        return left_out
