"""The scheduler's rules: which node runs which job, and why a job is not run.

Pure. Clients are at the other end of pairs or connections, nodes at the other end of connections; both are identified
by their `Peer`. `Dispatch` contains no rules. It owns the objects that do; each gets references to those that it may
call, which are all below it:

    ClientRequests   NodeReports      handlers of messages
               Reconciliation         the contents of journals and nodes
               Membership             nodes that are connected, away or lost
               JobLifecycle           jobs that are returned, cancelled or taken over
               Provisioning           computations that nodes load
               Placement              which job goes to which node
        Inability   WideJobs          jobs that no node can run
               Turns                  which computation is served next
               Reminders              notices to users about long waits
               SchedulerState         computations, nodes, timers: plain data
"""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import Hello, Message, Prepare
from gdispy.protocol.rows import Claim, NodeOverviewRow
from gdispy.rules.effects import Effects
from gdispy.rules.faults import OnFault, raise_fault
from gdispy.rules.history.replay import ComputationHistory
from gdispy.rules.scheduler.client_requests import ClientRequests
from gdispy.rules.scheduler.diagnostics import REASONS, node_state
from gdispy.rules.scheduler.explanation import explain
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import LEASE, Membership
from gdispy.rules.scheduler.node_reports import NodeReports, OnUse
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.reconciliation import Reconciliation
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import FAIR, Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs


class Dispatch:
    """The decisions of a scheduler. A call gets the present time if it depends on it, and returns the effects to be
    performed."""

    def __init__(self, lease: float = LEASE, policy: str = FAIR, cooperative: bool = True) -> None:
        #: Handles a failure to process a message.
        self.on_fault: OnFault = raise_fault
        state = self._state = SchedulerState()
        reminders = self._reminders = Reminders(state)
        turns = self._turns = Turns(state, reminders, policy)
        wide = self._wide_jobs = WideJobs(state, reminders, turns)
        inability = Inability(state, turns)
        placement = self._placement = Placement(state, turns, wide)
        provisioning = self._provisioning = Provisioning(state, reminders, turns, wide, inability, placement)
        lifecycle = JobLifecycle(state, turns, wide, placement, provisioning)
        membership = Membership(state, turns, wide, placement, provisioning, lifecycle, lease)
        self._membership = membership
        self._reconciliation = Reconciliation(
            state, reminders, turns, wide, placement, provisioning, lifecycle, membership
        )
        self._requests = ClientRequests(
            state, reminders, turns, wide, inability, placement, provisioning, lifecycle, cooperative
        )
        self._reports = NodeReports(
            state, turns, inability, placement, provisioning, lifecycle, membership, self._reconciliation
        )

    # Settings

    @property
    def state(self) -> SchedulerState:
        """The tables, to be read only."""
        return self._state

    def set_weight(self, peer: Peer, weight: float) -> None:
        """The weight of a client's share, from now on."""
        self._turns.set_weight(peer, weight)

    def set_cpus(self, node: Instance, cpus: int, now: float) -> Effects:
        """Use at most this number of a node's CPUs, for all clients; 0 gives it no more jobs."""
        known = self._state.nodes.get(node)
        return self._provisioning.allow(known, cpus, now) + self._placement.place(now) if known is not None else []

    @property
    def weights(self) -> dict[Peer, float]:
        """The weights of clients' shares; the default is 1."""
        return self._turns.weights

    @property
    def local_advice(self) -> str:
        """How clients start a private node on their machine; '' if they cannot."""
        return self._reminders.local_advice

    @local_advice.setter
    def local_advice(self, value: str) -> None:
        self._reminders.local_advice = value

    @property
    def keeps_progress(self) -> bool:
        """Whether provisional results are also kept in the journal until clients have seen them."""
        return self._reports.keeps_progress

    @keeps_progress.setter
    def keeps_progress(self, value: bool) -> None:
        self._reports.keeps_progress = value

    def watch_use(self, on_use: OnUse) -> None:
        """Report each use of a node by jobs that have ended."""
        self._reports.on_use = on_use

    # Clients

    def receive_from_client(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        return self._requests.receive(peer, messages, now, self.on_fault)

    def slow_down(self, peer: Peer, is_slow: bool, now: float) -> Effects:
        """A client receives its results more slowly than they arrive, or fast enough again; while slow, its jobs
        wait."""
        self._turns.slow_down(peer, is_slow)
        if not is_slow:
            return self._placement.place(now)
        effects: Effects = []
        for computation in self._state.computations.values():
            if computation.client == peer:
                effects += self._placement.recall_all(computation)
        return effects

    def hand_over(self, computation: ComputationId, peer: Peer) -> None:
        """Assign this computation to another client."""
        known = self._state.computations.get(computation)
        if known is not None:
            self._turns.hand_over(known, peer)

    def object_to(self, computation: ComputationId, reason: str) -> None:
        """The computation that a client is about to prepare must not be sent to nodes, for this reason."""
        known = self._state.computations.get(computation)
        if known is not None:
            self._provisioning.object_to(known, reason)

    def is_answered(self, computation: ComputationId) -> bool:
        """False if a computation has jobs and all of them are on nodes that are away."""
        known = self._state.computations.get(computation)
        tasks = known.tasks.values() if known is not None else ()
        return not tasks or any(task.node is None or task.node.peer is not None for task in tasks)

    def computation_rows(self, client: Peer) -> list[tuple[str, int, int]]:
        """The computations of a client: name, number of waiting jobs, number of jobs on nodes."""
        rows: list[tuple[str, int, int]] = []
        for computation in self._state.computations.values():
            if computation.client == client:
                waiting = computation.waiting
                rows.append((computation.name, waiting, len(computation.tasks) - waiting))
        return rows

    def waits(self, client: Peer, now: float) -> list[str]:
        """Why jobs of a client's computations wait, a line for each computation."""
        lines: list[str] = []
        for computation in self._state.computations.values():
            if computation.client == client and computation.id in self._turns.waiting:
                facts = explain(self._state, self._turns, self._reminders, computation, None, now)
                reasons = [text for key, text in zip(facts[::2], facts[1::2], strict=True) if key == "waits for"]
                lines += [f"{computation.name} waits for {reason}" for reason in reasons[:REASONS]]
        return lines

    def explain(self, computation: ComputationId, job: JobId, now: float) -> list[str]:
        """Why a job waits, or where it is, as in `Explained`; job 0 is the next job of the computation."""
        known = self._state.computations.get(computation)
        task = known.tasks.get(job) if known is not None else None
        return explain(self._state, self._turns, self._reminders, known, task, now)

    def node_notes(self) -> list[str]:
        """Why nodes take no jobs, and why addresses are no nodes, a line for each."""
        lines = [f"{place}: {text}" for place, text in self._reminders.addresses.items()]
        for node in self._state.nodes.values():
            if node.peer is None:
                lines.append(f"{node.place}: the connection broke; reconnecting")
            elif node.silent:
                lines.append(f"{node.place}: no heartbeat at present")
            elif node.offer.reason:
                lines.append(f"{node.place}: {node.offer.reason}")
        return lines

    # Journals

    def claims(self) -> list[Claim]:
        """The computations that nodes must treat as this scheduler's, as in `Hello`."""
        return self._reconciliation.claims()

    def restore(self, peer: Peer, history: ComputationHistory, prepare: Prepare | None, now: float) -> Effects:
        """Restore a computation with its jobs that have not ended."""
        return self._reconciliation.restore(peer, history, prepare, now)

    def discard(self, computation: ComputationId) -> Effects:
        """Forget a computation, in any state: it could not be restored, or cannot be continued."""
        known = self._state.computations.get(computation)
        return self._provisioning.discard(known) if known is not None else []

    # Nodes

    def joined(self, peer: Peer, hello: Hello, names: list[str], port: int, now: float) -> Effects:
        """A node is connected; `names` are its known addresses and names, the best first.

        `port` is 0 for a node that has connected to the scheduler: others behind the same NAT have the same address.
        """
        return self._membership.joined(peer, hello, names, port)

    def receive(self, peer: Peer, messages: list[Message], now: float) -> Effects:
        """Messages of a node have arrived."""
        return self._reports.receive(peer, messages, now, self.on_fault)

    def silent(self, peer: Peer, silent: bool, now: float) -> Effects:
        """A node's heartbeat has failed for some time, or has returned."""
        return self._membership.silent(peer, silent, now)

    def gone(self, peer: Peer, now: float) -> Effects:
        """The connection to a node has ended; the node may return within the lease."""
        return self._membership.gone(peer, now)

    def refused(self, peer: Peer, reason: str, now: float) -> Effects:
        """The connection to a node was closed because one side refused a message of the other."""
        return self._membership.refused(peer, reason, now)

    def left(self, peer: Peer, now: float) -> Effects:
        """A node has announced that it is being stopped."""
        return self._membership.left(peer, now)

    def refuses(self, peer: Peer, computation: ComputationId) -> bool:
        """Whether a connected node cannot run a computation, and will not be able to until it changes."""
        node = self._membership.at(peer)
        assignment = node.assignments.get(computation) if node is not None else None
        return assignment is not None and bool(assignment.error)

    def node_rows(self) -> list[NodeOverviewRow]:
        """The nodes, as in `Overview`."""
        return [
            NodeOverviewRow(node.name, node.names[0], node.port, node.cpus, node.busy(), node.peer is not None)
            for node in self._state.nodes.values()
        ]

    def node_states(self, now: float) -> list[str]:
        """The states of the nodes, for people, in the order of `node_rows`."""
        return [node_state(node, now, self._membership.lease) for node in self._state.nodes.values()]

    def problem(self, place: str, text: str) -> Effects:
        """No usable node at an expected address, with the reason; '' withdraws the report."""
        self._reminders.problem(place, text)
        return []

    @property
    def unreachable(self) -> dict[str, str]:
        """The addresses that were named, or known from before, and have no usable node, with the reasons."""
        return self._reminders.addresses

    # Time

    def due(self) -> float | None:
        """The time of the next call of `tick`, if any."""
        return self._state.timers.due()

    def tick(self, now: float) -> Effects:
        return self._state.timers.ring(now) + self._placement.place(now)

    def check(self) -> None:
        """Raise InternalError if an invariant does not hold; for tests."""
        self._placement.check()
        self._turns.check()
        self._wide_jobs.check()
        self._provisioning.check()
