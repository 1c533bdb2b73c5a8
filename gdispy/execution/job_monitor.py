"""Watches running jobs: frees output that will not be kept, ends jobs whose output fills the disk, reports the output
of followed jobs, and looks at jobs.

Runs in greenlets of the node; what it finds goes to the node's pump.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from functools import partial

import gevent
import gevent.event

from gdispy.execution.followed_job import FollowedJob
from gdispy.execution.job_inspection import inspect
from gdispy.execution.running_jobs import measured
from gdispy.execution.system_calls import interruptible_wait
from gdispy.execution.worker_channel import WorkerChannel
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import RunningJobs
from gdispy.rules.effects import Send
from gdispy.rules.node.effects import ListJobs
from gdispy.rules.node.node_rules import NodeRules
from gdispy.runtime.greenlets import keep_running, spawn
from gdispy.runtime.pump import Pump

#: Seconds between two looks at the output of running jobs.
OUTPUT_INTERVAL = 0.1
#: Bytes waiting for the scheduler above which output of running jobs is reported later.
LIVE_BACKLOG = 1024 * 1024
#: Bytes of output from which on a job is ended if its output grows while the disk is nearly full.
LARGE_OUTPUT = 16 * 1024 * 1024


class JobMonitor:
    """Watches the jobs of all workers of a node."""

    def __init__(
        self,
        workers: Mapping[WorkerId, WorkerChannel],
        rules: NodeRules,
        pump: Pump,
        send_signal: Callable[[WorkerChannel, int], None],
        end: Callable[[WorkerChannel, str], None],
        backlog: Callable[[], int],
    ) -> None:
        """`send_signal` sends a signal to a worker, `end` ends it for this reason; `backlog` returns the bytes waiting
        for the scheduler."""
        self._workers, self._rules, self._pump = workers, rules, pump
        self._send_signal, self._end, self._backlog = send_signal, end, backlog
        #: Returns whether there is not enough disk space for more jobs.
        self.is_disk_full: Callable[[], bool] = lambda: False
        #: Set while any worker has a job.
        self._some_work = gevent.event.Event()

    def start(self) -> None:
        keep_running(self._watch, what="the monitor of running jobs")

    def begin(self) -> None:
        """A worker has got a job."""
        self._some_work.set()

    def follow(self, number: WorkerId, job: JobId, attempt: int) -> None:
        """Report the output of a running job, from its beginning."""
        worker = self._workers.get(number)
        if worker is not None:
            worker.output.follow(job, attempt, worker.page)

    def look_at(self, number: WorkerId, question: int, facts: list[str]) -> None:
        """Find out what a running job does; answer with `seen`."""
        worker = self._workers.get(number)
        if worker is not None:
            spawn(self._look_at, worker, question, facts, what="a look at a job")

    def _look_at(self, worker: WorkerChannel, question: int, facts: list[str]) -> None:
        with contextlib.suppress(OSError):  # The worker has ended meanwhile.
            facts = [*facts, *inspect(worker, partial(self._send_signal, worker))]
        self._pump.put(self._rules.seen, worker.number, question, facts)

    def list_jobs(self, effect: ListJobs) -> None:
        """Find out what running jobs use, and send it."""
        spawn(self._list_jobs, effect, what="a list of running jobs")

    def _list_jobs(self, effect: ListJobs) -> None:
        pids = {number: self._workers[number].pid for number, _ in effect.rows if number in self._workers}
        rows = measured([row._replace(pid=pids.get(number, 0)) for number, row in effect.rows])
        self._pump.put(lambda now: [Send(effect.peer, RunningJobs(effect.question, rows, effect.left_out))])

    def _watch(self) -> None:
        while True:
            self._some_work.wait()
            gevent.sleep(OUTPUT_INTERVAL)
            busy = [worker for worker in self._workers.values() if worker.outstanding]
            if not busy:
                self._some_work.clear()
            for worker in busy:
                worker.output.trim()
                self._look_at_disk(worker)
                if worker.output.followed is not None:
                    self._report_output(worker, worker.output.followed)

    def _look_at_disk(self, worker: WorkerChannel) -> None:
        """End a job that fills the disk, which other jobs need. A job that prints little is left alone."""
        worker.output.look_for_room(worker.page)
        size = worker.output.grown_to()
        if size >= LARGE_OUTPUT and self.is_disk_full():
            cause = f"its output of {size:,} bytes has filled the disk of {worker.output.directory} on its node up to "
            self._end(worker, f"{cause}what must stay free there (--disk_floor of gdispy-node)")

    def _report_output(self, worker: WorkerChannel, followed: FollowedJob) -> None:
        if not followed.is_shown():
            if followed.wants_signal() and not interruptible_wait(worker.pid):
                self._send_signal(worker, signal.SIGURG)
        elif self._backlog() < LIVE_BACKLOG:
            for piece in followed.read(worker.output.out, worker.output.err):
                self._pump.put(self._rules.printed, worker.number, followed.job, followed.attempt, *piece)
