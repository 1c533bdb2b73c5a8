"""Calls of a function that does nothing: by `gdispy.Executor`, by `JobCluster.submit`, and by `ProcessPoolExecutor`.

`python benchmarks/executor.py [ROUNDS [CALLS]]` runs each in turn, on all CPUs of this machine, and prints the medians
in calls a second: for `submit`, from the first call until all results are there; for `map`, of which
`ProcessPoolExecutor` gets its best chunk size.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import gdispy

#: Of `ProcessPoolExecutor.map`; the best is taken.
CHUNK_SIZES = (100, 1000, 5000)
#: What `Executor.submit` is to reach of the rate of `JobCluster.submit`.
GOAL = 0.8


def same(value: int) -> int:
    return value


def by_cluster(cluster: gdispy.JobCluster, calls: int) -> Iterable[int]:
    jobs = [cluster.submit(number) for number in range(calls)]
    return [job() for job in jobs]


def by_submit(executor: Executor, calls: int) -> Iterable[int]:
    futures = [executor.submit(same, number) for number in range(calls)]
    return [future.result() for future in futures]


def by_map(executor: Executor, options: dict[str, Any], calls: int) -> Iterable[int]:
    return list(executor.map(same, range(calls), **options))


def rate(work: Callable[[int], Iterable[int]], calls: int) -> float:
    begin = time.perf_counter()
    if list(work(calls)) != list(range(calls)):
        raise SystemExit("wrong results")
    return calls / (time.perf_counter() - begin)


def main(rounds: int, calls: int) -> int:
    with ExitStack() as stack:
        ours = stack.enter_context(gdispy.Executor())
        cluster = stack.enter_context(gdispy.JobCluster(same, nodes=["local"]))
        pool = stack.enter_context(ProcessPoolExecutor(os.cpu_count()))
        # By rates: each takes about as long.
        work: dict[str, tuple[Callable[[int], Iterable[int]], int]] = {
            "JobCluster.submit": (partial(by_cluster, cluster), calls),
            "Executor.submit": (partial(by_submit, ours), calls),
            "ProcessPoolExecutor.submit": (partial(by_submit, pool), calls // 8),
            "Executor.map": (partial(by_map, ours, {}), 10 * calls),
        }
        for size in CHUNK_SIZES:
            work[f"ProcessPoolExecutor.map {size}"] = (partial(by_map, pool, {"chunksize": size}), 10 * calls)
        for each, _ in work.values():
            each(1000)
        rates: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, (each, amount) in work.items():
                rates[name].append(rate(each, amount))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:30} {medians[name]:9,.0f} calls/s   ({min(values):,.0f} to {max(values):,.0f})")
    of_cluster = medians["Executor.submit"] / medians["JobCluster.submit"]
    of_pool = medians["Executor.submit"] / medians["ProcessPoolExecutor.submit"]
    best = max(value for name, value in medians.items() if name.startswith("ProcessPoolExecutor.map"))
    of_map = medians["Executor.map"] / best
    print(f"Executor.submit: {of_cluster:.2f} of JobCluster.submit (goal {GOAL}), {of_pool:.1f} of the pool's")
    print(f"Executor.map: {of_map:.2f} of the pool's best (goal 1)")
    return int(of_cluster < GOAL or of_map < 1)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*words, *(5, 100_000)[len(words) :]))
