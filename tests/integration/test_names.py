"""Names that a computation finds without importing them, and the node's log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster
from tests.support.daemons import Daemon, run_python
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]

#: A program: what is to be found by name must be of its `__main__`, as programs have it.
PROGRAM = """
import sys, gdispy

def by_globals(name, *args): return globals()[name](*args)
def by_main(name, *args): return getattr(sys.modules["__main__"], name)(*args)
def by_eval(name, *args): return eval(name)(*args)
def in_method(name, *args): return Finder().find(name, *args)

def func1(n): return "func1", n, globals()["func2"](n)
def func2(n): return "func2", n
class Finder:
    def find(self, name, *args): return globals()[name](*args)

def look():
    here = globals()
    names = ["os", "sys", "time", "look", "func1", "Finder", "dispy_node_name", "DispyJob", "MsgTimeout", "num_min"]
    return [name for name in names if name not in here], here["os"] is sys.modules["os"]

wanted = ("func1", 3, ("func2", 3))
for how in (by_globals, by_main, by_eval, in_method):
    depends = [func1, func2, Finder]
    with gdispy.JobCluster(how, nodes=["local"], depends=depends) as cluster:
        assert cluster.submit("func1", 3)() == wanted, how
    with gdispy.JobCluster(how, nodes=[gdispy.NodeAllocate("local", cpus=1)]) as cluster:
        assert cluster.submit("func1", 3, dispy_job_depends=depends)() == wanted, how
        job = cluster.submit("func1", 3)
        assert job() is None and "func1" in job.exception, job.exception
with gdispy.JobCluster(look, nodes=["local"], depends=[func1, Finder]) as cluster:
    job = cluster.submit()
    assert job() == ([], True), (job.result, job.exception)
print("good")
"""


def test_names_are_found_by_globals_eval_and_main(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", str(path))
    assert done.stdout.decode() == "good\n", done.stderr.decode()


#: Evaluated in a job: a test must not need the names itself.
LOOK = """(
    DispyJob.Finished, dispy.DispyJob.__name__, isinstance(dispy.DispyJob(), DispyJob), MsgTimeout,
    num_min(3, None, 1), num_max(None, 2), num_min(None), MaxFileSize, deserialize(serialize([1, "a"])),
    len(auth_code("secret", "sign")), DispyNodeAvailInfo.__class__ is not None)"""


def test_names_of_dispys_module_are_there(cluster: Make) -> None:
    job = cluster(lambda text: eval(text)).submit(LOOK)
    assert job() == (11, "DispyJob", True, 10, 1, 2, None, 0, [1, "a"], 40, True), job.exception


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int, plus: int = 0) -> int:
        return self.factor * number + plus

    def beside(self, other: Any) -> tuple[int, int]:
        return self.factor, other.factor


@pytest.mark.parametrize(
    ("method", "args", "result"),
    [
        (Scale(3).times, (4,), 12),
        (Scale(3).times, (Scale(5), 4), 20),
        (Scale(3).times, (Scale(5), 4, 1), 21),
        (Scale(3).times, (4, 1), 13),
        (Scale.times, (Scale(5), 4), 20),
        # The only argument is what the method is about, not what it belongs to.
        (Scale(3).beside, (Scale(5),), (3, 5)),
        (Scale(3).beside, (Scale(5), Scale(7)), (5, 7)),
    ],
)
def test_a_method_takes_an_instance_as_first_argument(
    cluster: Make, method: Any, args: tuple[Any, ...], result: Any
) -> None:
    job = cluster(method).submit(*args)
    assert job() == result, job.exception


def test_what_a_computation_logs_is_in_the_log_of_the_node(cluster: Make, node: Daemon) -> None:
    def setup() -> int:
        dispynode_logger.warning("of setup")  # type: ignore[name-defined]
        return 0

    def work(number: int) -> int:
        import threading

        from gdispy.dispynode import dispynode_logger as imported

        dispynode_logger.debug("hidden")  # type: ignore[name-defined]
        dispynode_logger.info("from job %s", number)  # type: ignore[name-defined]
        thread = threading.Thread(target=lambda: imported.error("from a thread of %s", number))
        thread.start()
        thread.join()
        return number

    job = cluster(work, setup=setup).submit(17)
    assert (job(), job.stdout, job.stderr) == (17, "", ""), job.exception
    lines = ["WARNING work: of setup", "INFO work: from job 17", "ERROR work: from a thread of 17"]
    eventually(lambda: all(line in node.log.read_text() for line in lines))
    assert "hidden" not in node.log.read_text()


@pytest.mark.parametrize("name", ["dispynode", "dispyscheduler", "dispynetrelay"])
def test_modules_of_dispys_names_are_commands(name: str) -> None:
    code = f"import gdispy.{name}, sys, gevent.monkey; print(gevent.monkey.is_module_patched('socket'))"
    assert run_python(code).stdout == b"False\n"
    command = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-m', *sys.argv[1:]]))"
    done = run_python(command, f"gdispy.{name}", "--help")
    assert done.returncode == 0 and done.stdout.startswith(b"usage: "), done.stderr


def test_a_script_of_python_needs_neither_permission_nor_first_line(cluster: Make, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'hello'\n")
    for name, mode, head in (
        ("plain.py", 0o600, ""),
        ("executable.py", 0o700, ""),
        ("windows.py", 0o600, "#!python\r\n"),
    ):
        path = tmp_path / name
        path.write_text(f"{head}import sys, helper\nprint(helper.WORD, sys.argv[1:])\nsys.exit(4)\n", newline="")
        path.chmod(mode)
        job = cluster(str(path), depends=[str(tmp_path / "helper.py")]).submit("a b", 1)
        assert (job(), job.stdout, job.stderr) == (4, b"hello ['a b', '1']\n", b""), job.exception


@pytest.mark.parametrize("line", ["#!/bin/sh", "#!/usr/bin/env sh"])
def test_a_script_with_line_ends_of_windows_says_so(cluster: Make, tmp_path: Path, line: str) -> None:
    path = tmp_path / "program"
    path.write_bytes(f"{line}\r\necho hello\r\n".encode())
    path.chmod(0o755)
    job = cluster(str(path)).submit()
    assert job() is None and "lines end with CR LF, as on Windows" in job.exception


def test_an_interpreter_keeps_its_environment(cluster: Make) -> None:
    job = cluster(sys.executable).submit("-c", "import sys, gevent; print(sys.prefix)")
    assert (job(), job.stdout.decode()) == (0, f"{sys.prefix}\n"), job.stderr


def test_an_interpreter_that_is_not_on_the_node_is_missed(cluster: Make, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").touch()
    interpreter = tmp_path / "bin" / "python"
    interpreter.symlink_to(sys.executable)
    made = cluster(str(interpreter))
    interpreter.unlink()
    job = made.submit()
    assert job() is None and f"{interpreter} is run in place and not sent, and it does not exist" in job.exception
