"""The program of a chaos run: submits jobs, is killed, is started again and goes on. argv: what to do, as JSON.

Jobs leave a line each when they begin and when they end; the program leaves one for each outcome that it is told, and
leaves what became of all at its end.
"""

from __future__ import annotations

import json
import os
import sys
import time

import gdispy


def work(number: int, seconds: float, log: str) -> int:
    """One job. Lines: number, 'begin' or 'end', time, pid."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{number} begin {time.time():.3f} {os.getpid()}\n".encode())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(0.05, seconds))
    os.write(fd, f"{number} end {time.time():.3f} {os.getpid()}\n".encode())
    os.close(fd)
    return number * 7


def main() -> None:
    todo = json.loads(sys.argv[1])
    if os.path.exists(todo["rows"]):  # It was killed when it had all results, and may have left something behind.
        if os.path.exists(todo["options"]["fault_recover"]):
            gdispy.recover_jobs(todo["options"]["fault_recover"], 10.0, secret_file=todo["options"]["secret_file"])
        return
    told = os.open(todo["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(job: gdispy.DispyJob) -> None:
        os.write(told, f"{job.id} {job.status} {time.time():.3f}\n".encode())

    options = dict(todo["options"])
    if "nodes" in options:
        options["nodes"] = [tuple(place) for place in options["nodes"]]
    cluster = getattr(gdispy, todo["kind"])(work, callback=note, resume=True, **options)
    jobs = [
        cluster.submit_job_id(number, number, seconds, todo["log"]) for number, seconds in enumerate(todo["seconds"])
    ]
    cluster.wait()
    rows = [[job.id, job.status, job.result, job.exception] for job in jobs]
    with open(f"{todo['rows']}.new", "w") as file:
        json.dump(rows, file)
    # From here on the program has done its work, whatever becomes of it.
    os.rename(f"{todo['rows']}.new", todo["rows"])
    cluster.close()


if __name__ == "__main__":
    main()
