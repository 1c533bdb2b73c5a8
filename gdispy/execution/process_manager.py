"""The node's processes: the spawner, the templates, the workers and their sockets.

Runs in the node's greenlets and performs the effects of `rules/node/node_rules.py`; process events go back to its pump.
It never forks, and starts the spawner by exec.

    node ── control ── spawner ── fork ── template (one for each computation) ── fork ── worker
      └───── control ─────────────────────────┘                                            │
      └───── jobs (a message each), results (a stream) ────────────────────────────────────┘

Invariants:
1. All results that a worker wrote are read before its exit is reported to the rules.
2. Jobs that had not started are recalled in the turn that reports a worker's end; see `worker_channel.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import gevent
import gevent.event

from gdispy import config
from gdispy.buffers.memory_file import MemoryFile, in_memory_file
from gdispy.buffers.memory_file_pool import MemoryFilePool
from gdispy.errors import ProtocolError
from gdispy.execution.computation_files import ComputationFiles
from gdispy.execution.dependency_files import JobFiles, place_all
from gdispy.execution.job_monitor import JobMonitor
from gdispy.execution.spawner_process import DEFECT, KILLED, cause_of, messages, start_spawner, why_not_started
from gdispy.execution.template_process import TemplateProcess
from gdispy.execution.worker_channel import ANCILLARY, WorkerChannel
from gdispy.protocol.ids import ComputationId, JobId, WorkerId
from gdispy.protocol.limits import NAME_LIMIT, printable, printable_for_log
from gdispy.protocol.messages import Prepare, PutFile
from gdispy.protocol.payload import Bulk, joined
from gdispy.protocol.rows import FileFields, JobOptions
from gdispy.protocol.texts import KILLED_BY_NODE
from gdispy.rules.effects import Effects
from gdispy.rules.node.effects import AnswerFile
from gdispy.rules.node.job import Job, release
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.outcome import Row
from gdispy.runtime.greenlets import keep_running, spawn
from gdispy.runtime.pump import Pump
from gdispy.worker import control
from gdispy.worker.frames import FILE, FREED, LOG, PROGRESS, RESULT, RETURNED, TOGETHER, job_directory, target
from gdispy.worker.process_tree import descendants, kill_descendants, tree_bytes
from gdispy.worker.shared_page import VOID_SEEN

logger = logging.getLogger(__name__)
#: For `dispynode_logger` of computations.
job_logger = logging.getLogger("gdispy.jobs")

#: Size of a read from a worker's results.
READ_SIZE = 64 * 1024
#: Seconds between two checks of the memory of a job with a limit.
MEMORY_INTERVAL = 0.2
#: A worker with this many jobs in hand is read every millisecond, not at each result: the node then wakes up once for
#: many results, without delay, since the worker has enough to do.
MANY = 32
READ_INTERVAL = 0.001
#: Bytes waiting for the scheduler above which workers are not read: they wait in turn.
BACKLOG_LIMIT = 64 * 1024 * 1024


class ProcessSettings(TypedDict):
    """The settings of a node that its processes need."""

    #: The directory of all nodes of the user.
    dest_path_prefix: str
    name: str
    address: str
    #: The limits of jobs, as in `worker/limits.py`.
    limits: list[float]
    #: Whether a cleanup function may end the node.
    client_shutdown: bool
    #: A file that the spawner runs first, or ''.
    init: str


class ProcessManager:
    """All processes of a node."""

    def __init__(self, rules: NodeRules, pump: Pump, setting: ProcessSettings, instance: bytes) -> None:
        self._rules = rules
        self._pump = pump
        self._setting = setting
        self._instance = instance
        self.directory = os.path.join(setting["dest_path_prefix"], instance.hex())
        self._templates: dict[str, TemplateProcess] = {}
        self._workers: dict[WorkerId, WorkerChannel] = {}
        #: The memory files of large payloads.
        self.memory_files = MemoryFilePool()
        self._files = ComputationFiles(setting["dest_path_prefix"], instance)
        self._spawner: socket.socket | None = None
        self._spawner_pid = 0
        self._closing = False
        #: Returns the number of bytes waiting to be sent to the scheduler; checked before workers are read.
        self.backlog: Callable[[], int] = lambda: 0
        self.monitor = JobMonitor(self._workers, rules, pump, self._send_signal, self._end_for, lambda: self.backlog())
        #: The spawner has run the node's initialisation.
        self.is_up = gevent.event.Event()
        #: Called when a cleanup function requests the end of the node, and when the node cannot work at all.
        self.on_shutdown: Callable[[], None] = lambda: None
        self.on_failure: Callable[[str], None] = lambda reason: None
        #: Called when nothing reads from the spawner any more, because of a defect.
        self.on_defect: Callable[[BaseException], None] = lambda error: None

    def start(self) -> None:
        """Start the spawner. Raises OSError if that is impossible."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._start_spawner()
        self.monitor.start()

    def close(self) -> None:
        """End all processes, and wait until they have ended."""
        self._closing = True
        if self._spawner is not None:
            self._spawner.close()
            if not self.is_up.is_set():  # It may be running the node's `--init`, and does not read its socket.
                kill_descendants(os.getpid())
                shutil.rmtree(self.directory, ignore_errors=True)
            self._await_spawner()

    def _await_spawner(self) -> None:
        """Wait until the spawner, which was told to end or is dead, has exited."""
        # Keep its pid: while this waits for a dead one, its successor may start.
        pid = self._spawner_pid
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(pid, os.WNOHANG)[0]:
                gevent.sleep(0.005)

    # The spawner

    def _start_spawner(self) -> None:
        self.is_up.clear()
        end, self._spawner_pid = start_spawner(self.directory, self._setting["init"], self._instance)
        self._spawner = end
        spawn(self._read_spawner, end, what="the reader of the spawner", on_failure=lambda error: self.on_defect(error))

    def _read_spawner(self, end: socket.socket) -> None:
        for message in messages(end):
            if message[0] == "up":
                self.is_up.set()
            elif message[0] == "failed":
                self._closing = True
                self.on_failure(message[1])
            elif message[0] == "exited":
                self._pump.put(self._template_ended, message[1], cause_of(message[2], "the computation's process"))
        if not self._closing:
            self._spawner_lost()

    def _spawner_lost(self) -> None:
        """The spawner was killed. Kill its remaining processes, and start a new one."""
        if self._spawner is not None:
            self._spawner.close()
        self._await_spawner()
        kill_descendants(os.getpid())
        if self._closing:  # The node was told to stop meanwhile, for example if both get the same signal.
            return
        logger.error("the spawner process has ended unexpectedly; starting a new one")
        self._start_spawner()
        for key in list(self._templates):
            self._pump.put(self._template_ended, key, "the node's spawner process was killed")

    def _tell_spawner(self, message: list[object]) -> None:
        """Send it a command, if it is alive."""
        if self._spawner is not None:
            with contextlib.suppress(OSError):
                control.send(self._spawner, message)

    def _template_ended(self, key: str, cause: str, now: float) -> Effects:
        """Report it in one turn of the pump, so that no decision falls between its end and the report."""
        template = self._templates.pop(key, None)
        if template is None:
            return []
        self._take_last_records(template)
        template.end.close()
        self._rules.template_ended(template.id, now)
        cause = template.defect or cause
        for worker in list(template.workers.values()):
            self._worker_ended(worker, cause)
        if template.ending:
            self._remove(template.prepare)
        else:
            self._pump.put(self._rules.template_lost, template.id, cause)
        return []

    def _remove(self, prepare: Prepare) -> None:
        """The computation has ended: remove its files, unless they are kept."""
        self._remove_trees(self._files.leave(prepare))
        self._pump.put(self._rules.unloaded, prepare.computation)

    def _remove_trees(self, paths: Iterable[str]) -> None:
        for path in paths:
            if os.path.lexists(path):
                self._tell_spawner(["remove", path])

    # Computations

    def look(self, prepare: Prepare) -> None:
        """Find the files of a computation that are missing; answer with `looked`."""
        spawn(
            self._look,
            prepare,
            what="the query for files of a computation",
            on_failure=lambda error: self._pump.put(self._rules.loaded, prepare.computation, repr(error)),
        )

    def _look(self, prepare: Prepare) -> None:
        try:
            self._enter(prepare)
            # In a thread, since reading large files takes time.
            places = gevent.get_hub().threadpool.apply(self._files.lacking, (prepare,))
        except (OSError, ProtocolError) as error:
            self._pump.put(self._rules.loaded, prepare.computation, why_not_started(error))
            return
        self._pump.put(self._rules.looked, prepare.computation, places)

    def _enter(self, prepare: Prepare) -> None:
        templates = [each for each in self._templates.values() if each.id != prepare.computation]
        self._files.enter(prepare, [each.job_files for each in templates if each.job_files is not None])

    def load(self, prepare: Prepare, arrived: dict[int, Bulk]) -> None:
        """Store the files of a computation and start its template."""
        try:
            directory = self._files.directory(prepare)
            template = TemplateProcess(prepare, directory, self._files.jobs_directory(prepare))
            self._enter(prepare)
            self._files.put_in_place(prepare, arrived)
            self._start_template(template)
        except (OSError, ProtocolError) as error:
            self._files.discard(prepare, arrived.values())
            self._pump.put(self._rules.loaded, prepare.computation, why_not_started(error))

    def deliver(self, prepare: Prepare, message: PutFile) -> None:
        """Store files in the directory of a running computation; answer with `delivered`."""
        error = ""
        try:
            self._files.add(prepare, message.files, message.contents)
        except (OSError, ProtocolError) as failure:
            error = str(failure)
        for content in message.contents:  # The files that were not moved.
            release(content)
        self._pump.put(self._rules.delivered, prepare.computation, message.question, error)

    def _start_template(self, template: TemplateProcess) -> None:
        setting = self._setting
        end, theirs = control.pair()
        template.end = end
        key = template.id.hex()
        self._templates[key] = template
        prepare = template.prepare
        values = [template.directory, setting["name"], setting["address"], setting["client_shutdown"]]
        values += [template.jobs, prepare.job_directory, template.keeps_jobs]
        values += [prepare.output_limit, job_logger.getEffectiveLevel(), prepare.results, joined(prepare.logs)]
        assert self._spawner is not None
        control.send(self._spawner, ["template", key, *values, setting["limits"]], [theirs.fileno()])
        theirs.close()
        body = prepare.body if prepare.python in ("", config.PYTHON) or not prepare.source else prepare.source
        files = [_as_file(body), _as_file(prepare.arguments)]
        control.send(end, ["load", prepare.kind, prepare.name], files)
        control.close_all(files)
        template.reader = spawn(
            self._read_template,
            template,
            what="the reader of a template process",
            on_failure=lambda error: self._end_template(template),
        )

    def _read_template(self, template: TemplateProcess) -> None:
        for message in messages(template.end):
            word = message[0]
            if word == "loaded":
                template.is_loaded, template.cares = True, message[2]
                if message[3]:
                    self._pump.put(self._rules.noted, template.id, message[3])
                self._pump.put(self._rules.loaded, template.id, message[1])
            elif word == "forked":
                worker = template.workers.get(message[1])
                if worker is not None:
                    worker.pid = message[2]
            elif word == "exited":
                worker = template.workers.get(message[1])
                if worker is not None:
                    self._worker_ended(worker, message[3] or cause_of(message[2], "its process"))
            else:
                self._take_record(template, message)

    def _take_record(self, template: TemplateProcess, message: list[Any]) -> None:
        if message[0] == "log":
            self._log(template, *message[1:])
        elif message[0] == "shutdown":
            self.on_shutdown()

    def _end_template(self, template: TemplateProcess) -> None:
        """Nothing reads from it any more, because of a defect; the spawner reports its end."""
        template.defect = DEFECT
        self._tell_spawner(["end", template.id.hex()])

    def _log(self, template: TemplateProcess, level: int, text: str) -> None:
        """A computation has written to `dispynode_logger`."""
        job_logger.log(level, "%s: %s", printable(template.prepare.name, NAME_LIMIT), printable_for_log(text))

    def _take_last_records(self, template: TemplateProcess) -> None:
        """It has ended, and log lines or requests of its cleanup may not have been read yet."""
        template.end.setblocking(False)
        with contextlib.suppress(OSError, ValueError):  # Without data, it would block.
            while (received := control.receive(template.end)) is not None:
                control.close_all(received[1])
                self._take_record(template, received[0])

    def unload(self, computation: ComputationId) -> None:
        """End a template and its workers; its files are removed when it has ended."""
        template = self._templates.get(computation.hex())
        if template is not None:
            template.ending = True
            for worker in list(template.workers.values()):
                self._forget(worker)
            if template.cares:
                with contextlib.suppress(OSError):
                    control.send(template.end, ["leave"])
                return
            if not template.is_loaded:  # It may be running setup, and does not read its socket.
                self._tell_spawner(["end", computation.hex()])
            template.end.close()
            if template.reader is not None:
                template.reader.kill(block=False)
        else:  # It never had processes.
            self._remove_trees(self._files.leave_directory(computation))
            self._pump.put(self._rules.unloaded, computation)

    # Workers

    def new_worker(self, number: WorkerId, computation: ComputationId) -> None:
        template = self._templates[computation.hex()]
        worker = self._workers[number] = template.workers[number] = WorkerChannel(number, template, self.memory_files)
        with contextlib.suppress(OSError):  # A dead template is reported by the spawner.
            control.send(template.end, ["fork", number], worker.ends_for_worker())
        worker.forked()
        worker.reader = spawn(
            self._read_results, worker, what="the reader of a worker", on_failure=lambda error: self.end(number, DEFECT)
        )

    def hand(self, number: WorkerId, jobs: list[Job]) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            errors: dict[JobId, str] = {}
            for job in jobs:
                if job.options is not None:
                    self._make_ready(worker, job, job.options, errors)
            worker.hand(jobs, errors)
            self.monitor.begin()

    def _make_ready(self, worker: WorkerChannel, job: Job, options: JobOptions, errors: dict[JobId, str]) -> None:
        """Set up what is specific to a job with options."""
        worker.memory_limit = options.memory
        if worker.memory_limit:
            keep_running(self._watch_memory, worker, job, what="the monitor of the memory of a job")
        if options.files:
            error = self._place_files(worker, (job.number, job.attempt), options.files, options.contents)
            if error:
                errors[job.number] = error

    def _place_files(
        self, worker: WorkerChannel, key: tuple[int, int], rows: list[FileFields], contents: list[Bulk]
    ) -> str:
        """Store the files of a job; returns the error, or ''."""
        template = worker.template
        if template.job_files is None:
            is_used = self._files.check_of_jobs(template.prepare)
            template.job_files = JobFiles(template.directory, template.prepare.files, is_used)
        if template.prepare.job_directory or not template.job_files.fit(rows):
            directory = worker.directories[key] = job_directory(worker.directory, *key)
            return place_all(directory, rows, contents)
        worker.file_jobs.add(key)
        error: str = template.job_files.place(key, rows, contents)
        return error

    def _remove_files(self, worker: WorkerChannel, key: tuple[int, int]) -> None:
        worker.file_jobs.discard(key)
        if worker.template.job_files is not None:
            worker.template.job_files.remove(key)

    def _watch_memory(self, worker: WorkerChannel, job: Job) -> None:
        limit = worker.memory_limit
        while worker.memory_limit == limit and not worker.is_dead and worker.outstanding:
            if worker.pid:
                used = tree_bytes([worker.pid, *descendants(worker.pid)])
                if used > limit:
                    cause = f"it used {used:,} bytes of memory, and its limit (dispy_memory) is {limit:,}"
                    self._end_for(worker, cause)
                    return
            gevent.sleep(MEMORY_INTERVAL)

    def answer_file(self, answer: AnswerFile) -> None:
        worker = self._workers.get(answer.worker)
        if worker is not None:
            with contextlib.suppress(OSError):
                worker.answer_file((answer.job, answer.attempt, answer.number), answer.error)

    def take_back(self, number: WorkerId) -> None:
        worker = self._workers.get(number)
        if worker is not None and not worker.is_dead:
            self._pump.put(self._rules.took_back, number, worker.take_back())
            if worker.groups:
                spawn(
                    self._take_rest,
                    worker,
                    worker.groups.void(),
                    worker.page.mark(),
                    what="taking jobs back",
                    on_failure=lambda error: self.end(number, DEFECT),
                )

    def _take_rest(self, worker: WorkerChannel, last: int, mark: tuple[int, int]) -> None:
        """Take the outcomes that a living worker has not sent yet; and the jobs that it has read and not started, which
        it cannot start any more."""
        gevent.sleep(VOID_SEEN)
        if not worker.is_dead and self._workers.get(worker.number) is worker:
            self._take_kept(worker, *mark)
            self._pump.put(self._rules.took_back, worker.number, worker.take_rest(last))

    def interrupt(self, number: WorkerId, job: JobId, attempt: int) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            goal = target(job, attempt)
            worker.page.map[: len(goal)] = goal
            self._order(worker, ["signal", number, int(signal.SIGINT), False])

    def _send_signal(self, worker: WorkerChannel, number: int) -> None:
        self._order(worker, ["signal", worker.number, int(number), False])

    def terminate(self, number: WorkerId) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            self._order(worker, ["signal", number, int(signal.SIGTERM), True])

    def end(self, number: WorkerId, cause: str = KILLED) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            self._end_for(worker, cause)

    def _end_for(self, worker: WorkerChannel, cause: str) -> None:
        self._order(worker, ["end", worker.number, cause])

    def _order(self, worker: WorkerChannel, message: list[object]) -> None:
        with contextlib.suppress(OSError):
            control.send(worker.template.end, message)

    def _read_results(self, worker: WorkerChannel) -> None:
        readable = gevent.get_hub().loop.io(worker.results.fileno(), 1)
        try:
            while True:
                gevent.get_hub().wait(readable)
                while self.backlog() > BACKLOG_LIMIT:
                    gevent.sleep(0.01)
                try:
                    data, ancillary, _, _ = worker.results.recvmsg(READ_SIZE, ANCILLARY)
                except BlockingIOError:  # `_read_on` has read it.
                    continue
                if not data:
                    return
                self._take_results(worker, data, ancillary)
                # A message with an open file ends a read, so there may be more data.
                if worker.outstanding >= MANY and not ancillary and len(data) < READ_SIZE:
                    gevent.sleep(READ_INTERVAL)
        except OSError:
            return
        finally:
            readable.close()

    def _read_on(self, worker: WorkerChannel) -> None:
        """Take all data that a worker has sent."""
        while True:
            try:
                data, ancillary, _, _ = worker.results.recvmsg(READ_SIZE, ANCILLARY)
            except OSError:
                return
            if not data:
                return
            self._take_results(worker, data, ancillary)

    def _take_kept(self, worker: WorkerChannel, generation: int, filled: int) -> None:
        """Take the outcomes that a worker had not sent when the mark was set."""
        # Read the page first, then the socket: outcomes sent later are no longer in the page.
        frames = worker.page.kept(generation, filled)
        self._read_on(worker)
        try:
            rows = self._sort(worker, worker.groups.kept(generation, frames))
        except Exception as error:  # A job can write there, too.
            logger.warning("invalid results from a worker (%s)", printable(str(error)))
            return
        self._take_rows(worker, rows)

    def _take_results(self, worker: WorkerChannel, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        if ancillary:
            worker.fds.extend(control.descriptors(ancillary))
        try:
            rows = self._sort(worker, worker.parse(data))
        except Exception as error:  # A job that writes there itself can send anything.
            logger.warning("invalid results from a worker (%s); the worker is killed", printable(str(error)))
            worker.buffer = b""
            self.end(worker.number, f"its process sent invalid results, so {KILLED_BY_NODE} it")
            return
        self._take_rows(worker, rows)

    def _take_rows(self, worker: WorkerChannel, rows: list[Row]) -> None:
        if rows:
            worker.answered(rows)
            worker.memory_limit = 0
            if worker.file_jobs:
                for row in rows:
                    self._remove_files(worker, (row[0], row[1]))
            worker.flush()
            self._pump.put(self._rules.answered, worker.number, rows)

    def _sort(self, worker: WorkerChannel, frames: list[list[Any]]) -> list[Row]:
        """The outcomes among frames, as rows; other frames are handled here, in order."""
        rows: list[Row] = []
        for fields in frames:
            if fields[0] == RESULT:
                rows.append(worker.row(fields))
                continue
            if fields[0] == TOGETHER:
                rows += [worker.row(each) for each in worker.groups.sent_together(*fields[1:])]
                continue
            if fields[0] == LOG:
                self._log(worker.template, *fields[1:])
                continue
            if rows:
                worker.answered(rows)
                self._pump.put(self._rules.answered, worker.number, rows)
                rows = []
            if fields[0] == PROGRESS:
                self._pump.put(self._progressed, worker.number, *worker.progress(fields))
            elif fields[0] == FILE:
                self._pump.put(self._rules.file_sent, worker.number, *worker.sent_file(fields))
            elif fields[0] == FREED:
                worker.freed(*fields[1:])
            elif fields[0] == RETURNED:
                self._pump.put(self._rules.took_back, worker.number, worker.take_from(fields[1]))
        return rows

    def _progressed(self, number: WorkerId, job: JobId, attempt: int, index: int, value: Bulk, now: float) -> Effects:
        return self._rules.progressed(number, job, attempt, index, value)

    def _worker_ended(self, worker: WorkerChannel, cause: str) -> None:
        if worker.is_dead or self._workers.get(worker.number) is not worker:
            return
        worker.is_dead = True
        if worker.reader is not None:
            worker.reader.kill(block=False)
        self._take_kept(worker, *worker.page.mark())  # Invariant 1.
        self._pump.put(self._exited, worker, cause)

    def _exited(self, worker: WorkerChannel, cause: str, now: float) -> Effects:
        """Recall unstarted jobs in the turn that reports the end, so that no job is sent in between and lost with the
        socket."""
        if self._workers.get(worker.number) is not worker:
            return []
        taken = worker.take_back() + worker.take_rest()
        printed = worker.output.kept()
        self._forget(worker)
        return self._rules.exited(worker.number, taken, cause, now, printed)

    def _forget(self, worker: WorkerChannel) -> None:
        worker.memory_limit = 0
        for key in list(worker.file_jobs):
            self._remove_files(worker, key)
        if not worker.template.keeps_jobs:
            self._remove_trees([worker.directory])
        self._workers.pop(worker.number, None)
        worker.template.workers.pop(worker.number, None)
        if worker.reader is not None:
            worker.reader.kill(block=False)
        worker.close()


def _as_file(value: Bulk) -> int:
    """A payload as an open file, to be closed by the caller."""
    # A pool file is longer than its contents. Named, since a temporary would be closed first.
    file = value if type(value) is MemoryFile else in_memory_file(joined(value))
    return os.dup(file.fd)
