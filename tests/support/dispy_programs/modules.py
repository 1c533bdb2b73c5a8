"""Uses what dispy's nodes have imported, without importing it."""
# ruff: noqa: F821

import sys

import gdispy as dispy


def compute():
    used = [os, sys, time, stat, socket, multiprocessing, threading, subprocess, traceback, marshal, tempfile]
    used += [shutil, glob, pickle, io, signal, platform, copy, struct, hashlib, re, errno]
    dispynode_logger.info("this goes into the log of the node")
    print(" ".join(sorted(module.__name__ for module in used)))
    return (__name__, dispy_node_name, dispy_node_ip_addr, os.getcwd() == dispy_job_path, dispynode_shutdown())


def init_depends():
    global prepared
    prepared = "prepared"


def setup():
    global set_up
    set_up = prepared + " and set up"
    return 1


def told():
    return (prepared, set_up)


if __name__ == "__main__":
    with dispy.JobCluster(compute, nodes=sys.argv[1:]) as cluster:
        job = cluster.submit()
        print(job(), job.exception)
        print(job.stdout, end="")
    with dispy.JobCluster(told, nodes=sys.argv[1:], depends=[init_depends], setup=setup) as cluster:
        job = cluster.submit()
        print(job(), job.exception)
