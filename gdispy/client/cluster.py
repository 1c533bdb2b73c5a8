"""JobCluster: the public interface of a computation.

Its methods may be called in any thread of the user's program; the work is done in the hub, by `engine.py`. A
`Scheduler` in the same process manages the nodes; clusters with equal settings share it.

Invariants:
1. `submit` never waits for a node.
2. All parameters are checked here, before anything is started.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from gdispy import config
from gdispy.client import job_options, map_results, node_allocate, notebook_views
from gdispy.client.closing import RELEASE_LIMIT, ClosingSequence
from gdispy.client.engine import ClusterEngine, Stage
from gdispy.client.explanation import Explanation, explain_cluster
from gdispy.client.forwarded_logs import checked_logging
from gdispy.client.job import DispyJob
from gdispy.client.job_source import JobSource
from gdispy.client.local_node import LocalNode
from gdispy.client.node_control import NodeControl
from gdispy.client.node_selection import NodeSelection
from gdispy.client.packaging import computation_options, is_program, prepare
from gdispy.client.parameters import (
    both_names,
    check_intervals,
    check_place,
    check_timeout,
    checked_callback,
    checked_function,
    checked_recovery,
    checked_results,
    checked_status_callback,
    checked_ways,
    function_call,
    program_call,
    secret_for,
)
from gdispy.client.program_exit import HASTY_LIMIT, close_all
from gdispy.client.progress_bar import Counts, wait_with_bar
from gdispy.client.run_report import write_report
from gdispy.client.scheduler_pool import LocalSchedulerKey
from gdispy.client.settings import ClusterSettings
from gdispy.client.status import ClusterStatus, DispyNode, table
from gdispy.client.user_callbacks import JobCallback, StatusCallback, UserCallbacks
from gdispy.errors import ClusterClosed, ConfigError, ForkedError
from gdispy.hub import Hub, WeakCall
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import OUTPUT_LIMIT
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.transport.credentials import Secret, with_tls
from gdispy.transport.interfaces import own_address
from gdispy.worker.manner import Manner

if TYPE_CHECKING:
    from gdispy.client.executor import Executor
    from gdispy.client.inline import InlineRunner
    from gdispy.client.page import ServedPage

_open_clusters: weakref.WeakSet[JobCluster] = weakref.WeakSet()


class JobCluster:
    """Runs one function or program, each time with different arguments, on nodes that it does not share.

    `computation` is a function (or any callable) or the path of a program. `nodes` is a list of host names or
    addresses, with ':port' if it is not 51348, patterns with `*` for nodes that are found by broadcast, or 'local' for
    a private node on this machine; the default is ['*']. `depends` lists files, modules, functions and classes that
    the computation needs on the nodes. `data` lists patterns of data files, as in `data=['templates/*.txt']`, relative
    to the working directory and to the directories of the program's packages; on the nodes a file has the same relative
    path. See docs/guide/files. `callback` is called with a job when it has a provisional result and when it has ended.

    `ip_addr` is the local address to use, `ext_ip_addr` the address to announce behind NAT, `port` the port on which
    this program listens for nodes, `node_port` the port on which nodes listen. `dest_path` is a directory on the nodes;
    with `cleanup=False` its files are kept for the next cluster. With `ipv4_udp_multicast`, nodes are discovered by
    multicast instead of broadcast. See docs/networks. `pulse_interval` (seconds, 0.1 to 1000) is the interval of the
    heartbeats of nodes: after three missed heartbeats a node gets no new jobs, after six it is lost. `ping_interval`
    (seconds, 1 to 1000) is the interval of node discovery. With `reentrant`, jobs of a lost node run again elsewhere.
    `secret` is shared by this program and the nodes; see `secret_file` and docs/security. `isolation='job'` runs each
    job in a new process; `job_directory=True` runs each in a new directory that contains the files. Of each output
    stream of a job, the first and last parts are kept, `output_limit` bytes in all (None: everything). With
    `overwrite`, files that jobs send replace existing files. `results='plain'` accepts plain data only and no pickles,
    so that nodes cannot run code here. `certfile` and `keyfile`: see docs/security.

    With `nodes='inline'`, jobs run in this process, in `submit`, for debuggers. `echo` prints what jobs print, while
    they run. `logging='forward'` passes their log records to the loggers of the same names here. See
    docs/guide/debugging.

    With `fault_recover`, True or the path of a file, the jobs and their outcomes are recorded in that file, so that a
    crash of this program loses none: see `fault_recover_jobs`. With `resume=True` as well, this program continues a
    previous run: a job that is submitted again with the same arguments is the job of that run, and is not run again if
    it may have started on a node other than the program's private node; all jobs of the previous run are in `resumed`.
    `resume='failed'` also runs jobs again that ended without a result. See docs/recovery.

    Functions and classes of the program are sent by value, and installed modules by name: `by_value` and `by_name` list
    modules for which the opposite is wanted. Jobs that no node can run end with the reason, once every possible node
    has reported so; with `wait_for_nodes` they wait for another node. See docs/guide/values.
    Raises ConfigError for invalid arguments.
    """

    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: object = None,
        depends: object = (),
        callback: Callable[[DispyJob], object] | None = None,
        ip_addr: str | None = None,
        ext_ip_addr: str | None = None,
        port: int | None = None,
        node_port: int | None = None,
        fault_recover: object = False,
        dest_path: str | None = None,
        loglevel: int | None = None,
        cleanup: bool | Callable[..., object] = True,
        pulse_interval: float | None = None,
        ping_interval: float | None = None,
        reentrant: bool = False,
        secret: str = "",
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        setup: Callable[..., object] | None = None,
        cluster_status: Callable[[int, DispyNode | None, DispyJob | None], object] | None = None,
        secret_file: str = "",
        insecure: bool = False,
        isolation: str = "",
        job_directory: bool = False,
        output_limit: int | None = OUTPUT_LIMIT,
        resume: bool | str = False,
        ipv4_udp_multicast: bool = False,
        data: Iterable[str] = (),
        by_value: Iterable[object] = (),
        by_name: Iterable[object] = (),
        wait_for_nodes: bool = False,
        overwrite: bool = False,
        results: str = "",
        echo: bool = False,
        logging: str = "",
    ) -> None:
        check_intervals(pulse_interval, ping_interval)
        flags = {"wait_for_nodes": wait_for_nodes, "overwrite": overwrite, "echo": echo}
        manner = checked_ways(loglevel, isolation, by_value, by_name, **flags)
        recovery = checked_recovery(fault_recover, resume)
        callbacks = UserCallbacks(checked_callback(callback), checked_status_callback(cluster_status))
        program = is_program(computation)
        node_port = config.port_number(node_port or config.node_port(), "node_port")
        wanted = node_allocate.read(nodes, node_port)
        found = secret_for(wanted.targets, secret, secret_file, insecure)
        found = with_tls(found, certfile, keyfile, serves=wanted.targets.local)
        where = (own_address(ip_addr), ext_ip_addr or "", config.port_number(port or config.client_port(), "port"))
        pulse, protection = float(pulse_interval) if pulse_interval else None, (found.insecure, found.tls)
        key = LocalSchedulerKey(found.key, *where, pulse, ping_interval, protection, ipv4_udp_multicast)
        self.pulse_interval, self.ping_interval = pulse_interval, ping_interval
        about = computation_options(
            isolation, dest_path, checked_function("setup", setup), cleanup, job_directory, output_limit, data
        )
        ways = (callable(cleanup), reentrant, False, wait_for_nodes, checked_results(results), overwrite, echo)
        check_place(wanted.is_inline, program, recovery[0])
        settings = ClusterSettings(key, node_port, program, about, *ways, checked_logging(logging), wanted.is_inline)
        self._start(settings, callbacks, (computation, depends, manner), wanted, found, recovery)

    def _start(
        self,
        settings: ClusterSettings,
        callbacks: UserCallbacks,
        computation: tuple[Any, object, Manner],
        wanted: node_allocate.Allocation,
        secret: Secret,
        recovery: tuple[str, bool | str],
    ) -> None:
        """Package the computation, the only argument not yet checked, and start."""
        self._settings, self._callbacks, self._secret = settings, callbacks, secret
        self._started = time.time()
        path, resume = recovery
        self._recovery = RecoveryFile(path, resume) if path else None
        # First, because it starts while the rest is done here.
        local = LocalNode(secret, wanted.local_cpus()) if wanted.targets.local else None
        engine: ClusterEngine | None = None
        try:
            function, depends, manner = computation
            message, self._manner = prepare(function, depends, settings.jobs, manner)
            nodes = NodeSelection(wanted, local)
            common = (message, settings, callbacks, nodes, self._recovery)
            engine = ClusterEngine(weakref.ref(self), *common, WeakCall(self._wake_hub))
            engine.queue.source = JobSource(engine.name, None if settings.is_program else function, engine)
            self._use(engine)
            engine.begin(secret)
            if settings.is_inline:
                from gdispy.client.inline import InlineRunner  # It imports modules of workers.

                self._inline = InlineRunner(engine, self._hub, settings)
            _open_clusters.add(self)
        except BaseException:
            if local is not None:
                local.close()
            if self._recovery is not None:
                self._recovery.give_up()
            if engine is not None:  # The hub may have it already.
                engine.abort()
                self.__dict__.pop("_engine", None)
            raise

    def _use(self, engine: ClusterEngine) -> None:
        self._engine, self._queue, self._count = engine, engine.queue, engine.count
        #: The name of the function, or of the program without its path.
        self.name = engine.name
        self._hub = Hub.get()
        self._nodes = NodeControl(engine, self._hub, self._settings.node_port)
        self._closing = ClosingSequence(engine, self._hub, self._recovery, self._settings.has_cleanup)

    # What the user calls

    #: Whether it is a mistake to drop the cluster without `close`.
    _warns_unclosed = True
    _inline: InlineRunner | None = None
    #: Seconds, as given, or None. Results are pushed, so `poll_interval` is always None.
    pulse_interval: float | None = None
    ping_interval: float | None = None
    poll_interval: float | None = None

    @property
    def end_time(self) -> float | None:
        """When the cluster was closed, in seconds since the epoch; None before."""
        return self._closing.end_time

    @property
    def resumed(self) -> list[DispyJob]:
        """The jobs of the previous run of the program, in the order of submission."""
        return list(self._engine.former.values())

    @property
    def callback(self) -> JobCallback | None:
        """Called with a job when it has a provisional result or has ended. It can be replaced at any time."""
        return self._callbacks.on_job

    @callback.setter
    def callback(self, function: object) -> None:
        self._replace_callbacks(checked_callback(function), self._callbacks.on_status)

    job_status = callback

    @property
    def cluster_status(self) -> StatusCallback | None:
        """Called with a status, a node and a job. It can be replaced at any time."""
        return self._callbacks.on_status

    @cluster_status.setter
    def cluster_status(self, function: object) -> None:
        self._replace_callbacks(self._callbacks.on_job, checked_status_callback(function))

    def submit(self, /, *args: Any, **kwargs: Any) -> DispyJob:
        """Queue one job: a call of the computation with these arguments. Returns immediately. When thousands of jobs
        are queued in a row, a call may pause for a few milliseconds so that queued jobs can be sent.

        For a program the arguments are its command-line arguments; numbers are converted to text. Keywords that begin
        with `dispy_` are options of the job: `dispy_timeout`, its time limit in seconds; `dispy_cpus`, the number of
        CPUs that it occupies; `dispy_memory`, its memory limit in bytes; `dispy_cpu_time`, its CPU time limit in
        seconds, including all its processes; `dispy_priority`, a number, higher runs first; `dispy_job_depends`,
        dependencies of this job only. Raises ClusterClosed, ConfigError for invalid options, and TypeError for
        arguments that cannot be pickled.
        """
        return self._submit_new(args, kwargs, job_options.take(kwargs) if kwargs else None)

    def submit_job_id(self, job_id: object, /, *args: Any, **kwargs: Any) -> DispyJob:
        """As `submit`, with `id` of the job set first. With None, 0 or '' the id is the job's number."""
        return self._submit_new(args, kwargs, job_options.take(kwargs), job_id)

    def submit_node(self, node: object, /, *args: Any, **kwargs: Any) -> DispyJob | None:
        """As `submit`, for one node that is set up already: a DispyNode, its address, or its name. The job runs only
        there. None if there is no such node."""
        return self.submit_job_id_node(None, node, *args, **kwargs)

    def submit_job_id_node(self, job_id: object, node: object, /, *args: Any, **kwargs: Any) -> DispyJob | None:
        """`submit_job_id` and `submit_node` combined."""
        found = self._nodes.find(node)
        if found is None:
            return None
        return self._submit_new(args, kwargs, job_options.take(kwargs, found), job_id)

    def _submit_new(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: JobOptions | None, job_id: object = None
    ) -> DispyJob:
        payload = program_call(args, kwargs) if self._settings.is_program else function_call(args, kwargs, self._manner)
        if not job_id and (job_id == 0 or job_id == ""):
            job_id = None
        if self._recovery is not None and self._recovery.former is not None:
            call = [str(arg) for arg in args] if self._settings.is_program else (args, kwargs)
            number = self._recovery.taken_up(payload, call)
            if number is not None:
                return self._take_former(number, job_id)
        return self._enqueue(payload, options, job_id)

    def _take_former(self, number: int, job_id: object) -> DispyJob:
        """The job of the previous run that the program submits again."""
        job = self._engine.former[number]
        if job_id is not None:
            job.id = job_id
        return job

    def _enqueue(self, payload: Bulk, options: JobOptions | None = None, job_id: object = None) -> DispyJob:
        queue = self._queue
        if self._inline is not None:
            return self._inline.run(payload, options, job_id)
        try:
            return queue.put(payload, options, job_id)
        except BaseException:
            # Ctrl-C, or an exception of another signal handler, may occur between any two steps.
            with contextlib.suppress(ForkedError):
                self._hub.post(self._take_submitted)
            raise

    def _wake_hub(self) -> None:
        self._hub.post(self._take_submitted)

    def _take_submitted(self) -> None:
        """In the hub. A method of the cluster, which keeps it alive until the hub has its jobs."""
        self._engine.take_submitted()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"the cluster {self.name} cannot be sent to nodes: functions must not refer to it")

    def cancel(self, job: DispyJob) -> int:
        """Cancel a job, queued or running: KeyboardInterrupt is raised in the job first, then SIGTERM and SIGKILL are
        sent. A copy of a job, which a callback gets, stands for the job.

        Returns 0, or -1 for a job that has ended, was cancelled before, or belongs to another cluster. `status` is
        Cancelled immediately; wait for the job to see its final status.
        """
        if not isinstance(job, DispyJob):
            raise ConfigError(f"cancel takes a job, not {type(job).__name__}")
        self._engine.refuse_fork()
        return int(self._hub.call(self._engine.cancel, job))

    def cancel_all(self) -> int:
        """Cancel all jobs that have not ended, as `cancel` does. Returns their number."""
        self._engine.refuse_fork()
        return 0 if self._closed else int(self._hub.call(self._engine.cancel_all, True))

    def map(
        self,
        arguments: Iterable[Any],
        *more: Iterable[Any],
        chunksize: int | str = "auto",
        on_error: str | None = None,
        return_exceptions: bool = False,
    ) -> map_results.MapResults:
        """The results of the computation for each item of `arguments`, in order, as an iterator.

        Each item, even a tuple, is the single argument of a call; with several iterables, a call gets one item of each,
        as with the built-in `map`. For a program each item is its argument, or a tuple or list of its arguments.

        Items are read while results are consumed, far enough ahead to keep the nodes busy (jobs for one second, and at
        least 4 for each CPU), so `arguments` may be infinite. Reading starts with the first call of `next`. A failed
        item raises JobFailed in its turn, and iteration can continue after that; with `on_error='skip'` it is skipped,
        and with `on_error='yield'`, or `return_exceptions=True`, the JobFailed is yielded as its result. `close()` on
        the returned iterator cancels all unfinished calls.

        Short calls are combined into jobs of about 20 ms; `chunksize` sets their number instead. Calls in one job share
        its output, its directory, and its fate if the process crashes or is killed.
        """
        self._engine.refuse_fork()
        size = map_results.chunk_size(chunksize, self._why_single())
        rule = map_results.error_rule(on_error, return_exceptions)
        return map_results.MapResults(
            self, map_results.rows((arguments, *more), self._settings.is_program), self._encode_row, size, rule
        )

    def executor(self) -> Executor:
        """An executor on the nodes of this cluster; shut it down first if the cluster has a private node."""
        from gdispy.client.executor import Executor  # It is built from clusters.

        return Executor._beside(self)

    def as_completed(self, jobs: Iterable[DispyJob], timeout: float | None = None) -> Iterator[DispyJob]:
        """The jobs, each once, in the order in which they end; jobs that have already ended come first.

        Raises TimeoutError if not all have ended `timeout` seconds after this call.
        """
        return map_results.as_completed(jobs, timeout)

    def wait(
        self, timeout: float | None = None, progress: bool = False, *, jobs: Iterable[DispyJob] | None = None
    ) -> bool:
        """Wait until all submitted jobs have ended and their callbacks have returned, including jobs that callbacks
        submit; False if `timeout` seconds pass first. With `jobs`, wait only until those jobs have ended.

        In a callback, `wait` waits for jobs only, not for callbacks. With `progress`, a bar on standard error shows how
        many jobs have ended, and how many have failed; if it is not a terminal, a line from time to time.
        """
        check_timeout(timeout)
        if jobs is not None:
            return map_results.wait_for(jobs, timeout)
        self._engine.refuse_fork()
        count = self._count
        if progress:
            return wait_with_bar(count.wait, lambda: Counts(count.ended, count.failed, count.made), timeout)
        return count.wait_patiently(timeout)

    __call__ = wait

    @property
    def start_time(self) -> float:
        """When the cluster was created, in seconds since the epoch."""
        return self._started

    @property
    def cpu_time(self) -> float:
        """Total run time of jobs on all nodes, in seconds."""
        return sum(node.cpu_time for node in self._engine.nodes.all())

    def status(self) -> ClusterStatus:
        """The nodes of this cluster, the number of pending jobs, and `problems` that keep nodes from being used."""
        self._engine.refuse_fork()
        status = self._closing.status()
        nodes = self._engine.nodes.take_status(status)
        return ClusterStatus(nodes, self._count.pending, status.problems, self._is_hopeless())

    def explain(self) -> Explanation:
        """Why jobs of this cluster wait, for people; see `DispyJob.explain`."""
        return explain_cluster(self._engine, self.status().problems)

    def report(self, path: object) -> None:
        """Write a report of the jobs that have ended to a file: .html, .json, or .trace.json for Perfetto."""
        write_report(path, self.name, self._engine.table.record)

    def print_status(self, wall_time: float | None = None) -> None:
        """Print a table of the nodes and their work."""
        print(table(self.status(), time.time() - self._started if wall_time is None else wall_time))

    stats = print_status

    def serve_page(
        self, host: str = "127.0.0.1", port: int = 0, show_arguments: bool = False, admin: bool = False
    ) -> ServedPage:
        """Serve a web page of this cluster, and print its URL, which gives access to it. See docs/guide/page."""
        from gdispy.client.page import serve  # It imports a web server.

        return serve(self, host, port, show_arguments, admin)

    def detach(self) -> str:
        """Detach this program from its jobs; they keep running. For a cluster with `fault_recover`.

        Jobs on nodes continue there, and their results are kept. The recovery file stays, and its path is returned:
        `fault_recover_jobs` collects the results, and a cluster with `resume=True` continues with all jobs, also those
        that no node has started. Raises ConfigError if there is no recovery file.
        """
        self._engine.refuse_fork()
        if self._recovery is None:
            raise ConfigError("detach requires fault_recover: without a recovery file, no jobs could be found again")
        self._leave(HASTY_LIMIT, to_return=True)
        return self._recovery.path

    def close(self, timeout: float | None = None, terminate: bool = False) -> bool | None:
        """Wait for pending jobs and their callbacks, as `wait` does, then release the nodes: files and processes there
        are removed.

        With `timeout` (seconds), returns False if jobs are still pending then, unless `terminate` is true: then they
        are cancelled, and running callbacks are abandoned after 2 seconds. Returns True, None if it was closed before.
        """
        check_timeout(timeout)
        if self._closed:
            return None
        self._engine.refuse_fork()
        patience: float | None = None
        if not self._count.wait_patiently(timeout):
            if not terminate:
                return False
            patience = HASTY_LIMIT
            self._queue.refuse(ClusterClosed)
            self._hub.call(self._engine.cancel_all, False)
            limit = RELEASE_LIMIT if self._hub.call(self._engine.is_answered) else HASTY_LIMIT
            if not self._count.wait(limit, jobs_only=True):
                # A node that has not ended a job in this time is not connected, and will not clean up soon either.
                self._leave(HASTY_LIMIT, patience=patience)
                return True
        self._leave(RELEASE_LIMIT, patience=patience)
        return True

    shutdown = close

    def __enter__(self) -> JobCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an exception results are not wanted any more, so running jobs are cancelled.
        if kind is None:
            self.close()
        elif self._recovery is not None and not self._closed:
            self._leave_for_recovery()
        else:
            self.close(timeout=0, terminate=True)

    # Single nodes

    def discover_nodes(self, nodes: object) -> int:
        """Search for these nodes now; the argument is as for `nodes`. Returns 0."""
        return self._nodes.discover(nodes)

    def allocate_node(self, node: object) -> int:
        """Use more nodes, or again nodes that were deallocated or closed; the argument is as for `nodes`. Returns 0."""
        return self._nodes.allocate(node)

    def deallocate_node(self, node: object) -> int:
        """Run no more jobs of this cluster on a node; the computation stays loaded there. Returns 0, or -1."""
        return self._nodes.deallocate(node)

    def close_node(self, node: object, terminate_pending: bool = False) -> int:
        """Release a node when its jobs have ended, or, with `terminate_pending`, cancel them: cleanup is called there
        and files are removed. Returns 0, or -1 if there is no such node."""
        return self._nodes.close(node, terminate_pending)

    def resetup_node(self, node: object, terminate_pending: bool = False) -> int:
        """Release a node as `close_node` does, and set it up again: `allocate` of its NodeAllocate is called again.
        Returns 0, or -1 if there is no such node."""
        return self._nodes.set_up_again(node, terminate_pending)

    def set_node_cpus(self, node: object, cpus: int | str) -> int:
        """Limit the CPUs of a node that all clusters of this program use; a negative number leaves that many unused.
        Returns the number of CPUs in use now, or -1 if there is no such node."""
        return self._nodes.set_cpus(node, cpus)

    def node_jobs(self, node: object, from_node: bool = False) -> list[DispyJob]:
        """The jobs that are on a node now. `from_node` has no effect: the answer is always up to date."""
        return self._nodes.jobs_on(node, from_node)

    def send_file(self, path: object, node: object, relay: bool = False) -> int:
        """Put a file into the directory of the computation on a node. Returns 0, or -1 and logs the reason. Raises
        ConfigError for a file that cannot be read."""
        return self._nodes.send_file(path, node, relay)

    # In the user's thread

    @property
    def _closed(self) -> bool:
        return self._closing.is_closed

    def _replace_callbacks(self, on_job: JobCallback | None, on_status: StatusCallback | None) -> None:
        self._engine.refuse_fork()
        self._callbacks.on_job, self._callbacks.on_status = on_job, on_status
        self._callbacks.use(self._hub)
        if not self._closed:
            self._hub.call(self._engine.open)

    def _why_single(self) -> str:
        """Why calls of `map` cannot be combined in one job; '' if they can."""
        return self._settings.why_single(self.callback, self.cluster_status, self._recovery)

    def _encode_row(self, row: tuple[Any, ...]) -> Bulk:
        return program_call(row, {}) if self._settings.is_program else function_call(row, {}, self._manner)

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        """Cancel them without waiting; in any thread, including the hub's."""
        if not self._closed:
            self._hub.post(self._engine.cancel_quietly, [JobId(job._number) for job in jobs])

    def _count_cpus(self) -> int:
        return sum(node.cpus for node in self.status().nodes)

    def _is_hopeless(self) -> bool:
        """Whether no further node can be expected."""
        return not self._closed and bool(self._hub.call(self._engine.is_hopeless))

    def _leave_for_recovery(self) -> None:
        """The program fails, and its jobs should survive that."""
        self._closing.warn_of_recovery(self._count.pending, self.detach())

    def _leave(self, limit: float, to_return: bool = False, patience: float | None = None) -> None:
        """Release the nodes, which have `limit` seconds for that. Callbacks have `patience` seconds to return."""
        if self._closing.leave(limit, to_return, patience):
            _open_clusters.discard(self)
            if self._inline is not None:
                self._inline.clean_up()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{notebook_views.cluster_line(self, f'{type(self).__name__} {self.name}', state)}>"

    def _repr_html_(self) -> str:
        return notebook_views.cluster_html(self, repr(self)[1:-1])

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A default argument, since module globals are gone at interpreter exit. And `__init__` may not have finished.
        engine = getattr(self, "_engine", None)
        if is_finalizing() or engine is None or engine.stage not in (Stage.OPEN, Stage.FAILED):
            return
        engine.queue.refuse(ClusterClosed)
        self._closing.forget()
        with contextlib.suppress(ForkedError):
            self._hub.post(engine.leave)
        if self._warns_unclosed:
            warnings.warn(
                f"the cluster {self.name!r} was not closed: call close(), or use a with statement",
                ResourceWarning,
                stacklevel=2,
            )


atexit.register(close_all, _open_clusters)
