"""What a crashed program has left, collected as each version of dispy does it. argv: which, file with the secret."""

import sys

import gdispy as dispy

NAMES = {getattr(dispy.DispyJob, name): name for name in ("Created", "Running", "Terminated", "Finished", "Abandoned")}

if __name__ == "__main__":
    secret = open(sys.argv[2]).read().strip()
    if sys.argv[1] == "first":
        jobs = dispy.fault_recover_jobs("jobs", "127.0.0.1", secret, 51348, None, None)
    elif sys.argv[1] == "later":
        jobs = dispy.recover_jobs(None, 30, False)
    else:
        jobs = dispy.recover_jobs(terminate_pending=True)
    for job in sorted(jobs, key=lambda job: job.id):
        where = [job.stdout.strip(), job.ip_addr] if job.status == dispy.DispyJob.Finished else []
        print(job.id, NAMES[job.status], job.result, job.args[0], *where)
