"""A job as the user holds it.

Floor 2. Made by `submit` in the user's thread; its fields are set by the hub, and read anywhere. It
is kept small: a program may hold a million of them.
"""

from __future__ import annotations

import threading
from typing import Any

from gdispy.core import statuses
from gdispy.core.payloads import Bulk, MemoryPayload
from gdispy.hub import Gate
from gdispy.worker import pickling

_gates = threading.Lock()


class DispyJob:
    """One call of the computation, from `submit` to its result.

    `id` is the user's to set; the rest is read only. `status` is one of the constants below.
    `result` is what the function returned, or the exit code of a program; while the status is
    `ProvisionalResult`, the latest provisional result. `stdout` and `stderr` are text for functions and
    bytes for programs; `truncated` says whether too much was printed to be kept. `exception` is None,
    or text that tells what went wrong. `submit_time`, `start_time` and `end_time` are seconds since
    the epoch, the latter two by the node's clock; `ip_addr` is the address of that node.
    """

    Created = statuses.CREATED
    Running = statuses.RUNNING
    ProvisionalResult = statuses.PROVISIONAL_RESULT
    Cancelled = statuses.CANCELLED
    Terminated = statuses.TERMINATED
    Abandoned = statuses.ABANDONED
    Finished = statuses.FINISHED

    __slots__ = (
        "_done",
        "_gate",
        "_number",
        "_payload",
        "_result",
        "end_time",
        "exception",
        "id",
        "ip_addr",
        "start_time",
        "status",
        "stderr",
        "stdout",
        "submit_time",
        "truncated",
    )

    def __init__(self, number: int, submit_time: float) -> None:
        self.id: Any = number
        self._number = number
        self.status = statuses.CREATED
        self.submit_time = submit_time
        self.start_time: float | None = None
        self.end_time: float | None = None
        self.ip_addr: str | None = None
        self.stdout: Any = ""
        self.stderr: Any = ""
        self.exception: str | None = None
        self.truncated = False
        self._result: Any = None
        #: The result as it arrived, until somebody asks for it.
        self._payload: Bulk = b""
        self._done = False
        self._gate: Gate | None = None

    @property
    def result(self) -> Any:
        """What the job returned. It is unpickled here, in the thread that asks first."""
        payload = self._payload
        if payload:
            self._payload = b""
            try:
                self._result = pickling.loads(_bytes(payload))
            except Exception as error:
                self.status = statuses.TERMINATED
                reason = f"{type(error).__name__}: {error}"
                self.exception = f"The result arrived, but cannot be unpickled here: {reason}\n"
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        self._payload, self._result = b"", value

    def __call__(self, clear: bool = False) -> Any:
        """Wait for the end, and return `result`: None where the job failed (see `exception`)."""
        self.wait()
        return self.result

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if `timeout` seconds pass before."""
        if self._done:
            return True
        with _gates:
            gate = self._gate
            if gate is None:
                gate = self._gate = Gate()
        # The hub sets `_done` first and looks for a gate then.
        return self._done or gate.wait(timeout)

    def _copy(self) -> DispyJob:
        """What a callback gets for a provisional result: the job as it is at this moment."""
        copy = DispyJob(self._number, self.submit_time)
        for name in ("id", "status", "start_time", "ip_addr", "_result", "_payload"):
            setattr(copy, name, getattr(self, name))
        return copy

    def __lt__(self, other: DispyJob) -> bool:
        return self._number < other._number

    def __repr__(self) -> str:
        return f"<DispyJob {self.id!r}: {STATUS_NAMES[self.status]}>"


STATUS_NAMES = {
    statuses.CREATED: "Created",
    statuses.RUNNING: "Running",
    statuses.PROVISIONAL_RESULT: "ProvisionalResult",
    statuses.CANCELLED: "Cancelled",
    statuses.TERMINATED: "Terminated",
    statuses.ABANDONED: "Abandoned",
    statuses.FINISHED: "Finished",
}


def _bytes(payload: Bulk) -> Any:
    return payload.parts() if isinstance(payload, MemoryPayload) else payload
