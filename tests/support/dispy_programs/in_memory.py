"""`setup` reads a file into a global once on each node; jobs use it; `cleanup` deletes it and leaves word."""
# ruff: noqa: F821, UP031

import sys
import threading

import gdispy as dispy


def setup(data_file, mark):
    global data, algorithms, hashlib, file_name
    import hashlib

    data = open(data_file, "rb").read()
    file_name = data_file
    algorithms = sorted(hashlib.algorithms_guaranteed)[:3]
    return 0


def cleanup(data_file, mark):
    global data
    with open(mark, "a") as out:
        out.write("cleaned %s %s\n" % (data_file, len(data)))
    del data


def compute(n):
    algorithm = algorithms[n % len(algorithms)]
    checksum = hashlib.new(algorithm)
    checksum.update(data)
    return (dispy_node_ip_addr, file_name, len(data), os.getppid(), checksum.hexdigest())


def cluster_status(status, node, job):
    if status == dispy.DispyNode.Initialized:
        ready.release()


if __name__ == "__main__":
    ready = threading.Semaphore(0)
    data_file, mark = sys.argv[1:3]
    nodes = []
    for node in sys.argv[3:]:
        host, port = node.split(":")
        nodes.append(dispy.NodeAllocate(host, int(port), depends=[data_file], setup_args=(data_file, mark)))
    cluster = dispy.JobCluster(compute, nodes=nodes, cluster_status=cluster_status, setup=setup, cleanup=cleanup)
    for _ in nodes:
        ready.acquire()
    jobs = [cluster.submit(n) for n in range(6)]
    results = set()
    for job in jobs:
        result = job()
        if job.exception:
            print(job.exception)
            continue
        results.add(result[:3])
    print(sorted(results))
    print("each node has read it once:", len({job.result[3] for job in jobs}) <= len(nodes))
    cluster.close()
