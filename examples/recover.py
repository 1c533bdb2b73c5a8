"""A program that may be killed at any time, and then continues.

    python examples/recover.py [NODE ...]      # kill it, and start it again

Without nodes it uses this machine; jobs that were running there when it was
killed have ended with it, and run again.
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
        fault_recover="simulate.recover",  # records the jobs and their outcomes
        resume=True,  # continues from the file, if it exists
        reentrant=True,  # a job may run twice if its node was lost
    ) as cluster:
        known = sum(
            job.status == gdispy.DispyJob.Finished for job in cluster.resumed
        )
        print(f"{known} results are there from before", flush=True)
        jobs = [cluster.submit(number) for number in range(40)]
        print("sum:", sum(job.result_or_raise() for job in jobs))
