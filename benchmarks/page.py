"""What the web page of a scheduler costs that holds 200 nodes and 100,000 jobs which wait.

    python benchmarks/page.py [--nodes 200] [--waiting 100000] [--jobs 40000] [--rounds 5]

There are two such schedulers, with a page and without. Each has one real node; its other nodes are connections of a
process that do nothing, as in `idle.py`, and the waiting jobs are for a node that does not exist. Measured are no-op
jobs in turn through the one without a page, and through the other while a browser takes its live updates and metrics
are read every five seconds; then the CPU time of the latter while nothing else happens. Goals: the page costs less than
3 % of the rate, and an idle scheduler less than 1 % of a CPU. Takes about three minutes.
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
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from processes import MeasureError, NodePlace, new_secret, node_with, read_line, started

import gdispy

#: Seconds in which a daemon must be ready, and which pass between two measurements.
START_LIMIT = 30.0
PAUSE = 2.0
IDLE_SECONDS = 20.0
SCRAPE_INTERVAL = 5.0


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


class Scraper(threading.Thread):
    """Requests the metrics of a page, as Prometheus does."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._url, self._ends = f"http://127.0.0.1:{port}/metrics", threading.Event()

    def run(self) -> None:
        while not self._ends.wait(SCRAPE_INTERVAL):
            with urllib.request.urlopen(self._url, timeout=60) as found:
                found.read()

    def end(self) -> None:
        self._ends.set()
        self.join(30)


class Place(NamedTuple):
    """A scheduler: its process, its port, and the port of its page; 0 without one."""

    pid: int
    port: int
    page: int


@contextlib.contextmanager
def scheduler(node: NodePlace, journal: str, has_page: bool) -> Iterator[Place]:
    """A scheduler, with a page or without."""
    program = str(Path(sys.executable).with_name("gdispy-scheduler"))
    words = ["-i", "127.0.0.1", "-p", "0", "-n", f"{node.host}:{node.port}", "--secret-file", node.secret_file]
    with tempfile.TemporaryFile() as errors:
        command = [program, "--daemon", *words, "--journal", journal, *(["--http", "0"] if has_page else [])]
        with started(command, stderr=errors) as process:
            assert process.stdout is not None
            port = int(read_line(process.stdout, START_LIMIT).rpartition(":")[2])
            yield Place(process.pid, port, _page_port(errors) if has_page else 0)


def _page_port(errors: BinaryIO) -> int:
    until = time.monotonic() + START_LIMIT
    while time.monotonic() < until:
        errors.seek(0)
        text = errors.read().decode()
        if "http://127.0.0.1:" in text:
            return int(text.partition("http://127.0.0.1:")[2].partition("/")[0])
        time.sleep(0.1)
    raise MeasureError(f"the page was not served: {text}")


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


@contextlib.contextmanager
def busy_scheduler(options: argparse.Namespace, secret_file: str, has_page: bool) -> Iterator[tuple[Place, str]]:
    """A scheduler with nodes and waiting jobs, and the directory of its journal."""
    crowd_words = ["--nodes", str(options.nodes - 1)]
    with (
        tempfile.TemporaryDirectory() as journal,
        node_with(secret_file) as node,
        scheduler(node, journal, has_page) as place,
        started(
            [sys.executable, __file__, "--crowd", str(place.port), secret_file, *crowd_words],
            stdin=-1,
        ) as others,
        gdispy.SharedJobCluster(nothing, nodes=["127.0.0.1:1"], **_ways(place, secret_file)) as waiting,
    ):
        assert others.stdout is not None
        read_line(others.stdout, START_LIMIT)
        for number in range(options.waiting):
            waiting.submit(number)
        yield place, journal
        waiting.close(timeout=0, terminate=True)


def _ways(place: Place, secret_file: str) -> dict[str, Any]:
    return {"scheduler_node": "127.0.0.1", "scheduler_port": place.port, "secret_file": secret_file}


@contextlib.contextmanager
def watched(page: int, token: str) -> Iterator[Reader]:
    """A browser shows the page, and Prometheus reads the metrics."""
    reader, scraper = Reader(page, token), Scraper(page)
    reader.start()
    scraper.start()
    yield reader
    scraper.end()
    reader.end()


def measure(options: argparse.Namespace, secret_file: str) -> None:
    with (
        busy_scheduler(options, secret_file, has_page=False) as (plain, _),
        busy_scheduler(options, secret_file, has_page=True) as (paged, journal),
    ):
        token = Path(journal, "page-token").read_text().strip()
        rates: dict[bool, list[float]] = {False: [], True: []}
        with (
            gdispy.SharedJobCluster(nothing, **_ways(plain, secret_file)) as without,
            gdispy.SharedJobCluster(nothing, **_ways(paged, secret_file)) as within,
        ):
            for cluster in (without, within):
                rate(cluster, options.jobs)
            for turn in range(2 * options.rounds):
                is_open = turn % 4 in (1, 2)  # In the order that a drift of the machine disturbs least.
                with watched(paged.page, token) if is_open else contextlib.nullcontext():
                    time.sleep(PAUSE)
                    rates[is_open].append(rate(within if is_open else without, options.jobs))
        for is_open, what in ((False, "without a page:"), (True, "with a page:   ")):
            found = rates[is_open]
            print(f"no-op jobs/s {what} {statistics.median(found):,.0f} [{min(found):,.0f}..{max(found):,.0f}]")
        loss = 100 * (1 - statistics.median(rates[True]) / statistics.median(rates[False]))
        print(f"the page and its metrics cost {loss:.1f} % (goal: less than 3 %)")
        with watched(paged.page, token) as reader:
            time.sleep(3 * PAUSE)
            before, size, since = processor_seconds(paged.pid), reader.size, time.monotonic()
            time.sleep(IDLE_SECONDS)
            took = time.monotonic() - since
            used = 100 * (processor_seconds(paged.pid) - before) / took
            sent = (reader.size - size) / took / 1000
            print(f"idle, with a page: {used:.2f} % of a CPU (goal: 1 %), {sent:.1f} kB/s sent")


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
    with new_secret() as secret_file:
        measure(options, secret_file)


if __name__ == "__main__":
    main()
