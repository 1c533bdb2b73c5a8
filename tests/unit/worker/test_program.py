"""Stand-alone programs as jobs: words, environment, outcomes. With processes: `tests/integration/test_jobs.py`."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker import pickling
from gdispy.worker import program as module
from gdispy.worker.frames import FINISHED, TERMINATED
from gdispy.worker.memory_kills import MemoryKills
from gdispy.worker.program import run_program
from gdispy.worker.result_encoding import encode_result


class Made:
    """A program that ends with this wait status; records how it was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
        self.started: list[Any] = []
        self.interrupted: list[int] = []
        self.error: OSError | None = None
        self.job: Any = SimpleNamespace(
            number=7, attempt=2, cancelled=False, program=-1, is_sending=False, note_signal=lambda number: "a note\n"
        )
        monkeypatch.setattr(module.os, "posix_spawn", self._start)
        monkeypatch.setattr(module, "interrupt", self.interrupted.append)
        usage = SimpleNamespace(ru_maxrss=2048)
        monkeypatch.setattr(module.os, "wait4", lambda pid, options: (pid, status, usage))

    def _start(self, path: str, words: list[str], environment: dict[str, str], setsigdef: Any) -> int:
        assert self.job.is_sending  # An interrupt must find the program that is just started.
        if self.error is not None:
            raise self.error
        self.started.append((path, words, environment))
        return 99

    def run(self, path: str, *words: str, **exported: Any) -> Any:
        return run_program(path, exported)(pickling.dumps(words), self.job)


def test_program_gets_its_words_and_the_number_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    assert made.run("/bin/true", "a", "b c") == (FINISHED, encode_result(0), "")
    ((path, words, environment),) = made.started
    assert (path, words) == ("/bin/true", ["/bin/true", "a", "b c"])
    assert (environment["GDISPY_JOB"], environment["GDISPY_ATTEMPT"]) == ("7", "2")
    assert made.job.program == -1 and not made.job.is_sending


def test_python_script_is_run_by_the_python_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.run("/files/x.py", "a")
    assert made.started[0][:2] == (sys.executable, [sys.executable, "/files/x.py", "a"])


def test_texts_and_numbers_of_setup_are_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.run("/bin/true", TEXT="a", NUMBER=5, FLOAT=0.5, LIST=[1], ZERO="a\0b", GDISPY_JOB="mine")
    environment = made.started[0][2]
    assert (environment["TEXT"], environment["NUMBER"], environment["FLOAT"]) == ("a", "5", "0.5")
    assert "LIST" not in environment and "ZERO" not in environment and environment["GDISPY_JOB"] == "7"


def test_exit_code_is_the_result_also_of_a_failed_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, 3 << 8).run("/bin/false") == (FINISHED, encode_result(3), "")


def test_killed_program_is_terminated_with_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryKills, "explain", lambda kills, status, peak: f"by {status} at {peak}")
    text = "The program was killed by signal 9 (SIGKILL): by 9 at 2048.\na note\n"
    assert Made(monkeypatch, 9).run("/bin/true") == (TERMINATED, encode_result(-9), text)


def test_job_that_was_cancelled_before_its_program_was_there_interrupts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.job.cancelled = True
    assert made.run("/bin/true") == (TERMINATED, encode_result(0), "The job was cancelled.\n")
    assert made.interrupted == [99]


@pytest.mark.parametrize(
    ("number", "first", "text"),
    [
        (errno.EACCES, "#!/bin/sh\n", "x.sh cannot be started: Permission denied\n"),
        (errno.ENOEXEC, "echo\n", "(a script needs a first line such as #!/bin/sh)\n"),
        (errno.ENOENT, "#!/no/python3 -u\n", "its first line names '/no/python3 -u', which is not on this node\n"),
        (errno.ENOENT, None, "is run in place and not sent, and it does not exist on this node\n"),
    ],
)
def test_program_that_cannot_be_started_is_explained(
    number: int, first: str | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(monkeypatch)
    if first is not None:
        (tmp_path / "x.sh").write_text(first)
    made.error = OSError(number, os.strerror(number))
    status, result, told = made.run(str(tmp_path / "x.sh"))
    assert (status, result) == (TERMINATED, b"") and told.startswith("x.sh cannot be started: ") and told.endswith(text)
    assert not made.job.is_sending


def test_script_with_line_ends_of_windows_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"#!/bin/sh\r\necho\r\n")
    made = Made(monkeypatch)
    status, _, told = made.run(str(tmp_path / "x"))
    assert status == TERMINATED and "its first line names '/bin/sh\\r'" in told and "dos2unix" in told
    (tmp_path / "x.py").write_bytes(b"#!/usr/bin/python\r\n")
    assert made.run(str(tmp_path / "x.py"))[0] == FINISHED


# Files that the job returns


def returning(made: Made, *patterns: str, code: int = 0, errors: tuple[str, ...] = ()) -> Any:
    """Run a program that makes the files a and b, and returns files."""
    rest, sent = list(errors), []

    def start(path: str, words: list[str], environment: dict[str, str], setsigdef: Any) -> int:
        for name in ("a", "b"):
            with open(name, "w") as file:
                file.write(name)
        return 99

    def send_file(path: str, shown: str) -> str:
        assert made.job.program == 0  # An interrupt must end it.
        sent.append(shown)
        return rest.pop(0) if rest else ""

    made.job.send_file = send_file
    made._start = start  # type: ignore[method-assign]
    module.os.posix_spawn = start  # type: ignore[assignment]  # The monkeypatch of `made` restores it.
    payload = pickling.dumps({"words": ["x"], "returns": list(patterns)})
    return run_program("/bin/true", {})(payload, made.job), sent


def test_files_are_sent_after_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = Made(monkeypatch)
    assert returning(made, "*") == ((FINISHED, encode_result(0), ""), ["a", "b"])
    assert made.job.program == -1


def test_missing_file_fails_a_job_that_has_succeeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = "no file to return matches 'c*'\n"
    assert returning(Made(monkeypatch), "a", "c*") == ((TERMINATED, encode_result(0), text), ["a"])


def test_program_that_fails_returns_the_files_that_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert returning(Made(monkeypatch, 3 << 8), "a", "c*") == ((FINISHED, encode_result(3), ""), ["a"])


def test_file_that_cannot_be_stored_fails_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    outcome, sent = returning(Made(monkeypatch), "*", errors=("the disk is full",))
    assert outcome == (TERMINATED, encode_result(0), "not returned: the disk is full\n") and sent == ["a", "b"]


def test_cancelled_job_returns_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = Made(monkeypatch)
    made.job.cancelled = True
    (status, _, text), sent = returning(made, "a")
    assert (status, text, sent) == (TERMINATED, "The job was cancelled.\n", [])
