"""Programs of a user that are killed, and the log in which their jobs say that they have begun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gdispy.journal.format import read
from tests.support.waiting import eventually

#: argv: what the program is to do, as JSON. It prints one line of JSON at its end, if it comes so far.
PROGRAM = """
import json, os, sys, threading
import gdispy

todo = json.loads(sys.argv[1])

def compute(number, seconds, log, gate=""):
    import os, time
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
    until = time.monotonic() + 60
    while gate and not os.path.exists(gate) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(seconds)
    return number * number

def told(job):
    fd = os.open(todo["log"] + ".told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%s\\n" % job.id.split()[1].encode())
    os.close(fd)

if __name__ == "__main__":
    kind = getattr(gdispy, todo.get("kind", "JobCluster"))
    options = dict(todo["options"])
    if "nodes" in options:
        options["nodes"] = [tuple(each) for each in options["nodes"]]
    cluster = kind(compute, callback=told if todo.get("callback") else None, **options)
    jobs = []
    for number in range(todo["jobs"]):
        jobs.append(cluster.submit_job_id(f"job {number}", number, todo["seconds"], todo["log"], todo.get("gate", "")))
    print("submitted", flush=True)
    if todo.get("then") == "fail":
        with cluster:
            raise RuntimeError("the program fails")
    if todo.get("then") == "detach":
        print(json.dumps(cluster.detach()))
        sys.exit()
    cluster.wait()
    rows = [[job.id, job.status, job.result, job.exception] for job in jobs]
    if todo.get("then") == "vanish":
        print(json.dumps(rows), flush=True)
        os._exit(0)
    cluster.close()
    print(json.dumps(rows), flush=True)
"""


class Program:
    """A program that runs; `todo` as above."""

    def __init__(self, directory: Path, **todo: Any) -> None:
        self.log = Path(todo["log"])
        self.error = directory / f"program-{os.urandom(4).hex()}.log"
        path = directory / "program.py"
        path.write_text(PROGRAM)
        with open(self.error, "wb") as error:
            self.process = subprocess.Popen(
                [sys.executable, str(path), json.dumps(todo)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=error,
                cwd=directory,
            )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline().decode().strip()
        if self.first != "submitted":
            self.end()
            raise AssertionError(f"{self.first}\n{self.error.read_text()}")

    def begun(self) -> Counter[int]:
        return begun(self.log)

    def kill_when(self, count: int) -> None:
        """Kill it when so many of its jobs have begun."""
        eventually(lambda: sum(self.begun().values()) >= count, 20, "too few jobs begin")
        self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def result(self) -> Any:
        """What it prints at its end."""
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.error.read_text()
        return json.loads(out.decode().strip().splitlines()[-1])

    def end(self) -> None:
        """End it, however it stands."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def count_outcomes(*files: Path) -> int:
    """How many outcomes are written in these journals."""
    histories = [history for path in files for history in read(str(path)).remembered.histories.values()]
    return sum(job.outcome is not None for history in histories for job in history.jobs.values())


def begun(log: Path) -> Counter[int]:
    """How often each job has begun."""
    return Counter(int(line) for line in log.read_text().split()) if log.exists() else Counter()


def damage(path: Path, offset: int) -> None:
    """Change one byte of a file, as a bad disk does."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)
