"""The run of a program: submits jobs a bounded number ahead, and prints and records each when it has ended.

Everything runs in the main thread, except that the hub adds to `EndedJobs`.

Invariants:
1. A job is logged once, after its last attempt, when its output is safe: stored with `--results`, else printed. So
   `--resume` runs each job again whose output was lost.
2. Jobs that were neither printed nor have ended are bounded in number: input is read only as fast as jobs end.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from gdispy.cli.argument_sources import INPUT_LOOK, NOT_YET
from gdispy.cli.halt_rule import Halt, HaltRule
from gdispy.cli.interruption import Interruption
from gdispy.cli.job_files import JobFiles
from gdispy.cli.job_hosts import JobHosts
from gdispy.cli.job_log import JobLog
from gdispy.cli.job_outcome import JobLine, JobOutcome, has_failed
from gdispy.cli.job_printer import JobPrinter
from gdispy.cli.job_results import ResultsFolder
from gdispy.cli.live_lines import LiveLines
from gdispy.cli.node_wait import Hopeless as Hopeless
from gdispy.cli.node_wait import NodeWait
from gdispy.cli.standard_streams import OutputLost, check_standard_output
from gdispy.client import progress_bar
from gdispy.client.cluster import JobCluster
from gdispy.client.job import DispyJob
from gdispy.client.progress_bar import Bar, Counts
from gdispy.client.return_patterns import ReturnPatterns
from gdispy.errors import ConfigError, GdispyError
from gdispy.runtime.gate import Gate

#: Seconds between two checks of the nodes: how many CPUs they have, and whether any can still be expected.
LOOK_INTERVAL = 0.5
#: Jobs that are submitted ahead, at least; and those with separate files, which are read when they are submitted.
JOBS_AHEAD = 2000
JOBS_WITH_FILES_AHEAD = 32
#: The same for each CPU.
JOBS_PER_CPU = 4
#: Jobs that have ended and wait for their turn to be printed, at most.
WAITING_LIMIT = 100_000


class EndedJobs:
    """The keys of jobs that have ended, in the order of their ends."""

    def __init__(self) -> None:
        self._keys: deque[int] = deque()
        self._gate: Gate | None = None
        self._is_woken = False

    def watch(self, key: int, job: DispyJob) -> None:
        """Add the key when the job ends, at least once."""
        job._tell(functools.partial(self._arrive, key))

    def _arrive(self, key: int) -> None:
        """In the hub."""
        self._keys.append(key)
        self.wake()

    def wake(self) -> None:
        """End a wait, although no job may have ended. In the hub."""
        self._is_woken = True
        gate = self._gate
        if gate is not None:
            gate.open()

    def wait(self, timeout: float) -> bool:
        """Wait until a job has ended, or `wake`; False if `timeout` seconds pass first."""
        # Create the gate before the check: `wake` does both in the opposite order.
        gate = self._gate = Gate()
        is_woken = self._is_woken or gate.wait(timeout)
        self._is_woken = False
        return is_woken

    def take(self) -> Iterator[int]:
        """Remove and yield the keys."""
        while self._keys:
            yield self._keys.popleft()


class JobWindow:
    """The number of jobs that may be submitted and not ended: enough to keep all CPUs busy.

    With a limit, there are at most this many. With `exact`, jobs are submitted only when a CPU is free, so that none is
    queued when the run halts.
    """

    def __init__(self, limit: int | None = None, exact: bool = False, least: int = JOBS_AHEAD) -> None:
        self._limit, self._exact, self._least = limit, exact, least
        self._cpus = self.jobs = 0
        self.adapt(0)

    def adapt(self, cpus: int) -> None:
        """The nodes have this number of CPUs."""
        self._cpus = cpus
        jobs = max(1, cpus) if self._exact else max(self._least, JOBS_PER_CPU * cpus)
        self.jobs = jobs if self._limit is None else min(jobs, self._limit)

    @property
    def waits_for_cpus(self) -> bool:
        """Whether more jobs can be submitted once the number of CPUs is known."""
        return self._exact and not self._cpus


class JobRecords(NamedTuple):
    """Where jobs that have ended are recorded."""

    results: ResultsFolder | None
    log: JobLog | None
    #: Where the files that running jobs send are written.
    files: JobFiles
    #: The command line of a job.
    command: Callable[[JobLine], str]
    #: Where jobs have ended.
    hosts: JobHosts

    @classmethod
    def open(cls, results: str, log: str, continues: bool, command: Callable[[JobLine], str]) -> JobRecords:
        """`results` and `log` are paths, or ''. With `continues`, the log is continued. Raises ConfigError."""
        folder = ResultsFolder(results) if results else None
        return cls(folder, JobLog(log, continues) if log else None, JobFiles(results), command, JobHosts())

    def outcome(self, attempt: _Attempt, job: DispyJob) -> JobOutcome:
        """The outcome of a job of the cluster that has ended."""
        found = JobOutcome.of(attempt.line, job, attempt.number)
        return found._replace(host=self.hosts.take(job._number, found.host))

    def ended(self, outcome: JobOutcome) -> None:
        """A job has ended, and was not printed yet."""
        if self.results is not None:
            self.results.store(outcome)
            self._log(outcome)

    def printed(self, outcome: JobOutcome) -> None:
        """The output of a job was written to standard output and error."""
        if self.results is None:
            self._log(outcome)

    def _log(self, outcome: JobOutcome) -> None:
        if self.log is not None:
            self.log.write(outcome, self.command(outcome.line))


class Slots:
    """Numbers from 1, of which no two running jobs have the same: the lowest free one is taken next."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._free: list[int] = []

    def take(self, key: int) -> int:
        """The number for a job; the same if it has one."""
        if key not in self._taken:
            self._taken[key] = heappop(self._free) if self._free else len(self._taken) + 1
        return self._taken[key]

    def free(self, key: int) -> None:
        number = self._taken.pop(key, None)
        if number is not None:
            heappush(self._free, number)


class Attempts(NamedTuple):
    """The number of attempts of a failing job, and the time limit of each in seconds, or None."""

    limit: int = 1
    timeout: float | None = None


class _Attempt(NamedTuple):
    """A submitted job."""

    line: JobLine
    #: Its place in the order of submission.
    place: int
    number: int


class Totals:
    """Counts of the run, for the exit status, the progress bar and the table of nodes."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self.submitted = self.ended = self.failed = 0
        self._first: float | None = None
        self._last = 0.0

    def submit(self, now: float) -> None:
        self.submitted += 1
        if self._first is None:
            self._first = now

    def end(self, outcome: JobOutcome) -> None:
        self.ended += 1
        self.failed += outcome.has_failed
        self._last = max(self._last, outcome.start + outcome.seconds)

    @property
    def counts(self) -> Counts:
        """For a progress bar; the jobs submitted up to now if the number of all is not known."""
        return Counts(self.ended, self.failed, self.submitted if self._total is None else self._total)

    @property
    def wall_time(self) -> float:
        """Seconds from the first submission to the last end."""
        return 0.0 if self._first is None else max(0.0, self._last - self._first)


class ProgramRun:
    """One run; `run` may be called once."""

    def __init__(
        self,
        cluster: JobCluster,
        lines: Iterator[JobLine | None],
        printer: JobPrinter,
        records: JobRecords,
        window: JobWindow,
        halt_rule: HaltRule,
        attempts: Attempts,
        totals: Totals,
        bar: Bar | None,
        slots: Slots | None = None,
        ended: EndedJobs | None = None,
        live: LiveLines | None = None,
        interruption: Interruption | None = None,
        node_wait: NodeWait | None = None,
    ) -> None:
        """With `slots`, each job gets the number of its slot; with `live`, lines are printed while jobs run."""
        self._cluster = cluster
        self._lines: Iterator[JobLine | None] | None = lines
        self._printer, self._records, self._window = printer, records, window
        self._halt_rule, self._attempts, self._totals, self._bar = halt_rule, attempts, totals, bar
        self._slots = slots
        self._ended = ended or EndedJobs()
        self._live = live
        self._interruption = interruption or Interruption()
        self._node_wait = node_wait or NodeWait()
        #: By the number of the attempt in the whole run.
        self._running: dict[int, tuple[DispyJob, _Attempt]] = {}
        self._started = 0
        #: Whether the next arguments have not arrived.
        self._is_starved = False
        self._halt = Halt.CONTINUE
        self._look = 0.0

    def run(self) -> bool:
        """Run all jobs; returns whether the run has succeeded. If it is interrupted, what has ended is printed. Raises
        GdispyError if no node can run the jobs, or if output or records cannot be written."""
        try:
            self._run()
            self._clear_bar()
            if self._interruption.number:
                self._interruption.report("terminating the running jobs")
                self._take_ended()
            self._printer.print_rest()
        except OutputLost:
            raise
        except GdispyError:  # What has ended is not lost for that.
            self._clear_bar()
            self._printer.print_rest()
            raise
        finally:
            if self._bar is not None:
                self._bar.close()
        if self._halt is not Halt.CONTINUE and self._halt_rule.halts_on_success:
            return True
        return not self._totals.failed

    @property
    def is_cut_short(self) -> bool:
        """Whether jobs are still running, which must be terminated."""
        return bool(self._running)

    def _run(self) -> None:
        while not self._is_over():
            self._submit_more()
            self._print_lines()
            self._take_ended()
            if not self._is_over():
                self._wait()

    def _is_over(self) -> bool:
        return self._is_stopped() or (self._lines is None and not self._running)

    def _is_stopped(self) -> bool:
        return self._halt is Halt.NOW or bool(self._interruption.number)

    # Submitting

    def _submit_more(self) -> None:
        self._is_starved = False
        while self._lines is not None and self._has_room() and not self._is_stopped():
            try:
                line = next(self._lines)
            except StopIteration:
                self._lines = None
                return
            if line is NOT_YET:
                self._is_starved = True
                return
            place = self._totals.submitted
            self._totals.submit(time.time())
            self._submit(_Attempt(line, place, 1))

    def _has_room(self) -> bool:
        return len(self._running) < self._window.jobs and self._printer.waiting < WAITING_LIMIT

    def _submit(self, attempt: _Attempt) -> None:
        options: dict[str, object] = {}
        if self._attempts.timeout is not None:
            options["dispy_timeout"] = self._attempts.timeout
        if attempt.number > 1:  # Before others, since later jobs may wait to be printed after it.
            options["dispy_priority"] = 1
        if attempt.line.files:
            options["dispy_job_depends"] = list(attempt.line.files)
        try:
            patterns = ReturnPatterns(attempt.line.returns)
            job = self._cluster.submit(*self._words(attempt), *([patterns] if patterns.patterns else []), **options)
            self._records.files.begin(job._number, attempt.line, patterns)
            if self._live is not None:
                self._live.begin(job._number, attempt.line)
        except ConfigError as error:  # A file of this job; the others can run.
            self._free_slot(attempt)
            self._end(attempt, JobOutcome.not_started(attempt.line, time.time(), str(error)))
        else:
            self._started += 1
            self._running[self._started] = (job, attempt)
            self._ended.watch(self._started, job)

    def _words(self, attempt: _Attempt) -> tuple[str, ...]:
        if self._slots is None:
            return attempt.line.words
        return attempt.line.words_in(self._slots.take(attempt.place))

    def _free_slot(self, attempt: _Attempt) -> None:
        if self._slots is not None:
            self._slots.free(attempt.place)

    # Ending

    def _take_ended(self) -> None:
        for key in self._ended.take():
            if key not in self._running:  # A duplicate notification.
                continue
            job, attempt = self._running.pop(key)
            self._records.files.end(job._number)
            if self._live is not None:
                self._live.forget(job._number)
            self._free_slot(attempt)
            outcome = self._records.outcome(attempt, job)
            if has_failed(job) and attempt.number < self._attempts.limit and self._may_start():
                if self._live is not None:
                    self._live.print_rest(outcome)
                self._submit(attempt._replace(number=attempt.number + 1))
            else:
                self._end(attempt, outcome)

    def _may_start(self) -> bool:
        return self._halt is Halt.CONTINUE and not self._interruption.number

    def _end(self, attempt: _Attempt, outcome: JobOutcome) -> None:
        self._records.ended(outcome)
        self._totals.end(outcome)
        self._clear_bar()
        self._printer.add(attempt.place, outcome)
        self._show_bar()
        if self._halt is Halt.CONTINUE:
            self._halt = self._halt_rule.after(self._totals.ended, self._totals.failed)
            if self._halt is not Halt.CONTINUE:
                self._begin_halt()

    def _begin_halt(self) -> None:
        self._lines = None
        ended, failed, _ = self._totals.counts
        rest = f"; {len(self._running)} are terminated" if self._halt is Halt.NOW and self._running else ""
        text = f"gdispy: no more jobs are started (--halt {self._halt_rule.text}): {ended} have ended, {failed} failed"
        print(text + rest, file=sys.stderr)

    # Waiting

    def _wait(self) -> None:
        """Wait until a job has ended or more arguments may have arrived, as long as a node exists or may appear, and
        standard output has a reader: the rest would be lost."""
        self._look_at_nodes()
        limit = LOOK_INTERVAL if self._bar is None else progress_bar.LOOK_INTERVAL
        if self._is_starved or self._window.waits_for_cpus:
            limit = INPUT_LOOK
        if not self._ended.wait(limit):
            self._show_bar()

    def _look_at_nodes(self) -> None:
        now = time.monotonic()
        if now < self._look or not self._running:
            return
        check_standard_output()
        status = self._cluster.status()
        self._window.adapt(sum(node.cpus for node in status.nodes))
        self._look = now + (INPUT_LOOK if self._window.waits_for_cpus else LOOK_INTERVAL)
        self._node_wait.look(status, now)

    def _print_lines(self) -> None:
        if self._live is not None and self._live.have_arrived:
            self._clear_bar()
            self._live.print_arrived()
            self._show_bar()

    def _show_bar(self) -> None:
        if self._bar is not None:
            self._bar.show(self._totals.counts)

    def _clear_bar(self) -> None:
        if self._bar is not None:
            self._bar.clear()
