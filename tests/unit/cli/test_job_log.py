"""The log of jobs: its format, and what of it a later run uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gdispy.cli.job_log import HEADER, JobLog, LoggedJobs
from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.errors import ConfigError


def outcome(number: int, exit_code: int | None = 0, signal: int = 0, **fields: Any) -> JobOutcome:
    line = JobLine(number, (str(number),), (str(number),))
    made = JobOutcome(line, 1, "host", 12.5, 0.25, exit_code, signal, "", b"12345", b"67")
    return made._replace(**fields)


def log(path: Path, *outcomes: JobOutcome, continues: bool = False) -> None:
    made = JobLog(str(path), continues)
    for each in outcomes:
        made.write(each, f"prog {each.line.number}")
    made.close()


def done(path: Path, number: int, runs_failed: bool = False) -> bool:
    return LoggedJobs.read(str(path)).is_done(JobLine(number, (), ()), f"prog {number}", runs_failed)


def test_format_is_that_of_gnu_parallel(tmp_path: Path) -> None:
    log(tmp_path / "log", outcome(1), outcome(2, None, 9), outcome(3, None))
    assert (tmp_path / "log").read_text().splitlines() == [
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand",
        "1\thost\t12.500\t     0.250\t0\t7\t0\t0\tprog 1",
        "2\thost\t12.500\t     0.250\t0\t7\t0\t9\tprog 2",
        "3\thost\t12.500\t     0.250\t0\t7\t-1\t0\tprog 3",
    ]


def test_logged_jobs_are_done_and_failed_ones_may_run_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log(path, outcome(1), outcome(2, 1), outcome(3, None, 9), outcome(4, None))
    assert [done(path, number) for number in range(1, 6)] == [True, True, True, True, False]
    assert [done(path, number, runs_failed=True) for number in range(1, 6)] == [True, False, False, False, False]


def test_last_line_of_a_job_counts(tmp_path: Path) -> None:
    log(tmp_path / "log", outcome(1, 1))
    log(tmp_path / "log", outcome(1), continues=True)
    assert done(tmp_path / "log", 1, runs_failed=True) and (tmp_path / "log").read_text().count(HEADER) == 1


@pytest.mark.parametrize("cut", range(1, 38))
def test_incomplete_last_line_is_ignored_and_removed(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log(path, outcome(1), outcome(2))
    path.write_bytes(path.read_bytes()[:-cut])
    assert done(path, 1) and not done(path, 2)
    log(path, outcome(2), continues=True)
    assert done(path, 2) and len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("text", ["", HEADER, HEADER[:5], f"{HEADER}\n"])
def test_log_without_jobs_is_completed(text: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    assert LoggedJobs.read(str(tmp_path / "log")).last == 0
    log(tmp_path / "log", outcome(1), continues=True)
    assert done(tmp_path / "log", 1)


def test_new_run_replaces_the_log(tmp_path: Path) -> None:
    log(tmp_path / "log", outcome(1), outcome(2))
    log(tmp_path / "log", outcome(1))
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [("hello\n", "not a log of jobs"), (f"{HEADER}\n1\thost\n2\n", "line 2 of"), (f"{HEADER}\nx\n", "line 2 of")],
)
def test_other_files_are_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(ConfigError, match=told):
        LoggedJobs.read(str(tmp_path / "log"))


@pytest.mark.parametrize("text", ["hello\n", "hello", "\n", f"{HEADER}x\n", f" {HEADER}\n"])
def test_file_that_is_not_a_log_is_not_replaced(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a log of jobs"):
        JobLog(str(path), continues=False)
    assert path.read_text() == text


def test_commands_in_messages_are_shortened_to_where_they_differ(tmp_path: Path) -> None:
    log(tmp_path / "log", outcome(2))
    logged = LoggedJobs.read(str(tmp_path / "log"))
    with pytest.raises(ConfigError) as raised:
        logged.is_done(JobLine(2, (), ()), "prog " + "x" * 100_000, False)
    assert len(str(raised.value)) < 1000 and "'prog xxx" in str(raised.value) and "'prog 2'" in str(raised.value)


def test_log_of_other_jobs_is_refused(tmp_path: Path) -> None:
    log(tmp_path / "log", outcome(1), outcome(2))
    logged = LoggedJobs.read(str(tmp_path / "log"))
    with pytest.raises(ConfigError, match=r"job 2 is 'other', but .* has 'prog 2' under this number"):
        logged.is_done(JobLine(2, (), ()), "other", False)
    with pytest.raises(ConfigError, match=r"has a job 2, but the arguments are those of 1 jobs only"):
        logged.check_count(1)


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--joblog .* cannot be written: Is a directory"):
        JobLog(str(tmp_path), continues=False)
    with pytest.raises(ConfigError, match=r"--joblog .* is not a regular file"):
        LoggedJobs.read(str(tmp_path))


def test_device_is_refused() -> None:
    for made in (lambda: JobLog("/dev/full", continues=False), lambda: LoggedJobs.read("/dev/full")):
        with pytest.raises(ConfigError, match="--joblog /dev/full is not a regular file"):
            made()


def test_failed_jobs_of_the_log_are_counted(tmp_path: Path) -> None:
    codes = ((1, 0, 0), (2, 3, 0), (3, 0, 9))
    lines = [f"{number}\t-\t0\t0\t0\t0\t{code}\t{signal}\tp" for number, code, signal in codes]
    again = "2\t-\t0\t0\t0\t0\t0\t0\tp"
    path = tmp_path / "log"
    path.write_text("\n".join([HEADER, *lines, ""]))
    assert LoggedJobs.read(str(path)).failed == 2
    path.write_text("\n".join([HEADER, *lines, again, ""]))
    assert LoggedJobs.read(str(path)).failed == 1
    assert LoggedJobs.read(str(tmp_path / "none")).failed == 0
