"""Connections and losses of nodes: which are connected, which are away and may return, and which are lost.

Pure. Invariants:
1. A lost node gets no more messages, and each job that was placed on it ends or is placed again.
2. A job that may have begun is placed again only if its computation is reentrant.
"""

from __future__ import annotations

from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.job_status import ABANDONED, CANCELLED, CLOSED
from gdispy.protocol.messages import Hello, ProgressAcked
from gdispy.protocol.texts import GIVEN_UP, LOST_PINNED, LOST_WITH_NODE
from gdispy.rules.effects import Drop, Effects, Send, WriteFacts
from gdispy.rules.history.facts import GivenUp, Met
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_endings import end_jobs
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs

#: Seconds from a node's last heartbeat until it counts as lost: the default.
LEASE = 30.0
#: The number of placements of a job whose nodes are all lost.
ATTEMPTS = 3
#: Maximum number of lost nodes that are remembered.
GIVEN_UP_LIMIT = 4096
#: Why a node is lost that has announced that it is being stopped.
_STOPPED = "it was stopped"


class Membership:
    """The nodes, with and without connections."""

    def __init__(
        self,
        state: SchedulerState,
        turns: Turns,
        wide_jobs: WideJobs,
        placement: Placement,
        provisioning: Provisioning,
        lifecycle: JobLifecycle,
        lease: float = LEASE,
    ) -> None:
        self._state = state
        self._turns = turns
        self._wide_jobs = wide_jobs
        self._placement = placement
        self._provisioning = provisioning
        self._lifecycle = lifecycle
        #: Seconds from a node's last heartbeat until it counts as lost.
        self.lease = lease
        self._by_peer: dict[Peer, NodeRecord] = {}
        #: Nodes that are away and may return, by their former addresses.
        self._away: dict[str, dict[Instance, NodeRecord]] = {}
        #: Nodes that were given up, and may return with the jobs and outcomes that they held.
        self._given_up: dict[Instance, bool] = {}
        #: Why the last connection to a node was closed, if a message was refused and no job has ended there since.
        self._refusals: dict[Instance, str] = {}
        #: Nodes with which connections break repeatedly because of a message of one side, with the reason: a connection
        #: with that run of the node is of no use.
        self._misunderstood: dict[Instance, str] = {}

    def at(self, peer: Peer) -> NodeRecord | None:
        """The node at the other end of a connection."""
        return self._by_peer.get(peer)

    # Connections

    def joined(self, peer: Peer, hello: Hello, names: list[str], port: int) -> Effects:
        """A node is connected; `names` are its known addresses and names, the best first.

        `port` is 0 for a node that has connected to the scheduler: others behind the same NAT have the same address.
        """
        if hello.instance in self._misunderstood:
            return [Drop(peer, self._misunderstood[hello.instance])]
        effects: Effects = []
        node = self._state.nodes.get(hello.instance)
        if node is None:
            node = self._state.nodes[hello.instance] = NodeRecord(hello, names, port)
            # Another run at the same address: jobs of the previous run are lost, except those that this run has found.
            node.formers = list(self._away.get(node.place, ())) if port else []
            node.returned = hello.instance in self._given_up
        elif node.peer is not None:
            del self._by_peer[node.peer]
            effects.append(Drop(node.peer, "replaced by a newer connection"))
        else:
            self._is_back(node)
        node.move(NodeStage.JOINED)
        node.peer, node.lost_at, node.silent = peer, None, False
        node.receipts.clear()
        node.early.clear()
        self._wide_jobs.note_node(node)
        self._by_peer[peer] = node
        return effects

    def gone(self, peer: Peer, now: float) -> Effects:
        """The connection to a node has ended; the node may return within the lease."""
        return self._disconnect(peer, now, "it is gone")

    def _disconnect(self, peer: Peer, now: float, why: str) -> Effects:
        node = self._by_peer.pop(peer, None)
        if node is None:
            return []
        node.move(NodeStage.AWAY)
        node.peer = None
        self._wide_jobs.note_node(node)
        self._await(node, now)
        # Reports that were not acknowledged to the node will be repeated.
        node.receipts.clear()
        effects: Effects = []
        for computation in list(self._state.computations.values()):
            if node.instance in computation.releasing:
                effects += self._provisioning.confirm_release(node, computation)
        if not any(each.placed or each.shown.owed for each in node.assignments.values()):
            effects += self.lose(node, now, why)
        self._wide_jobs.review(now)
        return effects + self._placement.place(now)

    def refused(self, peer: Peer, reason: str, now: float) -> Effects:
        """The connection to a node was closed because one side refused a message of the other. If that happens twice
        and no job has ended in between, it would be repeated for ever: the node is given up, and the message with
        it."""
        node = self._by_peer.get(peer)
        effects = self.gone(peer, now)
        if node is None:
            return effects
        if self._refusals.get(node.instance) != reason:
            self._refusals[node.instance] = reason
            return effects
        del self._refusals[node.instance]
        text = f"{GIVEN_UP} ({reason}); the versions of gdispy are incompatible"
        self._misunderstood[node.instance] = text
        return effects + self._lose_if_known(node, now, text) + self._placement.place(now)

    def left(self, peer: Peer, now: float) -> Effects:
        """A node has announced that it is being stopped: it will not return, and its jobs have ended with it."""
        node = self._by_peer.get(peer)
        effects = self._disconnect(peer, now, _STOPPED)
        if node is not None:
            effects += self._lose_if_known(node, now, _STOPPED)
        return effects + self._placement.place(now)

    def _lose_if_known(self, node: NodeRecord, now: float, why: str) -> Effects:
        if self._state.nodes.get(node.instance) is not node:
            return []
        effects = self.lose(node, now, why)
        self._wide_jobs.review(now)
        return effects

    def silent(self, peer: Peer, silent: bool, now: float) -> Effects:
        """A node's heartbeat has failed for some time, or has returned."""
        node = self._by_peer.get(peer)
        if node is None or node.silent == silent:
            return []
        node.silent = silent
        self._wide_jobs.note_node(node)
        self._placement.push(node)
        return self._placement.place(now)

    def note_end(self, node: NodeRecord) -> None:
        """A job has ended on a node: so the node and this scheduler understand each other's messages."""
        if self._refusals:
            self._refusals.pop(node.instance, None)

    # Absence

    def expect(self, met: Met, now: float) -> NodeRecord:
        """A node of a previous run of this scheduler, which is expected to return soon."""
        about = (met.node, met.name, "", met.python, met.platform, met.cpus, "", 0.0)
        node = self._state.nodes[met.node] = NodeRecord(Hello("node", *about), met.names, met.port)
        self._await(node, now)
        return node

    def _await(self, node: NodeRecord, now: float) -> None:
        """A node is away; it may return within the lease."""
        node.lost_at = now + self.lease
        self._away.setdefault(node.place, {})[node.instance] = node
        self._watch_absence(node)

    def _is_back(self, node: NodeRecord) -> None:
        """A node that may have been away has returned, or is not expected any more."""
        others = self._away.get(node.place)
        if others is not None:
            others.pop(node.instance, None)
            if not others:
                del self._away[node.place]

    def _watch_absence(self, node: NodeRecord) -> None:
        """A node that does not return in time is lost."""
        moment = node.lost_at
        assert moment is not None
        why = f"not heard from for {self.lease:.0f} s"
        self._state.timers.set(
            moment,
            lambda: node.lost_at == moment and self._state.nodes.get(node.instance) is node,
            lambda now: self.lose(node, now, why),
        )

    # Losses

    def lose(self, node: NodeRecord, now: float, why: str) -> Effects:
        """Give up a node, and the jobs that it may have begun."""
        del self._state.nodes[node.instance]
        self._state.lost_nodes += why != _STOPPED
        node.move(NodeStage.LOST)
        self._is_back(node)
        self._given_up[node.instance] = True
        if len(self._given_up) > GIVEN_UP_LIMIT:
            del self._given_up[next(iter(self._given_up))]
        self._placement.drop(node)
        effects: Effects = []
        for computation_id, assignment in node.assignments.items():
            computation = self._state.computations.get(computation_id)
            if computation is not None:
                effects += self._lose_assignment(node, computation, assignment, now)
                effects += self._lose_jobs(node, computation, assignment, now, why)
        return effects + self._end_pinned(node, why)

    def _lose_assignment(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, now: float
    ) -> Effects:
        """A computation has lost a node; its jobs are handled separately."""
        computation.places.discard(node.instance)
        self._wide_jobs.note_nodes(computation)
        for task in computation.backlog.oversized.pop_where(lambda only, cpus: only == node.instance):
            computation.backlog.add(task)
        self._turns.wait(computation, now)
        effects = self._provisioning.event(computation, node, CLOSED)
        if computation.kept and assignment.met:
            effects.append(WriteFacts(computation.id, [GivenUp(computation.id, node.instance)]))
        if assignment.shown.owed:  # No node will send those provisional results any more.
            jobs, attempts = map(list, zip(*assignment.shown.owed, strict=True))
            effects.append(Send(computation.client, ProgressAcked(computation.id, jobs, attempts, [0] * len(jobs))))
        return effects

    def _lose_jobs(
        self, node: NodeRecord, computation: Computation, assignment: Assignment, now: float, why: str
    ) -> Effects:
        """Jobs of a computation that were on a lost node are placed again, or end."""
        if not assignment.placed:
            return []
        ended: dict[int, list[Task]] = {}
        again: list[Task] = []
        for task in assignment.placed.values():
            task.losses += 1
            may_run = computation.reentrant and task.losses < ATTEMPTS and not task.cancelled
            if may_run and task.pinned is None:
                again.append(task)
            else:
                ended.setdefault(CANCELLED if task.cancelled else ABANDONED, []).append(task)
        effects = self._lifecycle.requeue(node, computation, again, now)
        text = f"The node {node.place} {LOST_WITH_NODE}{why}.\n"
        for status, group in ended.items():
            effects += end_jobs(computation, group, status, text, node.names[0])
        node.forget(assignment)
        self._turns.freed(computation.owner)
        return effects

    def _end_pinned(self, node: NodeRecord, why: str) -> Effects:
        """End the jobs that wait for a lost node, also those of computations that were never loaded there."""
        effects: Effects = []
        text = f"The node {node.place} {LOST_PINNED}{why}.\n"
        for computation in self._turns.pinning.values():
            waiting = computation.backlog.pop_pinned(node.instance)
            if waiting:
                effects += end_jobs(computation, waiting, ABANDONED, text, node.names[0])
        return effects
