"""`dispynode_logger`: what a computation writes into the log of its node.

Standard library. The records go to the node's process, which logs them; nothing of them is output of the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gdispy.protocol.limits import shortened
from gdispy.worker import control

NODE_LOGGER = "dispynode"


class NodeHandler(logging.Handler):
    """Hands records to who can send them."""

    def __init__(self, send: Callable[[int, str], object]) -> None:
        super().__init__()
        #: Takes level and text; another one in each process.
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.send(record.levelno, shortened(self.format(record), control.TEXT_LIMIT))
        except Exception:
            self.handleError(record)


def log_to_node(send: Callable[[int, str], object], level: int) -> NodeHandler:
    """From now on the logger hands records of this level and above to `send`."""
    handler = NodeHandler(send)
    logger = logging.getLogger(NODE_LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return handler
