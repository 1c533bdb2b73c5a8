"""Log records of jobs, with `logging='forward'`: they are handled by the loggers of the same names.

Records arrive in the hub; loggers are called outside of it, one record after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack

from gdispy.errors import ConfigError
from gdispy.protocol.limits import printable_for_log
from gdispy.protocol.messages import Progress
from gdispy.worker.forwarded_logs import client_levels, unpack_record

if TYPE_CHECKING:
    from gdispy.client.job import DispyJob

logger = logging.getLogger("gdispy")

FORWARD = "forward"


def checked_logging(value: object) -> bytes:
    """The field `logs` of `Prepare` for the parameter `logging`. Raises ConfigError."""
    if value not in ("", None, FORWARD):
        raise ConfigError(f"logging must be '' (records stay on the nodes) or 'forward', not {value!r}")
    return bytes(msgpack.packb(client_levels())) if value == FORWARD else b""


def take_record(progress: Progress, job: DispyJob, node: str, give: Callable[..., None]) -> bool:
    """Handle a provisional result that is a log record; whether it is one. `give` calls a function outside the hub."""
    try:
        fields = unpack_record(progress.value)
    except Exception as error:
        logger.warning("a log record of job %r is damaged: %s", job.id, printable_for_log(str(error)))
        return True
    if fields is None:
        return False
    give(_handle, fields, job, node)
    return True


def _handle(fields: dict[str, Any], job: DispyJob, node: str) -> None:
    own = logging.getLogger(fields["name"])
    if own.isEnabledFor(fields["levelno"]):
        own.handle(logging.makeLogRecord({**fields, "job": job.id, "node": node}))
