"""The program of a chaos run: submits jobs, is killed, is started again and goes on. argv: what to do, as JSON.

Jobs leave a line each when they begin and when they end; the program leaves one for each outcome that it is told, and
leaves what became of all at its end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import gdispy


def ballast(number: int, size: int) -> bytes:
    """What a job carries there and back; the same in each life of the program."""
    return bytes([number % 256]) * size


def number_of(job: gdispy.DispyJob) -> int:
    """Ids begin with 1: an id of 0 would be replaced."""
    return int(job.id) - 1


def result_of(job: gdispy.DispyJob, size: int) -> Any:
    """What the job has returned, its ballast aside."""
    if job.result is None:
        return None
    number, carried = job.result
    return number if carried == ballast(number_of(job), size) else "its ballast has changed"


def work(number: int, seconds: float, log: str, carried: bytes = b"") -> tuple[int, bytes]:
    """One job. Lines: number, 'begin' or 'end', time, pid."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{number} begin {time.time():.3f} {os.getpid()}\n".encode())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(0.05, seconds))
    os.write(fd, f"{number} end {time.time():.3f} {os.getpid()}\n".encode())
    os.close(fd)
    return number * 7, carried


def main() -> None:
    todo = json.loads(sys.argv[1])
    if os.path.exists(todo["rows"]):  # It was killed when it had all results, and may have left something behind.
        if os.path.exists(todo["options"]["fault_recover"]):
            gdispy.recover_jobs(todo["options"]["fault_recover"], 10.0, secret_file=todo["options"]["secret_file"])
        return
    told = os.open(todo["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(job: gdispy.DispyJob) -> None:
        os.write(told, f"{number_of(job)} {job.status} {time.time():.3f}\n".encode())

    options = dict(todo["options"])
    if "nodes" in options:
        options["nodes"] = [tuple(place) for place in options["nodes"]]
    cluster = getattr(gdispy, todo["kind"])(work, callback=note, resume=True, **options)
    jobs = [
        cluster.submit_job_id(number + 1, number, seconds, todo["log"], ballast(number, size))
        for number, (seconds, size) in enumerate(zip(todo["seconds"], todo["sizes"], strict=True))
    ]
    cluster.wait()
    rows = [
        [number_of(job), job.status, result_of(job, size), job.exception]
        for job, size in zip(jobs, todo["sizes"], strict=True)
    ]
    with open(f"{todo['rows']}.new", "w") as file:
        json.dump(rows, file)
    # From here on the program has done its work, whatever becomes of it.
    os.rename(f"{todo['rows']}.new", todo["rows"])
    cluster.close()


if __name__ == "__main__":
    main()
