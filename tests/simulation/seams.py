"""Where defects are planted in the rules: the class and the method of each; and what the worlds look at inside of them.

A class or method that is renamed or moved is renamed here, and nowhere else in the tests of planted defects.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from gdispy.protocol.ids import ComputationId, WorkerId
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.requests import Requests
from gdispy.rules.node.turn import Turn
from gdispy.rules.node.worker import Worker
from gdispy.rules.scheduler import membership
from gdispy.rules.scheduler.computation import Computation as OfScheduler
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import Membership
from gdispy.rules.scheduler.node_reports import NodeReports
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.receipts import Receipts
from gdispy.rules.scheduler.reconciliation import Reconciliation
from gdispy.rules.scheduler.turns import Turns


class Seam(NamedTuple):
    """A method that a defect changes."""

    owner: type
    name: str


class Constant(NamedTuple):
    """A constant that a defect changes."""

    owner: ModuleType
    name: str


# Of the scheduler

#: (node, message, now): outcomes arrive; jobs come back that have not begun.
ENDED = Seam(NodeReports, "_on_ended")
RETURNED = Seam(NodeReports, "_on_returned")
#: (node, message, now): what a node holds is compared with what is placed on it.
INVENTORY = Seam(Reconciliation, "on_inventory")
#: (node, computation, tasks, now): jobs that have not begun wait again.
REQUEUE = Seam(JobLifecycle, "requeue")
#: (computation, task, priority): a job that waits gets another priority.
SET_PRIORITY = Seam(Turns, "set_priority")
#: (computation, tasks): jobs whose arguments only the client has.
GIVE_BACK = Seam(JobLifecycle, "give_back")
#: (node, now, why): a node is given up; how often its jobs are placed.
LOSE = Seam(Membership, "lose")
ATTEMPTS = Constant(membership, "ATTEMPTS")
#: (peer, now): the connection to a node is over.
GONE = Seam(Membership, "gone")
#: (node): a timer is set for the time at which a node that is away is lost.
WATCH_ABSENCE = Seam(Membership, "_watch_absence")
#: (node, computation): a node is told how many CPUs may be used.
LIMIT = Seam(Provisioning, "limit")
#: (): what has arrived from a node is acknowledged to it.
TAKE_RECEIPTS = Seam(Receipts, "take")
#: (computation, number, job): a job of the journal is taken up.
RESTORE_JOB = Seam(Reconciliation, "_restore_job")
#: (task): a client has sent a job again.
TAKE_AGAIN = Seam(OfScheduler, "take_again")

# Of the node

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
GIVE_BACK_ON_NODE = Seam(JobTable, "give_back")
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
