"""Every parameter of dispy 4 by its name, on a cluster in a `with` block that fails."""

import sys

import gdispy as dispy


def compute(n):
    return n


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    told = []
    depends = []
    try:
        with dispy.JobCluster(
            compute,
            nodes=[{"host": host, "port": int(port), "cpus": 1}],
            depends=depends,
            job_status=lambda job: told.append(job.id),
            cluster_status=lambda status, node, job: None,
            host="127.0.0.1",
            dispy_port=19700,
            ext_host=None,
            ipv4_udp_multicast=False,
            dest_path="later",
            loglevel=dispy.logger.WARNING,
            setup=None,
            cleanup=False,
            ping_interval=10,
            pulse_interval=1.5,
            poll_interval=30,
            reentrant=True,
            secret="",
            keyfile=None,
            certfile=None,
            recover_file=None,
        ) as cluster:
            job = cluster.submit_job_id(7, 5)
            print(job(), job.id, cluster.name)
            cluster()
            print([(node.ip_addr, node.cpus) for node in cluster.status().nodes], cluster.status().jobs_pending)
            raise RuntimeError("of the program")
    except RuntimeError as error:
        print("not swallowed:", error, depends)
