"""Questions to nodes, whose answers are gathered within a bounded time.

Used in the scheduler's loop. Nothing waits: a question ends with a call, when all nodes have answered or the time is
over. Invariants: `end` is called exactly once for each question, with the nodes that have not answered; an answer that
comes later, or without a question, changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TypeAlias

from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Explained, LogEvents, Message, RunningJobs
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.greenlets import spawn_later

#: Seconds that nodes have to answer.
ANSWER_LIMIT = 2.0
#: The number of the first question: clients, whose questions pass through the scheduler, count from 1.
FIRST = 1 << 52

#: An answer of a node.
Answer: TypeAlias = Explained | RunningJobs | LogEvents
Take = Callable[[NodeRecord, Answer], None]
End = Callable[[list[NodeRecord]], None]


class _Question:
    """A question that is not answered yet by all nodes."""

    def __init__(self, kind: type[Answer], pending: dict[Peer, NodeRecord], take: Take, end: End) -> None:
        self.kind, self.pending, self.take, self.end = kind, pending, take, end
        #: Stops the question at its time limit.
        self.stop: Callable[[], None] = lambda: None


class NodeQuestions:
    """The questions that are open."""

    def __init__(self) -> None:
        self._open: dict[int, _Question] = {}
        self._numbers = itertools.count(FIRST)

    def __len__(self) -> int:
        return len(self._open)

    def ask(
        self,
        nodes: Iterable[NodeRecord],
        make: Callable[[NodeRecord, int], Message],
        kind: type[Answer],
        take: Take,
        end: End,
    ) -> Effects:
        """Send `make(node, number)` to the nodes that are there. `take` is called with each answer, which is a `kind`,
        and `end` with the nodes that have not answered."""
        number = next(self._numbers)
        pending = {node.peer: node for node in nodes if node.peer is not None and not node.silent}
        if not pending:
            end([])
            return []
        question = self._open[number] = _Question(kind, pending, take, end)
        timer = spawn_later(ANSWER_LIMIT, self._end, number, what="the time limit of a question to nodes")
        question.stop = lambda: timer.kill(block=False)
        return [Send(peer, make(node, number)) for peer, node in pending.items()]

    def answered(self, peer: Peer, message: Message) -> bool:
        """Take an answer of a node. Returns False if it is none to a question of this object."""
        if not isinstance(message, Explained | RunningJobs | LogEvents):
            return False
        question = self._open.get(message.question)
        if question is None or type(message) is not question.kind or peer not in question.pending:
            # Clients ask for `Explained`, too. The others are late.
            return not isinstance(message, Explained)
        try:
            question.take(question.pending[peer], message)
        except Exception as error:
            log_fault(message, error)
            return True  # It counts as not answered.
        del question.pending[peer]
        if not question.pending:
            question.stop()
            self._end(message.question)
        return True

    def _end(self, number: int) -> None:
        question = self._open.pop(number, None)
        if question is not None:
            question.end(list(question.pending.values()))


def absences(nodes: Iterable[NodeRecord], unanswered: Iterable[NodeRecord]) -> list[str]:
    """Which of the nodes have not been asked or have not answered, a line for each."""
    lines = [
        f"{label(node)} {'is away' if node.peer is None else 'sends no heartbeat at present'}"
        for node in nodes
        if node.peer is None or node.silent
    ]
    return lines + [f"{label(node)} has not answered within {ANSWER_LIMIT:g} s" for node in unanswered]


def label(node: NodeRecord) -> str:
    """A node, for people."""
    return f"{node.place} ({printable(node.name, 40)})"
