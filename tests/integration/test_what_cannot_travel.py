"""What cannot travel is refused where it is given, by the path that leads to it, with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.case_server import WAYS
from tests.support.daemons import Daemon
from tests.support.forking import Server

#: A program with innocent globals, and one that cannot travel; what it is told of a computation, or of arguments.
PROGRAM = """
import enum, functools, gdispy, socket, sqlite3, sys
connection = sqlite3.connect(":memory:")
FACTOR = 2
class Kind(enum.Enum):
    ONE = 1
def innocent(n): return n * FACTOR
def helper(n): return innocent(n), connection.execute("select 1").fetchall()
def work(n): return helper(innocent(n)), Kind.ONE
def closed(found):
    def inner(): return found
    return inner
def default(n, found=connection): return n
def keyword(n, *, found=connection): return n
class Store:
    connection = connection
    def go(self): return innocent(1)
def of_class(): return Store().go()
class Holder:
    def __init__(self): self.inner = {"deep": [1, connection]}
    def go(self): return self.inner
holder = Holder()
def of_object(): return holder.go()
SETTINGS = {"db": [1, {"main": connection}]}
def of_dict(): return SETTINGS
numbers = (n for n in range(3))
def of_generator(): return next(numbers)
listener = socket.socket()
def of_socket(): return listener
stream = open("/dev/null")
def of_file(): return stream
view = memoryview(bytearray(3))
frame = sys._getframe()
def of_frame(): return frame
@functools.lru_cache
def cached(n): return helper(n)
def around(function):
    @functools.wraps(function)
    def inner(*args): return function(*args)
    return inner
@around
def decorated(n): return helper(n)
def ping(n): return pong(n)
def pong(n): return ping(n), connection
class Meta(type):
    def go(cls): return connection
class Made(metaclass=Meta): pass
def of_metaclass(): return Made.go()
def harmless(*args, **kwargs): return len(args)

def refused(computation, **options):
    try: made = cluster(computation, **options)
    except gdispy.ConfigError as error: return str(error)
    made.close(timeout=0, terminate=True)
    return "it is taken"

def refused_by_submit(*args, **kwargs):
    with cluster(harmless) as made:
        try: made.submit(*args, **kwargs)
        except TypeError as error: return str(error)
    return "it is taken"

def failed(computation):
    with cluster(computation) as made:
        job = made.submit()
        job.wait(15)
        return f"{job.status == job.Terminated} {job.exception}"
"""

#: What is asked -> the path that the answer tells, in that order.
REFUSED = {
    "refused(work)": ["work -> helper -> globals['connection']"],
    "refused(helper)": ["helper -> globals['connection']"],
    "refused(closed(connection))": ["inner", "found"],
    "refused(default)": ["default", "found"],
    "refused(keyword)": ["keyword", "found"],
    "refused(of_class)": ["of_class", "Store", "connection"],
    "refused(of_object)": ["of_object", "holder", "inner", "deep", "1"],
    "refused(of_dict)": ["of_dict", "SETTINGS", "db", "1", "main"],
    "refused(of_generator)": ["of_generator", "numbers", "generator"],
    "refused(of_socket)": ["of_socket", "listener", "socket"],
    "refused(of_file)": ["of_file", "stream", "/dev/null"],
    "refused(of_frame)": ["of_frame", "frame"],
    "refused(cached)": ["cached", "helper", "connection"],
    "refused(decorated)": ["decorated", "helper", "connection"],
    "refused(ping)": ["ping", "pong", "connection"],
    "refused(of_metaclass)": ["of_metaclass", "Made", "Meta", "connection"],
    "refused(functools.partial(innocent, connection))": ["innocent"],
    "refused(holder.go)": ["go", "inner", "deep"],
    "refused(lambda: helper(1))": ["lambda", "helper", "connection"],
    "refused(innocent, setup=work)": ["work", "helper", "connection"],
    "refused(innocent, depends=[helper])": ["helper", "connection"],
    "refused_by_submit(connection)": ["0"],
    "refused_by_submit(1, [2, {'deep': connection}])": ["1", "1", "deep"],
    "refused_by_submit(name=connection)": ["name"],
    "refused_by_submit(holder)": ["0", "inner", "deep", "1"],
    "refused_by_submit(helper)": ["0", "helper", "connection"],
    "refused_by_submit([lambda: helper(1)])": ["0", "lambda", "helper", "connection"],
    "refused_by_submit(Store)": ["0", "Store", "connection"],
    "refused_by_submit({Kind.ONE: numbers})": ["0", "ONE", "generator"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server("tests.support.case_server")
    yield made
    made.end()


def tell(server: Server, node: Daemon, secret_file: str, folder: Path, way: str, expression: str) -> str:
    with server.child("case") as question:
        return str(question(way, str(folder), PROGRAM, expression, [node.place], secret_file))


@pytest.mark.parametrize("expression", REFUSED)
@pytest.mark.parametrize("way", ["main", "module"])
def test_what_cannot_travel_is_refused_with_its_path(
    server: Server, node: Daemon, secret_file: str, tmp_path: Path, way: str, expression: str
) -> None:
    told = tell(server, node, secret_file, tmp_path, way, expression).replace("\\'", "'")
    in_order = ".*".join(map(re.escape, REFUSED[expression]))
    assert re.search(in_order, told, re.DOTALL), told
    assert "sqlite3.Connection" in told or re.search(r"generator|socket|frame|/dev/null", in_order), told
    assert re.search(r"in(side)? the (function|job)", told), told
    # What has nothing to do with it is not blamed.
    assert "FACTOR" not in told and "NameError" not in told


@pytest.mark.parametrize("way", WAYS)
def test_what_travels_is_taken_in_the_same_program(
    server: Server, node: Daemon, secret_file: str, tmp_path: Path, way: str
) -> None:
    expression = "[run(innocent, 2), refused(innocent), refused_by_submit(innocent), run(harmless, Kind.ONE, innocent)]"
    told = tell(server, node, secret_file, tmp_path, way, expression)
    assert told == "[4, 'it is taken', 'it is taken', 2]"


def test_a_result_that_cannot_travel_ends_its_job_with_the_reason(
    server: Server, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    text = PROGRAM + "\ndef gives():\n    import sqlite3\n    return {'deep': [sqlite3.connect(':memory:')]}\n"
    with server.child("case") as question:
        told = question("main", str(tmp_path), text, "failed(gives)", [node.place], secret_file)
    assert re.search(r"True .*sqlite3\.Connection", told, re.DOTALL), told
