"""Nodes are added, limited, let go of and closed while jobs come; the cluster is shut down at the end."""
# ruff: noqa: F821

import sys

import gdispy as dispy


def compute(n):
    time.sleep(0.01)
    return dispy_node_name


if __name__ == "__main__":
    first, second = sys.argv[1:]
    cluster = dispy.JobCluster(compute, nodes=first)
    jobs = [cluster.submit(n) for n in range(4)]
    print({job() for job in jobs})
    print(cluster.allocate_node(second), cluster.discover_nodes([second]))
    while len(cluster.status().nodes) < 2 or cluster.submit_node("two", 0) is None:
        jobs[0].finish.wait(0.01)
    print(cluster.set_node_cpus("two", 1), cluster.set_node_cpus("nowhere", 1))
    print(cluster.deallocate_node("one"))
    jobs = [cluster.submit(n) for n in range(4)]
    print({job() for job in jobs})
    print(cluster.allocate_node("one"), cluster.close_node("two", terminate_pending=True))
    jobs = [cluster.submit(n) for n in range(4)]
    print({job() for job in jobs})
    print(cluster.submit_node("nowhere", 1))
    print(cluster.shutdown(), cluster.close())
