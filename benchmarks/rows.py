"""The rows of the table: what is measured how often, against what, and what the goal is."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from processes import (
    cpu_seconds,
    crowding_client,
    idle_client,
    run_client,
    running_node,
    running_scheduler,
    seconds_to_abandoned,
    seconds_to_first_line,
)
from sides import MeasureError


@dataclass(frozen=True)
class Row:
    """One line of the table. `judged` names the figure that the goal is about."""

    number: int
    what: str
    unit: str
    count: int
    quick_count: int
    rounds: int
    limit: float
    peer: str
    goal: float
    judged: str = "ratio"
    at_most: bool = False
    stretch: float | None = None

    def is_met(self, outcome: Outcome) -> bool | None:
        """Whether the goal is met; None where the figure is not there."""
        figure = outcome.ratio if self.judged == "ratio" else outcome.figure(self.judged)
        if figure is None:
            return None
        return figure <= self.goal if self.at_most else figure >= self.goal


@dataclass
class Outcome:
    """What was measured for a row: by side and figure, one value for each round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""
    error: str = ""

    def add(self, side: str, figures: dict[str, float]) -> None:
        """Keep the figures of one round."""
        for name, value in figures.items():
            self.rounds.setdefault(side if name == "value" else f"{side} {name}", []).append(value)

    def figure(self, name: str) -> float | None:
        """The median of the rounds."""
        values = self.rounds.get(name)
        return statistics.median(values) if values else None

    @property
    def ratio(self) -> float | None:
        """gdispy's median / the peer's median."""
        own, peer = self.figure("gdispy"), self.figure("peer")
        return None if own is None or not peer else own / peer


POOL = "Pool(2)"
#: Row 8: jobs that are run before, and seconds until the counting begins.
IDLE_JOBS = 20
SETTLING = 2.0
#: Row 14: seconds between two signs of life, and how many of them are missing when a node is lost.
PULSE = 0.5
LEASE = 6 * PULSE
ROWS = (
    Row(1, "no-op jobs, one submit each", "jobs/s", 20_000, 2_000, 7, 60, POOL, 2, stretch=4),
    Row(2, "round trip of one job, p50", "ms", 300, 50, 7, 30, POOL, 3, at_most=True),
    Row(3, "4 MiB echoed, both ways summed", "MB/s", 40, 6, 7, 60, POOL, 1),
    Row(4, "jobs of 5 ms CPU time, efficiency", "", 2_000, 200, 3, 60, POOL, 0.93, judged="gdispy"),
    Row(5, "runs of /bin/true", "runs/s", 1_000, 100, 5, 60, "xargs -P2", 1),
    Row(6, "script's start to first result", "s", 1, 1, 5, 30, POOL, 0.5, judged="gdispy", at_most=True),
    Row(7, "memory of a queued job", "bytes", 50_000, 10_000, 3, 60, "", 1024, judged="gdispy", at_most=True),
    Row(
        8,
        "idle CPU of node, of client: the higher",
        "% of a core",
        10,
        2,
        1,
        40,
        "",
        0.1,
        judged="gdispy",
        at_most=True,
    ),
    Row(9, "shared: no-op jobs of two clients", "jobs/s", 20_000, 2_000, 7, 60, "JobCluster", 0.5),
    Row(10, "shared: 4 MiB echoed", "MB/s", 40, 6, 7, 60, "JobCluster", 0.5),
    Row(
        11,
        "shared: 10 jobs beside many queued",
        "ms",
        500_000,
        20_000,
        3,
        120,
        "nobody else",
        250,
        judged="gdispy",
        at_most=True,
    ),
    Row(12, "no-op jobs with a recovery file", "jobs/s", 20_000, 2_000, 7, 60, "without", 0.7),
    Row(13, "the same, nothing synced", "jobs/s", 20_000, 2_000, 7, 60, "without", 0.7),
    Row(14, "kill -9 of a node to its job's end", "s", 1, 1, 3, 30, "", LEASE + 1, judged="gdispy", at_most=True),
    Row(15, "kill -9 of a worker to its job's end", "ms", 20, 3, 3, 30, "", 100, judged="gdispy", at_most=True),
    # Nobody has set a goal for these. To encrypt 64 KiB at both ends, both ways, takes longer than all that pools do.
    Row(16, "20 kB echoed, both ways summed", "MB/s", 3_000, 300, 5, 60, POOL, 0.6),
    Row(17, "64 KiB echoed, both ways summed", "MB/s", 1_000, 100, 5, 60, POOL, 0.25),
    Row(18, "first cluster, of a function with 20 more", "ms", 1, 1, 7, 30, "dill.dumps", 60, "gdispy", at_most=True),
)


def measure(row: Row, quick: bool) -> Outcome:
    """Measure one row, both sides in turn. Whatever goes wrong is in the outcome's `error`."""
    outcome = Outcome()
    count, rounds = (row.quick_count, 1) if quick else (row.count, row.rounds)
    try:
        _MEASURES.get(row.number, _with_node)(row, outcome, count, rounds)
    except (MeasureError, OSError, ValueError, subprocess.SubprocessError) as error:
        outcome.error = str(error) if isinstance(error, MeasureError) else f"{type(error).__name__}: {error}"
        print(f"ROW {row.number} ({row.what}) FAILED: {outcome.error}", file=sys.stderr, flush=True)
    return outcome


def _with_node(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Rows 1 to 5, 7 and 15 to 18: each round a new client of gdispy, then a new one of the peer."""
    has_peer = bool(row.peer)
    if row.number == 5 and not _has_gnu_xargs():
        has_peer, outcome.note = False, "GNU xargs is missing"
    with running_node() as node:
        for _ in range(rounds):
            outcome.add("gdispy", run_client(row.number, "gdispy", count, row.limit, node))
            if has_peer:
                outcome.add("peer", run_client(row.number, "peer", count, row.limit, None))
    p99, peak, worst = (outcome.figure(f"gdispy {name}") for name in ("p99", "peak", "worst"))
    if p99 is not None:
        outcome.note = f"p99 {p99:.3g} ms, the pool's {outcome.figure('peer p99'):.3g} ms"
    if peak is not None:
        outcome.note = f"no node reachable; at the peak {peak:.0f}"
    if worst is not None:
        outcome.note = f"the slowest of {count} kills {worst:.3g} ms"


def _starts(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Row 6: a script each time; the first of each side is not counted, since it fills the page cache."""
    outcome.note = "nodes=['local']; the peer for information"
    for place in range(rounds + 1):
        for side, script in (("gdispy", "start_gdispy.py"), ("peer", "start_pool.py")):
            took = seconds_to_first_line(script, "42", row.limit)
            if place:
                outcome.add(side, {"value": took})


def _idle(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Row 8: CPU time in `count` seconds of the node with all below it and of the client, without jobs."""
    with running_node() as node, idle_client(IDLE_JOBS, row.limit, node) as client:
        time.sleep(SETTLING)
        began, before = time.perf_counter(), (cpu_seconds(node.pid), cpu_seconds(client))
        time.sleep(count)
        used = cpu_seconds(node.pid) - before[0], cpu_seconds(client) - before[1]
        took = time.perf_counter() - began
    percents = [100 * each / took for each in used]
    outcome.add("gdispy", {"value": max(percents), "node": percents[0], "client": percents[1]})
    outcome.note = f"node {percents[0]:.2g}, client {percents[1]:.2g}"


def _shared(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Rows 9 and 10: through a scheduler, and by clusters with a node of their own, in turn."""
    clients = 2 if row.number == 9 else 1
    measured = 1 if row.number == 9 else 3
    # Daemons live long: they are the same in all rounds, and only the first finds them without memory of their own.
    with (
        running_node() as shared,
        running_scheduler(shared) as scheduler,
        running_node() as own,
        ThreadPoolExecutor(clients) as threads,
    ):
        for _ in range(rounds):
            asked = [
                threads.submit(run_client, measured, "shared", count // clients, row.limit, scheduler)
                for _ in range(clients)
            ]
            outcome.add("gdispy", {"value": sum(each.result()["value"] for each in asked)})
            outcome.add("peer", run_client(measured, "gdispy", count, row.limit, own))


def _crowded(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Row 11: ten jobs of one client, while another one has many queued, and while there is no other."""
    for _ in range(rounds):
        # Others each time, since what the many jobs leave goes on when their client is gone.
        with running_node() as node, running_scheduler(node) as scheduler:
            outcome.add("peer", run_client(11, "shared", 10, row.limit, scheduler))
            with crowding_client(count, row.limit, scheduler):
                outcome.add("gdispy", run_client(11, "shared", 10, row.limit, scheduler))
    outcome.note = f"{count:,} jobs queued by another client"


def _recoverable(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Rows 12 and 13: the jobs of row 1 by a cluster with a recovery file, and by one without."""
    variables = {"GDISPY_JOURNAL_SYNC": "0"} if row.number == 13 else {}
    with running_node() as node:
        for _ in range(rounds):
            outcome.add("gdispy", run_client(1, "recover", count, row.limit, node, variables))
            outcome.add("peer", run_client(1, "gdispy", count, row.limit, node))


def _killed(row: Row, outcome: Outcome, count: int, rounds: int) -> None:
    """Row 14: a node each time."""
    outcome.note = f"the node is lost after {LEASE:g} s of silence"
    for _ in range(rounds):
        with running_node() as node:
            outcome.add("gdispy", {"value": seconds_to_abandoned(row.limit, node, PULSE)})


def _has_gnu_xargs() -> bool:
    if shutil.which("xargs") is None:
        return False
    said = subprocess.run(["xargs", "--version"], capture_output=True, text=True, timeout=10, check=False)
    return "GNU findutils" in said.stdout


_MEASURES: dict[int, Callable[[Row, Outcome, int, int], None]] = {
    6: _starts,
    8: _idle,
    9: _shared,
    10: _shared,
    11: _crowded,
    12: _recoverable,
    13: _recoverable,
    14: _killed,
}
