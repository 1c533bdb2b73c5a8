"""Workers killed, links cut and nodes stopped at random, for a while: every job still ends once.

`make chaos` runs it for GDISPY_CHAOS_SECONDS (default 20) with GDISPY_SEED, or a seed that it prints.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy import DispyJob, JobCluster
from tests.support.daemons import Daemon
from tests.support.jobs import note_and_wait
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

SECONDS = float(os.environ.get("GDISPY_CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("GDISPY_SEED", str(random.randrange(1 << 30))))


class Nemesis:
    """What goes wrong, one thing after the other."""

    def __init__(self, seed: int, nodes: list[Daemon], proxies: list[Proxy]) -> None:
        self._random = random.Random(seed)
        self._nodes = nodes
        self._proxies = proxies
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        act = self._random.choice([self._cut, self._kill_worker, self._stop])
        act()
        self.done[act.__name__.strip("_")] += 1

    def _cut(self) -> None:
        self._random.choice(self._proxies).cut()

    def _kill_worker(self) -> None:
        # The spawner is the first below a node, a template the second; workers come behind them.
        workers = self._random.choice(self._nodes).below()[2:]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(workers), signal.SIGKILL)

    def _stop(self) -> None:
        node = self._random.choice(self._nodes)
        node.kill(signal.SIGSTOP)
        until = time.monotonic() + self._random.uniform(0.05, 0.5)
        eventually(lambda: time.monotonic() > until)
        node.kill(signal.SIGCONT)


@pytest.mark.timeout(SECONDS + 120)
def test_every_job_ends_once_whatever_breaks(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    print(f"GDISPY_SEED={SEED}")
    log, told = tmp_path / "begun", Counter[int]()
    nodes = [start_node("--cpus", "2") for _ in range(2)]
    proxies = [Proxy(node.place) for node in nodes]
    nemesis = Nemesis(SEED, nodes, proxies)
    made = JobCluster(
        note_and_wait,
        nodes=[proxy.place for proxy in proxies],
        secret_file=secret_file,
        callback=lambda job: told.update([job.id]),
    )
    jobs: list[DispyJob] = []

    def few_wait() -> bool:
        return sum(job.status == DispyJob.Created for job in jobs) < 100

    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            jobs += [made.submit(str(log), len(jobs) + number, 0.01) for number in range(20)]
            nemesis.strike()
            eventually(few_wait, 60)
        assert made.wait(60), made.status().problems
        eventually(lambda: len(told) == len(jobs))
    finally:
        made.close(timeout=0, terminate=True)
        for proxy in proxies:
            proxy.close()
    begun = Counter(int(line) for line in log.read_text().split())
    ends = Counter(job.status for job in jobs)
    print(f"{len(jobs)} jobs, {dict(nemesis.done)}, ends {dict(ends)}")
    assert set(told.values()) == {1}
    assert max(begun.values()) == 1
    assert all(job.result == number for number, job in enumerate(jobs) if job.status == DispyJob.Finished)
    assert set(ends) <= {DispyJob.Finished, DispyJob.Terminated}
    assert ends[DispyJob.Terminated] <= nemesis.done["kill_worker"]
