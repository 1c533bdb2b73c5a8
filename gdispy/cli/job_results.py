"""The folder of `--results`: the output and the status of each job, in `DIR/<number of the job>/`.

| file | contents |
|---|---|
| `arguments` | the arguments from the sources, quoted as for a shell |
| `stdout`, `stderr` | the output of the last attempt, unchanged |
| `status` | lines `exit_code`, `signal`, `attempts`, `host`, `start`, `seconds`, and `error` if the job has failed |

Invariant: `status` is written last, under its final name only when it is complete, so a folder with a `status` is
complete.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gdispy.cli.job_outcome import JobOutcome
from gdispy.cli.job_output import Output, OutputIncomplete, parts
from gdispy.cli.quoting import quoted
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.limits import printable


class ResultsFolder:
    """A folder with a subfolder for each job."""

    def __init__(self, path: str) -> None:
        """Create the folder if necessary. Raises ConfigError."""
        self._path = Path(path)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--results {path} cannot be created: {error.strerror}") from None
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise ConfigError(f"--results {path} cannot be written")

    def count(self) -> int:
        """The number of folders of jobs."""
        try:
            with os.scandir(self._path) as entries:
                return sum(entry.name.isdecimal() for entry in entries)
        except OSError:  # It can be written, and not read.
            return 0

    def store(self, outcome: JobOutcome) -> None:
        """Store a job that has ended; replaces what a previous run has stored under its number. Raises GdispyError."""
        folder = self._path / str(outcome.line.number)
        try:
            folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (folder / "status").unlink()
            (folder / "arguments").write_bytes(os.fsencode(quoted(outcome.line.arguments) + "\n"))
            _write(folder / "stdout", outcome.stdout)
            _write(folder / "stderr", outcome.stderr)
            (folder / "status.new").write_bytes(os.fsencode(_status(outcome)))
            (folder / "status.new").replace(folder / "status")
        except OutputIncomplete as error:
            raise GdispyError(f"{outcome.line.name}: {error}") from None
        except OSError as error:
            raise GdispyError(f"the results of job {outcome.line.number} cannot be written: {error}") from None


def _write(path: Path, output: Output) -> None:
    with open(path, "wb") as file:
        for part in parts(output):
            file.write(part)


def _status(outcome: JobOutcome) -> str:
    lines = [
        f"exit_code {'none' if outcome.exit_code is None else outcome.exit_code}",
        f"signal {outcome.signal}",
        f"attempts {outcome.attempts}",
        f"host {outcome.host}",
        f"start {outcome.start:.3f}",
        f"seconds {outcome.seconds:.3f}",
    ]
    if outcome.error:
        lines.append(f"error {printable(outcome.error)}")
    return "\n".join([*lines, ""])
