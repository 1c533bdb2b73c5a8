"""A directory for each job: where it is asked for, and where files of jobs would be in each other's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster, NodeAllocate
from gdispy.worker.trees import COPY_LIMIT
from tests.support import jobs as jobs_of
from tests.support.daemons import Daemon
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def directories_of_jobs(prefix: Path) -> list[str]:
    """All that there is on the node of directories of single jobs."""
    found = []
    for folder, folders, _ in os.walk(prefix):
        if folder.endswith(".jobs"):
            found += [os.path.join(folder, name, each) for name in folders for each in os.listdir(f"{folder}/{name}")]
    return found


@pytest.mark.parametrize("isolation", ["", "job"])
def test_jobs_do_not_find_each_others_files(
    cluster: Make, start_node: Callable[..., Daemon], tmp_path: Path, here: Path, isolation: str
) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "data.txt").write_text("data")

    def setup() -> int:
        Path("of setup").write_text("made")
        return 0

    place = start_node("--cpus", "2").place
    options: dict[str, Any] = {"depends": ["sub/data.txt"], "setup": setup, "isolation": isolation, "nodes": [place]}
    made = cluster(jobs_of.write_and_read, job_directory=True, **options)
    jobs = [made.submit(number) for number in range(8)]
    for number, job in enumerate(jobs):
        assert job() == (str(number), ["of setup", "out.txt", "sub/data.txt"], "data", "made", True), job.exception
    assert directories_of_jobs(tmp_path / "prefix0") == []


@pytest.mark.parametrize("isolation", ["", "job"])
def test_the_name_of_the_directory_of_a_job_is_that_of_its_own(cluster: Make, isolation: str) -> None:
    def compute(n: int) -> tuple[str, list[str]]:
        name = "dispy_job_path"
        paths = [dispy_job_path, globals()[name], os.environ[name]]  # type: ignore[name-defined]
        return os.getcwd(), [*paths, helping()]  # type: ignore[name-defined]

    def helping() -> str:
        return dispy_job_path  # type: ignore[name-defined, no-any-return]

    made = cluster(compute, job_directory=True, isolation=isolation, depends=[helping])
    found = [made.submit(1)(), made.submit(2)(), *made.map(range(2))]
    assert [paths for _, paths in found] == [[own] * 4 for own, _ in found]
    assert len({own for own, _ in found}) == 4


def test_programs_do_not_find_each_others_files(cluster: Make, here: Path) -> None:
    program = here / "program.sh"
    check = 'test "$dispy_job_path" = "$PWD" || exit 9'
    program.write_text(f"#!/bin/sh\n{check}\necho $1 >> data.txt; sleep 0.2; cat data.txt\n")
    program.chmod(0o755)
    (here / "data.txt").write_text("data\n")
    made = cluster(str(program), depends=["data.txt"], job_directory=True)
    jobs = [made.submit(number) for number in range(6)]
    for number, job in enumerate(jobs):
        assert (job(), job.stdout) == (0, b"data\n%d\n" % number), job.exception


def test_without_it_jobs_share_the_directory_as_in_dispy(cluster: Make) -> None:
    made = cluster(lambda name: (Path(name).touch(), os.getcwd() == dispy_job_path)[1])  # type: ignore[name-defined]
    assert made.submit("first")() is True
    made.close()


def leave_much() -> str:
    os.makedirs("locked/inner")
    Path("locked/inner/file").touch()
    os.chmod("locked/inner", 0o500)
    os.chmod("locked", 0)
    os.chmod(".", 0o500)
    return os.getcwd()


def test_what_a_job_leaves_goes_with_its_directory(cluster: Make) -> None:
    path = cluster(leave_much, job_directory=True).submit()()
    assert path and not os.path.lexists(path)


def test_it_stays_where_all_files_do(cluster: Make, tmp_path: Path) -> None:
    made = cluster(lambda: (Path("left").touch(), os.getcwd())[1], job_directory=True, cleanup=False)
    path = made.submit()()
    made.close()
    assert os.path.exists(f"{path}/left")
    named = cluster(
        lambda: (Path("left").touch(), os.getcwd())[1], job_directory=True, cleanup=False, dest_path=tmp_path.name
    )
    assert not os.path.exists(named.submit()())


def test_it_goes_too_when_the_process_is_killed(
    cluster: Make, start_node: Callable[..., Daemon], tmp_path: Path
) -> None:
    made = cluster(jobs_of.wait_for_interrupt, job_directory=True, nodes=[start_node("--cpus", "1").place])
    mark = tmp_path / "mark"
    job = made.submit(str(mark), False)
    pid = int(eventually(lambda: mark.exists() and mark.read_text()))
    assert len(directories_of_jobs(tmp_path / "prefix0")) == 1
    os.kill(pid, 9)
    assert job() is None and job.status == DispyJob.Terminated
    eventually(lambda: directories_of_jobs(tmp_path / "prefix0") == [])


def test_files_that_a_job_sends_are_found_by_their_relative_paths(cluster: Make, here: Path) -> None:
    def work() -> int:
        os.mkdir("results")
        Path("results/one.txt").write_text("sent")
        return dispy_send_file("results/one.txt")  # type: ignore[name-defined, no-any-return]

    assert cluster(work, job_directory=True).submit()() == 0
    assert (here / "results" / "one.txt").read_text() == "sent"


def test_a_large_file_that_all_share_is_not_changed_silently(cluster: Make, here: Path) -> None:
    (here / "large").write_bytes(bytes(COPY_LIMIT + 1))

    def work(write: bool) -> Any:
        if write:
            os.chmod("large", 0o600)
            with open("large", "r+b") as file:
                file.write(b"changed")
        return os.path.getsize("large"), os.path.islink("large")

    made = cluster(work, depends=["large"], job_directory=True)
    shown = made.submit(False)()
    job = made.submit(True)
    if shown[1]:  # Else the file system shares blocks, and the job has written its own copy.
        job.wait()
        assert job.status == DispyJob.Terminated
        assert job.exception.startswith(
            "The job has changed large, a large file that all jobs of the computation share"
        )
    else:
        assert job() == (COPY_LIMIT + 1, False)


def value(number: int, name: str = "params") -> tuple[int, int]:
    import importlib

    return number, importlib.import_module(name).VALUE


def write_module(folder: Path, text: str, name: str = "params.py") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("job_directory", [False, True])
def test_files_of_one_name_are_those_of_each_job(
    cluster: Make, node: Daemon, tmp_path: Path, job_directory: bool
) -> None:
    # Given a computation that has a module itself, and jobs of which each second one brings another of that name.
    common = write_module(tmp_path / "common", "VALUE = 99\n")
    made = cluster(value, nodes=[NodeAllocate(*node.place, cpus=2)], depends=[common], job_directory=job_directory)
    jobs = []
    for number in range(20):
        own = write_module(tmp_path / str(number), f"VALUE = {number:2}\n")
        jobs.append(made.submit(number, dispy_job_depends=[own] if number % 2 else []))
    # Then each finds its own, and the others that of the computation, also where several are on the way.
    assert [job() for job in jobs] == [(number, number if number % 2 else 99) for number in range(20)]
    assert made.submit(20)() == (20, 99)


def test_a_job_may_add_to_a_package_of_the_computation(cluster: Make, here: Path) -> None:
    write_module(here, "VALUE = 1\n", "pack/__init__.py")
    extra = write_module(here, "VALUE = 2\n", "pack/extra.py")
    made = cluster(value, depends=["pack/__init__.py"], job_directory=True)
    assert made.submit(0, "pack")() == (0, 1)
    assert made.submit(0, "pack.extra", dispy_job_depends=["pack/extra.py"])() == (0, 2)
    job = made.submit(0, "pack.extra")
    assert job() is None and "No module named 'pack.extra'" in job.exception
    assert extra


def look_at_gate(mark: str, gate: str) -> list[str]:
    """What is there, but for the modules of this test; the first job waits."""
    if gate:
        Path(mark).touch()
    while gate and not os.path.exists(gate):
        pass
    return sorted(name for name in os.listdir() if name != "tests")


def test_a_directory_of_a_job_has_no_files_of_other_jobs(cluster: Make, node: Daemon, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    common = write_module(tmp_path / "common", "common", "data")
    made = cluster(look_at_gate, nodes=[NodeAllocate(*node.place, cpus=2)], depends=[common])
    first = made.submit(str(mark), str(gate), dispy_job_depends=[write_module(tmp_path / "a", "a", "alone")])
    eventually(mark.exists)
    # The second runs while the first does, and one of its files is called like one of the computation.
    files = [write_module(tmp_path / "b", "b", "data"), write_module(tmp_path / "b", "b", "own")]
    second = made.submit("", "", dispy_job_depends=files)
    assert second() == ["data", "own"], second.exception
    gate.touch()
    assert first() == ["alone", "data"], first.exception


@pytest.mark.parametrize(("name", "wrong"), [("job_directory", 1), ("output_limit", -1), ("output_limit", True)])
def test_parameters_that_make_no_sense_are_refused(cluster: Make, name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        cluster(abs, **{name: wrong})
