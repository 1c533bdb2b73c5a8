"""No more than so many jobs at a time, held by a callback that may come before `job.id` is set."""
# ruff: noqa: F821, UP031

import sys
import threading

import gdispy as dispy


def compute(n):
    time.sleep(0.01)
    return n * n


def job_status(job):
    global most
    if job.status in (
        dispy.DispyJob.Finished,
        dispy.DispyJob.Terminated,
        dispy.DispyJob.Cancelled,
        dispy.DispyJob.Abandoned,
    ):
        with jobs_cond:
            results.append(job.result)
            most = max(most, len(pending_jobs))
            # It may be over before the main thread has noted it.
            if job.id in pending_jobs:
                pending_jobs.pop(job.id)
                if len(pending_jobs) <= lower_bound:
                    jobs_cond.notify()


if __name__ == "__main__":
    lower_bound, upper_bound, most = 4, 8, 0
    jobs_cond, pending_jobs, results = threading.Condition(), {}, []
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:], job_status=job_status, reentrant=False)
    for i in range(1, 101):
        job = cluster.submit_job_id("job %s" % i, i)
        with jobs_cond:
            if job.status in (dispy.DispyJob.Created, dispy.DispyJob.Running):
                pending_jobs[job.id] = job
                if len(pending_jobs) >= upper_bound:
                    while len(pending_jobs) > lower_bound:
                        jobs_cond.wait()
    cluster.wait()
    cluster.print_status()
    cluster.close()
    print(sorted(results) == [i * i for i in range(1, 101)], most <= upper_bound)
