"""`logging='forward'`: log records of jobs are sent to the client's loggers of the same names.

A handler in the worker sends each record as a provisional result that begins with `MARK`, so it arrives once, in order
and before the end of its job. The levels are those of the client. The encoding is msgpack of plain values, since a
client may accept nothing else from its nodes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from gdispy.protocol.limits import shortened
from gdispy.worker.node_log import NODE_LOGGER

if TYPE_CHECKING:
    from gdispy.worker import pickling
    from gdispy.worker.calls import Outcome, Run
    from gdispy.worker.runner import Job

#: The first byte of such a provisional result; no pickle, and no other value, begins with it.
MARK = b"\x04"
#: Maximum length of the texts of a record, in characters.
TEXT_LIMIT = 8_000
#: Maximum number of loggers whose levels are sent, and length of their names.
LEVELS_LIMIT = 100
NAME_LIMIT = 150
#: The attributes of a record that are sent.
_FIELDS = ("name", "levelno", "levelname", "created", "pathname", "lineno", "funcName", "process", "threadName")
#: All attributes that a record has; others are the user's (`extra`).
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


def client_levels() -> dict[str, int]:
    """The levels of this process's loggers: of the root logger, '', and of those for which one was set."""
    levels = {"": logging.getLogger().level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        is_set = isinstance(logger, logging.Logger) and logger.level
        if is_set and len(name) <= NAME_LIMIT and len(levels) < LEVELS_LIMIT:
            levels[name] = logger.level  # type: ignore[union-attr]
    return levels


class ForwardHandler(logging.Handler):
    """Sends the records of jobs to the client; others, as of setup, to the log of the node."""

    def emit(self, record: logging.LogRecord) -> None:
        from gdispy.worker.runner import running  # It imports the modules of the template first.

        try:
            if running.job is not None:
                running.job.send_progress(pack_record(record))
            else:
                logging.getLogger(NODE_LOGGER).handle(record)
        except Exception:
            self.handleError(record)


class Forwarding:
    """Sends the records of this process, and of those forked from it, to the client."""

    def __init__(self, levels: Mapping[str, int]) -> None:
        self._handler = ForwardHandler()
        self._root = logging.getLogger()
        self._root.handlers[:] = [self._handler]
        for name, level in levels.items():
            logging.getLogger(name or None).setLevel(level)

    def put_back(self) -> None:
        """Undo what the last job has done to the handlers of the root logger; and what it has done with
        `logging.config`, which disables all loggers that exist."""
        if self._root.handlers != [self._handler]:
            self._root.handlers[:] = [self._handler]
        if "logging.config" in sys.modules:
            for logger in list(logging.root.manager.loggerDict.values()):
                if isinstance(logger, logging.Logger):
                    logger.disabled = False

    def around(self, run: Run) -> Run:
        """The same way to run a job, with this before it."""

        def run_logged(arguments: pickling.ReceivedPayload, job: Job) -> Outcome:
            self.put_back()
            return run(arguments, job)

        return run_logged


def pack_record(record: logging.LogRecord) -> bytes:
    """A record as a provisional result."""
    fields: dict[str, Any] = {name: _plain(getattr(record, name, None)) for name in _FIELDS}
    fields["msg"] = shortened(record.getMessage(), TEXT_LIMIT)
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    fields["exc_text"] = shortened(record.exc_text, TEXT_LIMIT) if record.exc_text else None
    fields["stack_info"] = shortened(record.stack_info, TEXT_LIMIT) if record.stack_info else None
    extra = [(name, _plain(value)) for name, value in vars(record).items() if name not in _STANDARD]
    return MARK + bytes(msgpack.packb([fields, dict(extra[:50])], unicode_errors="replace"))


def unpack_record(value: object) -> dict[str, Any] | None:
    """The attributes of the record that a provisional result is; None for any other provisional result. Raises
    ValueError for a damaged one."""
    if type(value) is not bytes or value[:1] != MARK:
        return None
    fields, extra = msgpack.unpackb(value[1:])
    if not isinstance(fields, dict) or not isinstance(extra, dict) or not isinstance(fields.get("levelno"), int):
        raise ValueError("not a log record")
    if not all(isinstance(fields.get(name), str) for name in ("name", "levelname", "msg")):
        raise ValueError("not a log record")
    known = {name: fields.get(name) for name in (*_FIELDS, "msg", "exc_text", "stack_info")}
    return {**{name: value for name, value in extra.items() if name not in _STANDARD}, **known}


def _plain(value: object) -> Any:
    """A value that msgpack can encode: others as text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return int(value)
    return shortened(str(value), TEXT_LIMIT // 8)
