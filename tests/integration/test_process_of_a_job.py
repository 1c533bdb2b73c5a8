"""A job's process is its own: what it changes, brings or starts is gone after it, and nobody else answers for it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from tests.support import jobs as jobs_of
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def change_everything() -> int:
    import decimal
    import gc
    import locale
    import logging
    import resource
    import signal
    import socket
    import warnings

    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    os.environ.pop("PATH")
    os.umask(0)
    sys.path.insert(0, "/nowhere")
    sys.path = [*sys.path, "/nor/here"]
    sys.meta_path.append(object())  # type: ignore[arg-type]
    sys.path_hooks.insert(0, lambda path: None)  # type: ignore[arg-type, return-value]
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("of this job").setLevel(7)
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, 1000)
    signal.alarm(1000)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    warnings.simplefilter("error")
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    decimal.getcontext().prec = 3
    gc.disable()
    sys.setrecursionlimit(1234)
    socket.setdefaulttimeout(12)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    return os.getpid()


def look_at_everything() -> tuple[int, dict[str, Any]]:
    import decimal
    import gc
    import locale
    import logging
    import resource
    import signal
    import socket
    import warnings

    umask = os.umask(0)
    os.umask(umask)
    return os.getpid(), {
        "directory": os.getcwd(),
        "environment": sorted(os.environ.items()),
        "child": os.popen("env | sort | grep -v '^_='").read(),
        "umask": umask,
        "path": list(sys.path),
        "meta_path": [type(each).__name__ for each in sys.meta_path],
        "path_hooks": len(sys.path_hooks),
        "handlers": logging.getLogger().handlers,
        "level": logging.getLogger("of this job").level,
        "disabled": logging.root.manager.disable,
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGUSR1, signal.SIGINT)],
        "timers": [signal.getitimer(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "filters": [str(each) for each in warnings.filters],
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": decimal.getcontext().prec,
        "gc": gc.isenabled(),
        "recursion": sys.getrecursionlimit(),
        "timeout": socket.getdefaulttimeout(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }


def test_what_a_job_changes_of_its_process_is_gone_after_it(one: Make) -> None:
    made = one(lambda change, act=change_everything, look=look_at_everything: act() if change else look())
    first, before = made.submit(False)()
    assert made.submit(True)() == first
    second, after = made.submit(False)()
    assert second == first
    assert after == before


def test_so_it_is_between_the_calls_of_a_map(one: Make) -> None:
    made = one(lambda n: (os.environ.get("LAST"), os.environ.update(LAST=str(n)))[0])
    assert list(made.map(range(50))) == [None] * 50


def test_all_that_a_call_of_a_map_changes_is_gone_before_the_next(one: Make) -> None:
    made = one(lambda change, act=change_everything, look=look_at_everything: act() if change else look())
    first, _, second = made.map([False, True, False], chunksize=3)
    assert first == second


def test_each_call_of_a_map_has_context_variables_of_its_own(one: Make) -> None:
    def work(number: int) -> tuple[str, int]:
        import contextvars
        import decimal

        global OF_CALLS
        if number == 0:
            decimal.getcontext().prec = 4
            OF_CALLS = contextvars.ContextVar("OF_CALLS", default=-1)  # type: ignore[name-defined]
        before = OF_CALLS.get()  # type: ignore[name-defined]
        OF_CALLS.set(number)  # type: ignore[name-defined]
        return str(decimal.Decimal(1) / 7), before

    made = one(work)
    seventh = "0.1428571428571428571428571429"
    assert list(made.map(range(4), chunksize=4)) == [("0.1429", -1), *[(seventh, -1)] * 3]


def test_a_call_after_one_that_changes_what_cannot_be_undone_runs_in_another_process(one: Make) -> None:
    def work(number: int) -> tuple[int, int]:
        before = os.nice(0)
        if number == 1:
            os.nice(3)
        return os.getpid(), before

    (first, usual), *others = list(one(work).map(range(5), chunksize=5))
    assert [nice for _, nice in others] == [usual] * 4
    assert others[0][0] == first and first not in [pid for pid, _ in others[1:]]


def test_what_a_module_changes_when_it_is_imported_stays_with_it(
    one: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "import os, sys, logging\nos.environ['OF_MODULE'] = 'yes'\nsys.path.append('/of/module')\n"
    (tmp_path / "changing.py").write_text(text + "logging.getLogger('m').addHandler(logging.NullHandler())\n")

    def compute() -> tuple[Any, ...]:
        import logging

        import changing  # type: ignore[import-not-found]

        return changing.os.environ["OF_MODULE"], sys.path[-1], len(logging.getLogger("m").handlers)

    made = one(compute, depends=["changing.py"])
    assert [made.submit()() for _ in range(3)] == [("yes", "/of/module", 1)] * 3


def test_what_cannot_be_undone_ends_the_process(one: Make) -> None:
    def work(first: bool) -> tuple[int, int]:
        before = os.nice(0)
        if first:
            os.nice(3)
        return os.getpid(), before

    made = one(work)
    jobs = [made.submit(number == 0) for number in range(3)]
    (first, nice), second, third = [job() for job in jobs]
    assert second[0] != first and second == third and second[1] == nice


def test_handlers_of_logging_are_those_of_one_job(one: Make, tmp_path: Path) -> None:
    def work(number: int, path: str) -> None:
        import logging

        log = logging.getLogger("Upload")
        log.addHandler(logging.FileHandler(path))
        log.warning("job %d", number)

    made = one(work)
    for number in range(5):
        assert made.submit(number, str(tmp_path / "log"))() is None
    assert (tmp_path / "log").read_text() == "".join(f"job {number}\n" for number in range(5))


def test_a_timer_of_a_job_does_not_end_the_next(one: Make) -> None:
    made = one(jobs_of.outlast_a_timer)
    jobs = [made.submit(number) for number in range(3)]
    assert [(job(), job.exception) for job in jobs] == [(0, None), (1, None), (2, None)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def value_of(*names: str) -> list[Any]:
    import importlib

    return [importlib.import_module(name).VALUE for name in names]


def test_a_module_that_comes_with_a_job_is_that_of_this_job(one: Make, here: Path) -> None:
    made = one(value_of)
    for number in range(4):
        # Of the same length, and hardly later: what was compiled of the former one must not be taken for it.
        (here / "params.py").write_text(f"VALUE = {number}\n")
        assert made.submit("params", dispy_job_depends=["params.py"])() == [number]
    job = made.submit("params")
    assert job() is None and "No module named 'params'" in job.exception


def test_a_package_that_comes_with_a_job_is_that_of_this_job(one: Make, here: Path) -> None:
    made = one(value_of)
    (here / "pack" / "deep").mkdir(parents=True)
    files = ["pack/__init__.py", "pack/inner.py", "pack/deep/last.py"]
    for number in range(3):
        for place, path in enumerate(files):
            (here / path).write_text(f"VALUE = {number + 10 * place}\n")
        names = ("pack", "pack.inner", "pack.deep.last")
        assert made.submit(*names, dispy_job_depends=files)() == [number, 10 + number, 20 + number]
    job = made.submit("pack")
    assert job() is None and "No module named 'pack'" in job.exception


def test_an_archive_of_modules_that_comes_with_a_job_is_that_of_this_job(one: Make, here: Path) -> None:
    import zipfile

    def work(name: str) -> int:
        import importlib

        sys.path.insert(0, "archive.zip")
        return int(importlib.import_module(name).VALUE)

    made = one(work)
    for number in range(3):
        with zipfile.ZipFile(here / "archive.zip", "w") as archive:
            archive.writestr("zipped.py", f"VALUE = {number}\n")
        assert made.submit("zipped", dispy_job_depends=["archive.zip"])() == number
    job = made.submit("zipped")
    assert job() is None and "No module named 'zipped'" in job.exception


def test_what_a_job_prints_after_its_standard_output_was_closed_is_lost_and_nothing_else(one: Make) -> None:
    def work(last: int) -> int:
        print("before")
        os.closerange(0, last)
        return last

    made = one(work)
    for last in (3, 1000, 3):
        job = made.submit(last)
        assert job() == last and job.stdout == "before\n", job.exception
    job = made.submit(0)
    assert job() == 0 and job.stdout == "before\n"


def test_descriptors_closed_one_by_one_do_no_harm(one: Make) -> None:
    def work() -> int:
        print("before")
        closed = 0
        for fd in range(300):
            try:
                os.close(fd)
                closed += 1
            except OSError:
                pass
        return closed

    made = one(work)
    for _ in range(2):
        job = made.submit()
        assert job() >= 3 and job.stdout == "before\n"


def tell_from_threads(number: int) -> int:
    def tell(part: int) -> None:
        for place in range(number):
            dispy_provisional_result((part, place, b"x" * 1000))  # type: ignore[name-defined]

    threads = [threading.Thread(target=tell, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number


def tell_from_children(number: int) -> list[int]:
    import multiprocessing

    context = multiprocessing.get_context("fork")

    def tell(part: int) -> None:
        for place in range(number):
            dispy_provisional_result((part, place, b"x" * 1000))  # type: ignore[name-defined]

    processes = [context.Process(target=tell, args=(part,)) for part in (1, 2)]
    for process in processes:
        process.start()
    tell(0)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.parametrize(("function", "result"), [(tell_from_threads, 200), (tell_from_children, [0, 0])])
def test_provisional_results_come_from_threads_and_from_children(
    cluster: Make, function: Callable[..., Any], result: Any
) -> None:
    shown: list[Any] = []
    made = cluster(function, callback=lambda job: shown.append((job.status, job.result)))
    job = made.submit(200)
    assert job() == result, job.exception
    eventually(lambda: len(shown) == 3 * 200 + 1)
    found = [value[:2] for status, value in shown if status == DispyJob.ProvisionalResult]
    assert sorted(found) == [(part, place) for part in range(3) for place in range(200)]
    for part in range(3):
        assert [place for each, place in found if each == part] == list(range(200))


def test_files_come_from_threads_and_from_children(cluster: Make, here: Path) -> None:
    def work() -> list[Any]:
        import multiprocessing
        from concurrent.futures import ThreadPoolExecutor

        def send(name: str) -> int:
            with open(name, "w") as file:
                file.write(name)
            return dispy_send_file(name)  # type: ignore[name-defined, no-any-return]

        process = multiprocessing.get_context("fork").Process(target=send, args=("of a child",))
        process.start()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(send, [f"file {number}" for number in range(20)]))
        process.join()
        return [found, process.exitcode]

    job = cluster(work).submit()
    assert job() == [[0] * 20, 0], job.exception
    names = ["of a child", *(f"file {number}" for number in range(20))]
    assert {name: (here / name).read_text() for name in names} == {name: name for name in names}


@pytest.mark.parametrize("how", ["returns", "exits", "raises"])
def test_a_child_that_comes_back_from_the_function_ends_there(one: Make, how: str) -> None:
    def work(number: int, how: str) -> Any:
        child = os.fork() if number == 0 else -1
        if child == 0:
            if how == "exits":
                sys.exit(3)
            if how == "raises":
                raise ValueError("of the child")
            return "child"
        if child > 0:
            return "parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return number

    code = {"returns": 0, "exits": 3, "raises": 1}[how]
    made = one(work)
    jobs = [made.submit(number, how) for number in range(4)]
    assert [job() for job in jobs] == [("parent", code), 1, 2, 3]
    assert ("ValueError: of the child" in jobs[0].stderr) == (how == "raises")


def test_a_thread_that_a_job_leaves_does_nothing_to_the_next(one: Make) -> None:
    shown: list[Any] = []
    made = one(jobs_of.leave_a_thread, callback=lambda job: shown.append((job.id, job.status)))
    jobs = [made.submit(number) for number in range(3)]
    assert [job() for job in jobs] == [0, 1, 2]
    assert [job.stdout for job in jobs[1:]] == ["job 1\n", "job 2\n"]
    eventually(lambda: [status for _, status in shown].count(DispyJob.Finished) == 3)
    assert {number for number, status in shown if status == DispyJob.ProvisionalResult} == {jobs[0].id}


def test_threads_that_end_with_the_job_do_not_cost_a_process(one: Make) -> None:
    def work() -> int:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(abs, range(10)))
        return os.getpid()

    made = one(work)
    assert len({made.submit()() for _ in range(10)}) == 1


def test_threads_of_a_library_that_wait_for_work_may_stay(one: Make) -> None:
    def work(number: int) -> tuple[int, int]:
        from concurrent.futures import ThreadPoolExecutor

        global POOL
        if number == 0:
            POOL = ThreadPoolExecutor(2)  # type: ignore[name-defined]
        return os.getpid(), POOL.submit(abs, -number).result()  # type: ignore[name-defined]

    made = one(work)
    (first, zero), *others = [made.submit(number)() for number in range(5)]
    assert zero == 0 and others == [(first, number) for number in range(1, 5)]


def test_a_timer_of_threads_that_a_job_leaves_does_not_ring_in_the_next(one: Make) -> None:
    def work(number: int) -> int:
        if number == 0:
            threading.Timer(0.01, print, ["of the timer"]).start()
        threading.Event().wait(0.2 * number)
        return number

    made = one(work)
    jobs = [made.submit(number) for number in range(3)]
    assert [(job(), job.stdout) for job in jobs] == [(0, ""), (1, ""), (2, "")]


def test_threads_of_setup_are_told_since_jobs_do_not_have_them(cluster: Make, caplog: pytest.LogCaptureFixture) -> None:
    def setup() -> int:
        threading.Thread(target=threading.Event().wait, name="my thread", daemon=True).start()
        return 0

    made = cluster(lambda: 1, setup=setup)
    assert made.submit()() == 1
    (problem,) = made.status().problems
    assert "setup has left threads running (my thread), which jobs do not have" in problem
    assert problem in caplog.text


@pytest.mark.parametrize("isolation", ["", "job"])
def test_random_numbers_of_libraries_that_setup_has_used_differ(cluster: Make, isolation: str) -> None:
    pytest.importorskip("numpy")

    def setup() -> int:
        import random

        import numpy

        global GENERATOR, SEEDED
        numpy.random.seed(1)
        random.seed(1)
        GENERATOR, SEEDED = numpy.random.default_rng(), numpy.random.default_rng(7)  # type: ignore[name-defined]
        return 0

    made = cluster(jobs_of.draw, setup=setup, isolation=isolation)
    drawn = [made.submit(number) for number in range(12)]
    assert [len(set(column)) for column in zip(*(job() for job in drawn), strict=True)] == [12, 12, 12, 1]


def test_programs_see_what_setup_has_made(cluster: Make) -> None:
    def setup() -> int:
        global MODE, SIZE, TABLE
        os.environ["IN_ENVIRON"], MODE, SIZE, TABLE = "yes", "fast", 3, [1]  # type: ignore[name-defined]
        return 0

    made = cluster("/bin/sh", setup=setup)
    job = made.submit("-c", "echo $IN_ENVIRON $MODE $SIZE ${TABLE-none}")
    assert job() == 0 and job.stdout == b"yes fast 3 none\n"
