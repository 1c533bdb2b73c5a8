"""Why a job waits: what the scheduler knows, as keys and values for the user.

Pure; changes nothing. It may examine all jobs that wait, up to `LOOK_LIMIT`: it answers one question of a person.
"""

from __future__ import annotations

import itertools

from gdispy.protocol.limits import printable
from gdispy.rules.scheduler.assignment import AssignmentStage
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, Turns

#: Jobs that are examined to count those ahead.
LOOK_LIMIT = 100_000


def explain(
    state: SchedulerState,
    turns: Turns,
    reminders: Reminders,
    computation: Computation | None,
    task: Task | None,
    now: float,
) -> list[str]:
    """Keys and values in turn, about a job or, without one, about the next job of a computation."""
    if computation is None:
        return ["problem", "the scheduler does not have this computation"]
    if task is None:
        task = computation.backlog.queue.head()
    if task is None:
        first = itertools.islice(computation.tasks.values(), LOOK_LIMIT)
        # Those that no node can run are not in the queue.
        task = next((each for each in first if each.node is None and not each.cancelled), None)
    if task is None:
        count = len(computation.tasks)
        return ["waiting", "no job waits for a node", "on nodes", f"{count:,} jobs" if count != 1 else "1 job"]
    if task.node is not None:
        return _on_node(task, task.node, computation)
    facts = _attempts(task)
    reasons = _reasons(state, turns, reminders, computation, task, now)
    for reason in reasons:
        facts += ["waits for", reason]
    ahead = _ahead(computation, task)
    if ahead:
        facts += ["ahead of it", ahead]
    return facts


def _attempts(task: Task) -> list[str]:
    facts: list[str] = []
    if task.attempt > 1:
        facts += ["attempt", f"{task.attempt}; {task.losses} of its nodes were lost"]
    if task.cpus > 1:
        facts += ["CPUs", str(task.cpus)]
    if task.priority:
        facts += ["priority", f"{task.priority:g}"]
    return facts


def _on_node(task: Task, node: NodeRecord, computation: Computation) -> list[str]:
    facts = ["node", f"{printable(node.name)} at {node.place}", *_attempts(task)]
    if node.peer is None:
        facts += ["problem", "the connection to the node broke; it is waited for, and then given up"]
    elif node.silent:
        facts += ["problem", "the node sends no heartbeat at present"]
    assignment = node.assignments.get(computation.id)
    if assignment is not None and assignment.load > node.cpus:
        facts += ["on the node", f"{assignment.load:,} CPUs' worth of jobs of this computation, for {node.cpus} CPUs"]
    return facts


def _reasons(
    state: SchedulerState, turns: Turns, reminders: Reminders, computation: Computation, task: Task, now: float
) -> list[str]:
    if computation.objection:
        return [computation.objection]
    if computation.held:
        return ["the reports of nodes of a previous run, which may have its jobs"]
    if not turns.may_run(computation):
        return [turns.obstacle(computation)]
    if task.pinned is not None:
        node = state.nodes.get(task.pinned)
        return [f"the node {node.place}, the only one that may run it" if node is not None else "a node that is gone"]
    nodes = [node for node in state.nodes.values() if _is_usable(node, computation, task)]
    if not nodes:
        return reminders.problems(computation, now) or ["a node: none has loaded the computation yet"]
    return _busy(turns, computation, nodes)


def _is_usable(node: NodeRecord, computation: Computation, task: Task) -> bool:
    assignment = node.assignments.get(computation.id)
    if assignment is None or assignment.stage is not AssignmentStage.READY or node.peer is None:
        return False
    return min(node.cpus, assignment.cpus) >= task.cpus


def _busy(turns: Turns, computation: Computation, nodes: list[NodeRecord]) -> list[str]:
    """The nodes that could run it are busy: with whose jobs, and what is this client's share."""
    cpus, load = sum(node.cpus for node in nodes), sum(node.busy() for node in nodes)
    own = sum(node.assignments[computation.id].load for node in nodes)
    where = f"{len(nodes)} nodes" if len(nodes) > 1 else nodes[0].place
    text = f"a free CPU: {load:,} of {cpus:,} CPUs of {where} are busy, {min(own, load):,} of them with its own jobs"
    shares = turns.shares()
    if len(shares) < 2:
        return [text]
    weight = computation.owner.weight / sum(each.weight for each in shares)
    rules = {FAIR: f"its share is {weight:.0%} of the CPUs", EARLIEST: "computations that were opened earlier go first"}
    rule = rules.get(turns.policy, "computations take turns")
    return [
        text,
        f"its turn: {len(shares)} clients wait, and {rule}; its jobs have {computation.owner.load:,} CPUs now",
    ]


def _ahead(computation: Computation, task: Task) -> str:
    """How many jobs of the computation are placed before it."""
    if task.pinned is not None:
        return ""
    count = 0
    for each in itertools.islice(computation.backlog.queue, LOOK_LIMIT):
        if each is task:
            return f"{count:,} job{'' if count == 1 else 's'} of this computation" if count else ""
        count += not each.cancelled
    return f"more than {LOOK_LIMIT:,} jobs of this computation" if count >= LOOK_LIMIT else ""
