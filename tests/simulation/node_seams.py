"""Where defects are planted in the node's rules, and what the worlds look at inside of them.

A class or method of these rules that gets another name needs one change, here."""

from __future__ import annotations

from typing import NamedTuple

from gdispy.protocol.ids import ComputationId, WorkerId
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.requests import Requests
from gdispy.rules.node.turn import Turn
from gdispy.rules.node.worker import Worker


class Seam(NamedTuple):
    """A method that a defect replaces."""

    owner: type
    method: str


JOINED = Seam(NodeRules, "joined")
ANSWERED = Seam(NodeRules, "answered")
PROGRESSED = Seam(NodeRules, "progressed")
TOOK_BACK = Seam(NodeRules, "took_back")
EXITED = Seam(NodeRules, "exited")
END_OF_TURN = Seam(Turn, "end")
RUN = Seam(Requests, "_on_run")
CANCEL = Seam(Requests, "_on_cancel")
RECALL = Seam(Requests, "_on_recall")
OUTCOMES_ACKED = Seam(Requests, "_on_outcomes_acked")
SPOOL_ACKED = Seam(Outcomes, "_spool_acked")
GIVE_BACK = Seam(JobTable, "give_back")
ROOM = Seam(Computation, "room")


def computations(rules: NodeRules | Turn | JobTable) -> dict[ComputationId, Computation]:
    """The computations that are on a node."""
    return rules._state.computations


def workers(rules: NodeRules) -> dict[WorkerId, Worker]:
    """The workers of a node."""
    return rules._state.workers


def left(rules: NodeRules) -> list[object]:
    """All that is here of computations and their workers, or is still to go or to come."""
    state = rules._state
    return [
        *state.computations,
        *state.unloading,
        *rules._loading._again,
        *rules._jobs._waiting,
        *state.workers,
    ]
