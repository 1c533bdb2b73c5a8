"""Log lines that a peer can cause: each kind at most once a second, with the number of suppressed lines.

Suppressed lines that are followed by no line with the same key are not reported.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable

from gdispy.protocol.limits import PRINTED_LINES_LIMIT, printable, printable_for_log, shortened
from gdispy.protocol.rate_limit import INTERVAL, LogLimit


class LimitedLog:
    """Writes to a logger, at most one line in an interval for each key."""

    def __init__(
        self, logger: logging.Logger, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._limit = LogLimit(interval)
        self._clock = clock

    def log(self, level: int, key: object, text: str, *args: object) -> None:
        """Log a line about a peer, or a kind of peers, identified by `key`. Values of `args` that are not numbers may
        be texts of a peer, and are made printable."""
        self._write(level, key, text, _shown(args))

    def log_failure(self, level: int, key: object, error: BaseException, text: str, *args: object) -> None:
        """The same for a failure, with its traceback."""
        self._write(level, key, text, _shown(args), error)

    def log_lines(self, level: int, key: object, text: str) -> None:
        """The same for a text of a peer that may have several lines."""
        self._write(level, key, "%s", [printable_for_log(text)])

    def _write(
        self, level: int, key: object, text: str, args: list[object], error: BaseException | None = None
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        left_out = self._limit.admit(key, self._clock())
        if left_out is None:
            return
        if left_out:
            text, args = f"{text} (%d such lines were suppressed)", [*args, left_out]
        if error is not None:
            text, args = f"{text}\n%s", [*args, traceback_text(error)]
        self._logger.log(level, text, *args)


def traceback_text(error: BaseException) -> str:
    """The traceback of an error for the log. It may contain texts of peers, so `exc_info` cannot be used."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
    return printable_for_log(f"  {shortened(text, PRINTED_LINES_LIMIT // 2)}")


def _shown(args: tuple[object, ...]) -> list[object]:
    return [each if isinstance(each, int | float) else printable(str(each)) for each in args]
