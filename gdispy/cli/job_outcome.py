"""One job of the command line, and its outcome after the last attempt. Immutable records."""

from __future__ import annotations

from typing import NamedTuple

from gdispy.cli.argument_sources import Row
from gdispy.cli.command_template import SLOT
from gdispy.cli.job_output import Output
from gdispy.cli.quoting import cut, shortened
from gdispy.client.job import DispyJob
from gdispy.protocol import job_status
from gdispy.protocol.texts import TOO_LONG

#: Characters of the reason for which a job was not sent to a node.
_ERROR_LIMIT = 1000


class JobLine(NamedTuple):
    """A job, before it runs."""

    #: From 1, in the order of the sources.
    number: int
    #: From the sources.
    arguments: Row
    #: The command-line arguments of the program, with `SLOT` instead of the number of a slot.
    words: tuple[str, ...]
    #: Files that only this job needs.
    files: tuple[str, ...] = ()
    #: Patterns of the files that it returns.
    returns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The job in messages: its number and arguments."""
        return f"job {self.number} ({shortened(self.arguments)})"

    def words_in(self, slot: int) -> tuple[str, ...]:
        """The command-line arguments, with the number of a slot inserted."""
        return tuple(word.replace(SLOT, str(slot)) for word in self.words)


class JobOutcome(NamedTuple):
    """A job that has ended."""

    line: JobLine
    #: The number of attempts, the last included.
    attempts: int
    host: str
    #: Seconds since the epoch, by the clock of the node.
    start: float
    seconds: float
    #: Of the program; None if it was killed, ran into its time limit, or its node was lost.
    exit_code: int | None
    #: The number of the signal that killed the program, or 0.
    signal: int
    #: The reason of the failure, or ''.
    error: str
    stdout: Output
    stderr: Output

    @classmethod
    def of(cls, line: JobLine, job: DispyJob, attempts: int) -> JobOutcome:
        """The outcome of a job that has ended."""
        result, error = job.result, (job.exception or "").strip()
        code = result if type(result) is int else None
        if error.startswith(TOO_LONG):  # The program was ended, however it has taken that.
            code = None
        signal = -code if code is not None and code < 0 else 0
        exit_code = None if signal or (not code and has_failed(job)) else code
        if not error and exit_code != 0:
            error = f"exit code {result}"
        start = job.start_time or job.end_time or job.submit_time
        seconds = max(0.0, (job.end_time or start) - start)
        output = (job.stdout or b"", job.stderr or b"")
        return cls(line, attempts, job.ip_addr or "", start, seconds, exit_code, signal, error, *output)

    @classmethod
    def not_started(cls, line: JobLine, now: float, error: str) -> JobOutcome:
        """The outcome of a job that could not be sent to a node."""
        # It contains arguments.
        return cls(line, 1, "", now, 0.0, None, 0, cut(error, _ERROR_LIMIT), b"", b"")

    @property
    def has_failed(self) -> bool:
        return self.exit_code != 0


def has_failed(job: DispyJob) -> bool:
    """Whether a finished job of a program has failed."""
    return job.status != job_status.FINISHED or job.result != 0
