"""As dispy's first example is written: a function that imports nothing, jobs in a list, `job()`, `stats()`."""
# ruff: noqa: F821, UP031

import logging
import sys

import gdispy as dispy


def compute(n):
    time.sleep(n / 100)
    host = socket.gethostname()
    print("process", os.getpid() > 0)
    return (host, n)


if __name__ == "__main__":
    cluster = dispy.JobCluster(compute, sys.argv[1:], loglevel=logging.DEBUG, pulse_interval=2, cleanup=True)
    jobs = []
    for n in range(10):
        job = cluster.submit(n)
        job.id = n
        jobs.append(job)
    for job in jobs:
        host, n = job()
        print("%s executed job %s with %s: %s" % (host, job.id, n, job.stdout.strip()))
        assert job.submit_time <= job.start_time + 1 and job.start_time <= job.end_time and job.ip_addr == "127.0.0.1"
    cluster.wait()
    cluster.stats()
    cluster.close()
