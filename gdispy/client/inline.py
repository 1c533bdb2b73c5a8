"""`nodes='inline'`: jobs run in this process, in the thread that submits them, for debuggers, coverage and profilers.

`job.replay()` calls a function in the same way. Functions are called as they are, with copies of their arguments: what
could not be sent to a node, or back, fails here too. Output, log records and changes of global variables are those of
the program. Time limits, memory limits, isolation and directories of jobs do not apply.

Invariants:
1. One job runs at a time; it has ended when `submit` returns.
2. The names that nodes provide to jobs are builtins only while a job runs.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import logging
import os
import socket
import threading
import time
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gdispy.buffers.memory_file import DIGEST_BYTES
from gdispy.client.engine import ClusterEngine
from gdispy.client.packaging import bulk
from gdispy.client.received_files import store
from gdispy.client.settings import ClusterSettings
from gdispy.errors import ConfigError
from gdispy.hub import Hub
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Ended, Progress, Started
from gdispy.protocol.payload import Bulk, joined
from gdispy.protocol.rows import FileRow, JobOptions
from gdispy.rules.client.effects import Resolve
from gdispy.worker import injected_names, pickling, plain
from gdispy.worker.calls import call_function
from gdispy.worker.failures import Unpicklable, describe, raised
from gdispy.worker.manner import MODULES
from gdispy.worker.runner import running

if TYPE_CHECKING:
    from gdispy.client.job import DispyJob

#: The address of jobs.
ADDRESS = "127.0.0.1"

#: One job at a time in the process: `running` has room for one.
_one_at_a_time = threading.RLock()

#: Status, result and error of a job.
_Outcome = tuple[int, Bulk, str]


class InlineRunner:
    """Runs the jobs of one cluster."""

    def __init__(self, engine: ClusterEngine, hub: Hub, settings: ClusterSettings) -> None:
        self._engine, self._hub = engine, hub
        self._is_plain, self._overwrites = bool(settings.results), settings.overwrites
        self._cleanup = settings.jobs.cleanup
        if settings.jobs.setup is not None:
            with _as_in_job(None):
                settings.jobs.setup()

    def run(self, payload: Bulk, options: JobOptions | None, name: object) -> DispyJob:
        """Run a job, and return it. Its interrupt, by Ctrl-C or a debugger, is raised again here when it has ended."""
        with _one_at_a_time:
            job = self._engine.queue.put(payload, options, name)
            self._hub.call(self._engine.take_submitted)
            number, begun = JobId(job._number), time.time()
            started = Started(self._engine.computation, [number], [1], [begun], ADDRESS)
            self._hub.call(self._engine.table.begin, started)
            interrupt: BaseException | None = None
            try:
                outcome = self._outcome(_InlineJob(job, self._provide, self._store), payload)
            except (KeyboardInterrupt, BdbQuit) as error:
                interrupt, outcome = error, (job_status.TERMINATED, b"", "The job was interrupted.\n")
            self._hub.call(self._end, number, outcome, begun)
        if interrupt is not None:
            raise interrupt
        return job

    def clean_up(self) -> None:
        """Call the function that nodes would call after the last job."""
        if self._cleanup is not None:
            with _as_in_job(None):
                self._cleanup()

    def _outcome(self, job: _InlineJob, payload: Bulk) -> _Outcome:
        source = self._engine.queue.source
        assert source is not None and source.function is not None
        try:
            with _as_in_job(job):
                if self._is_plain:
                    return job_status.FINISHED, self._plain_result(source.function, payload), ""
                status, result, text = call_function(source.function)(joined(payload), job)  # type: ignore[arg-type]
            return status, bulk(result), text
        except (KeyboardInterrupt, BdbQuit):
            raise
        except BaseException as error:
            own = error.__traceback__
            while own is not None and own.tb_frame.f_code.co_filename == __file__:
                own = own.tb_next
            error = error.with_traceback(own)
            cause = b"" if self._is_plain else raised(error, False)
            return job_status.TERMINATED, cause, describe(error, False)

    def _plain_result(self, function: Callable[..., Any], payload: Bulk) -> Bulk:
        args, kwargs = pickling.loads(joined(payload))
        value = function(*args, **kwargs)
        try:
            return bulk(plain.dumps(value)) if value is not None else b""
        except plain.NotPlain as error:
            raise Unpicklable(
                f"The result cannot be sent, because the cluster accepts only plain data: {error}"
            ) from error

    def _provide(self, job: DispyJob, index: int, value: Bulk) -> None:
        """A provisional result."""
        number = JobId(job._number)
        progress = Progress(self._engine.computation, number, 1, index, value, ADDRESS)
        self._hub.call(self._engine.table.provide, progress)

    def _store(self, path: str, shown: str) -> str:
        """A file that the job sends: it is written where files of nodes are. Returns the error, or ''."""
        goal = os.path.join(os.getcwd(), shown)
        if os.path.exists(goal) and os.path.samefile(path, goal):
            return ""
        with open(path, "rb") as file:
            content, about = file.read(), os.fstat(file.fileno())
        digest = blake2b(content, digest_size=DIGEST_BYTES).digest()
        row = FileRow(shown, about.st_mode & 0o777, float(about.st_mtime), len(content), digest)
        return store(os.getcwd(), list(row), content, self._overwrites)

    def _end(self, number: JobId, outcome: _Outcome, begun: float) -> None:
        """In the hub."""
        status, result, text = outcome
        nothing: list[Bulk] = [b""]
        shown = ([status], [result], nothing, nothing, [text], [begun], [time.time()], [0], [0])
        ended = Ended(self._engine.computation, [number], [1], *shown, ADDRESS)
        self._engine.resolve(Resolve(ended, None))


class _InlineJob:
    """The running job, as the functions that jobs call know it."""

    def __init__(
        self,
        job: DispyJob,
        provide: Callable[[DispyJob, int, Bulk], None] | None = None,
        store: Callable[[str, str], str] | None = None,
    ) -> None:
        """`provide` takes a provisional result, `store` a file; None if nothing waits for them."""
        self._job, self._provide, self._store = job, provide, store
        self.number, self.attempt, self.cancelled = job._number, 1, False
        self._count = 0

    def provide(self, value: object) -> bool:
        payload = bulk(pickling.dumps(value))
        if self._provide is not None:
            self._provide(self._job, self._count, payload)
        self._count += 1
        return True

    def send_file(self, path: str, shown: str) -> str:
        return self._store(path, shown) if self._store is not None else ""

    def go_home(self, now: float) -> bool:
        return True

    def leave_if_child(self, error: BaseException | None = None) -> None:
        pass


def replay(job: DispyJob) -> Any:
    """Call the function of a job with its arguments, in this thread. Raises what the function raises, and
    ConfigError."""
    source = job._source
    if source is None:
        raise ConfigError(f"job {job.id!r} cannot be replayed: its function is not known in this process")
    if source.function is None:
        raise ConfigError(f"job {job.id!r} cannot be replayed: {source.name} is a program; start it with {job.args}")
    args, kwargs = job.args, job.kwargs
    if args is None:
        raise ConfigError(
            f"job {job.id!r} cannot be replayed: its arguments were not kept, since they are larger than 64 KiB or "
            "those of several calls"
        )
    with _as_in_job(_InlineJob(job)):
        return source.function(*args, **kwargs)


@contextlib.contextmanager
def _as_in_job(job: _InlineJob | None) -> Iterator[None]:
    """Provide what nodes provide to jobs."""
    names: dict[str, Any] = {name: importlib.import_module(name) for name in MODULES}
    names.update(injected_names.of_dispy())
    helpers = ("dispy_provisional_result", "dispy_send_file", "dispynode_shutdown")
    names.update((name, getattr(injected_names, name)) for name in helpers)
    names["dispynode_logger"] = logging.getLogger("gdispy.jobs")
    names.update(dispy_node_name=socket.gethostname(), dispy_node_ip_addr=ADDRESS, dispy_job_path=os.getcwd())
    with _one_at_a_time:
        names = {name: value for name, value in names.items() if not hasattr(builtins, name)}
        vars(builtins).update(names)
        before, running.job = running.job, job  # type: ignore[assignment]
        try:
            yield
        finally:
            running.job = before
            for name in names:
                vars(builtins).pop(name, None)
