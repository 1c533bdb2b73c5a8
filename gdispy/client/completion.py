"""Counts the jobs of a cluster, and waits until all have ended and their callbacks have returned.

`made` is counted in the user's thread, `ended` in the hub; `wait` may be called in any thread but the hub's.

Invariants:
1. A waiter adds its gate before its last check of the counts, and gates are opened after a count was changed: no
   wake-up is lost.
2. The callbacks for the end of a job are queued before that end is counted.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable

from gdispy.client.user_callbacks import PATIENCE, UserCallbacks
from gdispy.hub import Hub
from gdispy.runtime.gate import Gate

logger = logging.getLogger("gdispy")


class Completion:
    """The count of one cluster's jobs."""

    def __init__(self, name: str, hub: Hub, callbacks: UserCallbacks) -> None:
        self._name = name
        self._hub = hub
        self._callbacks = callbacks
        #: The number of submitted jobs, and of jobs that have ended.
        self.made = 0
        self.ended = 0
        #: The number of jobs that have ended without a result.
        self.failed = 0
        #: Never replaced, so that each added gate is opened.
        self._gates: list[Gate] = []
        callbacks.on_done = self._open_gates

    @property
    def pending(self) -> int:
        """Jobs that have not ended."""
        return self.made - self.ended

    def end(self, count: int, failed: int) -> None:
        """`count` more jobs have ended, `failed` of them without a result. In the hub."""
        self.failed += failed
        self.ended += count
        if self.ended >= self.made:
            self._open_gates()

    def _open_gates(self) -> None:
        gates = self._gates
        while gates:
            with contextlib.suppress(IndexError):
                gates.pop().open()

    def wait(self, timeout: float | None = None, jobs_only: bool = False) -> bool:
        """Wait until no job is pending and, unless `jobs_only` or in a callback, no callback is; False if `timeout`
        seconds pass first."""
        jobs_only = jobs_only or self._hub.is_callback()
        return self._wait_until(lambda: self._is_idle(jobs_only), timeout)

    def wait_patiently(self, timeout: float | None = None) -> bool:
        """As `wait`; if it takes long, the callbacks that are waited for are logged."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        if not self.wait(timeout, jobs_only=True):
            return False
        if self.wait(max(0.0, min(PATIENCE, until - time.monotonic()))):
            return True
        self._report_callbacks()
        return self.wait(None if timeout is None else max(0.0, until - time.monotonic()))

    def await_callbacks(self, limit: float | None) -> None:
        """Wait for callbacks only, at most `limit` seconds: no more jobs will end."""
        if self._hub.is_callback():
            return
        if self._wait_until(self._callbacks.are_done, PATIENCE if limit is None else limit):
            return
        if limit is not None:
            logger.warning("%s: closed without waiting for %s", self._name, self._callbacks.unfinished())
            return
        self._report_callbacks()
        self._wait_until(self._callbacks.are_done, None)

    def _report_callbacks(self) -> None:
        if not self._callbacks.are_done():
            logger.warning("%s: waiting for %s; Ctrl-C stops waiting", self._name, self._callbacks.unfinished())

    def _wait_until(self, is_over: Callable[[], bool], timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not is_over():
            gate = Gate()
            self._gates.append(gate)
            if is_over():
                break
            if not gate.wait(None if until is None else until - time.monotonic()):
                with contextlib.suppress(ValueError):
                    self._gates.remove(gate)
                return False
        return True

    def _is_idle(self, jobs_only: bool) -> bool:
        made = self.made
        if self.ended < made:
            return False
        # Callbacks may have submitted jobs until the last one returned: wait for those as well.
        return jobs_only or (self._callbacks.are_done() and self.made == made)
