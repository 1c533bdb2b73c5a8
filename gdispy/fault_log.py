"""How a daemon tells of a message that it could not handle: a defect of gdispy, or of what has sent it.

Floor 2. Called in the loop of a daemon or of a program's hub.
"""

from __future__ import annotations

import logging
import time

from gdispy.core.message import Message

logger = logging.getLogger("gdispy")

#: Seconds between two tracebacks for the same kind of message and exception: a peer may send it again and again.
INTERVAL = 60.0

_next: dict[tuple[type[Message], type[Exception]], float] = {}


def log_fault(message: Message, error: Exception) -> None:
    """Write the traceback to the log, for each kind of message and exception once in a while."""
    kind, now = (type(message), type(error)), time.monotonic()
    if now >= _next.get(kind, 0.0):
        _next[kind] = now + INTERVAL
        logger.error(
            "gdispy: a %s could not be handled, so its sender is dropped", type(message).__name__, exc_info=error
        )
