"""`dispynode_logger`: log lines of a computation for its node.

Standard library. The records are sent to the node's process, which logs them; they are not output of the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gdispy.protocol.limits import shortened
from gdispy.worker import control

NODE_LOGGER = "dispynode"


class NodeHandler(logging.Handler):
    """Passes records to a sender."""

    def __init__(self, send: Callable[[int, str], object]) -> None:
        super().__init__()
        #: Takes level and text; different in each process.
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.send(record.levelno, shortened(self.format(record), control.TEXT_LIMIT))
        except Exception:
            self.handleError(record)


def log_to_node(send: Callable[[int, str], object], level: int) -> NodeHandler:
    """Pass records of this level and above to `send`."""
    handler = NodeHandler(send)
    logger = logging.getLogger(NODE_LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return handler
