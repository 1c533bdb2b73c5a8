"""The jobs of a command line, one after the other: arguments from the sources, put into the templates.

Read in the main thread, lazily: while the next arguments have not arrived, None is yielded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from gdispy.cli.argument_sources import NOT_YET, SourceGroups, wait_for_input
from gdispy.cli.command_template import CommandTemplate, shown
from gdispy.cli.job_log import LoggedJobs
from gdispy.cli.job_outcome import JobLine
from gdispy.cli.quoting import quoted


class Templates(NamedTuple):
    """What each job has with its arguments inserted."""

    #: The words of the program.
    words: CommandTemplate
    #: The files that only this job gets.
    files: CommandTemplate = CommandTemplate([])
    #: The patterns of the files that it returns.
    returns: CommandTemplate = CommandTemplate([])

    @property
    def have_fields(self) -> bool:
        return any(each.has_fields for each in self)


class JobLines:
    """The program, its templates, and the sources of its arguments."""

    def __init__(self, program: str, templates: Templates, sources: SourceGroups) -> None:
        """Raises ConfigError for a template of a source that does not exist."""
        self.program, self._templates, self._sources = program, templates, sources
        for each in templates:
            each.check(sources.width())

    @property
    def have_slots(self) -> bool:
        """Whether jobs get the number of a slot."""
        return self._templates.words.has_slot

    def count(self) -> int | None:
        """The number of jobs; None if it is not known in advance."""
        return self._sources.count()

    def command(self, line: JobLine) -> str:
        """The command line of a job, quoted."""
        return quoted((self.program, *shown(line.words)))

    def lines(self) -> Iterator[JobLine | None]:
        """All jobs; None while the arguments of the next have not arrived."""
        number = 0
        for row in self._sources.rows():
            if row is NOT_YET:
                yield NOT_YET
                continue
            number += 1
            words, files, returns = self._templates
            yield JobLine(number, row, words.append(number, row), files.fill(number, row), returns.fill(number, row))

    def unfinished(self, logged: LoggedJobs, runs_failed: bool) -> Iterator[JobLine | None]:
        """The jobs that a previous run has not done. All jobs of the log are compared before the first is yielded.
        Raises ConfigError if they are others."""
        first: list[JobLine] = []
        rest, number = self.lines(), 0
        for line in rest if logged.last else ():
            if line is NOT_YET:
                yield NOT_YET
                continue
            number = line.number
            if not logged.is_done(line, self.command(line), runs_failed):
                first.append(line)
            if number == logged.last:
                break
        logged.check_count(number)
        yield from first
        yield from rest


def shuffled(lines: Iterator[JobLine | None]) -> Iterator[JobLine | None]:
    """The jobs in random order; all are read first."""
    found: list[JobLine] = []
    for line in lines:
        if line is NOT_YET:
            yield NOT_YET
        else:
            found.append(line)
    random.shuffle(found)
    yield from found


def arrived(lines: Iterator[JobLine | None]) -> Iterator[JobLine]:
    """The jobs; waits for arguments that have not arrived."""
    for line in lines:
        if line is NOT_YET:
            wait_for_input()
        else:
            yield line
