"""The unfinished jobs of one cluster, and their state.

Everything here runs in the hub.

Invariants:
1. Once a job is submitted, its fields are written only here; its end is reported once and never changes.
2. A job leaves the table when it ends, after its callbacks were queued.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gdispy.buffers.memory_file import OpenFile
from gdispy.client.completion import Completion
from gdispy.client.forwarded_logs import take_record
from gdispy.client.job import ARGUMENTS_LIMIT, DispyJob
from gdispy.client.live_output import Echo, LiveOutput
from gdispy.client.node_table import NodeTable
from gdispy.client.result_payload import Plain
from gdispy.client.run_record import NodeLabels, RunRecord
from gdispy.client.settings import ClusterSettings
from gdispy.client.status import DispyNode
from gdispy.client.user_callbacks import JobCallback, UserCallbacks
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import UNLIMITED, Ended, Printed, Progress, Started
from gdispy.protocol.payload import Bulk, bulk_size, joined
from gdispy.runtime.callbacks import CallbackRunner
from gdispy.runtime.gate import Gate

logger = logging.getLogger("gdispy")


class JobWatch(Protocol):
    """Watches the jobs of one cluster."""

    def started_jobs(self, started: Started) -> None:
        """These jobs have started."""

    def ended_jobs(self, ended: Ended, picks: list[int] | None) -> None:
        """The jobs at these indices of the message (None for all) end; the table still has them."""

    def lost_node(self, node: bytes) -> None:
        """A node is lost, or closed."""


class JobTable:
    """The jobs, by number."""

    def __init__(
        self,
        name: str,
        settings: ClusterSettings,
        recovery: RecoveryFile | None,
        nodes: NodeTable,
        callbacks: UserCallbacks,
        count: Completion,
    ) -> None:
        self._name, self._recovery = name, recovery
        self._is_program, self._reentrant = settings.is_program, settings.reentrant
        self._is_plain, limit = bool(settings.results), settings.jobs.output_limit
        self._output_limit = UNLIMITED if limit is None else limit
        #: Whether large output stays in the file in which it arrived.
        self.takes_files = False
        self._nodes, self._callbacks, self._count = nodes, callbacks, count
        self.jobs: dict[JobId, DispyJob] = {}
        #: The priorities of those jobs whose priority is not 0.
        self.priorities: dict[JobId, float] = {}
        #: Takes a provisional result that is a request for a function; returns whether it is one.
        self.take_request: Callable[[Progress], bool] | None = None
        #: Called in the hub with the numbers of jobs that have ended on a node.
        self.on_ended: Callable[[Sequence[JobId], DispyNode], None] | None = None
        self._forwards_logs = bool(settings.logs)
        #: What jobs print while they run.
        self.live = LiveOutput(self._echo if settings.echo else None, self._output_limit)
        #: Handles log records, and prints lines; None if neither is wanted.
        self.printer = CallbackRunner() if settings.echo or settings.logs else None
        self._echoes = Echo()
        self.record = RunRecord()
        self._labels = NodeLabels()
        #: Jobs of the previous run of the program whose end was passed to the callback.
        self.told: set[JobId] = set()
        #: Jobs that were abandoned with their nodes.
        self._abandoned: dict[int, DispyJob] = {}
        #: The call of a job as text, for a page. Runs code of the user.
        self.shown_call: Callable[[DispyJob], str] = DispyJob._shown_call
        #: Is told of all jobs that start and end, before that shows here; None while no page shows them.
        self.watch: JobWatch | None = None
        #: The nodes of running jobs, for `cluster_status` of a reentrant computation.
        self._places: dict[JobId, bytes] = {}

    def end(self, ended: Ended, picks: list[int] | None) -> None:
        """The jobs at the indices `picks` of the message (None for all) have ended."""
        jobs, recovery, is_program, is_plain = self.jobs, self._recovery, self._is_program, self._is_plain
        on_job, on_status = self._callbacks.on_job, self._callbacks.on_status
        columns = _columns(ended, picks)
        gates: list[Gate] = []
        address, before, seen, sent = ended.address, len(jobs), 0, 0
        node, submitted = self._nodes.get(ended.node), []
        self._tell_ended(ended, picks, columns[0], node)
        rows = zip(*columns, strict=True)
        try:
            for number, code, start, end, exception, result, output, error, left_out in rows:
                job = jobs[number]
                arguments = job._arguments
                size = len(arguments) if type(arguments) is bytes else self._let_go(job)
                submitted.append(job.submit_time)
                job._result = None
                job._payload = Plain(result) if is_plain and result else result
                job.ip_addr = address
                job.end_time = end or None
                if output or error or is_program:
                    self._take_printed(job, output, error, left_out)
                else:
                    job.stdout = job.stderr = ""
                job._exception = exception or None
                if job.start_time is None:
                    sent += size
                    job.start_time = start or None
                else:
                    seen += 1
                    job.start_time = start or job.start_time
                if on_status is not None and job._status == job_status.CREATED and start:
                    self._tell_started(job, ended.node)
                if code != job_status.FINISHED:
                    if recovery is not None:
                        recovery.missing += job._status != job_status.CANCELLED
                    if code == job_status.ABANDONED:
                        self._abandoned[job._number] = job
                job._status = code
                job._done = True
                del jobs[number]
                if job._gate is not None:
                    gates.append(job._gate)
                if on_job is not None:
                    self._call_back(job, on_job)
                if on_status is not None:
                    self._places.pop(number, None)
                    self._callbacks.give_status(self._nodes.get(ended.node), job)
        finally:
            if node is not None:
                node.finished(ended, picks, seen, sent)
            if len(submitted) == len(columns[0]):  # Otherwise the message is faulty.
                label = self._label(node, ended)
                self.record.note(label, *columns[:2], submitted, *columns[2:5])
            # After the last job, or the user's thread would wake up in between and compete for the interpreter.
            self._count.end(before - len(jobs), len(columns[1]) - columns[1].count(job_status.FINISHED))
            for gate in gates:
                gate.open()
            self._forget(columns[0])

    def _forget(self, jobs: list[JobId]) -> None:
        """What was kept of jobs that have ended."""
        if self.live.is_active:
            self.live.finish(jobs)
        if self.priorities:
            for number in jobs:
                self.priorities.pop(number, None)

    def _label(self, node: DispyNode | None, ended: Ended) -> str:
        """The node as reports name it."""
        if node is None:
            return ended.address
        return self._labels.of(node.name, node.ip_addr, node.port or 0, ended.node)

    def _tell_ended(self, ended: Ended, picks: list[int] | None, jobs: list[JobId], node: DispyNode | None) -> None:
        """Tell those that watch of jobs that end, before callbacks are called with them."""
        if self.watch is not None:
            self.watch.ended_jobs(ended, picks)
        if self.on_ended is not None and node is not None:
            self.on_ended(jobs, node)

    def show_rest(self, ended: Ended, picks: list[int] | None) -> None:
        """Show what has not been shown yet of the output of jobs that are about to `end`."""
        for place in range(len(ended.jobs)) if picks is None else picks:
            job = self.jobs.get(ended.jobs[place])
            if job is not None:
                self.live.end(job, ended.node, ended.attempts[place], (ended.outputs[place], ended.errors[place]))

    def _print(self, function: Callable[..., None], *args: object) -> None:
        if self.printer is not None:
            self.printer.put(function, args)

    def _call_back(self, job: DispyJob, callback: JobCallback) -> None:
        """Call the callback for the end of a job, once over all runs of the program."""
        recovery = self._recovery
        if recovery is None:
            self._callbacks.give(callback, job)
        elif job._number not in self.told:
            self._callbacks.give(_call_back_and_note, callback, job, recovery)

    def take_late(self, ended: Ended, picks: list[int]) -> None:
        """A node that was given up has come back with results of abandoned jobs."""
        for place in picks:
            job = self._abandoned.pop(ended.jobs[place], None)
            if job is not None and ended.statuses[place] == job_status.FINISHED:
                result = ended.results[place]
                job._use_rare().late = Plain(result) if self._is_plain and result else result
                logger.warning(
                    "job %r was abandoned, but its node has come back with its result: see job.late_result", job.id
                )

    def _tell_status(self, status: int, node: bytes, job: DispyJob) -> None:
        """Report a change of an unfinished job to `cluster_status`."""
        if self._callbacks.on_status is not None:
            self._callbacks.give(self._callbacks.on_status, status, self._nodes.get(node), job)

    def _tell_started(self, job: DispyJob, node: bytes) -> None:
        """A job was so short that only its end was reported: report its start as well."""
        job._status = job_status.RUNNING
        self._tell_status(job_status.RUNNING, node, job._copy())

    def _let_go(self, job: DispyJob) -> int:
        """Drop the arguments of a job if they are large; returns their size."""
        size = bulk_size(job._arguments)
        if size > ARGUMENTS_LIMIT:
            job._arguments = None
        return size

    def _take_printed(self, job: DispyJob, output: Bulk, error: Bulk, left_out: int) -> None:
        job.stdout, job.stderr = self._printed(output), self._printed(error)
        if left_out:
            self._note_cut(job, (output, error), left_out)

    def _note_cut(self, job: DispyJob, streams: tuple[Bulk, Bulk], left_out: int) -> None:
        """Record that some of a job's output was dropped."""
        job.truncated = True
        limit = self._output_limit
        total = left_out + sum(min(bulk_size(each), limit) for each in streams)
        logger.warning(
            "%s: job %r has printed %s bytes, of which %s were dropped: output_limit is %s bytes per stream",
            *(self._name, job.id, f"{total:,}", f"{left_out:,}", f"{limit:,}"),
        )

    def _printed(self, output: Bulk) -> str | bytes | OpenFile:
        if not output:
            return b"" if self._is_program else ""
        if self.takes_files and isinstance(output, OpenFile):
            return output
        data = joined(output)
        return data if self._is_program else data.decode("utf-8", "replace")

    def begin(self, started: Started) -> None:
        """Jobs have started."""
        if self.watch is not None:
            self.watch.started_jobs(started)
        node = self._nodes.get(started.node)
        for number, began in zip(started.jobs, started.times, strict=True):
            job = self.jobs.get(number)
            if job is None or job.start_time is not None:
                continue
            job.start_time, job.ip_addr = began, started.address
            if node is not None:
                node.began(bulk_size(job._arguments))
            if job._status == job_status.CREATED:
                job._status = job_status.RUNNING
                if self._callbacks.on_status is not None:
                    self._tell_status(job_status.RUNNING, started.node, job._copy())
            if self._reentrant and self._callbacks.on_status is not None:
                self._places[number] = started.node

    def provide(self, progress: Progress) -> None:
        """A job has sent a provisional result."""
        job = self.jobs.get(progress.job)
        if job is None or (self.take_request is not None and self.take_request(progress)):
            return
        node = self._nodes.get(progress.node)
        if self._forwards_logs and take_record(progress, job, _name_of(node), self._print):
            return
        if node is not None:
            node.received(bulk_size(progress.value))
        was_cancelled = job._status == job_status.CANCELLED
        job._status, job.ip_addr = job_status.PROVISIONAL_RESULT, progress.address
        job._payload, job._result = Plain(progress.value) if self._is_plain else progress.value, None
        if self._callbacks.on_job is not None:
            self._callbacks.give(self._callbacks.on_job, job._copy())
        if self._callbacks.on_status is not None:
            self._tell_status(job._status, progress.node, job._copy())
        if was_cancelled:
            job._status = job_status.CANCELLED

    def show_output(self, printed: Printed) -> None:
        """A followed job has printed something."""
        job = self.jobs.get(printed.job)
        if job is not None:
            self.live.take(job, printed)

    def _echo(self, job: DispyJob, node: bytes, stream: str, lines: list[str]) -> None:
        place = _name_of(self._nodes.get(node)) or job.ip_addr or self._name
        self._print(self._echoes.print, stream, f"[{place} {job.id}] ", lines)

    def lose_node(self, node: bytes) -> None:
        """A node is lost, and its jobs run again elsewhere."""
        if self.watch is not None:
            self.watch.lost_node(node)
        lost = [number for number, place in self._places.items() if place == node]
        for number in lost:
            del self._places[number]
            job = self.jobs.get(number)
            if job is not None and job._status in (job_status.RUNNING, job_status.PROVISIONAL_RESULT):
                job._status = job_status.ABANDONED
                self._tell_status(job_status.ABANDONED, node, job._copy())
                job._status, job.start_time, job.ip_addr = job_status.CREATED, None, None

    def give_up(self, waiting: list[DispyJob], reason: str) -> None:
        """After a defect of gdispy: end the waiting jobs and all jobs of the table with that reason."""
        jobs = [*self.jobs.values(), *waiting]
        self.jobs.clear()
        self.priorities.clear()
        for job in jobs:
            job._status, job._exception, job._done = job_status.ABANDONED, reason, True
        self.live.end_all()
        for job in jobs:
            if job._gate is not None:
                job._gate.open()
        self._count.end(len(jobs), len(jobs))


def _columns(ended: Ended, picks: list[int] | None) -> list[list[Any]]:
    """What a table needs of a message, by columns."""
    columns: list[list[Any]] = [ended.jobs, ended.statuses, ended.starts, ended.ends, ended.exceptions]
    columns += [ended.results, ended.outputs, ended.errors, ended.truncated]
    return columns if picks is None else [[column[place] for place in picks] for column in columns]


def _name_of(node: DispyNode | None) -> str:
    return node.name if node is not None else ""


def _call_back_and_note(callback: JobCallback, job: DispyJob, recovery: RecoveryFile) -> None:
    try:
        callback(job)
    finally:
        recovery.told(job._number)
