"""Jobs that are cancelled: one catches the interrupt and finishes, one does not, one has not begun."""

import os
import sys
import time

import gdispy as dispy


def compute(mark, catch):
    print("begun")
    try:
        open(mark, "w").close()  # In here: who sees it may cancel at once.
        time.sleep(60)
    except KeyboardInterrupt:
        if not catch:
            raise
        return "interrupted"


if __name__ == "__main__":
    names = {getattr(dispy.DispyJob, name): name for name in ("Finished", "Terminated", "Cancelled")}
    cluster = dispy.JobCluster(compute, nodes=sys.argv[2:])
    marks = [os.path.join(sys.argv[1], str(number)) for number in range(3)]
    jobs = [cluster.submit(mark, number == 0) for number, mark in enumerate(marks)]
    while not (os.path.exists(marks[0]) and os.path.exists(marks[1])):
        jobs[2].finish.wait(0.01)
    print("waiting", jobs[2].status == dispy.DispyJob.Created, cluster.wait(timeout=0.1))
    print("cancel", [cluster.cancel(job) for job in reversed(jobs)])
    for job in jobs:
        job.finish.wait()
        print(names[job.status], job.result, os.path.exists(marks[jobs.index(job)]))
    print("cancel of what has ended", cluster.cancel(jobs[0]))
    cluster.close()
