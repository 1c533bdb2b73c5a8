"""The logger `gdispy`, the counterpart of `dispy.logger`.

Importing the package configures nothing. A program that sets `loglevel` of a cluster or uses `gdispy.logger` gets the
log on its terminal, as with dispy, unless it has configured logging itself.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, TextIO


class ProgramLogger(logging.Logger):
    """The logger `gdispy`, with the methods that programs for dispy use."""

    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARNING = WARN = logging.WARNING
    ERROR = logging.ERROR
    CRITICAL = FATAL = logging.CRITICAL
    #: Whether the lines on the terminal have milliseconds; see `show_ms`.
    log_ms = False

    @property
    def stream(self) -> TextIO:
        """Where the lines go."""
        return sys.stderr

    def warn(self, *args: Any, **kwargs: Any) -> None:
        """As `warning`."""
        self.warning(*args, **kwargs)

    def show_ms(self, value: bool = True) -> None:
        """Show milliseconds in the times of lines on the terminal."""
        self.log_ms = bool(value)

    log_ms_enable = show_ms

    def flush(self) -> None:
        """Flush all handlers."""
        for handler in self.handlers:
            handler.flush()

    def nolog(self, *args: object, **kwargs: object) -> None:
        """Log nothing."""

    def shutdown(self) -> None:
        """Flush all handlers; the logger remains usable."""
        self.flush()

    def __enter__(self) -> ProgramLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current `sys.stderr`, unless the program has configured a handler."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_Formatter())

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None and not _is_configured():
            super().emit(record)


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s - %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        text = super().formatTime(record, "%Y-%m-%d %H:%M:%S")
        return f"{text}.{int(record.msecs):03d}" if logger.log_ms else text


def _named_logger() -> ProgramLogger:
    found = logging.getLogger("gdispy")
    if not isinstance(found, ProgramLogger):
        found.__class__ = ProgramLogger  # The program may have created and configured it before.
    return found  # type: ignore[return-value]


def _is_configured() -> bool:
    own = [handler for handler in logger.handlers if not isinstance(handler, _TerminalHandler | logging.NullHandler)]
    return bool(own or logging.getLogger().handlers)


def show_on_terminal(level: int | None = None) -> None:
    """Enable log lines of this level; by default of `logging.INFO` if the program has set no level."""
    if level is not None:
        logger.setLevel(level)
    if _is_configured():
        return
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _TerminalHandler) for handler in logger.handlers):
        logger.addHandler(_TerminalHandler())


logger = _named_logger()
