"""An honest program, whose jobs run while others attack. argv: what to do, as JSON.

Its own process; the main thread submits one job after the other while it is told to ('work' and 'rest' on standard
input; it ends when that ends), and prints what came of them. Of the clusters in `baits` nothing is expected: they are
there so that attackers can join, and have work as long as they take it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from typing import Any

import gdispy

#: Seconds that a job may take until it counts as lost, and between two jobs.
JOB_LIMIT = 20.0
PAUSE = 0.05
#: Jobs that wait in each bait at most.
BAITED = 5


def work(number: int, carried: bytes) -> tuple[int, bytes]:
    """One job: its number times seven, and what it was given."""
    return number * 7, carried


class Breaks(logging.Handler):
    """Counts the connections of this program that have broken, by the lines that say so."""

    def __init__(self, places: list[str]) -> None:
        super().__init__()
        self.count = 0
        self._places = places

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("disconnected from") and any(place in text for place in self._places):
            self.count += 1


class Program:
    """The honest cluster and its baits."""

    def __init__(self, todo: dict[str, Any]) -> None:
        self.counts: dict[str, Any] = {"right": 0, "wrong": 0, "lost": 0, "slowest": 0.0, "why": ""}
        self.working, self.ending = threading.Event(), threading.Event()
        self.breaks = Breaks(todo["places"])
        logger = logging.getLogger("gdispy")
        logger.setLevel(logging.INFO)
        logger.addHandler(self.breaks)
        self.cluster = self._cluster(todo["honest"])
        self.baits: list[tuple[Any, list[Any], bool]] = [
            (self._cluster(each), [], each.get("submits", True)) for each in todo["baits"]
        ]

    def _cluster(self, told: dict[str, Any]) -> Any:
        options = dict(told["options"])
        if "nodes" in options:
            options["nodes"] = [tuple(each) if isinstance(each, list) else each for each in options["nodes"]]
        return getattr(gdispy, told["kind"])(work, **options)

    def obey(self) -> None:
        """Read what this program is told, until nobody is there to tell."""
        for line in sys.stdin:
            (self.working.set if line.strip() == "work" else self.working.clear)()
        self.ending.set()
        self.working.set()

    def run(self) -> None:
        number = 0
        while not self.ending.is_set():
            if not self.working.wait(0.2):
                continue
            number += 1
            self._try(number)
            self._feed(number)
            self.report()
            self.ending.wait(PAUSE)

    def _try(self, number: int) -> None:
        carried = bytes([number % 256]) * (100_000 if number % 10 == 0 else 300)
        began = time.monotonic()
        job = self.cluster.submit(number, carried)
        while not job.wait(0.2):
            if self.ending.is_set():
                return
            if time.monotonic() - began > JOB_LIMIT:
                self.cluster.cancel(job)
                self._lose(f"no end within {JOB_LIMIT:.0f} s: {self.cluster.status().problems}")
                return
        self.counts["slowest"] = max(self.counts["slowest"], time.monotonic() - began)
        if job.status != gdispy.DispyJob.Finished:
            self._lose(f"status {job.status}: {job.exception}")
        elif job.result == (number * 7, carried):
            self.counts["right"] += 1
        else:
            self.counts["wrong"] += 1

    def _lose(self, why: str) -> None:
        self.counts["lost"] += 1
        self.counts["why"] = why[-400:]

    def _feed(self, number: int) -> None:
        for cluster, jobs, submits in self.baits:
            jobs[:] = [job for job in jobs if not job.wait(0)]
            if submits and len(jobs) < BAITED:
                jobs.append(cluster.submit(number, b"x" * (50_000 if number % 7 == 0 else 10)))
            elif jobs and number % 50 == 0:
                cluster.cancel(jobs[0])

    def report(self) -> None:
        print(json.dumps({**self.counts, "breaks": self.breaks.count}), flush=True)

    def about(self) -> dict[str, str]:
        """What others might come to know of it."""
        scheduler: Any = self.cluster._engine.scheduler
        return {"computation": self.cluster._engine.computation.hex(), "instance": scheduler.instance.hex()}


def main() -> None:
    program = Program(json.loads(sys.argv[1]))
    threading.Thread(target=program.obey, daemon=True).start()
    print(json.dumps(program.about()), flush=True)
    print("ready", flush=True)
    program.run()
    for cluster in [program.cluster, *(bait for bait, _, _ in program.baits)]:
        cluster.close(timeout=0, terminate=True)


if __name__ == "__main__":
    main()
