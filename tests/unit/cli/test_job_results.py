"""The folder of `--results`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_results import ResultsFolder
from gdispy.errors import ConfigError, GdispyError

FAILED = JobOutcome(JobLine(7, ("a b", "c"), ()), 2, "host", 1.5, 0.25, 3, 0, "exit code 3", b"\xffout", b"err\n")


def test_output_status_and_arguments_are_stored(tmp_path: Path) -> None:
    ResultsFolder(str(tmp_path / "a" / "b")).store(FAILED)
    folder = tmp_path / "a" / "b" / "7"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "arguments": b"'a b' c\n",
        "stdout": b"\xffout",
        "stderr": b"err\n",
        "status": b"exit_code 3\nsignal 0\nattempts 2\nhost host\nstart 1.500\nseconds 0.250\nerror exit code 3\n",
    }


def test_next_run_replaces_them(tmp_path: Path) -> None:
    results = ResultsFolder(str(tmp_path))
    results.store(FAILED)
    results.store(FAILED._replace(exit_code=0, error="", stdout=b""))
    assert (tmp_path / "7" / "stdout").read_bytes() == b""
    assert (tmp_path / "7" / "status").read_text().startswith("exit_code 0\n")


def test_folders_of_jobs_are_counted(tmp_path: Path) -> None:
    results = ResultsFolder(str(tmp_path))
    (tmp_path / "notes").mkdir()
    assert results.count() == 0
    results.store(FAILED)
    assert results.count() == 1


def test_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--results .*file cannot be created"):
        ResultsFolder(str(tmp_path / "file"))
    results = ResultsFolder(str(tmp_path))
    (tmp_path / "7").touch()
    with pytest.raises(GdispyError, match="results of job 7 cannot be written"):
        results.store(FAILED)
