"""The directory of one job: what is in it, what stays of it, and which changes are a violation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.worker import job_directory as module
from gdispy.worker.job_directory import JobDirectory, Place


class Names:
    """The globals of a computation: records replacements of its texts."""

    def __init__(self) -> None:
        self.replaced: list[tuple[str, str, str]] = []

    def replace(self, *values: str) -> None:
        self.replaced.append(values)  # type: ignore[arg-type]


class Made:
    def __init__(self, path: Path, is_kept: bool = False) -> None:
        self.shared, self.own, self.names = path / "shared", path / "jobs" / "1-1", Names()
        self.shared.mkdir()
        (self.shared / "data.txt").write_text("shared")
        names: Any = self.names
        self.directory = JobDirectory(Place(str(self.shared), is_kept=is_kept), str(self.own), names)


@pytest.fixture(autouse=True)
def same_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = os.getcwd()
    monkeypatch.setenv("dispy_job_path", "")
    yield
    os.chdir(before)


def test_job_works_in_a_private_directory_with_the_files_of_the_computation(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.own.mkdir(parents=True)
    (made.own / "own.txt").write_text("own")
    assert made.directory.enter() == ["own.txt"]
    assert os.path.samefile(os.getcwd(), made.own) and Path("data.txt").read_text() == "shared"
    assert dict(os.environ)["dispy_job_path"] == str(made.own)
    assert made.names.replaced == [("dispy_job_path", str(made.shared), str(made.own))]


def test_changes_of_a_job_do_not_reach_the_computation_and_the_directory_is_removed(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.directory.enter()
    Path("data.txt").write_text("changed")
    Path("new.txt").write_text("new")
    assert made.directory.leave() == "" and not made.own.exists()
    assert (made.shared / "data.txt").read_text() == "shared" and os.listdir(made.shared) == ["data.txt"]
    assert made.names.replaced[-1] == ("dispy_job_path", str(made.own), str(made.shared))


def test_directory_that_is_kept_stays(tmp_path: Path) -> None:
    made = Made(tmp_path, is_kept=True)
    made.directory.enter()
    Path("new.txt").write_text("new")
    assert made.directory.leave() == "" and (made.own / "new.txt").exists()


def test_change_of_a_file_that_all_jobs_share_is_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path)
    made.directory.enter()
    monkeypatch.setattr(module, "changed", lambda links: [str(made.shared / "sub" / "large.bin")])
    text = made.directory.leave()
    assert text.startswith("The job has changed sub/large.bin, a large file that all jobs of the computation share")
    assert not made.own.exists()
