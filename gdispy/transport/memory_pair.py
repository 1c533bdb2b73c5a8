"""Two connected ends in memory, instead of a connection between a client and a scheduler of one process.

Used in that process's hub; a message is delivered to the other side immediately.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.errors import InternalError
from gdispy.protocol.messages import Message, Run
from gdispy.transport.connection import next_peer


class PairEnd:
    """One end of a memory pair; has the interface of a connection: an identifier and `send`."""

    def __init__(self, deliver: Callable[[list[Message]], None], on_placed: Callable[[Run], None] | None) -> None:
        self.peer = next_peer()
        self.other: PairEnd | None = None
        self._deliver = deliver
        self._on_placed = on_placed

    def send(self, message: Message) -> None:
        self._deliver([message])

    def placed(self, run: Run) -> None:
        if self._on_placed is not None:
            self._on_placed(run)

    def drop(self, reason: str) -> None:
        raise InternalError(f"a client in this process is refused: {reason}")


def pair(
    to_first: Callable[[list[Message]], None],
    to_second: Callable[[list[Message]], None],
    on_placed: Callable[[Run], None] | None = None,
) -> tuple[PairEnd, PairEnd]:
    """Two connected ends in memory. Messages sent through the first end are passed to `to_first`, and so on; what is
    `placed` at the first end, to `on_placed`."""
    first, second = PairEnd(to_first, on_placed), PairEnd(to_second, None)
    first.other, second.other = second, first
    return first, second
