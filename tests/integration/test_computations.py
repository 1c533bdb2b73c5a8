"""Programs, dependencies, and what travels with a function."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import ConfigError, DispyJob, JobCluster
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Writes an executable script; returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "program.sh"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return str(path)

    return write


def test_a_programs_output_is_bytes_and_its_exit_code_the_result(cluster: Make, script: Callable[[str], str]) -> None:
    made = cluster(script('echo "$1 and $2"; echo oops >&2; exit $2\n'))
    job = made.submit("two words", 3)
    assert job() == 3
    assert job.status == DispyJob.Finished
    assert job.stdout == b"two words and 3\n" and job.stderr == b"oops\n"


def test_a_program_killed_by_a_signal_did_not_finish(cluster: Make, script: Callable[[str], str]) -> None:
    job = cluster(script("kill -SEGV $$\n")).submit()
    assert job() == -11
    assert job.status == DispyJob.Terminated and "SIGSEGV" in job.exception


def test_a_program_runs_among_its_files_with_dispys_environment(
    cluster: Make, script: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "data.txt").write_text("contents")
    made = cluster(
        script('cat data.txt; test "$dispy_job_path" = "$PWD" && echo $dispy_node_ip_addr\n'),
        depends=[str(tmp_path / "data.txt")],
    )
    assert made.submit().wait(10)
    job = made.submit()
    assert job() == 0 and job.stdout == b"contents127.0.0.1\n"


def test_a_script_without_a_first_line_says_what_is_missing(cluster: Make, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("echo hello\n")
    path.chmod(0o755)
    job = cluster(str(path)).submit()
    assert job() is None and "#!/bin/sh" in job.exception


@pytest.mark.parametrize("line", ["#!/bin/sh\r", "#!/no/such/interpreter"])
def test_a_script_whose_interpreter_is_not_there_says_so(cluster: Make, tmp_path: Path, line: str) -> None:
    path = tmp_path / "program"
    path.write_text(f"{line}\necho hello\n", newline="")
    path.chmod(0o755)
    job = cluster(str(path)).submit()
    assert job() is None and f"its first line names {line[2:]!r}, which is not on this node" in job.exception


def test_a_running_program_is_interrupted(cluster: Make, script: Callable[[str], str], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    made = cluster(script(f"trap 'echo caught; exit 7' INT\ntouch {mark}\nwhile :; do sleep 0.05; done\n"))
    job = made.submit()
    eventually(mark.exists)
    made.cancel(job)
    assert job.wait(5) and job.status == DispyJob.Terminated
    assert job.stdout == b"caught\n" and job.result == 7


def test_keyword_arguments_and_zeros_are_refused_for_programs(cluster: Make) -> None:
    made = cluster("true")
    with pytest.raises(TypeError, match="keyword"):
        made.submit(name=1)
    with pytest.raises(TypeError, match="zero character"):
        made.submit("a\0b")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of the user's own modules, in which the program runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper.py").write_text("FACTOR = 6\ndef times(n):\n    return n * FACTOR\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from package.inner import seven\n")
    (tmp_path / "package" / "inner.py").write_text("def seven():\n    return 7\n")
    yield tmp_path
    for name in ("helper", "package", "package.inner"):
        sys.modules.pop(name, None)


def test_files_keep_their_directory_below_the_current_one(cluster: Make, modules: Path) -> None:
    (modules / "data").mkdir()
    (modules / "data" / "numbers.txt").write_text("1 2 3")
    made = cluster(lambda: open("data/numbers.txt").read(), depends=["data/numbers.txt"])
    assert made.submit()() == "1 2 3"


def test_modules_and_packages_travel(cluster: Make, modules: Path) -> None:
    helper, package = importlib.import_module("helper"), importlib.import_module("package")

    def compute(n: int) -> int:
        import helper
        import package

        return int(helper.times(n) * package.seven())

    assert cluster(compute, depends=[helper, package]).submit(1)() == 42


def test_a_function_of_a_module_of_the_user_brings_its_module(cluster: Make, modules: Path) -> None:
    helper = importlib.import_module("helper")
    assert cluster(helper.times).submit(7)() == 42


def test_functions_and_classes_given_as_dependencies_are_there_by_name(cluster: Make) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec("def given(n):\n    return n + 1\nclass Box:\n    size = 41\n", namespace)
    run = eval("lambda: given(Box.size)", {})
    assert cluster(run, depends=[namespace["given"], namespace["Box"]]).submit()() == 42


def test_what_cannot_be_a_dependency_is_refused_by_name(cluster: Make, tmp_path: Path) -> None:
    for depend, told in ((str(tmp_path / "missing"), "does not exist"), (str(tmp_path), "not a file"), (42, "not int")):
        with pytest.raises(ConfigError, match=told):
            cluster(len, depends=[depend])
    with pytest.raises(ConfigError, match="not int"):
        cluster(42)
    with pytest.raises(ConfigError, match="does not exist"):
        cluster("/no/such/program")


def test_a_file_that_is_too_large_for_the_node_is_told(
    start_node: Callable[..., object], secret_file: str, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "1", "--max_file_size", "10k")
    (tmp_path / "large").write_bytes(bytes(20_000))
    with JobCluster(len, nodes=[daemon.place], secret_file=secret_file, depends=[str(tmp_path / "large")]) as made:  # type: ignore[attr-defined]
        eventually(lambda: any("large" in each and "max_file_size" in each for each in made.status().problems))


def test_files_go_when_the_cluster_closes_and_stay_where_they_are_to(cluster: Make, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")

    def where() -> str:
        assert os.path.exists("data")
        return os.getcwd()

    first = cluster(where, depends=[str(tmp_path / "data")])
    directory = first.submit()()
    first.close()
    eventually(lambda: not os.path.exists(directory))
    second = cluster(where, depends=[str(tmp_path / "data")], dest_path="kept/here", cleanup=False)
    directory = second.submit()()
    second.close()
    assert directory.endswith("kept/here") and os.path.exists(directory + "/data")


def test_clusters_that_share_a_directory_leave_each_others_files_alone(
    cluster: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def read_all() -> dict[str, str]:
        return {name: Path(name).read_text() for name in sorted(os.listdir(".")) if os.path.isfile(name)}

    def with_files(**files: str) -> JobCluster:
        for name, text in files.items():
            Path(name).write_text(text)
        return cluster(read_all, depends=list(files), dest_path="shared")

    first = with_files(x="one", y="one")
    job = first.submit()
    assert job() == {"x": "one", "y": "one"}, job.error
    second = with_files(x="one", z="two")
    assert second.submit()() == {"x": "one", "y": "one", "z": "two"}
    refused = with_files(x="three")
    job = refused.submit()
    assert job.wait(20) and job.status == DispyJob.Terminated
    assert job.error is not None and "the file 'x' cannot be stored in the directory of dest_path" in job.error
    refused.close()
    assert first.submit()() == {"x": "one", "y": "one", "z": "two"}
    first.close()
    assert second.submit()() == {"x": "one", "z": "two"}
    second.close()
    again = with_files(x="three")
    assert again.submit()() == {"x": "three"}


def test_every_job_has_a_process_of_its_own_where_that_is_asked(cluster: Make) -> None:
    made = cluster(os.getpid, isolation="job")
    jobs = [made.submit() for _ in range(10)]
    assert len({job() for job in jobs}) == 10
    made = cluster(os.getpid)
    jobs = [made.submit() for _ in range(10)]
    assert len({job() for job in jobs}) <= 2


def test_output_without_end_is_cut_and_told(cluster: Make) -> None:
    def flood() -> str:
        line = b"x" * 99 + b"\n"
        for _ in range(1000):
            os.write(1, line * 1000)
        os.write(1, b"the end\n")
        return "done"

    job = cluster(flood).submit()
    assert job.wait(30) and job.result == "done"
    assert job.truncated
    assert len(job.stdout) < 10_000_000
    assert job.stdout.startswith("x" * 99) and job.stdout.endswith("the end\n")
    assert "left out here" in job.stdout


class Threefold:
    def __init__(self, number: int) -> None:
        self.value = 3 * number


def made_threefold(number: int) -> Threefold:
    return Threefold(number)


def in_processes(how: str) -> list[int]:
    context = multiprocessing.get_context(how)
    with context.Pool(2) as pool:
        found = pool.map(made_threefold, range(3))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        found += executor.map(made_threefold, range(3, 6))
    return [each.value for each in found if type(each) is Threefold]


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_processes_that_a_job_starts_know_what_the_program_defines(cluster: Make, how: str) -> None:
    assert cluster(in_processes).submit(how).result_or_raise(30) == [0, 3, 6, 9, 12, 15]
