"""What a message cannot hold: jobs and computations with it end as any, and those beside them are not harmed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from gdispy.protocol.limits import TEXT_LIMIT
from gdispy.protocol.messages import Ended
from tests.support.waiting import eventually

LIMIT = 60


def fail_with(size: int) -> None:
    raise ValueError("begin " + "x" * size + " end")


def identity(value: Any) -> Any:
    return value


def read(path: str) -> str:
    return Path(path).read_text()


def count_files() -> int:
    return len(os.listdir("many"))


def send_old_file() -> int:
    Path("out.txt").write_text("from the job")
    os.utime("out.txt", (-5, -5))
    return dispy_send_file("out.txt")  # type: ignore[name-defined,no-any-return]


def fail_in_setup(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("size", [1_100_000, 50_000_000])
def test_exception_that_is_too_long_is_cut_and_the_next_job_runs(cluster: Callable[..., JobCluster], size: int) -> None:
    made = cluster(fail_with)
    jobs = [made.submit(size), made.submit(3)]
    assert all(job.wait(LIMIT) for job in jobs)
    assert len(jobs[0].exception) == TEXT_LIMIT and "of which the middle was left out" in jobs[0].exception
    assert "raise ValueError" in jobs[0].exception and jobs[0].exception.endswith("xxx end\n")
    assert jobs[1].exception.endswith("ValueError: begin xxx end\n")
    assert made.status().problems == []


@pytest.mark.parametrize(
    ("text", "told"),
    [("no data in caf\udce9.csv", r"no data in caf\udce9.csv"), ("x" * 3_000_000 + " end", "xxx end")],
    ids=["no UTF-8", "too long"],
)
def test_setup_that_fails_with_an_odd_text_says_so(cluster: Callable[..., JobCluster], text: str, told: str) -> None:
    made = cluster(identity, setup=lambda: fail_in_setup(text))
    made.submit(1)
    [problem] = eventually(lambda: made.status().problems, 20)
    assert "setup of identity failed on" in problem and f"{told}" in problem
    assert len(problem) < 64 * 1024


def test_more_files_than_one_batch_takes_arrive(cluster: Callable[..., JobCluster], many_files: list[str]) -> None:
    assert cluster(count_files, depends=many_files).submit().result_or_raise(LIMIT) == len(many_files)


def test_thousands_of_jobs_with_a_file_each_all_end(
    cluster: Callable[..., JobCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.txt" for number in range(5_000)]
    for name in names:
        Path(name).write_text(name)
    made = cluster(read)
    jobs = [made.submit(name, dispy_job_depends=[name]) for name in names]
    assert made.wait(100), made.status().problems
    assert [job.result for job in jobs] == names


def test_files_from_before_1970_travel_all_ways(
    cluster: Callable[..., JobCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old.txt", "older.txt"):
        Path(name).write_text(name)
        os.utime(name, (-86_400, -86_400))
    made = cluster(read, depends=["old.txt"])
    jobs = [made.submit("old.txt"), made.submit("older.txt", dispy_job_depends=["older.txt"])]
    assert [job.result_or_raise(LIMIT) for job in jobs] == ["old.txt", "older.txt"]
    assert cluster(send_old_file).submit().result_or_raise(LIMIT) == 0
    assert Path("out.txt").read_text() == "from the job"
    assert os.stat("out.txt").st_mtime == 0.0


@pytest.mark.parametrize("name", ["\udcff", "f" * 1_100_000], ids=["no UTF-8", "too long"])
def test_function_with_an_odd_name_runs(cluster: Callable[..., JobCluster], name: str) -> None:
    def work(value: int) -> int:
        return value + 1

    work.__name__ = name
    assert cluster(work).submit(1).result_or_raise(LIMIT) == 2


def test_message_that_is_refused_each_time_is_reported_and_ends_what_it_is_about(
    cluster: Callable[..., JobCluster], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a node of another version: here what this side takes is made narrower, once the node is ready."""
    made = cluster(fail_with)
    assert made.submit(1).wait(LIMIT)
    place = Ended.__match_args__.index("exceptions")
    shape = list(Ended.shape)
    shape[place] = lambda texts: all(len(text) < 5_000 for text in texts)
    monkeypatch.setattr(Ended, "shape", tuple(shape))
    job = made.submit(10_000)
    assert job.wait(LIMIT)
    assert job.status == DispyJob.Abandoned
    assert "a message is refused: Ended.exceptions is not what it must be" in job.exception
    assert "a message is refused: Ended.exceptions is not what it must be" in caplog.text
    eventually(lambda: "the versions of gdispy are incompatible" in str(made.status().problems), 10)
    # Who waits for another job hears that none will run.
    eventually(lambda: made.status().is_hopeless, 10)
