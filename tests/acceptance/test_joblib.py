"""joblib, and scikit-learn with it, on nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.daemons import Daemon

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "tests" / "support" / "joblib_suite.py"
#: Tests of joblib that are run at least.
LEAST = 90

HEAD = """
import sys, time
import joblib, numpy
from joblib import Parallel, delayed, parallel_config
import gdispy.joblib

gdispy.joblib.register()

def square(number):
    return number * number
"""


def run(program: str, directory: Path, *words: str, flags: Sequence[str] = ("-W", "error")) -> str:
    path = directory / "program.py"
    path.write_text(HEAD + program)
    command = [sys.executable, *flags, str(path), *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.timeout(200)
def test_joblibs_own_tests_of_backends_pass(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SUITE], cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-5000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["bad"] == [] and told["passed"] >= LEAST


def test_arrays_are_read_only_on_nodes_and_may_change_between_two_calls(tmp_path: Path) -> None:
    program = """
def look(array, place):
    return float(array[place]), array.flags.writeable

values = numpy.arange(1 << 18, dtype=float)
with parallel_config(backend="gdispy", n_jobs=2):
    print(Parallel()(delayed(look)(values, place) for place in range(3)))
    values += 10
    print(Parallel()(delayed(look)(values, place) for place in range(3)))
    print(Parallel()(delayed(look)(numpy.full(1 << 18, float(number)), 0) for number in range(3)))
    print(Parallel()(delayed(look)(values.reshape(512, 512).T.copy("F").ravel("K"), place) for place in range(3)))
"""
    assert run(program, tmp_path).splitlines() == [
        "[(0.0, False), (1.0, False), (2.0, False)]",
        "[(10.0, False), (11.0, False), (12.0, False)]",
        "[(0.0, False), (1.0, False), (2.0, False)]",
        "[(10.0, False), (11.0, False), (12.0, False)]",
    ]


def test_arrays_of_all_orders_arrive_as_they_are(tmp_path: Path) -> None:
    program = """
def same(given, expected):
    return given.dtype == expected[0] and given.shape == expected[1] and given.flatten()[:5].tolist() == expected[2]

base = numpy.arange(1 << 19).reshape(1024, 512)
arrays = [base, numpy.asfortranarray(base), base[::2], base.astype(">i4"), base.view("datetime64[s]")]
with parallel_config(backend="gdispy", n_jobs=2):
    for array in arrays:
        expected = (array.dtype, array.shape, array.flatten()[:5].tolist())
        print(set(Parallel()(delayed(same)(array, expected) for _ in range(4))))
"""
    assert run(program, tmp_path).splitlines() == ["{True}"] * 5


def test_arrays_inside_of_arguments_are_shared_and_keep_their_identity(tmp_path: Path) -> None:
    program = """
import scipy.sparse

class Holder:
    def __init__(self, array):
        self.array = array

def look(array, other, inside, mapping, holder, sparse):
    same = array is other is inside[0] is mapping["array"] is holder.array
    return same, array.flags.writeable, sparse.data.flags.writeable, float(sparse[3, 0])

array = numpy.arange(1 << 18, dtype=float)
sparse = scipy.sparse.csr_matrix(array.reshape(-1, 2))
with parallel_config(backend="gdispy", n_jobs=2):
    arguments = (array, array, [array], {"array": array}, Holder(array), sparse)
    print(set(Parallel()(delayed(look)(*arguments) for _ in range(4))))
"""
    assert run(program, tmp_path) == "{(True, False, False, 6.0)}"


def test_arrays_of_files_are_those_files(tmp_path: Path) -> None:
    program = """
def write(array, place):
    array[place] = place
    return type(array).__name__

whole = numpy.memmap("numbers", dtype=float, mode="w+", shape=(1000, 200))
with parallel_config(backend="gdispy", n_jobs=2):
    print(set(Parallel()(delayed(write)(whole[500:], place) for place in range(5))))
    print(whole[500:505, 0].tolist())
    read = numpy.memmap("numbers", dtype=float, mode="r", shape=(1000, 200))
    try:
        Parallel()(delayed(write)(read, place) for place in range(5))
    except ValueError as error:
        print(error)
"""
    expected = "{'memmap'}\n[0.0, 1.0, 2.0, 3.0, 4.0]\nassignment destination is read-only"
    assert run(program, tmp_path) == expected


def test_results_that_are_dropped_at_the_end_of_the_program_say_nothing(tmp_path: Path) -> None:
    program = """
options = {"n_jobs": 2, "return_as": "generator", "backend": "gdispy"}
results = Parallel(**options)(delayed(square)(number) for number in range(100))
print(next(results))
"""
    path = tmp_path / "program.py"
    path.write_text(HEAD + program)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "0") and "Traceback" not in done.stderr


def test_batch_for_a_closed_cluster_is_told_to_who_waits_for_its_results_only(tmp_path: Path) -> None:
    program = """
import os

def take(end, number):
    while not os.path.exists(end):
        time.sleep(0.01)
    return number

end = os.path.abspath("end")
with parallel_config(backend="gdispy", n_jobs=2):
    parallel = Parallel(return_as="generator", batch_size=1, pre_dispatch=4)
    results = parallel(delayed(take)(end, number) for number in range(100))
    parallel._backend._executor.cluster._queue.refuse(gdispy.ClusterClosed)
    open(end, "w").close()
    try:
        print(list(results))
    except gdispy.ClusterClosed as error:
        print(error)
"""
    path = tmp_path / "program.py"
    path.write_text(HEAD + program)
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "The cluster is closed and accepts no more jobs."
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("numbers", ["itertools.count()", "range(100_000)"])
def test_program_ends_however_many_calls_are_left(tmp_path: Path, numbers: str) -> None:
    program = f"""
import itertools

def wait(number):
    time.sleep(0.05 if number else 0)
    return number

with parallel_config(backend="gdispy", n_jobs=2):
    results = Parallel(return_as="generator")(delayed(wait)(number) for number in {numbers})
    print(next(results))
"""
    path = tmp_path / "program.py"
    path.write_text(HEAD + program)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0\n") and "Traceback" not in done.stderr, done.stderr


def test_generator_that_is_closed_ends_no_other(tmp_path: Path) -> None:
    program = """
with parallel_config(backend="gdispy", n_jobs=2):
    for close in (True, False):
        first, second = (
            Parallel(return_as="generator")(delayed(square)(number) for number in range(start, start + 30))
            for start in (0, 100)
        )
        print(next(first), next(second))
        if close:
            first.close()
        print(sum(second) == sum(number * number for number in range(101, 130)))
        if not close:
            print(len(list(first)))
"""
    assert run(program.strip(), tmp_path, flags=()).splitlines() == ["0 10000", "True", "0 10000", "True", "29"]


def test_an_exception_ends_the_parallel_and_the_next_one_works(tmp_path: Path) -> None:
    program = """
def fail(number):
    if number == 3:
        raise ValueError("no")
    return number

with parallel_config(backend="gdispy", n_jobs=2):
    try:
        Parallel()(delayed(fail)(number) for number in range(100))
    except ValueError as error:
        print(error, type(error.__cause__).__name__)
    print(Parallel()(delayed(square)(number) for number in range(5)))
"""
    assert run(program, tmp_path) == "no RemoteTraceback\n[0, 1, 4, 9, 16]"


def test_a_grid_search_runs_on_two_nodes(start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path) -> None:
    nodes = [start_node("--cpus", "1", "--name", name) for name in ("one", "two")]
    program = """
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

secret_file, *nodes = sys.argv[1:]
X, y = load_digits(return_X_y=True)
grid = {"C": [1, 10], "gamma": [0.01, 0.001]}
with parallel_config(backend="gdispy", nodes=nodes, secret_file=secret_file):
    print(joblib.effective_n_jobs())
    found = GridSearchCV(SVC(), grid, cv=3).fit(X[:600], y[:600])
    print(found.best_params_ == GridSearchCV(SVC(), grid, cv=3, n_jobs=1).fit(X[:600], y[:600]).best_params_)
    print(len(set(Parallel()(delayed(lambda _: (time.sleep(0.2), dispy_node_name)[1])(number) for number in range(8)))))
"""
    places = [f"{host}:{port}" for host, port in (node.place for node in nodes)]
    assert run(program, tmp_path, secret_file, *places) == "2\nTrue\n2"
