"""A computation that refers to much of its program, for nodes of another version of Python."""
# ruff: noqa: F821, F824

import functools
import sys

import gdispy as dispy

UNIT = "m"
calls = []


def doubled(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return 2 * function(*args, **kwargs)

    return wrapper


@doubled
def area(a, b=2, *, scale=1):
    return a * b * scale


def make_adder(n):
    def add(x):
        return x + n

    return add


class Shape:
    sides = 0

    def __init__(self, name):
        self.name = name

    def describe(self):
        return f"{self.name} with {self.sides} sides"


class Square(Shape):
    sides = 4

    def __init__(self, size=3):
        super().__init__("square")
        self.size = size

    @property
    def area(self):
        return area(self.size, self.size)

    @staticmethod
    def unit():
        return UNIT

    @classmethod
    def of(cls, size):
        return cls(size)


add_five = make_adder(5)
negate = lambda x: -x  # noqa: E731


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def setup(first):
    global table
    table = {"first": first, "version": sys.version_info[:2]}
    return 0


def compute(n, *rest, factor=10, **more):
    calls.append(n)
    square = Square.of(n)
    numbers = [add_five(n), negate(n), factorial(n), area(n), area(n, scale=factor), square.area, sum(rest)]
    match n:
        case 1:
            word = "one"
        case _:
            word = "more"
    print(f"{square.describe()} {square.unit()} {word}", sorted(more))
    time.sleep(0)
    return numbers, table["first"], table["version"] == sys.version_info[:2], calls[-1], sys.version_info[:2]


def with_object(shape):
    return (isinstance(shape, Shape), shape.describe(), shape.area, type(shape)(9))


def call(function, n):
    return function(n)


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    nodes = [(host, int(port), 0, [], ("set",))]
    with dispy.JobCluster(compute, nodes=nodes, setup=setup) as cluster:
        for job in [cluster.submit(1), cluster.submit(4, 1, 2, factor=3, word=5)]:
            print(job(), job.stdout.strip(), job.exception)
    with dispy.JobCluster(make_adder(7), nodes=sys.argv[1:]) as cluster:
        print(cluster.submit(1)(), list(cluster.map([1, 2, 3])))
    with dispy.JobCluster(lambda x, y=3: x * y + Square(2).size, nodes=sys.argv[1:]) as cluster:
        print(cluster.submit(2)())
    with dispy.JobCluster(area, nodes=sys.argv[1:]) as cluster:
        print(cluster.submit(3)(), cluster.submit(3, 3, scale=2)())
    with dispy.JobCluster(functools.partial(area, 5), nodes=sys.argv[1:]) as cluster:
        print(cluster.submit(3)())
    with dispy.JobCluster(Square(6).describe, nodes=sys.argv[1:]) as cluster:
        job = cluster.submit()
        print(job(), job.exception)
    with dispy.JobCluster(with_object, nodes=sys.argv[1:], depends=[Shape, Square]) as cluster:
        job = cluster.submit(Square(6))
        result = job()
        print(result and result[:3], result and isinstance(result[3], Square) and result[3].size, job.exception)
    # No node has heard of this class.
    late = type("Late", (Shape,), {"area": property(lambda self: 5)})
    globals()["Late"] = late
    with dispy.JobCluster(with_object, nodes=sys.argv[1:]) as cluster:
        job = cluster.submit(late("late"))
        print(job() and job.result[:3], job.exception)
    with dispy.JobCluster(make_adder, nodes=sys.argv[1:]) as cluster:
        job = cluster.submit(1)
        print(job() and job.result(1), job.exception)
    with dispy.JobCluster(call, nodes=sys.argv[1:]) as cluster:
        job = cluster.submit(lambda n: n + Square(2).size, 1)
        print(job(), job.exception)
        names = {}
        exec("def made(n):\n    return n", names)
        job = cluster.submit(names["made"], 1)
        print(job(), job.exception)
    with dispy.JobCluster(names["made"], nodes=sys.argv[1:]) as cluster:
        job = cluster.submit(1)
        result = job()
        print(result if job.status == dispy.DispyJob.Finished else " ".join(job.exception.split()))
