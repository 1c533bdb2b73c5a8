"""`job.finish`: the end of a job as an event, as programs written for dispy use it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gdispy.runtime.gate import Gate

if TYPE_CHECKING:
    from gdispy.client.job import DispyJob


class Finish(threading.Event):
    """The end of a job as an event. Created on demand."""

    def __init__(self, job: DispyJob) -> None:
        # The base class is not initialised: Ctrl-C at the wrong moment would leave its lock held.
        self._job = job
        self._is_cleared = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended. False if `timeout` seconds pass first."""
        if not self._is_cleared:
            return self._job.wait(timeout)
        return Gate().wait(timeout)

    def is_set(self) -> bool:
        """Whether the job has ended and `clear` was not called since."""
        return self._job._done and not self._is_cleared

    isSet = is_set

    def set(self) -> None:
        """Undo `clear`. This does not end the job."""
        self._is_cleared = False

    def clear(self) -> None:
        """Reset the event if the job has ended; no effect before that."""
        self._is_cleared = self._job._done

    def __repr__(self) -> str:
        return f"<Finish of {self._job!r}: {'set' if self.is_set() else 'unset'}>"
