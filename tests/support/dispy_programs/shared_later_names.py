"""Parameters of SharedJobCluster in dispy 4 by their names, and those that it does not have. argv: HOST PORT."""

import os
import sys

import gdispy as dispy


def compute(n):
    return n * factor + len(open("helper.txt").read()) if os.getcwd() == dispy_job_path else None


def prepare():
    global factor
    factor = 10
    return 0


if __name__ == "__main__":
    host, port = sys.argv[1], int(sys.argv[2])
    open("helper.txt", "w").write("two")
    told = []
    with dispy.SharedJobCluster(
        compute,
        nodes=["*"],
        depends=["helper.txt"],
        job_status=lambda job: told.append(job.id),
        cluster_status=lambda status, node, job: None,
        host="127.0.0.1",
        client_port=0,
        scheduler_host=host,
        scheduler_port=port,
        ext_host=None,
        dest_path="shared",
        loglevel=dispy.logger.WARNING,
        setup=prepare,
        cleanup=False,
        poll_interval=30,
        reentrant=True,
        exclusive=True,
        secret="",
        keyfile=None,
        certfile=None,
        recover_file="recover",
    ) as cluster:
        job = cluster.submit_job_id(7, 5)
        print(job(), job.id, cluster.name, os.path.exists("recover"))
        cluster.wait()
    print(told, os.path.exists("recover"))
    # Where no host is given, the scheduler is on this one.
    with dispy.SharedJobCluster(len, scheduler_port=port, port=0) as cluster:
        print(cluster.submit("here")())
    for name in ("ipv4_udp_multicast",):
        try:
            dispy.SharedJobCluster(len, scheduler_node=host, scheduler_port=port, **{name: True})
        except (TypeError, ValueError) as error:
            print(type(error).__name__, error)
