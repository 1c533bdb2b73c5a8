"""gdispy and its peer behind one pair of calls, so that both are measured by the same lines."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from gdispy import DispyJob, JobCluster, SharedJobCluster

#: Processes that run jobs, on both sides.
CPUS = 2


class MeasureError(Exception):
    """Something did not happen in time, or a result was wrong. The text is for the user."""


class Deadline:
    """The moment by which a measurement must be over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises MeasureError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise MeasureError(f"not over after {self._seconds:.0f} s")
        return left


class Gdispy:
    """A cluster on one node over TCP on the loopback interface, encrypted."""

    def __init__(
        self, computation: Any, node: tuple[str, int], secret_file: str, deadline: Deadline, **options: Any
    ) -> None:
        self._cluster = JobCluster(computation, nodes=[node], secret_file=secret_file, **options)
        self._deadline = deadline
        self.submit: Callable[..., DispyJob] = self._cluster.submit

    def take(self, job: DispyJob) -> Any:
        """The result of a job, once it has one. Raises MeasureError."""
        if not job.wait(self._deadline.left()):
            raise MeasureError(f"{job!r} did not end in time; {self._cluster.status().problems or 'no problem known'}")
        if job.status != DispyJob.Finished:
            raise MeasureError(f"{job!r} failed: {job.exception}")
        return job.result

    def close(self) -> None:
        """Leave the node. Raises MeasureError where that hangs."""
        if not self._cluster.close(timeout=self._deadline.left()):
            raise MeasureError("the cluster could not be closed in time")


class Recoverable(Gdispy):
    """The same with a recovery file, where temporary files are."""

    def __init__(self, computation: Any, node: tuple[str, int], secret_file: str, deadline: Deadline) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = os.path.join(self._folder.name, "jobs")
        super().__init__(computation, node, secret_file, deadline, fault_recover=path)

    def close(self) -> None:
        """Leave the node and remove the file."""
        super().close()
        self._folder.cleanup()


class Shared(Gdispy):
    """A cluster that goes through a `gdispy-scheduler`, encrypted on both hops."""

    def __init__(self, computation: Any, scheduler: tuple[str, int], secret_file: str, deadline: Deadline) -> None:
        host, port = scheduler
        self._cluster = SharedJobCluster(computation, scheduler_node=host, scheduler_port=port, secret_file=secret_file)
        self._deadline = deadline
        self.submit: Callable[..., DispyJob] = self._cluster.submit


class Pool:
    """`multiprocessing.Pool` of Python's own library: pipes, one machine, no encryption."""

    def __init__(self, function: Callable[..., Any], deadline: Deadline) -> None:
        self._pool = multiprocessing.Pool(CPUS)
        self._function = function
        self._deadline = deadline

    def submit(self, *args: Any) -> Any:
        """Queue one job."""
        return self._pool.apply_async(self._function, args)

    def take(self, job: Any) -> Any:
        """The result of a job, once it has one. Raises MeasureError."""
        try:
            return job.get(self._deadline.left())
        except multiprocessing.TimeoutError:
            raise MeasureError("a job of the pool did not end in time") from None

    def close(self) -> None:
        """End its processes."""
        self._pool.terminate()
        self._pool.join()


Side = Gdispy | Pool
