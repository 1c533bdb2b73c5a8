"""The log of jobs that have ended: the file of `--joblog`, in the format of GNU parallel.

One line a job, written when the job has ended and its output was printed, or stored with `--results`. A line is written
by one call, so that after a crash at most the last line is incomplete; it is ignored and removed by the next run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from gdispy.buffers.memory_file import write_all
from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_output import size_of
from gdispy.cli.quoting import MESSAGE_LIMIT
from gdispy.errors import ConfigError, GdispyError

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
#: The column Exitval of a job that has neither an exit code nor a signal.
NO_EXIT_CODE = -1
_COLUMNS = HEADER.count("\t") + 1


class LoggedJob(NamedTuple):
    """A line of the log."""

    number: int
    has_failed: bool
    command: str


class LoggedJobs:
    """The jobs of a previous run, as far as its log names them: the last line of each."""

    def __init__(self, path: str, jobs: dict[int, LoggedJob]) -> None:
        self._path, self._jobs = path, jobs

    @classmethod
    def read(cls, path: str) -> LoggedJobs:
        """Raises ConfigError if the file is not a log of jobs. A file that does not exist is an empty log."""
        if os.path.exists(path) and not os.path.isfile(path):
            raise ConfigError(f"--joblog {path} is not a regular file")
        try:
            with open(path, "rb") as file:
                whole, _, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return cls(path, {})
        except OSError as error:
            raise ConfigError(f"--joblog {path} cannot be read: {error.strerror}") from None
        lines = os.fsdecode(whole).split("\n")
        if whole:
            _check_header(path, lines[0])
        return cls(path, {job.number: job for job in _read_lines(path, lines[1:])})

    @property
    def last(self) -> int:
        """The highest number of a job; 0 if there is none."""
        return max(self._jobs, default=0)

    @property
    def failed(self) -> int:
        """The number of jobs that have failed."""
        return sum(job.has_failed for job in self._jobs.values())

    def is_done(self, line: JobLine, command: str, runs_failed: bool) -> bool:
        """Whether a job need not run again. Raises ConfigError if the log has another command under its number."""
        job = self._jobs.get(line.number)
        if job is None:
            return False
        if job.command != command:
            now, before = _where_they_differ(command, job.command)
            raise ConfigError(
                f"job {line.number} is {now!r}, but {self._path} has {before!r} under this number: the "
                "program or the arguments are not those of the previous run. Use another --joblog, or omit --resume"
            )
        return not (runs_failed and job.has_failed)

    def check_count(self, count: int) -> None:
        """Raises ConfigError if the log has more than `count` jobs."""
        if self.last > count:
            raise ConfigError(
                f"{self._path} has a job {self.last}, but the arguments are those of {count} jobs only: they are not "
                "those of the previous run. Use another --joblog, or omit --resume"
            )


def _check_header(path: str, line: str) -> None:
    """Raises ConfigError if this is not the first line of a log."""
    if line != HEADER:
        raise ConfigError(f"--joblog {path} is not a log of jobs: its first line is not that of such a log")


def _where_they_differ(one: str, other: str) -> list[str]:
    """Two command lines, shortened before and after the first difference."""
    shorter = min(len(one), len(other))
    common = next((place for place in range(shorter) if one[place] != other[place]), shorter)
    begin = max(0, common - MESSAGE_LIMIT // 2)
    end = begin + MESSAGE_LIMIT
    return [f"{'... ' * bool(begin)}{text[begin:end]}{' ...' * (len(text) > end)}" for text in (one, other)]


def _read_lines(path: str, lines: list[str]) -> Iterator[LoggedJob]:
    for place, line in enumerate(lines, 2):
        columns = line.split("\t", _COLUMNS - 1)
        try:
            number, exit_code, signal = int(columns[0]), int(columns[6]), int(columns[7])
            command = columns[8]
        except (ValueError, IndexError):
            raise ConfigError(f"line {place} of --joblog {path} is not that of a job: {line[:60]!r}") from None
        yield LoggedJob(number, bool(exit_code or signal), command)


class JobLog:
    """The open log of this run."""

    def __init__(self, path: str, continues: bool) -> None:
        """With `continues`, lines are added to those of a previous run; otherwise they are replaced. Raises
        ConfigError, also if the file is not a log."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise ConfigError(f"--joblog {path} is not a regular file")
            if not continues:
                self._empty()
            if not self._go_to_end():
                write_all(self._fd, f"{HEADER}\n".encode())
        except OSError as error:
            raise ConfigError(f"--joblog {path} cannot be written: {error.strerror}") from None

    def _empty(self) -> None:
        begin = os.pread(self._fd, len(HEADER) + 1, 0)
        if begin not in (b"", HEADER.encode()):  # Without a line end, it is the log of a run that was killed at once.
            _check_header(self._path, os.fsdecode(begin.removesuffix(b"\n")))
        os.ftruncate(self._fd, 0)

    def _go_to_end(self) -> int:
        """Remove an incomplete last line, and return the size."""
        with open(self._fd, "rb", closefd=False) as file:
            size = file.read().rfind(b"\n") + 1
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)
        return os.lseek(self._fd, size, os.SEEK_SET)

    def write(self, outcome: JobOutcome, command: str) -> None:
        """Add a job that has ended. Raises GdispyError."""
        received = size_of(outcome.stdout) + size_of(outcome.stderr)
        times = f"{outcome.start:.3f}\t{outcome.seconds:10.3f}"
        exit_code = outcome.exit_code
        if exit_code is None:
            exit_code = 0 if outcome.signal else NO_EXIT_CODE
        codes = f"{exit_code}\t{outcome.signal}"
        text = f"{outcome.line.number}\t{outcome.host or '-'}\t{times}\t0\t{received}\t{codes}\t{command}\n"
        try:
            write_all(self._fd, os.fsencode(text))
        except OSError as error:
            raise GdispyError(f"--joblog {self._path} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        os.close(self._fd)
