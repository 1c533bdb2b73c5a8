"""Why jobs end, as one of a few words: for metrics, which must not contain texts of users.

Pure. It reads the texts that gdispy itself writes; a text of a user that begins with the same words counts as one.
"""

from __future__ import annotations

import re

from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINISHED
from gdispy.protocol.texts import (
    JOB_CANCELLED,
    KILLED_BY_KERNEL,
    KILLED_BY_NODE,
    LOST_PINNED,
    LOST_UNKNOWN,
    LOST_WITH_NODE,
    NOT_TAKEN,
    TOO_LONG,
)

EXCEPTION, TIME_LIMIT, MEMORY, KILLED, EXIT, CANCEL, NODE_LOST, REFUSED, OTHER = REASONS = (
    "exception",
    "time_limit",
    "memory",
    "killed",
    "exit",
    "cancel",
    "node_lost",
    "refused",
    "other",
)

_TRACEBACKS = ("Traceback (most recent call last)", "  + Exception Group Traceback")
#: The text of an exception without a traceback, as built-in functions raise it.
_BARE = re.compile(r"[A-Za-z_][\w.]*(: |$)")
#: In the texts of limits: see `worker/limits.py`.
_CPU_TIME, _MEMORY = " s of CPU time, and ", " bytes of memory, and the limit of this node is "
_LOST = (LOST_WITH_NODE, LOST_PINNED, LOST_UNKNOWN)


def end_reason(status: int, text: str) -> str:
    """One of `REASONS`, '' for a job that has a result. `text` is the exception in `Ended`."""
    if status == FINISHED:
        return ""
    if status == CANCELLED:
        return CANCEL
    line = text.partition("\n")[0]
    if status == ABANDONED:
        return NODE_LOST if any(each in line for each in _LOST) else REFUSED if line.startswith(NOT_TAKEN) else OTHER
    if line.startswith(TOO_LONG):
        return TIME_LIMIT
    if line.startswith(JOB_CANCELLED) or text.rstrip("\n").rpartition("\n")[2].startswith(JOB_CANCELLED):
        return CANCEL
    if line.startswith(_TRACEBACKS) or _BARE.match(line):
        return EXCEPTION
    if _MEMORY in line or _CPU_TIME in line:
        return MEMORY if _MEMORY in line else TIME_LIMIT
    if " was killed by signal " in line:
        return MEMORY if f": {KILLED_BY_KERNEL}" in line else KILLED
    if KILLED_BY_NODE in line:
        return KILLED
    return EXIT if " ended with exit code " in line else OTHER
