"""A program that crashes when some of its jobs have ended and others run. argv: node, directory, recovery parameter."""
# ruff: noqa: F821, UP031

import os
import signal
import sys

import gdispy as dispy


def compute(n, directory):
    with open(os.path.join(directory, "begun"), "a") as log:
        log.write("%d\n" % n)
    while n % 2 and not os.path.exists(os.path.join(directory, "gate")):
        time.sleep(0.01)
    print("job", n)
    return n * n


if __name__ == "__main__":
    node, directory, generation = sys.argv[1:]
    recovery = {"first": {"fault_recover": "jobs"}, "later": {"recover_file": None, "fault_recover": True}}[generation]
    cluster = dispy.JobCluster(compute, [node], [], **recovery)
    jobs = []
    for n in (0, 2, 1, 3):
        job = cluster.submit(n, directory)
        job.id = "number %d" % n
        jobs.append(job)
    for job in jobs[:2]:
        print(job.id, job(), flush=True)
    path = os.path.join(directory, "begun")
    while len(open(path).read().split()) < 4:
        cluster.wait(0.1)
    cluster.wait(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
