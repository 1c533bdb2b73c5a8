"""One measurement, in a process of its own: `client.py ROW SIDE COUNT LIMIT [HOST PORT SECRET_FILE]`.

SIDE is `gdispy`, `recover` (with a recovery file), `shared` (HOST and PORT are the scheduler's), or `peer`.

The last line it prints is the measurement, as JSON. A process for each measurement means that neither
side inherits threads, memory or warm caches from the other, and that one that hangs can be ended.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import twenty
import work
from sides import CPUS, Deadline, Gdispy, MeasureError, Pool, Recoverable, Shared, Side

from gdispy import DispyJob

#: Bytes of the argument, by rows.
PAYLOADS = {3: 4 * 1024 * 1024, 16: 20_000, 17: 64 * 1024}
#: Seconds of CPU time of a job in row 4.
BURN = 0.005
PROGRAM = "/bin/true"
#: The row of a client that only queues many jobs.
CROWD = 0

Figures = dict[str, float]


def jobs_per_second(side: Side, count: int) -> Figures:
    """Row 1: jobs that do nothing, one `submit` each, until the last result has been read and checked."""
    began = time.perf_counter()
    jobs = [side.submit(number) for number in range(count)]
    submitted = time.perf_counter()
    for number, job in enumerate(jobs):
        check(side.take(job), number)
    took = time.perf_counter() - began
    return {"value": count / took, "submits_per_second": count / (submitted - began)}


def round_trips(side: Side, count: int) -> Figures:
    """Row 2: milliseconds from `submit` to the result of one job, when there is no other."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        result = side.take(side.submit(number))
        took.append((time.perf_counter() - began) * 1000)
        check(result, number)
    took.sort()
    return {"value": took[len(took) // 2], "p99": took[min(len(took) - 1, len(took) * 99 // 100)]}


def megabytes_per_second(row: int, side: Side, count: int) -> Figures:
    """Rows 3, 16 and 17: so much there and the same back, all submitted at once; both directions added up."""
    payloads = [os.urandom(PAYLOADS[row]) for _ in range(count)]
    began = time.perf_counter()
    jobs = [side.submit(payload) for payload in payloads]
    for payload, job in zip(payloads, jobs, strict=True):
        if side.take(job) != payload:
            raise MeasureError("an echoed payload came back changed")
    took = time.perf_counter() - began
    return {"value": 2 * count * PAYLOADS[row] / 1e6 / took}


def efficiency(side: Side, count: int) -> Figures:
    """Row 4: jobs of 5 ms of CPU time each, submitted at once: the time they need at best / the time taken."""
    began = time.perf_counter()
    jobs = [side.submit(BURN) for _ in range(count)]
    for job in jobs:
        check(side.take(job), True)
    took = time.perf_counter() - began
    return {"value": count * BURN / CPUS / took}


def programs_per_second(side: Side, count: int) -> Figures:
    """Row 5: runs of /bin/true with one argument, until the last exit code has been read and checked."""
    began = time.perf_counter()
    jobs = [side.submit(str(number)) for number in range(count)]
    for job in jobs:
        check(side.take(job), 0)
    return {"value": count / (time.perf_counter() - began)}


def xargs_per_second(count: int, deadline: Deadline) -> Figures:
    """Row 5, the peer: the same number of runs of the same program by GNU xargs, two at a time."""
    words = "\n".join(str(number) for number in range(count))
    command = ["xargs", f"-P{CPUS}", "-n1", PROGRAM]
    began = time.perf_counter()
    subprocess.run(command, input=words, text=True, check=True, timeout=deadline.left())
    return {"value": count / (time.perf_counter() - began)}


def few(side: Side, count: int) -> Figures:
    """Row 11: milliseconds until a few jobs, submitted at once, have all ended."""
    began = time.perf_counter()
    for number, job in enumerate([side.submit(number) for number in range(count)]):
        check(side.take(job), number)
    return {"value": (time.perf_counter() - began) * 1000}


def check(found: object, wanted: object) -> None:
    """Raise MeasureError where a result is not what it has to be."""
    if found != wanted:
        raise MeasureError(f"a result is {found!r}, but has to be {wanted!r}")


MEASURES: dict[int, tuple[Any, Callable[[Side, int], Figures]]] = {
    1: (work.answer, jobs_per_second),
    2: (work.answer, round_trips),
    **{row: (work.echo, partial(megabytes_per_second, row)) for row in PAYLOADS},
    4: (work.burn, efficiency),
    5: (PROGRAM, programs_per_second),
    11: (work.answer, few),
}
#: What is run once or twice first, so that all processes that run jobs are there.
WARM_UP: dict[int, Any] = {1: 0, 2: 0, 4: BURN, 5: "0", 11: 0, **dict.fromkeys(PAYLOADS, b"")}


def measure(row: int, side: Side, count: int) -> Figures:
    """Rows 1 to 5, 16 and 17, on a side whose processes have all run something already."""
    try:
        for job in [side.submit(WARM_UP[row]) for _ in range(10 * CPUS)]:
            side.take(job)
        # A full collection takes some 20 ms. Whether one falls into the fraction of a second that is measured would
        # depend on how many objects there were before, by the number of imported modules for example.
        gc.collect()
        figures = MEASURES[row][1](side, count)
    except BaseException:
        # Closing could hang as well; the process that started this one ends what is left.
        if isinstance(side, Pool):
            side.close()
        raise
    side.close()
    return figures


def memory(count: int, secret_file: str, deadline: Deadline) -> Figures:
    """Row 7: growth of this process for each job that is queued while no node can be reached."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # Taken, but nothing listens there.
        side = Gdispy(work.answer, nobody.getsockname(), secret_file, deadline)
        jobs = [side.submit(0)]
        before = settled_rss(deadline)
        jobs += [side.submit(number) for number in range(count)]
        after = settled_rss(deadline)
        return {"value": (after - before) / count, "peak": (status_bytes("VmHWM") - before) / count}


def settled_rss(deadline: Deadline) -> int:
    """Resident memory of this process, once it has not changed for half a second."""
    last = -1
    while (now := status_bytes("VmRSS")) != last:
        last = now
        time.sleep(min(0.5, deadline.left()))
    return now


def status_bytes(name: str) -> int:
    """A size from /proc/self/status, in bytes."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise MeasureError(f"/proc/self/status has no {name}")


def idle(count: int, side: Gdispy) -> None:
    """Row 8: run a few jobs, say so, and stay connected until standard input ends."""
    for number, job in enumerate([side.submit(number) for number in range(count)]):
        check(side.take(job), number)
    print("idle", flush=True)
    sys.stdin.read()
    side.close()


def lose(node: tuple[str, int], secret_file: str, deadline: Deadline, pulse: float) -> None:
    """Row 14: run a job, say so, and say when it has ended; its node is killed meanwhile."""
    side = Gdispy(work.last, node, secret_file, deadline, pulse_interval=pulse)
    job = side.submit(3600.0)
    while job.status != DispyJob.Running:
        time.sleep(min(0.01, deadline.left()))
    print("running", flush=True)
    job.wait(deadline.left())
    print("abandoned" if job.status == DispyJob.Abandoned else repr(job), flush=True)
    os._exit(0)


def outlive(count: int, side: Gdispy, deadline: Deadline) -> Figures:
    """Row 15: milliseconds from `kill -9` of the process that runs a job until the program knows of the job's end."""
    took = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            path = Path(folder, str(number))
            job = side.submit(str(path))
            while not path.exists():
                time.sleep(min(0.002, deadline.left()))
            began = time.perf_counter()
            os.kill(int(path.read_text()), signal.SIGKILL)
            job.wait(deadline.left())
            took.append((time.perf_counter() - began) * 1000)
            check("SIGKILL" in str(job.exception), True)
    side.close()
    return {"value": sorted(took)[count // 2], "worst": max(took)}


def first_cluster(node: tuple[str, int], secret_file: str, deadline: Deadline) -> Figures:
    """Row 18: milliseconds that the first `JobCluster(...)` of a process takes; and what comes of it is right."""
    began = time.perf_counter()
    side = Gdispy(twenty.sums, node, secret_file, deadline)
    took = (time.perf_counter() - began) * 1000
    check(side.take(side.submit(2)), twenty.sums(2))
    side.close()
    return {"value": took}


def first_pickle() -> Figures:
    """Row 18, the peer: milliseconds in which dill, imported for that, pickles the same function by value."""
    twenty.sums.__module__ = "__main__"  # Those of other modules it pickles by their names.
    began = time.perf_counter()
    import dill

    dill.dumps(twenty.sums, recurse=True)
    return {"value": (time.perf_counter() - began) * 1000}


def crowd(count: int, side: Gdispy) -> None:
    """Row 11: queue many jobs, say so when they run, and wait until standard input ends; then say how many are left."""
    jobs = [side.submit(number) for number in range(count)]
    side.take(jobs[0])
    print("crowded", flush=True)
    sys.stdin.read()
    print(sum(not job.finish.is_set() for job in jobs), flush=True)
    os._exit(0)


def run(words: list[str]) -> Figures:
    """The measurement that the words of the command line ask for."""
    row, side, count, deadline = int(words[0]), words[1], int(words[2]), Deadline(float(words[3]))
    if side == "shared":
        shared = Shared(MEASURES.get(row, MEASURES[1])[0], (words[4], int(words[5])), words[6], deadline)
        if row == CROWD:
            crowd(count, shared)
        return measure(row, shared, count)
    if side == "recover":
        return measure(row, Recoverable(MEASURES[row][0], (words[4], int(words[5])), words[6], deadline), count)
    if side == "gdispy":
        host, port, secret_file = words[4], int(words[5]), words[6]
        if row == 14:
            lose((host, port), secret_file, deadline, float(words[7]))
        if row == 7:
            return memory(count, secret_file, deadline)
        if row == 8:
            idle(count, Gdispy(work.answer, (host, port), secret_file, deadline))
            return {}
        if row == 18:
            return first_cluster((host, port), secret_file, deadline)
        if row == 15:
            return outlive(count, Gdispy(work.stay, (host, port), secret_file, deadline), deadline)
        return measure(row, Gdispy(MEASURES[row][0], (host, port), secret_file, deadline), count)
    if row == 18:
        return first_pickle()
    if row == 5:
        return xargs_per_second(count, deadline)
    return measure(row, Pool(MEASURES[row][0], deadline), count)


if __name__ == "__main__":
    code = 0
    try:
        print(json.dumps(run(sys.argv[1:])), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        code = 1
    sys.stderr.flush()
    # At once: a cluster whose jobs can never run would wait for them at exit.
    os._exit(code)
