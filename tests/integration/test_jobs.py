"""What comes of a job: results, output, exceptions, and every way to die."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gdispy import ClusterClosed, DispyJob, JobCluster
from tests.support.daemons import Daemon

Make = Callable[..., JobCluster]


def square(number: int, plus: int = 0) -> int:
    return number * number + plus


def talk() -> str:
    import subprocess

    print("from python")
    print("to stderr", file=sys.stderr)
    os.write(1, b"from os.write\n")
    subprocess.run(["echo", "from a child"], check=True)
    return "done"


def fail(text: str) -> None:
    print("before")
    raise ValueError(text)


def end_by(how: str) -> None:
    import ctypes
    import signal

    if how == "sys.exit":
        sys.exit(3)
    if how == "os._exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "stack":
        # On the C stack: some versions of Python catch that, others fall over it.
        sys.setrecursionlimit(10**9)
        nested: list[Any] = []
        for _ in range(10**6):
            nested = [nested]
        repr(nested)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "close all":  # As C code does it.
        ctypes.CDLL(None).close_range(0, 100, 0)
    if how == "close standard":
        os.closerange(0, 3)


def test_results_come_back_in_the_order_of_the_jobs(cluster: Make) -> None:
    made = cluster(square)
    jobs = [made.submit(number, plus=1) for number in range(100)]
    assert [job() for job in jobs] == [number * number + 1 for number in range(100)]
    job = jobs[7]
    assert job.status == DispyJob.Finished
    assert job.exception is None and job.stdout == "" and job.stderr == ""
    assert job.ip_addr == "127.0.0.1"
    assert job.submit_time <= job.start_time <= job.end_time


def test_output_is_caught_from_python_from_c_and_from_children(cluster: Make) -> None:
    job = cluster(talk).submit()
    assert job() == "done"
    assert sorted(job.stdout.splitlines()) == ["from a child", "from os.write", "from python"]
    assert job.stderr == "to stderr\n"


def test_an_exception_is_told_with_the_users_frames_only(cluster: Make) -> None:
    job = cluster(fail).submit("wrong number")
    assert job() is None
    assert job.status == DispyJob.Terminated
    assert "ValueError: wrong number" in job.exception
    assert "in fail" in job.exception and "runner.py" not in job.exception
    assert job.stdout == "before\n"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("sys.exit", "SystemExit: 3"),
        ("os._exit", "exit code 3"),
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("kill", "SIGKILL"),
        ("stack", ""),
        ("close all", "did the job close files that it had not opened?"),
        ("interrupt", "KeyboardInterrupt\n"),
    ],
)
def test_every_end_of_a_process_is_told_and_the_next_job_runs(cluster: Make, how: str, told: str) -> None:
    made = cluster(end_by)
    first = made.submit(how)
    assert first.wait(10), "no final status"
    assert first.status == DispyJob.Terminated
    assert told in first.exception
    assert "cancelled" not in first.exception
    second = made.submit("nothing")
    assert second.wait(10) and second.status == DispyJob.Finished


def test_a_job_that_closes_its_standard_descriptors_does_no_harm_to_the_next(cluster: Make) -> None:
    made = cluster(lambda how, act=end_by: (act(how), print(how))[1], isolation="")
    jobs = [made.submit("close standard") for _ in range(4)] + [made.submit("words") for _ in range(4)]
    made.wait(20)
    assert [job.stdout for job in jobs[4:]] == ["words\n"] * 4


def test_cause_of_death_is_there_within_a_second(cluster: Make) -> None:
    made = cluster(end_by)
    made.submit("nothing")()
    job = made.submit("kill")
    assert job.wait(1.0)
    assert "SIGKILL" in job.exception


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("will not be pickled")


class LoadsBadly:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_results_that_cannot_travel_end_the_job_with_a_reason(cluster: Make) -> None:
    made = cluster(lambda kind: Stubborn() if kind == "reduce" else (n for n in ()))
    for kind in ("reduce", "generator"):
        job = made.submit(kind)
        assert job.wait(10) and job.result is None
        assert job.status == DispyJob.Terminated
        assert "cannot be pickled" in job.exception


def test_a_result_that_fails_to_load_is_that_jobs_error_only(cluster: Make) -> None:
    made = cluster(lambda good: good if good else LoadsBadly())
    bad, good = made.submit(0), made.submit(5)
    assert good() == 5
    assert bad() is None
    assert bad.status == DispyJob.Terminated
    assert "cannot be unpickled" in bad.exception


def test_arguments_that_cannot_travel_are_refused_at_submit(cluster: Make) -> None:
    made = cluster(square)
    with pytest.raises(TypeError, match="cannot be pickled"):
        made.submit(n for n in ())
    assert made.submit(3)() == 9


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def moved(self, by: int) -> Point:
        return Point(self.x + by)


def test_lambdas_closures_partials_and_methods_run(cluster: Make) -> None:
    offset = 40
    assert cluster(lambda n: n + offset).submit(2)() == 42
    assert cluster(functools.partial(square, plus=6)).submit(6)() == 42
    result = cluster(Point(40).moved).submit(2)()
    assert isinstance(result, Point) and result.x == 42


def test_large_arguments_and_results_arrive_whole(cluster: Make) -> None:
    made = cluster(lambda data: data[::-1])
    data = os.urandom(9_000_000)
    small = [made.submit(b"ab") for _ in range(10)]
    large = made.submit(data)
    assert large() == data[::-1]
    assert [job() for job in small] == [b"ba"] * 10


def test_arrays_arrive_and_may_be_changed(cluster: Make) -> None:
    numpy = pytest.importorskip("numpy")

    def double(array: Any) -> Any:
        array *= 2
        return array

    result = cluster(double).submit(numpy.arange(100_000.0))()
    assert (result == 2 * numpy.arange(100_000.0)).all()
    result[0] = 1.0


def test_provisional_results_come_in_order_and_before_the_end(cluster: Make) -> None:
    seen: list[tuple[int, Any]] = []
    told = threading.Event()

    def count_up(to: int) -> str:
        for number in range(to):
            dispy_provisional_result(number)  # type: ignore[name-defined]
        return "end"

    def callback(job: DispyJob) -> None:
        seen.append((job.status, job.result))
        if job.status == DispyJob.Finished:
            told.set()

    job = cluster(count_up, callback=callback).submit(5)
    assert job() == "end"
    assert told.wait(10)
    assert seen == [(DispyJob.ProvisionalResult, n) for n in range(5)] + [(DispyJob.Finished, "end")]


def test_a_callback_that_fails_exits_or_blocks_holds_nobody_up(cluster: Make, caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    release = threading.Event()

    def callback(job: DispyJob) -> None:
        if job.result == 0:
            raise RuntimeError("bad callback")
        if job.result == 1:
            sys.exit(3)
        if job.result == 4:
            release.wait(60)
        done.append(job.result)
        if len(done) == 2:
            release.set()

    made = cluster(square, callback=callback)
    jobs = [made.submit(n) for n in (0, 1, 2, 3, 4)]
    assert [job() for job in jobs] == [0, 1, 4, 9, 16]
    assert release.wait(20), "the callbacks behind the one that blocks were not called"
    assert "bad callback" in caplog.text


def test_wait_returns_at_once_without_jobs_and_false_when_time_is_up(cluster: Make) -> None:
    made = cluster(lambda: __import__("time").sleep(30))
    assert made.wait()
    made.submit()
    assert not made.wait(0.2)


def test_psutil_is_there_without_import(cluster: Make) -> None:
    made = cluster(eval("lambda: psutil.Process().pid == os.getpid()", {}))
    job = made.submit()
    assert job() is True, job.exception


def test_names_that_dispy_gives_are_there_without_import(cluster: Make) -> None:
    def names() -> Any:
        return (
            dispy_node_name,  # type: ignore[name-defined]
            dispy_node_ip_addr,  # type: ignore[name-defined]
            os.getcwd() == dispy_job_path,  # type: ignore[name-defined]
            socket.AF_INET,  # type: ignore[name-defined]  # noqa: F821
            time.time() > 0,  # type: ignore[name-defined]  # noqa: F821
        )

    name, address, same, _, _ = cluster(names).submit()()
    assert name and address == "127.0.0.1" and same


def test_a_closed_cluster_takes_no_jobs_and_closing_twice_is_harmless(cluster: Make) -> None:
    made = cluster(square)
    assert made.submit(2)() == 4
    assert made.close() is True
    assert made.close() is None
    with pytest.raises(ClusterClosed):
        made.submit(1)


def test_an_exception_in_the_block_propagates(node: Daemon, secret_file: str) -> None:
    with pytest.raises(ZeroDivisionError), JobCluster(square, nodes=[node.place], secret_file=secret_file) as made:
        made.submit(2)
        raise ZeroDivisionError


def test_several_clusters_share_the_node(cluster: Make) -> None:
    first, second = cluster(square), cluster(lambda n: -n)
    jobs = [(first.submit(n), second.submit(n)) for n in range(20)]
    assert [(a(), b()) for a, b in jobs] == [(n * n, -n) for n in range(20)]


def test_jobs_wait_for_no_node_and_all_run_when_one_comes(start_node: Any, secret_file: str) -> None:
    first = start_node("--cpus", "1")
    place = first.place
    first.stop()
    with JobCluster(square, nodes=[place], secret_file=secret_file) as made:
        jobs = [made.submit(n) for n in range(5)]
        start_node("--cpus", "1", "-p", str(place[1]))
        assert [job() for job in jobs] == [n * n for n in range(5)]


@pytest.mark.parametrize("size", [2_000_000, 50_000_000])
def test_of_the_text_of_a_large_exception_the_first_and_last_parts_arrive(cluster: Make, size: int) -> None:
    made = cluster(fail)
    job = made.submit("begin " + "x" * size + " end")
    assert job() is None and job.status == DispyJob.Terminated
    assert "ValueError: begin xxx" in job.exception and job.exception.endswith("xxx end\n")
    assert "of which the middle was left out" in job.exception and len(job.exception) <= 1 << 20
    job = made.submit("short")
    assert job() is None and job.exception.endswith("ValueError: short\n")


def test_a_setup_may_fail_with_any_text(cluster: Make) -> None:
    def setup() -> int:
        raise ValueError("no data in " + os.fsdecode(b"caf\xe9.csv") + " " * 100_000 + "end")

    job = cluster(abs, setup=setup).submit(1)
    assert job.wait(20)
    assert "ValueError: no data in caf\\udce9.csv" in job.exception and job.exception.endswith("end\n")
