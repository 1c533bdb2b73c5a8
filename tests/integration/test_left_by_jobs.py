"""What a job has replaced, written, imported or left open is nothing to the job that follows in the same process."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster

Make = Callable[..., JobCluster]


def replace_objects() -> None:
    import gc
    import io
    import tempfile
    import threading

    def other(*_: object, **__: object) -> None:
        pass

    sys.argv.append("appended")
    sys.argv = ["other"]
    sys.stdin = io.StringIO("other")
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    sys.excepthook = threading.excepthook = other
    sys.settrace(other)
    sys.setprofile(other)
    threading.settrace(other)
    threading.setprofile(other)
    sys.setswitchinterval(0.5)
    gc.set_threshold(7, 7, 7)
    tempfile.tempdir = "/nowhere"


def look_at_objects() -> dict[str, Any]:
    import gc
    import tempfile
    import threading

    return {
        "argv": list(sys.argv),
        "streams": [type(each).__name__ for each in (sys.stdin, sys.stdout, sys.stderr)],
        "hooks": [each.__name__ for each in (sys.excepthook, threading.excepthook)],
        "tracing": [sys.gettrace(), sys.getprofile()],
        "tracing of threads": [threading._trace_hook, threading._profile_hook],  # type: ignore[attr-defined]
        "switching": sys.getswitchinterval(),
        "threshold": gc.get_threshold(),
        "tempdir": tempfile.tempdir,
    }


@pytest.mark.parametrize("by_map", [False, True], ids=["jobs", "calls"])
def test_what_a_job_replaces_is_put_back(one: Make, by_map: bool) -> None:
    def work(change: bool, act: Any = replace_objects, look: Any = look_at_objects) -> tuple[int, Any]:
        return os.getpid(), act() if change else look()

    made = one(work)
    given = [False, True, False]
    found = list(made.map(given, chunksize=3)) if by_map else [made.submit(change)() for change in given]
    assert found[2] == found[0] and found[1][0] == found[0][0]


def test_what_another_stream_held_is_output_of_the_job(one: Make) -> None:
    def work(number: int) -> None:
        sys.stdout = open(1, "w", closefd=False)
        print("job", number)

    made = one(work)
    jobs = [made.submit(number) for number in range(3)]
    assert [(job(), job.stdout) for job in jobs] == [(None, f"job {number}\n") for number in range(3)]


def test_standard_input_that_a_job_has_closed_is_there_for_the_next(one: Make) -> None:
    def work() -> tuple[int, str]:
        text = sys.stdin.read()
        sys.stdin.close()
        return os.getpid(), text

    made = one(work)
    first, *others = [made.submit()() for _ in range(3)]
    assert first[1] == "" and others == [first] * 2


_REPLACED = [
    *(
        "time.time",
        "time.perf_counter",
        "time.sleep",
        "os.fchdir",
        "os.getpid",
        "os.dup2",
        "os.lseek",
        "os.memfd_create",
    ),
    *("os.listdir", "os.getcwd", "builtins.open", "builtins.print", "socket.send_fds", "msgpack.packb", "pickle.dumps"),
    *("pickle.loads", "json.dumps", "array.array", "sys.exit", "fcntl.fcntl", "traceback.TracebackException"),
]


@pytest.mark.parametrize("by_mock", [False, True], ids=["assigned", "mocked"])
def test_a_function_that_a_job_replaces_does_not_break_the_next_job(one: Make, by_mock: bool) -> None:
    def work(name: str, by_mock: bool) -> tuple[int, bool]:
        import importlib
        from unittest import mock

        module, _, last = name.partition(".")
        owner = importlib.import_module(module)
        pid, before = os.getpid(), getattr(owner, last)
        if by_mock:
            mock.patch(name, return_value=1).start()
        else:
            importlib.import_module("builtins").REPLACED = (owner, last, before)
            setattr(owner, last, lambda *_, **__: 1)
        return pid, isinstance(before, mock.Mock)

    def put_back() -> int:
        import builtins

        owner, last, before = builtins.__dict__.pop("REPLACED")
        setattr(owner, last, before)
        return 1

    def either(name: str, by_mock: bool) -> Any:
        return work(name, by_mock) if name else put_back()

    made = one(either)
    first = made.submit("sys.setrecursionlimit", by_mock)
    pids = [first()[0]]
    assert by_mock or made.submit("", False)() == 1
    for name in _REPLACED:
        # Large results go another way.
        begun = time.time()
        jobs = [made.submit(name, by_mock)]
        if not by_mock:
            jobs.append(made.submit("", False))
        for job in jobs:
            assert job() is not None, (name, job.exception)
            assert begun - 1 < job.start_time <= job.end_time < time.time() + 1, name
        pid, was_replaced = jobs[0].result
        assert not was_replaced, name
        pids.append(pid)
    assert len(set(pids)) == 1


def test_what_setup_has_mocked_stays(one: Make) -> None:
    def setup() -> int:
        from unittest import mock

        mock.patch("os.getlogin", return_value="of setup").start()
        return 0

    def work(number: int) -> tuple[str, str]:
        import platform
        from unittest import mock

        found = os.getlogin(), platform.node()
        mock.patch("platform.node", return_value="of a job").start()
        return found

    made = one(work, setup=setup)
    first, *others = [made.submit(number)() for number in range(3)]
    assert first[0] == "of setup" and others == [first] * 2 and first[1] != "of a job"


@pytest.mark.parametrize("how", ["jobs", "calls", "own directories"])
@pytest.mark.parametrize("place", ["", "code", "names.space"])
def test_a_module_that_a_job_has_written_is_its_own(one: Make, how: str, place: str) -> None:
    def work(number: int, place: str) -> tuple[int, int]:
        import importlib

        folder = place.replace(".", "/") or "."
        os.makedirs(folder, exist_ok=True)
        # Of the same length, and hardly later than the former.
        Path(folder, "generated.py").write_text(f"VALUE = {number}\n")
        sys.path.insert(0, os.path.abspath("." if "." in place else folder))
        module = importlib.import_module(f"{place}.generated" if "." in place else "generated")
        return os.getpid(), module.VALUE

    made = one(work, job_directory=how == "own directories")
    by_map = how == "calls"
    numbers = range(5)
    found = list(made.map(numbers, [place] * 5, chunksize=5)) if by_map else [made.submit(n, place)() for n in numbers]
    assert [value for _, value in found] == list(range(5))
    assert len({pid for pid, _ in found}) == 1


def test_an_archive_that_a_job_has_written_is_its_own(one: Make) -> None:
    def work(number: int) -> int:
        import importlib
        import zipfile

        with zipfile.ZipFile("made.zip", "w") as archive:
            archive.writestr("in_archive.py", f"VALUE = {number}\n")
        sys.path.insert(0, os.path.abspath("made.zip"))
        return int(importlib.import_module("in_archive").VALUE)

    made = one(work)
    assert [made.submit(number)() for number in range(4)] == list(range(4))


def test_modules_that_came_with_the_computation_or_that_setup_has_written_stay(
    one: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    for path in ("counting.py", "pack/deep/inner.py"):
        (tmp_path / path).write_text("VALUE = []\n")

    def setup() -> int:
        Path("of_setup.py").write_text("VALUE = []\n")
        return 0

    def work(number: int) -> list[int]:
        import importlib

        found = []
        for name in ("counting", "pack.deep.inner", "of_setup"):
            importlib.import_module(name).VALUE.append(number)
            found.append(len(importlib.import_module(name).VALUE))
        return found

    made = one(work, depends=["counting.py", "pack/deep/inner.py"], setup=setup)
    assert [made.submit(number)() for number in range(3)] == [[1] * 3, [2] * 3, [3] * 3]


def test_what_a_module_that_a_job_has_written_changes_goes_with_it(one: Make) -> None:
    def work(number: int) -> tuple[int, Any]:
        import importlib

        before = os.environ.get("OF_MADE")
        Path("made.py").write_text("import os\nos.environ['OF_MADE'] = 'yes'\n")
        importlib.import_module("made")
        return os.getpid(), before

    made = one(work)
    found = [made.submit(number)() for number in range(3)]
    assert found == [(found[0][0], None)] * 3


@pytest.mark.parametrize("by_map", [False, True], ids=["jobs", "calls"])
@pytest.mark.parametrize("number", [5, 90])
def test_descriptors_that_jobs_leave_open_do_not_add_up(one: Make, by_map: bool, number: int) -> None:
    def setup() -> int:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
        return 0

    def work(number: int) -> tuple[int, int]:
        for _ in range(number):
            kept = os.open(os.devnull, os.O_RDONLY)
            # Not all numbers below are used.
            os.close(os.dup(kept))
        return os.getpid(), len(os.listdir("/dev/fd"))

    made = one(work, setup=setup)
    items = [number] * 200
    found = list(made.map(items)) if by_map else [job() for job in [made.submit(each) for each in items]]
    assert len(found) == 200 and None not in found
    assert max(count for _, count in found) < 350
    # Another process costs 2 ms, so it is not for few.
    assert len({pid for pid, _ in found}) <= 2 + 200 * number // 80


def test_few_descriptors_that_a_job_keeps_cost_no_process(one: Make) -> None:
    def work(number: int) -> tuple[int, int]:
        import builtins

        kept = builtins.__dict__.setdefault("KEPT", [])
        if len(kept) < 50:
            kept.append(open(os.devnull))
        return os.getpid(), len(kept)

    made = one(work)
    found = [job() for job in [made.submit(number) for number in range(100)]]
    assert found == [(found[0][0], min(number + 1, 50)) for number in range(100)]
