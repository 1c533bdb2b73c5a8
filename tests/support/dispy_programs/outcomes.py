"""How jobs end, and what is left of each."""
# ruff: noqa: F821

import sys

import gdispy as dispy


def compute(how):
    print("out of", how)
    sys.stderr.write("err of " + how)
    if how == "return":
        return {"how": how}
    if how == "raise":
        raise ValueError(how)
    if how == "exit":
        sys.exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "generator":
        return (n for n in range(3))
    if how == "child":
        subprocess.run(["sh", "-c", "echo of a child"], check=True)
    return None


if __name__ == "__main__":
    names = {getattr(dispy.DispyJob, name): name for name in ("Finished", "Terminated", "Cancelled")}
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:])
    for how in ("return", "raise", "exit", "kill", "generator", "child"):
        job = cluster.submit(how)
        result = job()
        last = job.exception.strip().splitlines()[-1] if job.exception else job.exception
        print([how, names[job.status], result, last, job.stdout, job.stderr])
    cluster.close()
