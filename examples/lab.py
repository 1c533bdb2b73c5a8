"""Several machines of a lab: their nodes, free resources, and work.

    python examples/lab.py                            a node on this machine
    python examples/lab.py 'node*' '192.168.3.*'      nodes found by broadcast
    python examples/lab.py node1 node2:51400          named nodes; one on a port
    python examples/lab.py --secret-file lab.key n1   with the lab's secret

On each machine: gdispy-node --secret-file lab.key
"""

import argparse
import socket

import gdispy


def where(number: int) -> str:
    return f"{number} on {socket.gethostname()}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("nodes", nargs="*", default=["local"])
    parser.add_argument("--secret-file", default="")
    options = parser.parse_args()
    with gdispy.JobCluster(
        where,
        nodes=options.nodes,
        secret_file=options.secret_file,
        pulse_interval=5.0,  # A node that is silent for 30 seconds is lost,
        reentrant=True,  # and its jobs, which may run twice, run elsewhere.
    ) as cluster:
        jobs = [cluster.submit(number) for number in range(20)]
        for job in cluster.as_completed(jobs, timeout=60):
            print(job.result, "at", job.ip_addr)
        for node in cluster.status().nodes:
            free = ""
            if node.avail_info is not None:
                free = f", {node.avail_info.memory >> 20} MiB of memory free"
            place = f"{node.ip_addr}:{node.port}"
            print(f"{node.name} at {place} has {node.cpus} CPUs{free}")
        for problem in cluster.status().problems:
            print("problem:", problem)


if __name__ == "__main__":
    main()
