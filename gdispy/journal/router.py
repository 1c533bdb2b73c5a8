"""Which journal the facts of a computation are written to, and which actions wait while they cannot be written.

Called in the loop of the process that keeps the journals.

Invariant: a message that promises that something is recorded is sent after it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gdispy.journal.file import Journal
from gdispy.journal.payload_files import PayloadFiles
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.message import Message


class JournalRouter:
    """Selects the journal of each fact; holds actions as long as a journal cannot be written."""

    def __init__(self) -> None:
        self._journals: dict[ComputationId, Journal] = {}
        #: The journal of all computations that have no separate one.
        self.common: Journal | None = None
        self._waiting: list[Callable[[], None]] = []
        #: Where its large payloads are stored, if not in the journal.
        self.payloads: PayloadFiles | None = None

    def add(self, computation: ComputationId, journal: Journal) -> None:
        self._journals[computation] = journal

    def remove(self, computation: ComputationId) -> None:
        self._journals.pop(computation, None)

    def record(self, computation: ComputationId, facts: Iterable[Message]) -> None:
        """Write facts of a computation, if a journal is kept for it."""
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
        """Whether the action, which promises facts that are not yet written, has to wait; then it is done later."""
        journal = self._journals.get(computation, self.common)
        if journal is None or not journal.stuck:
            return False
        self._waiting.append(action)
        return True

    def free(self) -> None:
        """There is room again: perform the actions that have waited."""
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()
