"""The jobs of a command line, and those that a previous run has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdispy.cli.argument_sources import CommandLineSource, SourceGroups
from gdispy.cli.command_template import CommandTemplate
from gdispy.cli.job_lines import JobLines, Templates, arrived, shuffled
from gdispy.cli.job_log import JobLog, LoggedJobs
from gdispy.cli.job_outcome import JobOutcome
from gdispy.errors import ConfigError


def lines(*arguments: str, words: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> JobLines:
    sources = SourceGroups([[CommandLineSource(arguments)]])
    return JobLines("prog", Templates(CommandTemplate(words), CommandTemplate(files)), sources)


def logged(path: Path, made: JobLines, codes: dict[int, int]) -> LoggedJobs:
    log = JobLog(str(path), continues=False)
    for line in arrived(made.lines()):
        if line.number in codes:
            outcome = JobOutcome(line, 1, "", 0.0, 0.0, codes[line.number], 0, "", b"", b"")
            log.write(outcome, made.command(line))
    log.close()
    return LoggedJobs.read(str(path))


def test_jobs_are_numbered_and_get_their_words_and_files() -> None:
    found = [*lines("a b", "c", words=("-x", "{}"), files=("{}", "{}.{#}")).lines()]
    assert found == [
        (1, ("a b",), ("-x", "a b"), ("a b", "a b.1"), ()),
        (2, ("c",), ("-x", "c"), ("c", "c.2"), ()),
    ]


def test_template_of_files_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"\{2\}"):
        lines("a", files=("{2}",))


def test_previous_run_leaves_jobs_that_are_not_in_its_log(tmp_path: Path) -> None:
    former = logged(tmp_path / "log", lines("a", "b", "c", "d"), {1: 0, 3: 1})
    for runs_failed, left in ((False, [2, 4, 5]), (True, [2, 3, 4, 5])):
        found = arrived(lines("a", "b", "c", "d", "e").unfinished(former, runs_failed))
        assert [line.number for line in found] == left


def test_other_arguments_are_refused_before_any_job_runs(tmp_path: Path) -> None:
    former = logged(tmp_path / "log", lines("a", "b", "c"), {3: 0})
    with pytest.raises(ConfigError, match="job 3"):
        next(lines("a", "b", "x").unfinished(former, False))
    with pytest.raises(ConfigError, match="has a job 3"):
        next(lines("a", "b").unfinished(former, False))


def test_shuffled_jobs_are_all_jobs_with_their_numbers() -> None:
    made = lines(*map(str, range(100)))
    found = [*arrived(shuffled(made.lines()))]
    assert found != [*made.lines()] and sorted(found) == [*made.lines()]
