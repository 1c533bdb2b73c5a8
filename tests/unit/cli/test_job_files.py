"""Where the files of jobs go, and which they may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdispy.cli.job_files import JobFiles
from gdispy.cli.job_outcome import JobLine
from gdispy.client.received_files import Destination
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.protocol.ids import JobId


def begun(files: JobFiles, *patterns: str, job: int = 70, number: int = 7) -> JobFiles:
    files.begin(job, JobLine(number, (), ()), ReturnPatterns(patterns))
    return files


def test_without_results_files_go_below_the_working_directory() -> None:
    files = begun(JobFiles(), "*.out")
    assert files.destination(JobId(70), "a.out") == Destination(".", True, True)
    assert files.destination(JobId(70), "Makefile") == Destination(".", False, True)


def test_with_results_each_job_has_a_folder(tmp_path: Path) -> None:
    files = begun(JobFiles(str(tmp_path)), "a")
    assert files.destination(JobId(70), "a") == Destination(str(tmp_path / "7" / "files"), True, True)
    assert files.destination(JobId(70), "b") == Destination(str(tmp_path / "7" / "files"), False, True)
    assert (tmp_path / "7" / "files").is_dir()


def test_job_that_has_ended_replaces_nothing() -> None:
    files = begun(JobFiles(), "a")
    files.end(70)
    files.end(71)
    assert files.destination(JobId(70), "a") == Destination(".", False)


def test_file_that_two_jobs_return_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    files = begun(JobFiles(), "a")
    for _ in range(2):  # Two attempts of one job.
        files.destination(JobId(70), "a")
    assert capsys.readouterr().err == ""
    begun(files, "a", job=80, number=8)
    files.destination(JobId(80), "a")
    assert "job 8 replaces a, which job 7 has returned" in capsys.readouterr().err


def test_the_same_in_folders_of_results_is_no_conflict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = begun(begun(JobFiles(str(tmp_path)), "a"), "a", job=80, number=8)
    assert files.destination(JobId(70), "a") != files.destination(JobId(80), "a")
    assert capsys.readouterr().err == ""
