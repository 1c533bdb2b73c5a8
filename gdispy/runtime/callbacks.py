"""Runs functions of the user outside the hub, in a separate thread (patched: a greenlet).

Invariant: a blocking function delays the others by at most `PATIENCE`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

logger = logging.getLogger("gdispy.hub")


class CallbackRunner:
    """Calls functions of the user one after the other, in a separate thread (patched: a greenlet).

    A function that takes longer than `PATIENCE` while others wait does not delay them further: they continue in another
    thread, which is logged.
    """

    #: Seconds.
    PATIENCE = 5.0

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        # The user's thread takes only the lock, never the condition: if Ctrl-C came just after the condition had taken
        # its lock, in Python, it would never be released. A lock taken by `with` has no such moment.
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        # To notify, a condition checks that its lock is held by trying to acquire it. A lock of gevent lets other
        # greenlets run when that fails, so the lock would be held when the hub calls `put`, where it cannot wait.
        self._condition._is_owned = self._lock.locked  # type: ignore[attr-defined]
        self._runner: object = None
        #: The identifiers of all threads that run callbacks, including replaced ones that still run.
        self._threads: set[int] = set()
        self._began: float | None = None

    def start(self) -> None:
        with self._condition:
            if self._runner is None:
                self._replace_runner()
                _start(self._watch)

    def put(self, function: Callable[[Unpack[Args]], object], args: tuple[Unpack[Args]]) -> None:
        with self._condition:
            self._waiting.append((function, args))
            self._condition.notify_all()

    def is_runner(self) -> bool:
        return threading.get_ident() in self._threads

    def _replace_runner(self) -> None:
        self._runner = runner = object()
        _start(self._run, runner)

    def _run(self, runner: object) -> None:
        self._threads.add(threading.get_ident())
        try:
            self._run_callbacks(runner)
        finally:
            self._threads.discard(threading.get_ident())

    def _run_callbacks(self, runner: object) -> None:
        while True:
            with self._condition:
                while not self._waiting and self._runner is runner:
                    self._condition.wait()
                if self._runner is not runner:  # Replaced, and its callback has returned at last.
                    return
                function, args = self._waiting.popleft()
                self._began = time.monotonic()
                if self._waiting:
                    self._condition.notify_all()  # `_watch` counts from now.
            try:
                function(*args)
            except BaseException:
                logger.exception("a callback failed: %s", getattr(function, "__qualname__", function))
            with self._condition:
                if self._runner is runner:
                    self._began = None
                self._condition.notify_all()

    def _watch(self) -> None:
        while True:
            with self._condition:
                while self._began is None or not self._waiting:
                    self._condition.wait()
                left = self._began + self.PATIENCE - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                logger.warning("a callback has been running for %.0f s; other callbacks continue", self.PATIENCE)
                self._began = None
                self._replace_runner()


def _start(function: Callable[[Unpack[Args]], object], *args: Unpack[Args]) -> None:
    threading.Thread(target=function, args=args, name="gdispy-callbacks", daemon=True).start()
