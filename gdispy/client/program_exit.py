"""The end of a program: its clusters are closed, as far as it has not done that itself.

Called by Python at exit, in the main thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gdispy.client.engine import Stage

if TYPE_CHECKING:
    from gdispy.client.cluster import JobCluster

logger = logging.getLogger("gdispy")

#: Seconds that a program which ends by an exception takes to leave its nodes; and, where that is Ctrl-C, that its
#: callbacks have.
HASTY_LIMIT = 2.0

_last: _Last | None = None


class _Last:
    """Deleted when Python clears its modules: when all that is registered with `atexit` is done, and standard output is
    written."""

    def __del__(self, leave: object = os._exit, status: int = 128 + signal.SIGINT) -> None:
        leave(status)  # type: ignore[operator]


def _exit_as_interrupted() -> None:
    """Have this process exit with 130, as one that Ctrl-C has ended, when all else is done. The program's own code has
    run to its end, so Python would exit with 0, and whatever has started the program would take that for success."""
    global _last
    _last = _Last()


def close_all(clusters: Iterable[JobCluster]) -> None:
    """The program ends: wait for its jobs, as dispy does, unless it ends by an exception."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    hasty = error is not None
    patience = HASTY_LIMIT if isinstance(error, KeyboardInterrupt) else None
    for cluster in list(clusters):
        if cluster._engine.stage is Stage.FORKED:
            continue
        try:
            pending = cluster._count.pending
            if pending and hasty and cluster._recovery is not None:
                cluster._leave_for_recovery()
                continue
            if pending and not hasty:
                logger.warning("%s: waiting for %d jobs; Ctrl-C leaves them", cluster.name, pending)
            if not hasty:
                cluster._count.wait_patiently()
        except KeyboardInterrupt:
            hasty, patience = True, HASTY_LIMIT
            _exit_as_interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            if cluster._count.pending:
                cluster._cancel_all()
            cluster._leave(HASTY_LIMIT, patience=patience)
