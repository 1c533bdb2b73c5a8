"""Notices to users about delays: jobs that wait, setup and cleanup that take long.

Pure. Invariant: a user is notified if jobs wait for an event that may never occur, and again at growing intervals.
"""

from __future__ import annotations

from collections.abc import Callable

from gdispy.protocol.messages import Notice
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import LOCAL_ADVICE, problems, slow_nodes, too_wide, trouble
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.scheduler.state import SchedulerState

#: Seconds that jobs wait for a node before the user is notified of the reason.
PATIENCE = 3.0
#: The pauses before further notices: the factor by which they grow, and their limit.
PAUSE_GROWTH = 10
LONGEST_PAUSE = 3600.0
#: Seconds that a node may take to set a computation up, or to clean up after it, before the user is notified.
SETUP_PATIENCE = 10.0


class Reminders:
    """Sets timers for delays, and reports the reason when they expire."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        #: Why addresses have no usable node, as the shell found.
        self._problems: dict[str, str] = {}
        #: How clients start a private node on their machine; '' if they cannot.
        self.local_advice = LOCAL_ADVICE

    def problem(self, place: str, text: str) -> None:
        """No usable node at an expected address, with the reason; '' withdraws the report."""
        if text:
            self._problems[place] = text
        else:
            self._problems.pop(place, None)

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses without a usable node, with the reasons."""
        return dict(self._problems)

    def problems(self, computation: Computation, now: float) -> list[str]:
        """Why nodes are not used for a computation, a line for each."""
        return problems(computation, self._state.nodes.values(), self._problems, now)

    def watch_wait(self, computation: Computation, is_waiting: Callable[[], bool]) -> None:
        """Jobs wait, and no node can run them."""
        since = computation.waiting_since
        assert since is not None

        def text(now: float) -> str:
            return trouble(computation, self._state.nodes.values(), self._problems, now, self.local_advice)

        self._remind(computation, since, lambda: computation.waiting_since == since and is_waiting(), text)

    def watch_oversized(self, computation: Computation, since: float) -> None:
        """Jobs wait that request more CPUs than any node has, while others may run."""
        backlog = computation.backlog

        def lasts() -> bool:
            return bool(backlog.oversized) and backlog.oversized_since == since and not computation.is_over

        def text(now: float) -> str:
            return too_wide(computation, self._state.nodes.values(), self._problems, now)

        self._remind(computation, since, lasts, text)

    def watch_setup(self, node: NodeRecord, computation: Computation, assignment: Assignment) -> None:
        """Setup has no time limit, but the user is notified if it takes long."""
        since = assignment.prepared_at
        assert since is not None

        def tell(now: float) -> Effects:
            assignment.told = True
            return [Send(computation.client, Notice(computation.id, slow_nodes(computation, [node])))]

        def lasts() -> bool:
            is_known = node.instance in self._state.nodes
            return assignment.prepared_at == since and not assignment.told and is_known

        self._state.timers.set(since + SETUP_PATIENCE, lasts, tell)

    def watch_cleanup(self, computation: Computation, now: float) -> None:
        """Cleanup has no time limit, but the user is notified if it takes long."""
        nodes = self._state.nodes

        def tell(later: float) -> Effects:
            slow = [nodes[each] for each in computation.releasing if each in nodes]
            self.watch_cleanup(computation, later)
            return [Send(computation.client, Notice(computation.id, slow_nodes(computation, slow)))]

        self._state.timers.set(now + SETUP_PATIENCE, lambda: computation.id in self._state.computations, tell)

    def _remind(
        self, computation: Computation, since: float, lasts: Callable[[], bool], text: Callable[[float], str]
    ) -> None:
        def set_timer(moment: float, pause: float) -> None:
            def tell(now: float) -> Effects:
                set_timer(now + pause, min(PAUSE_GROWTH * pause, LONGEST_PAUSE))
                return [Send(computation.client, Notice(computation.id, text(now)))]

            self._state.timers.set(moment, lasts, tell)

        set_timer(since + PATIENCE, PAUSE_GROWTH * PATIENCE)
