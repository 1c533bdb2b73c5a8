"""At the end of a program, closes the clusters that are still open. Runs at exit, in the main thread."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gdispy.client.engine import Stage
from gdispy.protocol.limits import counted

if TYPE_CHECKING:
    from gdispy.client.cluster import JobCluster

logger = logging.getLogger("gdispy")

#: Seconds that a program which ends with an exception waits for its nodes, and, after Ctrl-C, for its callbacks.
HASTY_LIMIT = 2.0

_last: _Last | None = None


class _Last:
    """Deleted when Python clears its modules: after all `atexit` functions, and after standard output is flushed."""

    def __del__(self, leave: object = os._exit, status: int = 128 + signal.SIGINT) -> None:
        leave(status)  # type: ignore[operator]


def _exit_as_interrupted() -> None:
    """Make this process exit with 130, the code for Ctrl-C, when everything else is done. The program's code has run to
    its end, so Python would exit with 0, which would mean success."""
    global _last
    _last = _Last()


def close_all(clusters: Iterable[JobCluster]) -> None:
    """The program ends: wait for its jobs, as dispy does, unless it ends with an exception."""
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
                logger.warning("%s: waiting for %s; Ctrl-C cancels what is left", cluster.name, counted(pending, "job"))
            if not hasty:
                cluster._count.wait_patiently()
        except KeyboardInterrupt:
            hasty, patience = True, HASTY_LIMIT
            _exit_as_interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            if cluster._count.pending:
                cluster._hub.call(cluster._engine.cancel_all, False)
            cluster._leave(HASTY_LIMIT, patience=patience)
