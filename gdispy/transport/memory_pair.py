"""Two joined ends in memory: what stands for a connection between a client and a scheduler of one process.

Used in that process's hub; a message is given to the other side at once.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.errors import InternalError
from gdispy.protocol.messages import Message
from gdispy.transport.connection import next_peer


class PairEnd:
    """One end of a pair in memory: has a name and a `send`, as a connection has."""

    def __init__(self, deliver: Callable[[list[Message]], None]) -> None:
        self.peer = next_peer()
        self.other: PairEnd | None = None
        self._deliver = deliver

    def send(self, message: Message) -> None:
        self._deliver([message])

    def drop(self, reason: str) -> None:
        raise InternalError(f"a client in this process is refused: {reason}")


def pair(
    to_first: Callable[[list[Message]], None], to_second: Callable[[list[Message]], None]
) -> tuple[PairEnd, PairEnd]:
    """Two joined ends in memory. What goes into the first is given to `to_first`, and so on."""
    first, second = PairEnd(to_first), PairEnd(to_second)
    first.other, second.other = second, first
    return first, second
