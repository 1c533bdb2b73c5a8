"""Programs written for dispy run with `import gdispy as dispy`; and which test shows what dispy does, row by row.

The rows are in `dispy_rows`, the programs in `tests/support/dispy_programs`. They use names that they have not
imported, as dispy lets them, so they are run and not imported.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gdispy as dispy
from tests.acceptance.dispy_rows import commands, rows, semantics
from tests.support.daemons import Daemon, run_script
from tests.support.waiting import eventually, without_waiting

TESTS = Path(__file__).parent.parent
PROGRAMS = TESTS / "support" / "dispy_programs"
PARTS = [rows.PLACES, semantics.PLACES, commands.PLACES]
PLACES = {row: place for part in PARTS for row, place in part.items()}

Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, secret_file: str) -> Iterator[list[str]]:
    """Two nodes for all programs, `one` with one CPU and `two` with two; where they are."""
    started: list[Daemon] = []
    try:
        for cpus, name in ((1, "one"), (2, "two")):
            directory = tmp_path_factory.mktemp(name)
            words = ["--cpus", str(cpus), "--name", name, "--dest_path_prefix", str(directory / "prefix")]
            started.append(Daemon(directory, *words, "--secret-file", secret_file))
        yield [f"{node.place[0]}:{node.place[1]}" for node in started]
    finally:
        for node in started:
            node.stop()


@pytest.fixture
def run(tmp_path: Path, secret_file: str) -> Run:
    """Runs one of the programs in a directory of its own, and returns the lines that it prints."""

    def run_one(name: str, *words: object, code: int = 0) -> list[str]:
        shutil.copy(PROGRAMS / f"{name}.py", tmp_path)
        command = [sys.executable, f"{name}.py", *map(str, words)]
        env = {**os.environ, "GDISPY_SECRET_FILE": secret_file}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        # With loglevel=DEBUG lines are shown, as with dispy.
        told = re.sub(r"(?m)^[-\d]+ [:\d]+ gdispy\S* - (disconnected from the node|\S+ sends) .*\n", "", done.stderr)
        assert (done.returncode, without_waiting(told)) == (code, ""), done.stderr + done.stdout
        return done.stdout.splitlines()

    return run_one


# The table


def functions(path: Path) -> set[str]:
    """The tests in a file."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def names_of(row: str) -> set[str]:
    """What dispy calls the things that a row is about."""
    return set(row.partition(" ")[2].split("/"))


def test_every_row_has_its_place_and_no_other() -> None:
    assert len(rows.ROWS) == len(set(rows.ROWS)) > 200
    assert set(rows.ROWS) == set(PLACES)
    assert sum(map(len, PARTS)) == len(PLACES)


@pytest.mark.parametrize("row", sorted(PLACES))
def test_the_place_of_a_row_is_a_test_or_a_reason_that_counts(row: str) -> None:
    place = PLACES[row]
    if place.startswith("-"):
        assert place[1:] in rows.REASONS
        if place == "-otherwise":
            assert names_of(row) <= set(re.findall(r"\w+", (TESTS.parent / "docs" / "dispy.md").read_text()))
        return
    file, _, name = place.rpartition("::")
    assert name.startswith("test_")
    files = (TESTS / "unit").rglob("test_*.py") if file == "unit" else [TESTS / file if file else Path(__file__)]
    assert any(name in functions(each) for each in files), place


# The names


def test_names_of_the_module() -> None:
    job = dispy.DispyJob
    assert job.Created < job.Running < job.ProvisionalResult < job.Cancelled < job.Terminated < job.Finished
    node = dispy.DispyNode
    states = [job.Created, job.Running, job.ProvisionalResult, job.Cancelled, job.Terminated, job.Abandoned]
    assert len({*states, job.Finished, node.Initialized, node.Closed, node.AvailInfo}) == 10
    assert re.match(r"\d+\.\d+", dispy.__version__)
    allocate = dispy.NodeAllocate("10.0.0.*", 51348, cpus=2, depends=["file"], setup_args=(1,))
    assert (allocate.ip_addr, allocate.port, allocate.cpus) == ("10.0.0.*", 51348, 2)
    assert (allocate.depends, allocate.setup_args, bool(allocate.ip_rex)) == (["file"], (1,), True)
    assert dispy.DispyNodeAvailInfo._fields == ("cpu", "memory", "disk", "swap")
    assert dispy.ClusterStatus._fields == ("nodes", "jobs_pending")


def test_parameters_of_the_first_version() -> None:
    """By place, too."""
    shown = inspect.signature(dispy.JobCluster).parameters
    first = "computation nodes depends callback ip_addr ext_ip_addr port node_port fault_recover dest_path loglevel"
    second = "cleanup pulse_interval ping_interval reentrant secret keyfile certfile"
    assert list(shown)[:18] == [*first.split(), *second.split()]
    shared = inspect.signature(dispy.SharedJobCluster).parameters
    first = "computation nodes depends callback ip_addr port scheduler_node scheduler_port ext_ip_addr loglevel"
    assert list(shared)[:15] == [*first.split(), *["cleanup", "reentrant", "secret", "keyfile", "certfile"]]
    recovery = inspect.signature(dispy.fault_recover_jobs).parameters
    assert list(recovery)[:6] == ["fault_recover_file", "ip_addr", "secret", "node_port", "certfile", "keyfile"]
    assert list(inspect.signature(dispy.recover_jobs).parameters)[:3] == [
        "recover_file",
        "timeout",
        "terminate_pending",
    ]


# The programs


def test_a_function_that_imports_nothing(run: Run, two: list[str]) -> None:
    lines = run("sample", *two)
    host = os.uname().nodename
    assert lines[:10] == [f"{host} executed job {n} with {n}: process True" for n in range(10)]
    head = [word.strip() for word in lines[11].split("|")]
    assert head == ["Node", "CPUs", "Jobs", "Sec/Job", "Node Time Sec", "Sent", "Rcvd"]
    nodes = [[word.strip() for word in line.split("|")] for line in lines[13:15]]
    assert sorted(row[1] for row in nodes) == ["1", "2"] and sum(int(row[2]) for row in nodes) == 10
    assert re.match(r"Total job time: [\d.]+ sec, wall time: [\d.]+ sec, speedup: [\d.]+$", lines[-1])


def test_provisional_results_and_cancelling_the_rest(run: Run, two: list[str]) -> None:
    assert run("optimise", two[1]) == [
        "finished [1] cancelled [0, 0, 0, 0, 0]",
        "steps [0, 1, 2, 'good']",
        "others [0, 2, 3, 4, 5]",
    ]


def test_no_more_than_so_many_jobs(run: Run, two: list[str]) -> None:
    assert run("bounded", *two)[-1] == "True True"


def test_data_read_once_on_each_node(run: Run, two: list[str], tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(100_000))
    lines = run("in_memory", "data.bin", tmp_path / "mark", *two)
    assert lines == ["[('127.0.0.1', 'data.bin', 100000)]", "each node has read it once: True"]
    assert (tmp_path / "mark").read_text().splitlines() == ["cleaned data.bin 100000"] * 2


def test_a_program_that_schedules_itself(run: Run, two: list[str]) -> None:
    pytest.importorskip("psutil")
    assert run("own_scheduler", *two) == [
        "all in time True",
        "jobs on their nodes 12",
        "one 1 0 True True True True",
        "jobs there []",
        "two 2 0 True True True True",
        "jobs there []",
        *["free True"] * 4,
        "pending 0",
        "Created 12",
        "Running 12",
        "Finished 12",
        "closed ['one', 'two']",
    ]


def test_a_node_allocate_of_ones_own(run: Run, two: list[str]) -> None:
    assert run("choose", *two) == [
        "{(('two', 2), 'two')}",
        "[('two', 1)]",
        "(('two', 2), 'two')",
        "[('compute', '127.0.0.1', 'one', 1, True), ('compute', '127.0.0.1', 'two', 2, True)]",
    ]


def test_nodes_are_changed_while_jobs_come(run: Run, two: list[str]) -> None:
    lines = run("changing", *two)
    assert lines == ["{'one'}", "0 0", "1 -1", "0", "{'two'}", "0 0", "{'one'}", "None", "True None"]


def test_jobs_that_are_cancelled(run: Run, two: list[str], tmp_path: Path) -> None:
    assert run("longrun", tmp_path, two[1]) == [
        "waiting True False",
        "cancel [0, 0, 0]",
        "Finished interrupted True",
        "Terminated None True",
        "Cancelled None False",
        "cancel of what has ended -1",
    ]


def test_files_to_nodes_and_back(run: Run, two: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("common", "one", "two", "late"):
        (tmp_path / "data" / f"{name}.txt").write_text(name)
    (tmp_path / "helper.py").write_text("def loud(text):\n    return text.upper()\n")
    assert run("files", two[0]) == [
        "(0, True, True) None ",
        "(0, True, True) None ",
        "ONE TWO",
        "None FileNotFoundError",
        "0",
        "(0, True, True)",
    ]
    assert (tmp_path / "out" / "late.txt").read_text() == "LATE"


def test_objects_functions_and_methods(run: Run, two: list[str]) -> None:
    assert run("objects", *two) == [
        "C True 1 True 1: 0.00 True",
        "D True 2 True D 2: 0.50 True",
        "C True 3 True 3: 1.00 True",
        "D True 4 True D 4: 1.50 False",
        "[0, 3, 6] method",
        "2",
    ]


def test_how_jobs_end(run: Run, two: list[str]) -> None:
    ended = {words[0]: words[1:] for words in map(ast.literal_eval, run("outcomes", *two))}
    out, err = "out of {}\n", "err of {}"
    assert ended["return"] == ["Finished", {"how": "return"}, None, out.format("return"), err.format("return")]
    assert ended["raise"] == ["Terminated", None, "ValueError: raise", out.format("raise"), err.format("raise")]
    assert ended["exit"] == ["Terminated", None, "SystemExit: 3", out.format("exit"), err.format("exit")]
    assert ended["kill"][:2] == ["Terminated", None] and "SIGKILL" in ended["kill"][2]
    assert ended["generator"][:2] == ["Terminated", None] and "cannot be pickled" in ended["generator"][2]
    assert ended["child"][:3] == ["Finished", None, None] and "of a child\n" in ended["child"][3]


def test_names_that_jobs_find(run: Run, two: list[str]) -> None:
    lines = run("modules", two[0])
    assert lines[0] == "('__main__', 'one', '127.0.0.1', True, -1) None"
    assert lines[1].split()[:4] == ["copy", "errno", "glob", "hashlib"] and len(lines[1].split()) == 22
    assert lines[2] == "('prepared', 'prepared and set up') None"


def test_parameters_of_later_versions(run: Run, two: list[str]) -> None:
    lines = run("later_names", two[1])
    assert lines == ["5 7 compute", "[('127.0.0.1', 1)] 0", "not swallowed: of the program []"]


# Recovery


def collected(*rest: str) -> list[str]:
    """What the two jobs that had ended look like, and the rest."""
    return [f"number {n} Finished {n * n} {n} job {n} 127.0.0.1" for n in (0, 2)] + list(rest)


@pytest.fixture
def own(start_node: Callable[..., Daemon]) -> str:
    """A node with two CPUs for one program: it goes on with the jobs of one that has crashed."""
    return "{}:{}".format(*start_node("--cpus", "2").place)


ENDED_LATER = [f"number {n} Finished {n * n} {n} job {n} 127.0.0.1" for n in (1, 3)]


def test_a_program_that_crashed_is_recovered_without_waiting(
    run: Run, own: str, tmp_path: Path, secret_file: str
) -> None:
    """As in the first version: what has ended is returned once, what runs as Running, and again later."""
    assert run("crashing", own, tmp_path, "first", code=-signal.SIGKILL) == ["number 0 0", "number 2 4"]
    running = [f"number {n} Running None {n}" for n in (1, 3)]
    assert sorted(run("collecting", "first", secret_file)) == sorted(collected(*running))
    assert run("collecting", "first", secret_file) == running
    (tmp_path / "gate").touch()
    lines: list[str] = []

    def is_all() -> bool:
        lines.extend(line for line in run("collecting", "first", secret_file) if "Running" not in line)
        return not (tmp_path / "jobs").exists()

    eventually(is_all, 20)
    assert sorted(lines) == ENDED_LATER
    assert sorted((tmp_path / "begun").read_text().split()) == ["0", "1", "2", "3"]


def test_a_program_that_crashed_is_recovered_when_its_jobs_have_ended(
    run: Run, own: str, tmp_path: Path, secret_file: str
) -> None:
    """As in version 4: the newest file, with a time limit; then the file is gone."""
    older = tmp_path / "_dispy_20990101000000"
    older.write_text("not the newest")
    os.utime(older, (0, 0))
    run("crashing", own, tmp_path, "later", code=-signal.SIGKILL)
    (tmp_path / "gate").touch()
    assert sorted(run("collecting", "later", secret_file)) == sorted(collected(*ENDED_LATER))
    assert list(tmp_path.glob("_dispy_*")) == [older]


def test_jobs_that_run_are_ended_where_a_program_has_crashed(
    run: Run, own: str, tmp_path: Path, secret_file: str
) -> None:
    run("crashing", own, tmp_path, "later", code=-signal.SIGKILL)
    terminated = [f"number {n} Terminated None {n}" for n in (1, 3)]
    assert sorted(run("collecting", "terminate", secret_file)) == sorted(collected(*terminated))
    assert not list(tmp_path.glob("_dispy_*"))


# Shared nodes


def test_a_function_on_shared_nodes(run: Run, two: list[str], start_scheduler: Callable[..., Daemon]) -> None:
    scheduler = start_scheduler("-n", two[0], "-n", two[1])
    lines = run("shared", *scheduler.place)
    assert lines[:2] == [f"{list(range(10))} {{'process True'}}", "True"]
    assert lines[-1] == "10"


def test_parameters_of_later_versions_on_shared_nodes(
    run: Run, two: list[str], start_scheduler: Callable[..., Daemon]
) -> None:
    scheduler = start_scheduler("-n", two[0])
    lines = run("shared_later_names", *scheduler.place)
    assert lines[:3] == ["53 7 compute True", "[7] False", "4"]
    # Intervals are the scheduler's, and are taken with a warning; multicast is not.
    assert [line.split()[0] for line in lines[3:]] == ["ConfigError"] and "an option of gdispy-scheduler" in lines[-1]


def test_a_node_that_is_told_its_scheduler_comes_to_it(
    start_scheduler: Callable[..., Daemon], start_node: Callable[..., Daemon], secret_file: str
) -> None:
    host, port = start_scheduler("-n", "127.0.0.9").place
    start_node("-c", "1", "--name", "coming", "--scheduler_host", host, "--scheduler_port", str(port))
    name = lambda: dispy_node_name  # type: ignore[name-defined]  # noqa: E731
    with dispy.SharedJobCluster(name, scheduler_node=host, scheduler_port=port, secret_file=secret_file) as cluster:
        assert cluster.submit().result_or_raise(20) == "coming"


def test_the_table_tells_what_is_pending(capsys: pytest.CaptureFixture[str]) -> None:
    with dispy.JobCluster(abs, nodes=["127.0.0.1:9"], insecure=True) as cluster:
        job = cluster.submit(1)
        cluster.print_status(wall_time=2)
        cluster.cancel(job)
    printed = capsys.readouterr().out
    assert "Jobs pending: 1\n" in printed and "wall time: 2.000 sec, speedup: 0.000" in printed


# The commands


def test_a_program_file_by_the_command_line(two: list[str], secret_file: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "program"
    program.write_text('#!/bin/sh\necho "$1 $2 $(cat file1) $(cat data/file2) $dispy_node_name"\n')
    program.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "file1").write_text("first")
    (tmp_path / "data" / "file2").write_text("second")
    words = ["-n", two[0], "--secret-file", secret_file, "-f", "file1", "-f", "data/file2"]
    done = run_script("gdispy", *words, "-a", "arg11 arg12", "-a", "arg21 arg22", "bin/program", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == ["arg11 arg12 first second one", "arg21 arg22 first second one"]


def test_options_of_the_command_line(two: list[str], secret_file: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\npwd; cat data\n")
    program.chmod(0o755)
    (tmp_path / "data").write_text("data\n")
    words = ["--nodes", two[0], "--ip_addr", "127.0.0.1", "--secret", Path(secret_file).read_text().strip()]
    words += ["-f", tmp_path / "data", "-d", "--stats"]
    directories = []
    for more in ([], ["-c"]):
        done = run_script("gdispy", *words, *more, program)
        assert done.returncode == 0, done.stderr
        directory, data = done.stdout.decode().splitlines()
        assert data == "data"
        # What is told in detail, and the table.
        assert b"gdispy: disconnected from the node" in done.stderr and b"Sec/Job" in done.stderr, done.stderr
        directories.append(Path(directory))
    # Each job has a directory of its own, which is gone with it unless told to stay; the files of the computation lie
    # beside that.
    computations = [next(each for each in job.parents if each.name.endswith(".jobs")) for job in directories]
    gone, kept = (each.with_suffix("") for each in computations)
    eventually(lambda: not gone.exists() and not directories[0].exists())
    assert (kept / "data").exists() and directories[1].exists()


def test_options_of_nodes(start_node: Callable[..., Daemon], secret_file: str) -> None:
    words = ["-d", "-c", "1", "--name", "n", "-i", "127.0.0.1", "--ext_host", "127.0.0.1", "--msg_timeout", "5"]
    words += ["--zombie_interval", "1", "--ping_interval", "10", "--max_file_size", "1m", "--unsafe_setup"]
    node = start_node(*words)
    with dispy.JobCluster(lambda: dispy_node_name, nodes=[node.place], secret_file=secret_file) as cluster:  # type: ignore[name-defined]
        assert cluster.submit()() == "n"
    assert "connected" in node.log.read_text()
