"""Provisional results, and a callback that cancels the other jobs when one is good enough."""
# ruff: noqa: F821

import sys
import threading

import gdispy as dispy


def compute(number, goal):
    for step in range(3):
        if dispy_provisional_result((number, step), relay=False, timeout=10) != 0:
            return "not sent"
    if number != goal:
        time.sleep(60)
    dispy_provisional_result((number, "good"))
    return number


def job_callback(job):
    if job.status == dispy.DispyJob.ProvisionalResult:
        with lock:
            seen.setdefault(job.result[0], []).append(job.result[1])
            enough = job.result[1] == "good"
        if enough:
            stored.wait()
            for other in jobs:
                if other.id != job.id and other.status in (
                    dispy.DispyJob.Created,
                    dispy.DispyJob.Running,
                    dispy.DispyJob.ProvisionalResult,
                ):
                    cancelled.append(cluster.cancel(other))
    elif job.status == dispy.DispyJob.Finished:
        finished.append(job.result)


if __name__ == "__main__":
    lock, stored = threading.Lock(), threading.Event()
    jobs, cancelled, finished, seen = [], [], [], {}
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:], callback=job_callback)
    for number in range(6):
        job = cluster.submit(number, 1)
        if job is None:
            print("could not create job", number)
            continue
        job.id = number
        jobs.append(job)
    stored.set()
    cluster.wait()
    cluster.close()
    ended = (dispy.DispyJob.Cancelled, dispy.DispyJob.Terminated)
    print("finished", finished, "cancelled", cancelled)
    print("steps", seen[1])
    print("others", [job.id for job in jobs if job.status in ended and job.result is None])
