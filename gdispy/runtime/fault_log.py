"""Logs a message that a daemon could not handle: a defect of gdispy, or of its sender.

Callable in the loop of a daemon or of a program's hub.
"""

from __future__ import annotations

import logging

from gdispy.protocol.message import Message
from gdispy.runtime.limited_log import LimitedLog

logger = logging.getLogger("gdispy")

#: Seconds between two tracebacks for the same kind of message and exception: a peer may send it repeatedly.
INTERVAL = 60.0

_log = LimitedLog(logger, INTERVAL)


def log_fault(message: Message, error: Exception) -> None:
    """Log the traceback, at limited intervals for each kind of message and exception."""
    text = "gdispy: a %s could not be handled; its sender is disconnected"
    _log.log_failure(logging.ERROR, (type(message), type(error)), error, text, type(message).__name__)
