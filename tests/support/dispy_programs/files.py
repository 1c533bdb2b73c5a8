"""Files and modules for all jobs, a file for one job, a file to a node, and files that jobs send back."""
# ruff: noqa: F821

import sys

import gdispy as dispy


def compute(name, out):
    import helper

    text = open(name).read()
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "w") as file:
        file.write(helper.loud(text))
    sent = dispy_send_file(out)
    return (sent, os.getcwd() == dispy_job_path, os.path.exists("data/common.txt"))


if __name__ == "__main__":
    import helper

    common = ["data/common.txt", helper]
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:], depends=common, dest_path="mine", cleanup=True)
    jobs = [cluster.submit(name, "out/" + name, dispy_job_depends=[name]) for name in ("data/one.txt", "data/two.txt")]
    for job in jobs:
        print(job(), job.exception, job.stderr)
    print(open("out/data/one.txt").read(), open("out/data/two.txt").read())
    job = cluster.submit("data/one.txt", "out/again")
    print(job(), job.exception.strip().splitlines()[-1].partition(":")[0])
    for node in cluster.status().nodes:
        print(cluster.send_file("data/late.txt", node))
    print(cluster.submit("data/late.txt", "out/late.txt")())
    cluster.close()
