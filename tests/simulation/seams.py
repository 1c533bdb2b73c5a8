"""Where defects are planted in the scheduler's rules: the class and the method of each, in one place.

A method that is renamed or moved is renamed here, and nowhere else in the tests of planted defects.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from gdispy.rules.scheduler import membership
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import Membership
from gdispy.rules.scheduler.node_reports import NodeReports
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.receipts import Receipts
from gdispy.rules.scheduler.reconciliation import Reconciliation


class Seam(NamedTuple):
    """A method that a defect changes."""

    owner: type
    name: str


class Constant(NamedTuple):
    """A constant that a defect changes."""

    owner: ModuleType
    name: str


#: (node, message, now): outcomes arrive; jobs come back that have not begun.
ENDED = Seam(NodeReports, "_on_ended")
RETURNED = Seam(NodeReports, "_on_returned")
#: (node, message, now): what a node holds is compared with what is placed on it.
INVENTORY = Seam(Reconciliation, "on_inventory")
#: (node, computation, tasks, now): jobs that have not begun wait again.
REQUEUE = Seam(JobLifecycle, "requeue")
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
TAKE_AGAIN = Seam(Computation, "take_again")
