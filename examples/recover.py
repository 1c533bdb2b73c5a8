"""A program that may be killed at any moment, and goes on where it stopped when it is started again.

    python examples/recover.py [NODE ...]      # kill it (Ctrl-C, kill -9), and start it again

Without nodes it uses this machine; what ran there when it was killed has ended with it, so it is run again.
"""

import sys
import time

import gdispy


def simulate(number):
    time.sleep(0.1)
    return number * number


if __name__ == "__main__":
    with gdispy.JobCluster(
        simulate,
        nodes=sys.argv[1:] or ["local"],
        fault_recover="simulate.recover",  # remembers the jobs, and what came of them
        resume=True,  # takes up what the file says, if it is there
        reentrant=True,  # a job may run twice, where its node was lost
    ) as cluster:
        known = sum(job.status == gdispy.DispyJob.Finished for job in cluster.resumed)
        print(f"{known} results are there from before", flush=True)
        jobs = [cluster.submit(number) for number in range(40)]
        print("sum:", sum(job.result_or_raise() for job in jobs))
