"""A user's program, as tests of networks start it on their hosts: `python -m tests.support.lab_program OPTIONS`.

OPTIONS is JSON: what `JobCluster` (or, with `scheduler_node`, `SharedJobCluster`) is given, how many jobs of how many
seconds, and for how many nodes to wait before they are submitted. It answers each line of its input with one of JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import gdispy
from tests.support.waiting import eventually


def where(number: int, seconds: float) -> tuple[int, str, float, str]:
    """Runs as a job."""
    time.sleep(seconds)
    return number, dispy_node_name, time.time(), dispy_node_ip_addr  # type: ignore[name-defined]


def echo(data: bytes) -> bytes:
    return data


def standing(cluster: Any) -> dict[str, Any]:
    status = cluster.status()
    nodes = [(node.name, node.ip_addr) for node in status.nodes]
    return {"nodes": sorted(nodes), "problems": list(status.problems), "pending": status.jobs_pending}


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("gdispy").setLevel(logging.INFO)
    options = json.loads(sys.argv[1])
    kind = gdispy.SharedJobCluster if "scheduler_node" in options["cluster"] else gdispy.JobCluster
    size = options["cluster"].pop("bulk", 0)
    begun = time.monotonic()
    cluster = kind(echo if size else where, **options["cluster"])
    made = time.monotonic() - begun
    if options["count"]:
        eventually(lambda: len(cluster.status().nodes) >= options["count"], 20, "nodes")
    jobs: list[Any] = []

    def submit(count: int, seconds: float) -> None:
        jobs.extend(cluster.submit(number, seconds) for number in range(len(jobs), len(jobs) + count))

    if size:
        jobs.append(cluster.submit(bytes(size)))
    else:
        submit(options["jobs"], options["seconds"])
    for line in sys.stdin:
        word, *rest = line.split()
        answer: Any = None
        if word == "status":
            answer = {**standing(cluster), "running": sum(job.status == job.Running for job in jobs)}
        elif word == "submit":
            submit(int(rest[0]), float(rest[1]))
        elif word == "bulk":
            jobs.append(cluster.submit(bytes(int(rest[0]))))
        elif word == "made":
            answer = made
        elif word == "wait":
            answer = cluster.wait(float(rest[0]))
        elif word == "result":
            done = cluster.wait(40)
            seconds = time.monotonic() - begun
            answer = {**standing(cluster), "done": done, "made": made, "seconds": seconds}
            answer["results"] = [len(job.result) if size and job.result else job.result for job in jobs]
            answer["statuses"] = [job.status == job.Finished for job in jobs]
        print(json.dumps(answer), flush=True)
    cluster.close(timeout=0, terminate=True)


if __name__ == "__main__":
    main()
