"""Which journal the facts of a computation go into, and what waits while they cannot be written.

Called in the loop of the process that keeps the journals.

Invariant: what promises that something is recorded is sent after it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gdispy.journal.file import Journal
from gdispy.journal.payload_files import PayloadFiles
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.message import Message


class JournalRouter:
    """Whose facts go into which journal; and what has to wait as long as one of them cannot be written."""

    def __init__(self) -> None:
        self._journals: dict[ComputationId, Journal] = {}
        #: The journal of all computations that have none of their own.
        self.common: Journal | None = None
        self._waiting: list[Callable[[], None]] = []
        #: Where its large payloads lie, if not in itself.
        self.payloads: PayloadFiles | None = None

    def add(self, computation: ComputationId, journal: Journal) -> None:
        self._journals[computation] = journal

    def remove(self, computation: ComputationId) -> None:
        self._journals.pop(computation, None)

    def record(self, computation: ComputationId, facts: Iterable[Message]) -> None:
        """Write facts of a computation, where a journal is kept for it."""
        journal = self._journals.get(computation, self.common)
        if journal is None:
            return
        if self.payloads is None or journal is not self.common:
            journal.append(facts)
            return
        facts = self.payloads.store(facts)
        if journal.append(facts):
            self.payloads.forget(facts)

    def holds(self, computation: ComputationId, action: Callable[[], None]) -> bool:
        """Whether the action, which promises what is not yet written, has to wait; then it is done later."""
        journal = self._journals.get(computation, self.common)
        if journal is None or not journal.stuck:
            return False
        self._waiting.append(action)
        return True

    def free(self) -> None:
        """There is room again: do what has waited."""
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()
