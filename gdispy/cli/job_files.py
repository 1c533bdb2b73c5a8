"""The files that jobs send to the command line: where they are written, and which files they may replace.

`begin` and `end` are called in the main thread, `destination` in the greenlet of callbacks, all in one native thread.
No greenlet runs between the submission of a job and `begin`.

Files go below the working directory, as with GNU parallel, or with `--results DIR` below `DIR/<number>/files`. A file
that matches a `--return` of its job replaces any other; another, sent with `dispy_send_file`, only those that jobs of
this run have sent.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from gdispy.cli.job_outcome import JobLine
from gdispy.client.received_files import Destination
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.protocol.ids import JobId

#: The folder of the files of a job, in that of its results.
FILES = "files"


class _Running(NamedTuple):
    #: The number of the job in the run.
    line: int
    patterns: ReturnPatterns


class JobFiles:
    """The files of one run."""

    def __init__(self, results: str = "") -> None:
        """`results` is the folder of `--results`, or ''."""
        self._results = results
        self._running: dict[JobId, _Running] = {}
        #: The job that has returned a file last, by the path of the file in the working directory.
        self._owners: dict[str, int] = {}

    def begin(self, job: int, line: JobLine, patterns: ReturnPatterns) -> None:
        """A job of the cluster was submitted."""
        self._running[JobId(job)] = _Running(line.number, patterns)

    def end(self, job: int) -> None:
        self._running.pop(JobId(job), None)

    def destination(self, job: JobId, path: str) -> Destination:
        """Where a file of a job goes. Raises OSError if its folder cannot be created."""
        running = self._running.get(job)
        if running is None:  # The job has ended.
            return Destination()
        replaces = running.patterns.match(path)
        if not self._results:
            if replaces:
                self._note(path, running.line)
            return Destination(replaces=replaces, for_all=True)
        folder = os.path.join(self._results, str(running.line), FILES)
        os.makedirs(folder, exist_ok=True)
        return Destination(folder, replaces, for_all=True)

    def _note(self, path: str, line: int) -> None:
        before = self._owners.setdefault(path, line)
        if before != line:
            self._owners[path] = line
            text = f"gdispy: job {line} replaces {path}, which job {before} has returned: let the jobs return files of "
            print(f"{text}different names, or use --results DIR", file=sys.stderr)
