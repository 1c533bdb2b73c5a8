"""Which journal the facts of a computation go into, and what waits while they cannot be written.

Called in the loop of the process that keeps the journals.

Invariant: what promises that something is recorded is sent after it was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from gdispy.journal.file import Journal
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.message import Message
from gdispy.rules.history.deferral import DeferredPayloads


class JournalRouter:
    """Whose facts go into which journal; and what has to wait as long as one of them cannot be written."""

    def __init__(self) -> None:
        self._journals: dict[ComputationId, Journal] = {}
        #: The journal of all computations that have none of their own.
        self.common: Journal | None = None
        self._waiting: list[Callable[[], None]] = []
        #: What the common journal need not hold yet, where anybody decides that.
        self.deferred: DeferredPayloads | None = None

    def add(self, computation: ComputationId, journal: Journal) -> None:
        self._journals[computation] = journal

    def remove(self, computation: ComputationId) -> None:
        self._journals.pop(computation, None)

    def record(self, computation: ComputationId, facts: Iterable[Message]) -> None:
        """Write facts of a computation, where a journal is kept for it."""
        journal = self._journals.get(computation, self.common)
        if journal is None:
            return
        if self.deferred is None or journal is not self.common:
            journal.append(facts)
            return
        facts = self.deferred.now(computation, facts, time.monotonic())
        if facts:
            journal.append(facts)
        self.deferred.say()

    def write_deferred(self, until: float) -> Iterator[None]:
        """Write what has been put aside for long enough, in steps: it may be much."""
        deferred, journal = self.deferred, self.common
        if deferred is None or journal is None:
            return
        for computation, job in deferred.due(until):
            facts = deferred.facts_of(computation, job)
            if facts:
                journal.append(facts)
                deferred.written(computation, job)
                deferred.say()
                yield

    def sayable(self, message: Any, say: Callable[[Any], None]) -> Any:
        """What can be said now of what promises that something is remembered; `say` gets the rest when it can be. None
        where that is nothing."""
        part: Any = message if self.deferred is None else self.deferred.sayable(message, say)
        return None if part is None or self.holds(part.computation, partial(say, part)) else part

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
