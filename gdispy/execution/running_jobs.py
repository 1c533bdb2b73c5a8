"""What the running jobs of a node use: CPU time and memory of their processes, as /proc tells it.

Used in greenlets of the node. Nothing is sent to the processes, and none is stopped. Processes of other jobs run
meanwhile, and between two looks the loop of the node does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent

from gdispy.protocol.rows import RunningJobRow
from gdispy.worker.process_tree import descendants, processor_seconds, tree_bytes

#: Seconds after which no further processes are looked at.
LIMIT = 1.0
#: Most processes of a job that are looked at.
PROCESSES = 1000


def measured(
    rows: Sequence[RunningJobRow],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[], None] = lambda: gevent.sleep(0),
) -> list[RunningJobRow]:
    """The same rows, with CPU time and memory; those that are not reached in time stay as they are."""
    until = clock() + LIMIT
    found: list[RunningJobRow] = []
    for row in rows:
        found.append(_measured(row) if row.pid and clock() < until else row)
        pause()
    return found


def _measured(row: RunningJobRow) -> RunningJobRow:
    tree = [row.pid, *descendants(row.pid)][:PROCESSES]
    return row._replace(processor=float(sum(map(processor_seconds, tree))), memory=tree_bytes(tree))
