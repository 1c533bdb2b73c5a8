"""Requests of clients to the scheduler: computations, jobs, and the use of nodes for them.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import JobId, Peer
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import (
    Cancel,
    Explain,
    Explained,
    Follow,
    Message,
    NodeCommand,
    Open,
    Prepare,
    PutFile,
    Release,
    Released,
    Reply,
    Run,
    SetPriority,
    Status,
    StatusRequest,
    Uploaded,
    UseNode,
    Withdraw,
)
from gdispy.rules.effects import Drop, Effects, Send
from gdispy.rules.faults import OnFault, not_taken
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage, Use
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.explanation import explain
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs


class ClientRequests:
    """Handlers of the messages of clients."""

    def __init__(
        self,
        state: SchedulerState,
        reminders: Reminders,
        turns: Turns,
        wide_jobs: WideJobs,
        inability: Inability,
        placement: Placement,
        provisioning: Provisioning,
        lifecycle: JobLifecycle,
        cooperative: bool = True,
    ) -> None:
        self._state = state
        self._reminders = reminders
        self._turns = turns
        self._wide_jobs = wide_jobs
        self._inability = inability
        self._placement = placement
        self._provisioning = provisioning
        self._lifecycle = lifecycle
        #: Whether clients may set the number of CPUs of a node for all clients.
        self._cooperative = cooperative

    def receive(self, peer: Peer, messages: list[Message], now: float, on_fault: OnFault) -> Effects:
        effects: Effects = []
        for message in messages:
            handler = self.HANDLERS.get(type(message))
            if handler is None:
                effects.append(Drop(peer, not_taken(message, "scheduler", "client")))
                break
            try:
                effects += handler(self, peer, message, now)
            except Exception as error:
                effects += on_fault(peer, message, error)
                break
        return effects + self._placement.place(now)

    # Computations

    def _on_open(self, peer: Peer, message: Open, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None:
            self._turns.open(message, peer)
            return []
        # It is known: its client requests other nodes than before, perhaps those that it did not accept.
        computation.patterns = NodePatterns(message.nodes)
        computation.open = replace(computation.open, nodes=message.nodes, asks=message.asks, watches=message.watches)
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None:
                assignment.forget_refusal()
        return self._provisioning.offer_to_all(computation, now)

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None:
            return []
        computation.prepare = message
        return self._provisioning.offer_to_all(computation, now)

    def _on_use_node(self, peer: Peer, message: UseNode, now: float) -> Effects:
        """A client accepts or declines a node."""
        computation, node = self._state.computations.get(message.computation), self._state.nodes.get(message.node)
        if computation is None or node is None or computation.closing:
            return []
        assignment = node.assignment_of(computation)
        if not assignment.decide(message):
            computation.refused.add(node.instance)
            return []
        computation.refused.discard(node.instance)
        self._wide_jobs.note_nodes(computation)
        self._placement.push(node)
        if assignment.stage is AssignmentStage.READY:
            return self._provisioning.limit(node, computation.id)
        return self._provisioning.offer(node, computation, now)

    def _on_release(self, peer: Peer, message: Release, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None:
            return [Send(peer, Released(message.computation))]
        return [] if computation.closing else self._provisioning.release(computation, now)

    def _on_status_request(self, peer: Peer, message: StatusRequest, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None:
            return [Send(peer, Status(message.computation, message.question, [], 0, []))]
        rows, versions = [], []
        queued = len(computation.tasks)
        for node in self._state.nodes.values():
            assignment = node.assignments.get(computation.id)
            if assignment is not None and node.instance not in computation.refused:
                rows.append(node.row(assignment))
                versions.append(node.versions)
                queued -= rows[-1][4]
        problems = self._reminders.problems(computation, now)
        return [Send(peer, Status(computation.id, message.question, rows, max(0, queued), problems, versions))]

    def _on_explain(self, peer: Peer, message: Explain, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        task = computation.tasks.get(message.job) if computation is not None else None
        if message.of_node:
            node = task.node if task is not None else None
            if node is not None and node.peer is not None:
                self._state.deliveries[message.computation, message.question] = node
                return [Send(node.peer, message)]
            return [Send(peer, Explained(message.computation, message.question, []))]
        facts = explain(self._state, self._turns, self._reminders, computation, task, now)
        return [Send(peer, Explained(message.computation, message.question, facts))]

    # Jobs

    def _on_run(self, peer: Peer, message: Run, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        if computation is None or computation.closing:  # It was released meanwhile, together with its jobs.
            return []
        if message.options:
            return self._on_run_with_options(computation, message, now)
        tasks, queue = computation.tasks, computation.backlog.queue
        for job, arguments in zip(message.jobs, message.arguments, strict=True):
            if computation.absent and computation.fill(job, arguments):
                continue
            task = tasks[job] = Task(job, arguments)
            queue.append(task)
            if computation.given_back:
                computation.take_again(task)
        self._turns.wait(computation, now)
        self._inability.look(computation, now)
        return self._lifecycle.fence(computation) if computation.fenced else []

    def _on_run_with_options(self, computation: Computation, message: Run, now: float) -> Effects:
        stranded: list[Task] = []
        for job, arguments, options in zip(message.jobs, message.arguments, message.options, strict=True):
            if computation.fill(job, arguments):
                continue
            task = computation.tasks[job] = new_task(job, arguments, options)
            computation.take_again(task)
            if task.pinned is not None and task.pinned not in self._state.nodes:
                stranded.append(task)
            else:
                computation.backlog.add(task)
        if computation.backlog.wide:  # First, or jobs that are too wide would be reported as blocking all others.
            self._wide_jobs.note_jobs(computation)
            self._wide_jobs.separate(now)
        self._turns.wait(computation, now)
        self._inability.look(computation, now)
        text = "The node that the job was submitted to no longer exists.\n"
        effects = end_jobs(computation, stranded, ABANDONED, text) if stranded else []
        return effects + (self._lifecycle.fence(computation) if computation.fenced else [])

    def _on_cancel(self, peer: Peer, message: Cancel, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        return self._lifecycle.cancel(computation, message.jobs) if computation is not None else []

    def _on_withdraw(self, peer: Peer, message: Withdraw, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        effects: Effects = []
        waiting: list[JobId] = []
        if computation is not None:
            effects, waiting = self._lifecycle.withdraw(computation, message.jobs)
        return [*effects, Send(peer, Reply(message.computation, message.question, "", 0.0, waiting))]

    def _on_set_priority(self, peer: Peer, message: SetPriority, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        error = "there is no such computation any more"
        if computation is not None:
            error = self._lifecycle.prioritize(computation, message.job, message.priority, now)
        if not message.question:  # From the page of this scheduler.
            return []
        return [Send(peer, Reply(message.computation, message.question, error, message.priority, []))]

    def _on_follow(self, peer: Peer, message: Follow, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        found: dict[Peer, list[JobId]] = {}
        for job in message.jobs:
            task = computation.tasks.get(job) if computation is not None else None
            if task is not None and task.node is not None and task.node.peer is not None:
                found.setdefault(task.node.peer, []).append(job)
        return [Send(node, Follow(message.computation, jobs)) for node, jobs in found.items()]

    # Single nodes

    def _on_node_command(self, peer: Peer, message: NodeCommand, now: float) -> Effects:
        computation, node = self._state.computations.get(message.computation), self._state.nodes.get(message.node)
        assignment = node.assignments.get(message.computation) if node is not None else None
        if computation is None or node is None or assignment is None:
            return [_refusal(peer, message, "unknown node")]
        command = self.COMMANDS.get(message.word)
        if command is None:
            return [_refusal(peer, message, "unknown command")]
        if message.word == "cpus" and not self._cooperative and not computation.open.exclusive:
            return [_refusal(peer, message, _NOT_COOPERATIVE)]
        effects = command(self, node, computation, assignment, message.value, now)
        self._wide_jobs.note_nodes(computation)
        self._placement.push(node)
        self._wide_jobs.review(now)
        value = float(node.cpus) if message.word == "cpus" else 0.0
        jobs = list(assignment.placed) if message.word == "jobs" else []
        return [*effects, Send(peer, Reply(message.computation, message.question, "", value, jobs))]

    def _deallocate(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        assignment.deallocate()
        return []

    def _allocate(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        assignment.allocate()
        return self._provisioning.offer(node, computation, now)

    def _close_node(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        return self._have_left(Use.CLOSING, node, computation, assignment, bool(value))

    def _set_up_again(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        return self._have_left(Use.RESETTING, node, computation, assignment, bool(value))

    def _have_left(
        self, use: Use, node: NodeRecord, computation: Computation, assignment: Assignment, cancels: bool
    ) -> Effects:
        """Let a node leave the computation when its jobs have ended; with `cancels`, cancel them."""
        assignment.use = use
        effects = self._lifecycle.cancel(computation, list(assignment.placed)) if cancels else []
        return effects + self._provisioning.leave(node, computation, assignment)

    def _set_cpus(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        return self._provisioning.allow(node, int(value), now)

    def _name_jobs(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, value: float, now: float
    ) -> Effects:
        return []

    def _on_put_file(self, peer: Peer, message: PutFile, now: float) -> Effects:
        node = self._state.nodes.get(message.node)
        if node is None or node.peer is None or not node.is_ready(message.computation):
            error = "the node is not connected, or has not loaded the computation"
            return [Send(peer, Reply(message.computation, message.question, error, -1.0, []))]
        self._state.deliveries[message.computation, message.question] = node
        return [Send(node.peer, message)]

    def _on_uploaded(self, peer: Peer, message: Uploaded, now: float) -> Effects:
        computation = self._state.computations.get(message.computation)
        task = computation.tasks.get(message.job) if computation is not None else None
        if task is None or task.node is None or task.node.peer is None or task.attempt != message.attempt:
            return []
        return [Send(task.node.peer, message)]

    COMMANDS: dict[str, Callable[..., Effects]] = {
        "deallocate": _deallocate,
        "allocate": _allocate,
        "close": _close_node,
        "resetup": _set_up_again,
        "cpus": _set_cpus,
        "jobs": _name_jobs,
    }

    HANDLERS: dict[type[Message], Callable[..., Effects]] = {
        Open: _on_open,
        Prepare: _on_prepare,
        UseNode: _on_use_node,
        Run: _on_run,
        Cancel: _on_cancel,
        Withdraw: _on_withdraw,
        SetPriority: _on_set_priority,
        Follow: _on_follow,
        Release: _on_release,
        StatusRequest: _on_status_request,
        Explain: _on_explain,
        NodeCommand: _on_node_command,
        PutFile: _on_put_file,
        Uploaded: _on_uploaded,
    }


_NOT_COOPERATIVE = "the scheduler shares its nodes, and clients may not change their CPUs (--cooperative allows it)"


def _refusal(peer: Peer, message: NodeCommand, error: str) -> Send:
    return Send(peer, Reply(message.computation, message.question, error, -1.0, []))
