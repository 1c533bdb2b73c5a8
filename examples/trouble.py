"""Troubleshooting: problems of nodes, and failed jobs.

python examples/trouble.py                     on this machine
python examples/trouble.py node1 node2         on two machines
"""

import os
import signal
import sys

import gdispy


def work(what: str) -> object:
    print(f"about to do {what}")
    if what == "an exception":
        return 1 / 0
    if what == "an exit":
        sys.exit("enough")
    if what == "a crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "no pickle":
        return (number for number in range(3))
    return "a result"


def main() -> None:
    # Nothing listens on port 1: this node is named by mistake.
    nodes = [*(sys.argv[1:] or ["local"]), "127.0.0.1:1"]
    with gdispy.JobCluster(work, nodes=nodes) as cluster:
        cases = ["an exception", "an exit", "a crash", "no pickle", "work"]
        jobs = [cluster.submit_job_id(what, what) for what in cases]
        for job in jobs:
            result = job()
            if job.status == gdispy.DispyJob.Finished:
                print(f"{job.id}: {result}")
            else:
                # The last line is the error; above it is the traceback on the
                # node.
                print(f"{job.id}: {job.exception.strip().splitlines()[-1]}")
            print(f"    it had printed {job.stdout!r}")
        for problem in cluster.status().problems:
            print("problem:", problem)


if __name__ == "__main__":
    main()
