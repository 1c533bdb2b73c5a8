"""Ctrl-C, SIGTERM and SIGHUP while a program is run.

Handlers run in the main thread, in an arbitrary greenlet. Outside of a run, a signal raises KeyboardInterrupt where the
command waits, as Ctrl-C does. During a run it is only noted, so that output is not cut off within a job, and what has
ended is still printed and logged. After that, a second signal ends the process immediately.

Commands that only wait take Ctrl-C as an event, from `interrupted`.

A signal that was ignored when the command was started, as SIGHUP with nohup, stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import gevent
import gevent.event

_TEXTS = {signal.SIGINT: "interrupted", signal.SIGTERM: "SIGTERM received", signal.SIGHUP: "SIGHUP received"}
_AT_ONCE = b"gdispy: ended at once; its jobs may still be running on other machines\n"


class Interruption:
    """The first of these signals that has arrived."""

    def __init__(self) -> None:
        #: Its number; 0 for none.
        self.number = 0
        self._wake: Callable[[], None] = lambda: None
        #: The handlers before `raised`, and SIGINT's before `noted`.
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """The exit code of a command that a signal has ended: by Ctrl-C if none was noted."""
        return 128 + (self.number or signal.SIGINT)

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does."""
        self._install(signal.SIGTERM, self._raise)
        self._install(signal.SIGHUP, self._raise)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()

    @contextlib.contextmanager
    def noted(self, wake: Callable[[], None]) -> Iterator[None]:
        """Note a signal, and call `wake`."""
        self._wake = wake
        for number in _TEXTS:
            self._install(number, self._note)
        try:
            yield
        finally:
            if not self.number:
                for number in _TEXTS:
                    self._install(number, self._raise)

    def report(self, rest: str) -> None:
        """Print which signal has arrived, and what follows."""
        text = _TEXTS[signal.Signals(self.number or signal.SIGINT)]
        print(f"gdispy: {text}; {rest}", file=sys.stderr)

    def _install(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # In a native thread, which receives no signals.
                signal.signal(number, handler)
                self._before.setdefault(number, before)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        """As the hub handles Ctrl-C, if it does: not in an arbitrary greenlet."""
        self.number = self.number or (0 if number == signal.SIGINT else number)
        handler = self._before.get(signal.SIGINT) or signal.getsignal(signal.SIGINT)
        if not callable(handler):
            handler = signal.default_int_handler
        handler(signal.SIGINT, frame)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            with contextlib.suppress(OSError):
                os.write(2, _AT_ONCE)
            os._exit(128 + number)
        self.number = number
        self._wake()


def interrupted() -> gevent.event.Event:
    """An event that is set by Ctrl-C from now on; gevent would raise it in an arbitrary greenlet, and print it."""
    event = gevent.event.Event()
    gevent.signal_handler(signal.SIGINT, event.set)
    return event
