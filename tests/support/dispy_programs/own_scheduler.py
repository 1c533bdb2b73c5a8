"""A program that schedules itself: `cluster_status` tells of nodes and jobs, `submit_node` gives them work."""
# ruff: noqa: F821

import sys
import threading

import gdispy as dispy


def compute(number):
    time.sleep(0.05)
    return (number, dispy_node_name)


def next_job(node):
    with lock:
        number = len(submitted)
        if number >= total:
            return
        submitted.append(number)
    job = cluster.submit_job_id_node(f"job {number}", node, number)
    if job is None:
        print("no job for", node)


def cluster_status(status, node, job):
    if status == dispy.DispyNode.Initialized:
        ready.wait()
        infos.append(node.avail_info)
        for _ in range(node.avail_cpus):
            next_job(node)
    elif status == dispy.DispyJob.Finished:
        with lock:
            done.append((job.result[1] == node.name, job.id == f"job {job.result[0]}"))
            if len(done) == total:
                over.set()
        next_job(node)
    elif status == dispy.DispyNode.Closed:
        closed.append(node.name)
    told.append(status)


if __name__ == "__main__":
    total, lock, ready, over = 12, threading.Lock(), threading.Event(), threading.Event()
    submitted, done, closed, told, infos = [], [], [], [], []
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:], cluster_status=cluster_status, pulse_interval=0.2)
    ready.set()
    print("all in time", over.wait(30))
    print("jobs on their nodes", done.count((True, True)))
    for node in sorted(cluster.status().nodes, key=lambda node: node.name):
        print(node.name, node.cpus, node.busy, node.jobs_done > 0, node.tx > 0, node.rx > 0, node.cpu_time > 0)
        print("jobs there", cluster.node_jobs(node.name))
    for info in infos + [node.avail_info for node in cluster.status().nodes]:
        print("free", 0 <= info.cpu <= 100 and info.memory > 0 and info.disk > 0 and 0 <= info.swap <= 100)
    cluster.close()
    cluster.close()
    print("pending", cluster.status().jobs_pending)
    for name in ("Created", "Running", "Finished"):
        print(name, told.count(getattr(dispy.DispyJob, name)))
    print("closed", sorted(closed))
