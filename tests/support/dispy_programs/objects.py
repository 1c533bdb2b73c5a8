"""Objects of the program's own classes as arguments and results, functions and classes in `depends`, methods."""
# ruff: noqa: UP031

import functools
import sys

import gdispy as dispy


class C:
    def __init__(self, i, n):
        self.i = i
        self.n = n
        self.link = open(sys.argv[0])

    def __getstate__(self):
        return {"i": self.i, "n": self.n}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.came = True

    def show(self):
        return "%s: %.2f" % (self.i, self.n)


class D(C):
    def show(self):
        return "D " + super().show()


class Worker:
    factor = 3

    def method(self, n):
        return self.factor * n


def add(a, b=1):
    return a + b


def compute(obj):
    if not isinstance(obj, C) or hasattr(obj, "link"):
        return None
    obj.i = add(obj.i)
    print(obj.show())
    return obj


if __name__ == "__main__":
    cluster = dispy.JobCluster(compute, nodes=sys.argv[1:], depends=[C, D, functools.partial(add, 1)])
    jobs = [cluster.submit((C, D)[i % 2](i, i / 2.0)) for i in range(4)]
    for job in jobs:
        obj = job()
        print(type(obj).__name__, isinstance(obj, C), obj.i, obj.came, job.stdout.strip(), job < jobs[-1])
    cluster.close()
    with dispy.JobCluster(Worker().method, nodes=sys.argv[1:], depends=[Worker]) as cluster:
        print([cluster.submit(n)() for n in range(3)], cluster.name)
    with dispy.JobCluster(lambda n: n + len(sys.argv[0:1]), nodes=sys.argv[1:]) as cluster:
        print(cluster.submit(1)())
