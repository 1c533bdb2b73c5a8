"""Ending jobs as the hub does it, without one."""

from __future__ import annotations

from typing import Any

from gdispy.client.job import DispyJob
from gdispy.protocol import job_status
from gdispy.protocol.payload import Bulk
from gdispy.worker import pickling


def end(job: DispyJob, result: Any = None, status: int = job_status.FINISHED, exception: str | None = None) -> None:
    end_with(job, b"" if result is None else pickling.dumps(result), status, exception)  # type: ignore[arg-type]


def end_with(job: DispyJob, payload: Bulk, status: int, exception: str | None, seconds: float = 0.0) -> None:
    job._payload = payload
    job.start_time, job.end_time = 1000.0, 1000.0 + seconds
    job.exception, job.status = exception, status
    job._done = True
    if job._gate is not None:
        job._gate.open()
