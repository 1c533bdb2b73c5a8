"""Closing a cluster: its nodes are released, and its remaining jobs end.

Methods may be called in any thread of the user's program.

Invariant: only one thread closes at a time; if it is interrupted, the next call starts again.
"""

from __future__ import annotations

import enum
import logging
import threading
import time

from gdispy.client.engine import ClusterEngine, Stage
from gdispy.errors import ClusterClosed
from gdispy.hub import Hub
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.messages import Status, StatusRequest
from gdispy.protocol.rows import NodeRow

logger = logging.getLogger("gdispy")

#: Seconds that closing waits for the nodes to confirm that they have cleaned up.
RELEASE_LIMIT = 10.0
#: The same if the scheduler is not connected; a scheduler that is restarted connects within this time.
ABSENT_LIMIT = 5.0

_UNREPORTED = "The cluster was closed before the node reported this job's outcome.\n"
_DETACHED = "The program detached from this job; its recovery file records where it runs.\n"


class _Closing(enum.Enum):
    OPEN = enum.auto()
    #: A thread is releasing the nodes.
    LEAVING = enum.auto()
    CLOSED = enum.auto()


class ClosingSequence:
    """Releases the nodes of one cluster."""

    def __init__(self, engine: ClusterEngine, hub: Hub, recovery: RecoveryFile | None, has_cleanup: bool) -> None:
        self._engine, self._hub, self._recovery, self._has_cleanup = engine, hub, recovery, has_cleanup
        self._lock = threading.Lock()
        self._stage = _Closing.OPEN
        #: When the cluster was closed, in seconds since the epoch; None before.
        self.end_time: float | None = None
        #: The nodes, as `Status` has them, when it was closed.
        self._last_nodes: list[NodeRow] = []

    @property
    def is_closed(self) -> bool:
        return self._stage is _Closing.CLOSED or self._engine.stage is Stage.FORKED

    def forget(self) -> None:
        """The program has dropped its reference to the cluster: nothing waits for the release."""
        self._stage = _Closing.CLOSED

    def status(self) -> Status:
        """The status of nodes and jobs; once the cluster is closed, the last known status."""
        engine = self._engine
        if self.is_closed:
            return Status(engine.computation, 0, self._last_nodes, 0, [])
        if engine.defect:
            return Status(engine.computation, 0, [], 0, [engine.defect.strip()])
        found = engine.question(lambda number: StatusRequest(engine.computation, number))
        return found if isinstance(found, Status) else Status(engine.computation, 0, [], 0, [])

    def leave(self, limit: float, to_return: bool = False, patience: float | None = None) -> bool:
        """Release the nodes, which have `limit` seconds for that; callbacks have `patience` seconds to return. With
        `to_return` jobs continue, and the recovery file stays. Returns whether this call has closed the cluster."""
        if self.is_closed:
            return False
        is_mine = False
        try:
            with self._lock:
                if self._stage is not _Closing.OPEN:
                    return False
                is_mine = True  # First: an interrupt may come between any two lines.
                self._stage = _Closing.LEAVING
            self._engine.queue.refuse(ClusterClosed)
            self._leave(limit, to_return, patience)
            self.end_time = time.time()
            self._stage = _Closing.CLOSED
        finally:
            if is_mine and self._stage is _Closing.LEAVING:
                self._stage = _Closing.OPEN
        return True

    def _leave(self, limit: float, to_return: bool, patience: float | None) -> None:
        engine = self._engine
        self._last_nodes = self.status().nodes or self._last_nodes
        if self._recovery is not None:
            self._recovery.stays = self._recovery.stays or to_return
        if not to_return and engine.stage is not Stage.PARTED:
            self._await_release(limit)
        engine.count.await_callbacks(patience)
        if self._recovery is not None:
            self._keep_file(self._recovery, to_return)
        self._hub.call(engine.part)
        if engine.table.jobs and to_return:  # They continue: their outcomes go to the callbacks of the next run.
            self._hub.call(engine.table.give_up, [], _DETACHED)
        elif engine.table.jobs:
            self._hub.call(engine.end_the_rest, _UNREPORTED)
            engine.count.await_callbacks(patience)

    def warn_of_recovery(self, pending: int, path: str) -> None:
        """The program fails, and its `pending` jobs survive that as far as possible."""
        nodes = self._engine.selection
        if nodes.is_only_local:
            fate = "%d jobs have not ended, and end with this program, whose private node ran them"
        elif nodes.targets.local:
            fate = "%d jobs have not ended; they continue without this program, except those on its private node"
        else:
            fate = "%d jobs have not ended, and continue without this program"
        text = f"%s: {fate}. To continue, start the program again with resume=True; the recovery file is %s"
        logger.warning(text, self._engine.name, pending, path)

    def _keep_file(self, recovery: RecoveryFile, to_return: bool) -> None:
        """The recovery file stays while any job lacks a result."""
        recovery.stays = recovery.stays or bool(self._engine.table.jobs or recovery.missing)
        if recovery.missing and not to_return:
            text = "%s: %d of %d jobs have no result, so %s is kept; with resume='failed' the program runs them again"
            logger.warning(text, self._engine.name, recovery.missing, self._engine.count.made, recovery.path)

    def _await_release(self, limit: float) -> None:
        if limit == RELEASE_LIMIT and not self._hub.call(self._engine.is_answered):
            limit = ABSENT_LIMIT
        self._hub.post(self._engine.release)
        # A cleanup function may take as long as it needs; the log names the nodes that are waited for.
        if not self._engine.released.wait(None if self._has_cleanup and limit == RELEASE_LIMIT else limit):
            logger.warning("%s: a node did not confirm in time that it has cleaned up", self._engine.name)
