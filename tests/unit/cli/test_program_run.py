"""Submitting ahead, attempts and halts, with jobs that end when the test says so."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli.command_template import SLOT
from gdispy.cli.halt_rule import HaltRule
from gdispy.cli.job_outcome import JobLine
from gdispy.cli.job_printer import JobPrinter, PlainForm
from gdispy.cli.program_run import Attempts, EndedJobs, Hopeless, JobRecords, JobWindow, ProgramRun, Slots, Totals
from gdispy.client.status import ClusterStatus
from gdispy.errors import ConfigError
from gdispy.protocol.job_status import FINISHED


class Cluster:
    """Ends the oldest running job at each wait, with the next of these exit codes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codes: dict[str, list[int]], cpus: int = 2) -> None:
        self.codes, self.cpus, self.hopeless = codes, cpus, False
        self.submitted: list[str] = []
        self.options: list[dict[str, Any]] = []
        self.running: list[tuple[str, Any]] = []
        self.most = 0
        monkeypatch.setattr(EndedJobs, "wait", lambda ended, limit: self.end_one())

    def submit(self, word: str, **options: Any) -> Any:
        if word == "missing":
            raise ConfigError("the dependency missing does not exist")
        job = SimpleNamespace(
            _number=len(self.submitted) + 1,
            status=FINISHED,
            exception=None,
            stdout=f"{word}\n".encode(),
            stderr=b"",
            ip_addr="h",
            submit_time=1.0,
            start_time=1.0,
            end_time=2.0,
            result=None,
        )
        job._tell = lambda wake: setattr(job, "wake", wake)
        self.submitted.append(word)
        self.options.append(options)
        self.running.append((word, job))
        self.most = max(self.most, len(self.running))
        return job

    def end_one(self) -> bool:
        if self.hopeless:
            return False
        word, job = self.running.pop(0)
        job.result = self.codes[word].pop(0) if self.codes.get(word) else 0
        job.wake()
        job.wake()  # A duplicate notification.
        return True

    def status(self) -> Any:
        nodes: Any = [SimpleNamespace(cpus=self.cpus)]
        return ClusterStatus(nodes, 0, [], is_hopeless=self.hopeless)


def run(
    cluster: Any, words: Iterator[str], window: JobWindow | None = None, halt: str = "never", **attempts: Any
) -> tuple[bool, ProgramRun]:
    lines = (JobLine(number, (word,), (word,)) for number, word in enumerate(words, 1))
    printer = JobPrinter("prog", PlainForm(), keeps_order=True)
    rules = (window or JobWindow(), HaltRule.read(halt), Attempts(**attempts))
    records = JobRecords.open("", "", False, lambda line: "")
    made = ProgramRun(cluster, lines, printer, records, *rules, Totals(None), None)
    return made.run(), made


def words(count: int) -> Iterator[str]:
    return map(str, range(count))


def test_input_is_read_only_as_fast_as_jobs_end(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    cluster = Cluster(monkeypatch, {})
    assert run(cluster, words(50), JobWindow(least=10))[0]
    assert cluster.most == 10 and cluster.submitted == [*words(50)]


@pytest.mark.parametrize(
    ("window", "cpus", "jobs"),
    [
        (JobWindow(), 1, 2000),
        (JobWindow(), 1000, 4000),
        (JobWindow(limit=3), 1000, 3),
        (JobWindow(exact=True), 0, 1),
        (JobWindow(exact=True), 7, 7),
        (JobWindow(limit=3, exact=True), 7, 3),
        (JobWindow(least=32), 2, 32),
    ],
)
def test_window_keeps_all_cpus_busy(window: JobWindow, cpus: int, jobs: int) -> None:
    window.adapt(cpus)
    assert window.jobs == jobs


def test_failed_jobs_are_tried_again_before_others(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    cluster = Cluster(monkeypatch, {"1": [1, 1], "2": [1, 1, 1]})
    assert not run(cluster, words(4), limit=3, timeout=5.0)[0]
    assert cluster.submitted.count("1") == 3 and cluster.submitted.count("2") == 3
    assert cluster.options[0] == {"dispy_timeout": 5.0}
    assert cluster.options[-1] == {"dispy_timeout": 5.0, "dispy_priority": 1}
    found = capsys.readouterr()
    assert found.out == "0\n1\n2\n3\n" and found.err == "gdispy: job 3 (2): exit code 1\n"


def test_job_whose_file_is_missing_fails_alone(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert not run(Cluster(monkeypatch, {}), iter(["a", "missing", "b"]))[0]
    found = capsys.readouterr()
    assert found.out == "a\nb\n" and "job 2 (missing): the dependency missing" in found.err


@pytest.mark.parametrize(
    ("halt", "good", "out", "is_cut_short"),
    [
        ("soon,fail=1", False, "0\n1\n2\n", False),
        ("now,fail=1", False, "0\n1\n", True),
        ("now,success=1", True, "0\n", True),
        ("now,done=3", False, "0\n1\n2\n", True),
    ],
)
def test_halt(
    halt: str, good: bool, out: str, is_cut_short: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cluster = Cluster(monkeypatch, {"1": [1]})
    found, made = run(cluster, words(50), JobWindow(limit=2), halt)
    assert (found, made.is_cut_short) == (good, is_cut_short) and len(cluster.submitted) <= 4
    printed = capsys.readouterr()
    assert printed.out == out and f"no more jobs are started (--halt {halt})" in printed.err


def test_run_without_nodes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {})
    cluster.hopeless = True
    with pytest.raises(Hopeless, match="no node can run the jobs"):
        run(cluster, words(1))


def test_totals_count_ended_and_failed_jobs(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    cluster = Cluster(monkeypatch, {"1": [1], "2": [2]})
    made = run(cluster, words(3))[1]
    assert made._totals.counts == (3, 2, 3)
    assert Totals(10).counts == (0, 0, 10)


def test_no_two_running_jobs_have_the_same_slot(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    cluster = Cluster(monkeypatch, {"1 2": [1]})
    held: list[list[str]] = []
    submit = cluster.submit

    def checked(word: str, **options: Any) -> Any:
        held.append([each.split()[1] for each, _ in cluster.running] + [word.split()[1]])
        return submit(word, **options)

    cluster.submit = checked  # type: ignore[method-assign]
    lines = (JobLine(number, (), (f"{number} {SLOT}",)) for number in range(6))
    rules = (JobWindow(limit=2), HaltRule.read("never"), Attempts(limit=2))
    printer = JobPrinter("prog", PlainForm(), keeps_order=True)
    records = JobRecords.open("", "", False, lambda line: "")
    assert ProgramRun(cluster, lines, printer, records, *rules, Totals(None), None, Slots()).run()  # type: ignore[arg-type]
    assert all(len({*slots}) == len(slots) and {*slots} <= {"1", "2"} for slots in held) and len(held) == 7


def test_slot_of_a_job_that_cannot_be_sent_is_free_again() -> None:
    slots = Slots()
    assert [slots.take(key) for key in range(3)] == [1, 2, 3]
    slots.free(1)
    slots.free(1)
    assert (slots.take(0), slots.take(3), slots.take(4)) == (1, 2, 4)
