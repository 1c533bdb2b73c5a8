"""What the web page of a scheduler costs that holds 200 nodes and 100,000 jobs which wait.

    python benchmarks/page.py [--nodes 200] [--waiting 100000] [--jobs 40000] [--rounds 5]

The scheduler and one node are real processes; the other nodes are connections of a process that do nothing, as in
`idle.py`, and the waiting jobs are for a node that does not exist. Measured are no-op jobs through the scheduler, in
turn without a browser and with the live updates of one, and then the CPU time of the scheduler while nothing happens
and the page is open. Goals: the page costs less than 3 % of the rate, and an idle scheduler less than 1 % of a CPU.
Takes about two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from processes import NodePlace, new_secret, node_with, read_line, started

import gdispy

#: Seconds in which a daemon must be ready, and which pass between two measurements.
START_LIMIT = 30.0
PAUSE = 2.0
IDLE_SECONDS = 20.0


def nothing(_: int) -> None:
    """A job."""


class Reader(threading.Thread):
    """Takes the live updates of a page, as a browser does."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {token}"})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self.size = 0
        self._ends = False

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while not self._ends and (line := self._answer.readline()):
                self.size += len(line)

    def end(self) -> None:
        """Leave after the next line."""
        self._ends = True
        self.join(30)
        self._connection.close()


@contextlib.contextmanager
def scheduler_with_page(node: NodePlace, journal: str) -> Iterator[tuple[int, int, int]]:
    """A scheduler; its process, its port, and that of its page."""
    program = str(Path(sys.executable).with_name("gdispy-scheduler"))
    words = ["-i", "127.0.0.1", "-p", "0", "-n", f"{node.host}:{node.port}", "--secret-file", node.secret_file]
    with tempfile.TemporaryFile() as errors:
        command = [program, "--daemon", *words, "--journal", journal, "--http", "0"]
        with started(command, stderr=errors) as process:
            assert process.stdout is not None
            port = int(read_line(process.stdout, START_LIMIT).rpartition(":")[2])
            until = time.monotonic() + START_LIMIT
            while time.monotonic() < until:
                errors.seek(0)
                text = errors.read().decode()
                if "http://127.0.0.1:" in text:
                    break
                time.sleep(0.1)
            page = int(text.partition("http://127.0.0.1:")[2].partition("/")[0])
            yield process.pid, port, page


def crowd(port: int, secret_file: str, nodes: int) -> None:
    """The nodes that do nothing; until standard input ends."""
    from idle import Crowd, find_secret  # It patches this process.

    made = Crowd(port, find_secret("", secret_file).for_tcp())
    for number in range(nodes):
        made.add_node(number)
    print("ready", flush=True)
    import gevent
    from gevent.fileobject import FileObject

    gevent.spawn(FileObject(sys.stdin).read).join()


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(cluster: gdispy.SharedJobCluster, jobs: int) -> float:
    began = time.perf_counter()
    for number in range(jobs):
        cluster.submit(number)
    cluster.wait()
    return jobs / (time.perf_counter() - began)


def measure(options: argparse.Namespace, pid: int, port: int, page: int, token: str, secret_file: str) -> None:
    ways = {"scheduler_node": "127.0.0.1", "scheduler_port": port, "secret_file": secret_file}
    with gdispy.SharedJobCluster(nothing, nodes=["127.0.0.1:1"], **ways) as waiting:
        for number in range(options.waiting):
            waiting.submit(number)
        rates: dict[bool, list[float]] = {False: [], True: []}
        with gdispy.SharedJobCluster(nothing, **ways) as cluster:
            rate(cluster, options.jobs)
            for turn in range(2 * options.rounds):
                is_open = turn % 4 in (1, 2)  # In the order that a drift of the machine disturbs least.
                reader = Reader(page, token) if is_open else None
                if reader is not None:
                    reader.start()
                time.sleep(PAUSE)
                rates[is_open].append(rate(cluster, options.jobs))
                if reader is not None:
                    reader.end()
        without, with_page = statistics.median(rates[False]), statistics.median(rates[True])
        loss = 100 * (1 - with_page / without)
        print(f"no-op jobs/s without a page: {without:,.0f} [{min(rates[False]):,.0f}..{max(rates[False]):,.0f}]")
        print(f"no-op jobs/s with a page:    {with_page:,.0f} [{min(rates[True]):,.0f}..{max(rates[True]):,.0f}]")
        print(f"the page costs {loss:.1f} % (goal: less than 3 %)")
        reader = Reader(page, token)
        reader.start()
        time.sleep(3 * PAUSE)
        before, size, since = processor_seconds(pid), reader.size, time.monotonic()
        time.sleep(IDLE_SECONDS)
        took = time.monotonic() - since
        used = 100 * (processor_seconds(pid) - before) / took
        print(
            f"idle, with a page: {used:.2f} % of a CPU (goal: 1 %), {(reader.size - size) / took / 1000:.1f} kB/s sent"
        )
        reader.end()
        waiting.close(timeout=0, terminate=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the page of a scheduler costs.")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crowd", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crowd:
        crowd(int(options.crowd[0]), options.crowd[1], options.nodes)
        return
    with (
        new_secret() as secret_file,
        tempfile.TemporaryDirectory() as journal,
        node_with(secret_file) as node,
        scheduler_with_page(node, journal) as (pid, port, page),
        started(
            [sys.executable, __file__, "--crowd", str(port), secret_file, "--nodes", str(options.nodes - 1)],
            stdin=-1,
        ) as others,
    ):
        assert others.stdout is not None
        read_line(others.stdout, START_LIMIT)
        token = Path(journal, "page-token").read_text().strip()
        measure(options, pid, port, page, token, secret_file)


if __name__ == "__main__":
    main()
