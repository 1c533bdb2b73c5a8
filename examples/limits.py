"""Limits and priorities of single jobs.

    python examples/limits.py                      on this machine
    python examples/limits.py node1 node2          on two machines

Keywords of `submit` that begin with `dispy_` are for gdispy; the function does
not receive them.
"""

import os
import sys
import time

import gdispy


def work(what: str) -> str:
    if what == "endless":
        time.sleep(3600)
    if what == "greedy":
        parts = []
        while True:
            parts.append(os.urandom(10_000_000))
    return f"{what} was here"


def main() -> None:
    nodes = sys.argv[1:] or ["local"]
    cpus = min(2, len(os.sched_getaffinity(0)))
    with gdispy.JobCluster(work, nodes=nodes) as cluster:
        jobs = [
            # Runs after all other waiting jobs.
            cluster.submit("late", dispy_priority=-1),
            # Time limit in seconds.
            cluster.submit("endless", dispy_timeout=0.5),
            # Bytes, including all its processes.
            cluster.submit("greedy", dispy_memory=500_000_000),
            # Number of CPUs of one node.
            cluster.submit("wide", dispy_cpus=cpus),
            # Higher runs first; the default is 0.
            cluster.submit("urgent", dispy_priority=10),
        ]
        for job in jobs:
            print(job() or job.exception.strip())


if __name__ == "__main__":
    main()
