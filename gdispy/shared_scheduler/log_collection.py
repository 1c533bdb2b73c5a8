"""What the scheduler and its nodes have logged, gathered for a visitor.

Used in the scheduler's loop.
"""

from __future__ import annotations

from dataclasses import replace

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import NAME_LIMIT, printable
from gdispy.protocol.messages import LogEvents, LogRequest
from gdispy.protocol.rows import LogRow
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.runtime.log_buffer import OVERHEAD, TEXT, LogBuffer, log_events
from gdispy.shared_scheduler.node_questions import Answer, label

#: Bytes of the texts of one answer: each daemon has its part of it.
BYTES = 2_000_000


class LogCollection:
    """The records that daemons have sent: those of each in their order."""

    def __init__(self, request: LogRequest, nodes: list[NodeRecord]) -> None:
        self._request = request
        self.error = ""
        self.nodes = nodes
        if request.node:
            self.nodes = _matching(nodes, request.node)
            if not self.nodes:
                shown = printable(request.node, NAME_LIMIT)
                self.error = f"the scheduler has no node '{shown}'; `gdispy status` lists its nodes"
        self._part = min(request.limit, BYTES) // (len(self.nodes) + 1)
        self.rows: list[LogRow] = []
        self.left_out = 0

    def request(self, node: NodeRecord, number: int) -> LogRequest:
        """The question to a node."""
        own = [each for each in self._request.positions if each.log == node.instance]
        return LogRequest(number, self._request.seconds, self._part, "", own[:1])

    def take(self, node: NodeRecord, answer: Answer) -> None:
        """Add the records of a node."""
        assert isinstance(answer, LogEvents)
        self._add(answer, node.instance, label(node))

    def take_own(self, log: LogBuffer, run: Instance) -> None:
        """Add those of the scheduler."""
        own = replace(self._request, limit=self._part)
        self._add(log_events(own, log, run), run, "scheduler")

    def _add(self, answer: LogEvents, run: Instance, where: str) -> None:
        left = self._part
        for row in answer.rows:
            text, level = row.text[:TEXT], row.level[:20]
            left -= len(text.encode()) + OVERHEAD
            if left < 0:
                break
            self.rows.append(LogRow(run, row.number, row.time, level, where, text))
        self.left_out += min(answer.left_out, 1 << 40)


def _matching(nodes: list[NodeRecord], name: str) -> list[NodeRecord]:
    """The nodes with this name or address, or that match this pattern."""
    if len(name) > NAME_LIMIT:
        return []
    try:
        patterns = NodePatterns([name])
    except ValueError:
        return []
    return [each for each in nodes if patterns.match(each.names, each.port)]
