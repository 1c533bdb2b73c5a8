"""The running jobs of all nodes, gathered for a visitor.

Used in the scheduler's loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import RunningJobs
from gdispy.protocol.rows import RunningJobRow
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.shared_scheduler.node_questions import Answer, label

#: Most jobs of one answer.
JOBS_LIMIT = 500


@dataclass
class JobCollection:
    """The longest running jobs that nodes have reported."""

    computations: Mapping[ComputationId, Computation]
    #: The prefix of each computation, and the name of its client.
    names: Mapping[ComputationId, tuple[str, str]]
    limit: int
    rows: list[RunningJobRow] = field(default_factory=list)
    left_out: int = 0

    def __post_init__(self) -> None:
        self.limit = min(self.limit, JOBS_LIMIT)

    def take(self, node: NodeRecord, answer: Answer) -> None:
        """Add the jobs of a node, without those that are not placed there any more."""
        assert isinstance(answer, RunningJobs)
        rows = [self._completed(row, node) for row in answer.rows[: self.limit] if self._is_placed(row, node)]
        self.left_out += min(answer.left_out, 1 << 40)
        together = sorted([*self.rows, *rows], key=lambda row: -row.age)
        self.rows = together[: self.limit]
        self.left_out += len(together) - len(self.rows)

    def _is_placed(self, row: RunningJobRow, node: NodeRecord) -> bool:
        computation = self.computations.get(row.computation)
        task = computation.tasks.get(row.job) if computation is not None else None
        return task is not None and task.node is node and row.computation in self.names

    def _completed(self, row: RunningJobRow, node: NodeRecord) -> RunningJobRow:
        prefix, client = self.names[row.computation]
        name = self.computations[row.computation].name
        return row._replace(prefix=prefix, name=name, client=client, node=label(node))
