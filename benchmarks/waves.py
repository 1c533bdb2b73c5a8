"""How long waves of short jobs take on several nodes: a program that waits for all of one before it submits the next
(`make bench-waves`).

Four nodes of two CPUs each run on this machine. Jobs sleep, so that eight of them can run at a time whatever the
machine has. Shown is the time that a wave takes as a multiple of the best that there could be, all eight busy to the
end with what the jobs really took; beside it the same by `multiprocessing.Pool(8)`, in turn. Each has the middle value
of its rounds. Takes about half a minute.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from processes import new_secret, node_with
from sides import CPUS

import gdispy

NODES = 4
WORKERS = NODES * CPUS
ROUNDS = 9
#: Seconds that a wave may take.
LIMIT = 60.0

Wave = Callable[[list[float]], tuple[float, list[float]]]


def nap(seconds: float) -> float:
    """A job; what it really took."""
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began


@contextlib.contextmanager
def running_nodes(secret_file: str) -> Iterator[list[str]]:
    """The places of the nodes."""
    with contextlib.ExitStack() as stack:
        places = []
        for number in range(NODES):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options = ("--name", f"node{number}", "--dest_path_prefix", folder)
            node = stack.enter_context(node_with(secret_file, *options))
            places.append(f"{node.host}:{node.port}")
        yield places


def by_cluster(cluster: gdispy.JobCluster, wave: list[float]) -> tuple[float, list[float]]:
    """Seconds of a wave, and of each of its jobs."""
    began = time.perf_counter()
    jobs = [cluster.submit(seconds) for seconds in wave]
    took = [job.result_or_raise(LIMIT) for job in jobs]
    return time.perf_counter() - began, took


def by_pool(pool: multiprocessing.pool.Pool, wave: list[float]) -> tuple[float, list[float]]:
    began = time.perf_counter()
    jobs = [pool.apply_async(nap, (seconds,)) for seconds in wave]
    took = [job.get(LIMIT) for job in jobs]
    return time.perf_counter() - began, took


def multiple(do: Wave, wave: list[float]) -> float:
    whole, took = do(wave)
    return whole * WORKERS / sum(took)


def rows() -> Iterator[tuple[str, list[float]]]:
    some = random.Random(1)
    yield "100 jobs of 10 ms", [0.01] * 100
    yield "200 jobs of 5 ms", [0.005] * 200
    yield "1,000 jobs of 5 ms", [0.005] * 1000
    yield "2,000 jobs of 2 ms", [0.002] * 2000
    yield "300 jobs of 1 to 20 ms", [some.choice((0.001, 0.002, 0.005, 0.02)) for _ in range(300)]


def main() -> int:
    with (
        multiprocessing.get_context("fork").Pool(WORKERS) as pool,
        new_secret() as secret_file,
        running_nodes(secret_file) as places,
        gdispy.JobCluster(nap, nodes=places, secret_file=secret_file, ip_addr="127.0.0.1") as cluster,
    ):
        sides: list[Wave] = [lambda wave: by_cluster(cluster, wave), lambda wave: by_pool(pool, wave)]
        print(f"{'time of a wave / the best possible':36} gdispy{'':16} Pool({WORKERS})")
        for text, wave in rows():
            values: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for side, do in enumerate(sides):
                    values[side].append(multiple(do, wave))
            shown = [f"{statistics.median(each):.2f} [{min(each):.2f}..{max(each):.2f}]" for each in values]
            print(f"{text:36} {shown[0]:22} {shown[1]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
