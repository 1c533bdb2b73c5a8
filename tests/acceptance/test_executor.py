"""`gdispy.Executor` as programs use it: CPython's own tests, libraries that take an executor, and ends of programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "tests" / "support" / "cpython_executor.py"
#: Tests of CPython 3.13 that are run at least.
LEAST = 51

HEAD = """
import asyncio, os, signal, sys, threading, time
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
import gdispy

def square(number):
    return number * number

def touch(path):
    open(path, "x").close()

def say_later(word, seconds=1.0):
    time.sleep(seconds)
    touch(word)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs a program in a directory of its own; what it prints."""

    def run_program(program: str, code: int = 0, error: str = "") -> str:
        path = tmp_path / "program.py"
        path.write_text(HEAD + program)
        command = [sys.executable, "-W", "error", str(path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert error in done.stderr if error else not done.stderr, done.stderr
        return done.stdout.strip()

    return run_program


@pytest.mark.timeout(300)
def test_cpythons_own_tests_of_executors_pass(python_of: Callable[[int], str], tmp_path: Path) -> None:
    command, environment = [python_of(13), str(SUITES)], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, env=environment)
    assert '{"run"' in done.stdout, done.stderr[-5000:]
    told = json.loads(done.stdout[done.stdout.index('{"run"') :])  # Some tests print before it.
    assert told["bad"] == [] and told["run"] >= LEAST


# What CPython's tests ask of programs, which import the executor from concurrent.futures there


def test_program_that_ends_waits_for_its_calls(run: Callable[..., str], tmp_path: Path) -> None:
    run(
        "executor = gdispy.Executor(5); executor.submit(say_later, os.path.abspath('apple'))",
        error="waiting for 1 job",
    )
    assert (tmp_path / "apple").exists()


def test_program_that_ends_after_a_shutdown_without_waiting_waits_for_its_calls(
    run: Callable[..., str], tmp_path: Path
) -> None:
    run("""
executor = gdispy.Executor(max_workers=3)
executor.submit(say_later, os.path.abspath("apple"))
executor.shutdown(wait=False)
""")
    assert (tmp_path / "apple").exists()


def test_calls_are_refused_when_the_program_has_ended(run: Callable[..., str]) -> None:
    program = """
import atexit

@atexit.register
def run_last():
    try:
        executor.submit(id, None)
    except RuntimeError as error:
        print(error)

executor = gdispy.Executor()
executor.submit(square, 3).result()
executor.shutdown()
"""
    assert run(program) == "cannot schedule new futures after shutdown"


def test_nothing_is_left_after_the_shutdown(run: Callable[..., str]) -> None:
    program = """
def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()

with gdispy.Executor() as executor:
    assert list(executor.map(square, range(100))) == [number * number for number in range(100)]
    assert children()
print(children(), [each.name for each in threading.enumerate() if not each.daemon])
"""
    assert run(program) == "[] ['MainThread']"


def test_shutdown_cancels_the_calls_that_have_not_begun(run: Callable[..., str]) -> None:
    program = """
executor = gdispy.Executor(2)
first = executor.submit(time.sleep, 1.0)
while not first.running():
    time.sleep(0.01)
others = [executor.submit(time.sleep, 0.1) for _ in range(50)]
executor.shutdown(cancel_futures=True)
ended = [future for future in others if not future.cancelled()]
print(first.result(), len(ended) <= 1, all(future.exception() is None for future in ended))
"""
    assert run(program) == "None True True"


def test_initializer_that_fails_breaks_the_executor(run: Callable[..., str]) -> None:
    program = """
def fail(word):
    raise ValueError(word)

executor = gdispy.Executor(initializer=fail, initargs=("error in initializer",))
future = executor.submit(square, 2)
error = future.exception()
print(isinstance(error, BrokenProcessPool), "ValueError: error in initializer" in str(error))
try:
    executor.submit(square, 2)
except BrokenProcessPool as error:
    print("ValueError: error in initializer" in str(error))
executor.shutdown()
"""
    assert run(program) == "True True\nTrue"


def test_what_the_initializer_changes_is_there_in_all_calls(run: Callable[..., str]) -> None:
    program = """
word = None

def begin(value):
    global word
    word = value
    os.environ["WORD"] = value

def look(_):
    return word, os.environ.get("WORD")

with gdispy.Executor(initializer=begin, initargs=("set",)) as executor:
    print(set(executor.map(look, range(50), chunksize=1)))
"""
    assert run(program) == "{('set', 'set')}"


# Futures


def test_exceptions_are_those_that_were_raised_with_the_remote_traceback(run: Callable[..., str]) -> None:
    program = """
class Own(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code
    def __reduce__(self):
        return Own, (self.code,)

def fail():
    raise Own(7)  # the line

with gdispy.Executor() as executor:
    for failing in (executor.submit(fail).result, lambda: list(executor.map(lambda _: fail(), [1]))):
        try:
            failing()
        except Own as error:
            print(error.code, type(error.__cause__).__name__, "raise Own(7)  # the line" in str(error.__cause__))
"""
    assert run(program) == "7 RemoteTraceback True\n7 RemoteTraceback True"


def test_large_exceptions_and_those_that_cannot_be_unpickled(run: Callable[..., str]) -> None:
    program = """
class Keyword(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")

def fail(size):
    raise ValueError("x" * size)

def fail_by_keyword():
    raise Keyword(code=3)

with gdispy.Executor() as executor:
    print([len(str(executor.submit(fail, size).exception())) for size in (10, 100_000, 5_000_000)])
    error = executor.submit(fail_by_keyword).exception()
    print(type(error).__name__, error, isinstance(error, Keyword))
"""
    assert run(program) == "[10, 100000, 5000000]\nKeyword code 3 False"


def test_call_whose_process_dies_breaks_nothing_else(run: Callable[..., str]) -> None:
    program = """
def die():
    os.kill(os.getpid(), signal.SIGKILL)

with gdispy.Executor() as executor:
    futures = [executor.submit(square, 2), executor.submit(die), executor.submit(square, 3)]
    error = futures[1].exception()
    print(futures[0].result(), futures[2].result(), isinstance(error, BrokenProcessPool), type(error).__name__)
    print("signal 9" in str(error), executor.submit(square, 4).result())
"""
    assert run(program) == "4 9 True WorkerDied\nTrue 16"


def test_call_is_cancelled_before_it_runs_and_stopped_while_it_runs(run: Callable[..., str]) -> None:
    program = """
with gdispy.Executor(max_workers=1) as executor:
    list(executor.map(square, range(2000)))  # Short calls: the following are sent to the node ahead.
    first = executor.submit(time.sleep, 30)
    later = [executor.submit(touch, "never") for _ in range(20)]
    while not first.running():
        time.sleep(0.01)
    print(first.cancel(), first.running(), {future.cancel() for future in later})
    first.stop()
    try:
        first.result(10)
    except CancelledError:
        print(first.cancelled(), {future.cancelled() for future in later}, os.path.exists("never"))
"""
    assert run(program) == "False True {True}\nTrue {True} False"


def test_options_of_calls(run: Callable[..., str]) -> None:
    program = """
def fail_once(path):
    if not os.path.exists(path):
        touch(path)
        raise OSError("the first time")
    return "the second time"

here = os.getcwd()
with gdispy.Executor() as executor:
    error = executor.options(timeout=0.3).submit(time.sleep, 30).exception()
    print(isinstance(error, TimeoutError), error)
    print(executor.options(retries=1).submit(fail_once, here + "/a").result())
    print(list(executor.options(retries=1).map(fail_once, [here + "/b", here + "/c"])))
    print(type(executor.options(retries=2).submit(square, None).exception()).__name__)
    for options in ({"cpus": 0}, {"retries": -1}, {"timeout": "soon"}):
        try:
            executor.options(**options)
        except ValueError as error:
            print(error)
"""
    assert run(program).splitlines() == [
        "True The call took longer than its limit of 0.3 s and was terminated.",
        "the second time",
        "['the second time', 'the second time']",
        "TypeError",
        "cpus must be a whole number from 1 to 65536, not 0",
        "retries must be a whole number of at least 0, not -1",
        "timeout must be a number from 0.001 to 1e+09, not 'soon'",
    ]


def test_keywords_are_those_of_the_function(run: Callable[..., str]) -> None:
    program = """
with gdispy.Executor() as executor:
    print(executor.submit(dict, self=1, fn=2, number=3, dispy_timeout=4, args=5).result())
"""
    assert run(program) == "{'self': 1, 'fn': 2, 'number': 3, 'dispy_timeout': 4, 'args': 5}"


def test_functions_are_sent_once_and_other_callables_as_they_are(run: Callable[..., str]) -> None:
    program = """
import functools

class Adds:
    def __init__(self, number):
        self.number = number
    def __call__(self, other):
        return self.number + other
    def plus(self, other):
        return self.number + other
    def is_own(self, other):
        return isinstance(other, Adds)

def outer(base):
    return lambda number: base + number

with gdispy.Executor() as executor:
    adds = Adds(1)
    print(executor.submit(adds, 1).result(), executor.submit(adds.plus, 1).result())
    adds.number = 10
    print(executor.submit(adds, 1).result(), executor.submit(adds.plus, 1).result())
    inner = outer(100)
    print([executor.submit(inner, number).result() for number in range(4)])
    print(executor.submit(functools.partial(pow, 2), 5).result(), executor.submit(adds.is_own, adds).result())
    print([executor.submit(lambda: number).result() for number in range(5)])
"""
    assert run(program) == "2 2\n11 11\n[100, 101, 102, 103]\n32 True\n[0, 1, 2, 3, 4]"


def test_function_is_sent_again_when_a_global_variable_that_it_uses_has_another_value(run: Callable[..., str]) -> None:
    program = """
factor = 2

def helper(number):
    return factor * number

def times(number):
    return helper(number)

with gdispy.Executor() as executor:
    print([executor.submit(times, 10).result() for _ in range(3)])
    factor = 3
    print(executor.submit(times, 10).result())
    def helper(number):
        return number - factor
    print(executor.submit(times, 10).result())
    for factor in range(200):
        assert executor.submit(times, 10).result() == 10 - factor
"""
    assert run(program) == "[20, 20, 20]\n30\n7"


def test_modules_of_the_program_that_a_function_imports_are_sent_with_it(
    run: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def double(number):\n    return 2 * number\n")
    program = """
def doubled(number):
    import helper
    return helper.double(number)

with gdispy.Executor() as executor:
    print(executor.submit(doubled, 4).result())
"""
    assert run(program) == "8"


# Maps


def test_map_reads_no_further_ahead_than_it_is_allowed_and_stops_when_it_is_dropped(run: Callable[..., str]) -> None:
    program = """
read = []

def numbers():
    number = 0
    while True:
        read.append(number)
        yield number
        number += 1

with gdispy.Executor() as executor:
    results = executor.map(square, numbers(), buffersize=8)
    print([next(results) for _ in range(20)] == [number * number for number in range(20)], len(read) <= 29)
    del results
    before = len(read)
    print(executor.submit(square, 5).result(), len(read) == before)
"""
    assert run(program) == "True True\n25 True"


def test_map_whose_results_nobody_wants_runs_all_the_same(run: Callable[..., str], tmp_path: Path) -> None:
    run("""
with gdispy.Executor() as executor:
    executor.map(touch, [os.path.abspath(f"file{number}") for number in range(10)])
""")
    assert len(list(tmp_path.glob("file*"))) == 10


def test_results_of_a_map_are_there_after_the_executor_is_shut_down(run: Callable[..., str]) -> None:
    program = """
def sometimes_slow(number):
    time.sleep(0.3 if number % 50 == 7 else 0)
    return number

with gdispy.Executor(2) as executor:
    many, few = executor.map(square, range(50_000)), executor.map(sometimes_slow, range(200))
    first = next(many)
print([first, *many] == [number * number for number in range(50_000)], list(few) == list(range(200)))
"""
    assert run(program) == "True True"


def test_map_ends_with_the_first_exception_and_with_its_time_limit(run: Callable[..., str]) -> None:
    program = """
with gdispy.Executor() as executor:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    print(next(results), next(results))
    try:
        next(results)
    except ZeroDivisionError:
        print(list(results))
    try:
        list(executor.map(time.sleep, [0, 0, 3], timeout=0.5))
    except TimeoutError:
        print("too late")
"""
    assert run(program) == "(0, 1) (0, 1)\n[]\ntoo late"


# Wrong use


def test_wrong_arguments_are_refused_at_once_in_the_words_of_the_user(run: Callable[..., str]) -> None:
    program = """
def told(call):
    try:
        call()
    except (TypeError, ValueError) as error:
        print(error)

for arguments in (([],), ("4",), (1.5,), (0,)):
    told(lambda: gdispy.Executor(*arguments))
for options in ({"nodes": 2, "max_workers": 3}, {"initargs": 5}, {"mp_context": None}, {"callback": print}):
    told(lambda: gdispy.Executor(**options))
with gdispy.Executor(None) as executor:
    for options in ({"timeout": "x"}, {"chunksize": 0}, {"chunksize": None}, {"buffersize": 0}):
        told(lambda: executor.map(square, [1], **options))
    if os.fork() == 0:
        try:
            executor.submit(square, 3)
        except gdispy.ForkedError:
            print("forked", flush=True)
        os._exit(0)
    os.wait()
"""
    assert run(program).splitlines() == [
        "nodes is empty: name hosts, or leave it out for this machine",
        "nodes='4' would be a host of that name: give the number of workers as a number",
        "max_workers must be a whole number, not 1.5",
        "max_workers must be greater than 0",
        "the number of workers is given twice: 2, and max_workers=3",
        "initargs must be a tuple, not int",
        "an Executor has no parameter mp_context: workers are forked by the node",
        "an Executor has no parameter callback: use add_done_callback of the futures",
        "timeout must be a number of seconds, or None, not str",
        "chunksize must be >= 1.",
        "chunksize must be 'auto' or a whole number of at least 1, not None",
        "buffersize must be None or > 0",
        "forked",
    ]


# Libraries that take an executor


def test_asyncio_runs_calls_on_nodes(run: Callable[..., str]) -> None:
    program = """
async def main():
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(executor, square, number) for number in range(5)]
    wrapped = asyncio.wrap_future(executor.submit(square, 9))
    return await asyncio.gather(*calls, wrapped)

with gdispy.Executor() as executor:
    print(asyncio.run(main()))
"""
    assert run(program) == "[0, 1, 4, 9, 16, 81]"


def test_emcee_takes_an_executor_as_its_pool(run: Callable[..., str]) -> None:
    program = """
import emcee, numpy

def log_probability(position):
    return -0.5 * float((position**2).sum())

with gdispy.Executor() as executor:
    begin = numpy.random.default_rng(0).normal(size=(10, 2))
    def chain(pool):
        sampler = emcee.EnsembleSampler(10, 2, log_probability, pool=pool)
        sampler.random_state = numpy.random.RandomState(1).get_state()
        sampler.run_mcmc(begin, 20)
        return sampler.get_chain()
    print((chain(executor) == chain(None)).all())
"""
    assert run(program) == "True"


def test_scipy_takes_the_map_of_an_executor_as_its_workers(run: Callable[..., str]) -> None:
    program = """
from scipy.optimize import differential_evolution, rosen

with gdispy.Executor() as executor:
    options = {"updating": "deferred", "rng": 1, "maxiter": 10, "polish": False}
    def found(workers):
        return differential_evolution(rosen, [(-2, 2)] * 2, workers=workers, **options).x.tolist()
    print(found(executor.map) == found(1))
"""
    assert run(program) == "True"


def test_tqdm_shows_the_progress_of_a_map(run: Callable[..., str]) -> None:
    program = """
from tqdm import tqdm

with gdispy.Executor() as executor:
    print(sum(tqdm(executor.map(square, range(100)), total=100)))
"""
    assert run(program, error="100/100") == "328350"
