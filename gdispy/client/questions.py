"""Requests of the user to the scheduler, matched with their answers by number.

`ask` may be called in any thread of the user, the rest in the hub.

Invariant: `ask` returns the answer, or None if the scheduler cannot answer, and after its limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from gdispy.protocol.messages import Explained, Reply, Status
from gdispy.runtime.gate import Gate

#: Seconds to wait for an answer; the request may carry a large file.
ANSWER_LIMIT = 600.0


#: What the scheduler answers with.
Reported = Status | Reply | Explained


class PendingQuestions:
    """The unanswered requests of one cluster."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Gate, list[Reported]]] = {}

    def ask(self, send: Callable[[int], None], limit: float | None = None) -> Reported | None:
        """Call `send` with a new number, and wait for the answer to it, `limit` seconds at most."""
        number, gate, answers = next(self._numbers), Gate(), list[Reported]()
        self._waiting[number] = gate, answers
        send(number)
        gate.wait(ANSWER_LIMIT if limit is None else limit)
        self._waiting.pop(number, None)
        return answers[0] if answers else None

    def ask_then(self, send: Callable[[int], None], take: Callable[[Reported], None]) -> None:
        """The same without waiting, in the hub: `take` is called with the answer, if there is one."""
        number, gate, answers = next(self._numbers), Gate(), list[Reported]()
        self._waiting[number] = gate, answers

        def finish() -> None:
            if self._waiting.pop(number, None) is not None and answers:
                take(answers[0])

        gate.tell(finish)
        send(number)

    def answer(self, answer: Reported) -> None:
        known = self._waiting.get(answer.question)
        if known is not None:
            known[1].append(answer)
            known[0].open()

    def give_up(self) -> None:
        """No answer can arrive any more."""
        for gate, _ in list(self._waiting.values()):
            gate.open()
