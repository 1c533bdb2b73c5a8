"""The callbacks of a cluster: `callback` and `cluster_status`.

`give` is called in the hub; the user's functions run outside of it, one after the other (`Hub.call_back`), in a
separate thread, or in a greenlet if gevent has patched the program.

Invariants:
1. `are_done()` is true only when every queued call has returned, or has failed, which is logged.
2. `on_done` is called whenever that becomes true, after the last call has returned.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gdispy.protocol.limits import counted

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    from gdispy.client.job import DispyJob
    from gdispy.client.status import DispyNode
    from gdispy.hub import Hub

    Args = TypeVarTuple("Args")

logger = logging.getLogger("gdispy")

#: Seconds after which a wait for a call is reported.
PATIENCE = 5.0

JobCallback = Callable[["DispyJob"], object]
StatusCallback = Callable[[int, "DispyNode | None", "DispyJob | None"], object]


class UserCallbacks:
    """The functions, and the number of their unfinished calls."""

    def __init__(self, on_job: JobCallback | None, on_status: StatusCallback | None) -> None:
        #: Called with a job that has a provisional result or has ended.
        self.on_job = on_job
        #: Called with a status, the node and the job.
        self.on_status = on_status
        self.on_done: Callable[[], None] = lambda: None
        self._hub: Hub | None = None
        #: Counted only in the hub.
        self._given = 0
        #: Counted by all threads that run callbacks, with the lock.
        self._returned = 0
        self._lock = threading.Lock()
        #: The running calls, by thread: name of the function, its job, and start time.
        self._running: dict[int, tuple[str, Any, float]] = {}

    def use(self, hub: Hub) -> None:
        """Set the hub whose callback runner executes the calls."""
        self._hub = hub
        if self.on_job is not None or self.on_status is not None:
            hub.prepare_callbacks()

    def give(self, function: Callable[[Unpack[Args]], object], *args: Unpack[Args]) -> None:
        """Queue a call of the function, to run outside the hub. In the hub."""
        assert self._hub is not None
        self._given += 1
        self._hub.call_back(self._call, function, args)

    def give_status(self, node: DispyNode | None, job: DispyJob) -> None:
        """Report the end of a job to `cluster_status`, with the status at the time of the call: reading it checks
        whether the result can be unpickled."""
        if self.on_status is not None:
            self.give(_report_end, self.on_status, node, job)

    def are_done(self) -> bool:
        """Whether no call is queued or running."""
        return self._returned >= self._given

    def unfinished(self) -> str:
        """A description of the unfinished calls."""
        running = sorted(self._running.values(), key=lambda call: call[2])
        count = self._given - self._returned
        if not running:
            return counted(count, "callback call")
        name, job, began = running[0]
        whose = f" for job {job.id!r}" if job is not None else ""
        rest = f", and {counted(count - 1, 'call')} queued behind it" if count > 1 else ""
        return f"the callback {name}{whose}, which has been running for {time.monotonic() - began:.0f} s{rest}"

    def _call(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        thread = threading.get_ident()
        shown = args[0] if function is _report_end else function
        job = next((arg for arg in reversed(args) if hasattr(arg, "submit_time")), None)
        self._running[thread] = (getattr(shown, "__qualname__", str(shown)), job, time.monotonic())
        try:
            function(*args)
        except BaseException:
            logger.exception("a callback failed: %s", self._running[thread][0])
        finally:
            del self._running[thread]
            with self._lock:
                self._returned += 1
            if self.are_done():
                self.on_done()


def _report_end(function: StatusCallback, node: DispyNode | None, job: DispyJob) -> None:
    function(job.status, node, job)
