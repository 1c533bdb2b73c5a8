#!/usr/bin/env python3
"""Watch jobs in a browser, and read their state in a program.

    python examples/httpd_example.py [NODE ...]

The same program for dispy differs in its first import only, and in the token.
"""

import json
import sys
import urllib.request

import gdispy as dispy
import gdispy.httpd


def work(n):
    import time

    time.sleep(0.05)
    return n * n


def status(server):
    request = urllib.request.Request(
        server.address + "cluster_status", headers=server.headers
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


if __name__ == "__main__":
    cluster = dispy.JobCluster(work, nodes=sys.argv[1:] or ["local"])
    # Port 0 is any free one; dispy's port is 8181.
    server = gdispy.httpd.DispyHTTPServer(cluster, port=0, poll_sec=1)
    print(f"open {server.address} in a browser, with the token printed above")
    jobs = [cluster.submit(n) for n in range(20)]
    for job in jobs:
        job()
    for each in status(server):
        done, made = each["jobs"]["done"], each["jobs"]["submitted"]
        print(f"{each['name']}: {done} of {made} jobs")
    server.shutdown(wait=False)
    cluster.close()
