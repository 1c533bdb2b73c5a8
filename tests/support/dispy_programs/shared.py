"""As `sample.py`, through a scheduler, with all parameters of the first version by their places. argv: HOST PORT."""
# ruff: noqa: F821

import logging
import sys

import gdispy as dispy


def compute(n):
    time.sleep(n / 100)
    print("process", os.getpid() > 0)
    return (socket.gethostname(), n)


def job_callback(job):
    called.append(job.id)


if __name__ == "__main__":
    called = []
    host, port = sys.argv[1], int(sys.argv[2])
    where = (["*"], [], job_callback, "127.0.0.1", None, host, port, None)
    cluster = dispy.SharedJobCluster(compute, *where, logging.WARNING, True, True, "", None, None)
    jobs = []
    for n in range(10):
        job = cluster.submit(n)
        job.id = n
        jobs.append(job)
    print([job()[1] for job in jobs], {job.stdout.strip() for job in jobs})
    print({job.status for job in jobs} == {dispy.DispyJob.Finished})
    cluster.wait()
    cluster.stats()
    cluster.close()
    print(len(called))
