"""JobCluster: the user's side of a computation.

Methods are called in any thread of the user's program; what they do happens in the hub, in `engine.py`. The nodes are
kept by a `Scheduler` in the same process, which clusters with the same settings share.

Invariants:
1. `submit` never waits for a node.
2. What the user gave is checked here, before anything is started.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from gdispy import config
from gdispy.client import job_options, map_results, node_allocate
from gdispy.client.closing import RELEASE_LIMIT, ClosingSequence
from gdispy.client.engine import ClusterEngine, Stage
from gdispy.client.job import DispyJob
from gdispy.client.local_node import LocalNode
from gdispy.client.node_control import NodeControl
from gdispy.client.node_selection import NodeSelection
from gdispy.client.packaging import computation_options, is_program, prepare
from gdispy.client.parameters import (
    both_names,
    check_intervals,
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
from gdispy.client.scheduler_pool import LocalSchedulerKey
from gdispy.client.settings import ClusterSettings
from gdispy.client.status import ClusterStatus, DispyNode, table
from gdispy.client.user_callbacks import JobCallback, StatusCallback, UserCallbacks
from gdispy.errors import ClusterClosed, ConfigError, ForkedError
from gdispy.hub import Hub, WeakCall
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import OUTPUT_LIMIT, Prepare
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.transport.credentials import Secret, with_tls
from gdispy.transport.interfaces import own_address
from gdispy.worker.manner import Manner

logger = logging.getLogger("gdispy")

#: When so many jobs wait for the hub to take them, `submit` lets it do so: nodes have begun long before the last of a
#: hundred thousand, and it costs nothing, since both need the interpreter.
HAND_OVER = 512

_open_clusters: weakref.WeakSet[JobCluster] = weakref.WeakSet()


class JobCluster:
    """Runs one function or program, with different arguments each time, on nodes of its own.

    `computation` is a function (or anything that can be called) or the path of a program. `nodes` is a
    list of host names or addresses, with ':port' where it is not 51348, patterns with `*` for nodes
    that are found by broadcast, or 'local' for a private node on this machine; the default is ['*'].
    `depends` lists files, modules, functions and classes that the computation needs on the nodes.
    `data` lists patterns of files that go along, as in `data=['templates/*.txt']`, relative to the working directory
    and to the directories of the program's packages: a file is at the same place on the nodes. See docs/guide/files.
    `callback` is called with a job when it has a provisional result and when it has ended.

    `ip_addr` is the local address to use, `ext_ip_addr` the one to announce behind NAT, `port` where
    this side hears of new nodes, `node_port` where nodes listen. `dest_path` is a directory on the
    nodes, which is used again by the next cluster where `cleanup=False` has its files stay.
    With `ipv4_udp_multicast`, nodes are looked for by multicast instead of broadcast. See docs/networks.
    `pulse_interval` (seconds, 0.1 to 1000) is how often nodes give a sign of life: after three missing
    ones a node gets no new jobs, after six it is lost. `ping_interval` (seconds, 1 to 1000) is how
    often to look for nodes again. With `reentrant`, jobs of a lost node run again elsewhere. `secret`
    is what this program and the nodes share; see `secret_file` and docs/security. `isolation='job'` gives
    each job a process of its own; `job_directory=True` gives each a directory of its own, in which the files
    are. Of what a job prints, the first and last parts of each stream are kept, `output_limit` bytes of it (None:
    all). With `overwrite`, files that jobs send replace any that are here. `results='plain'` takes data only and no
    pickles, so that nodes run no code here. `certfile` and `keyfile`: see docs/security.

    With `fault_recover`, True or the path of a file, that file remembers the jobs and what came of them, so that a
    crash of this program loses none: see `fault_recover_jobs`. With `resume=True` as well, this program takes up where
    one that ended stopped: a job that is submitted again with the same arguments is the one that was submitted then,
    and is not run again if it may have begun elsewhere than on the program's own node; all jobs of that life are in
    `resumed`. `resume='failed'` runs those again, too, that have ended without a result. See docs/recovery.

    By keyword the names of later versions of dispy are taken too: `host`, `ext_host`, `job_status`, `recover_file`,
    `dispy_port` (of this side; nodes have the next), `poll_interval` (not needed: results come by themselves).

    Functions and classes of the program travel by value, and what is installed by its name: `by_value` and `by_name`
    list modules for which it is to be the other way. `data` lists patterns of data files that packages of the program
    need. Jobs that no node can run end with the reason, once every node that could has said so; with `wait_for_nodes`
    they wait for another node. See docs/guide/values.

    Raises ConfigError, in plain words, for arguments that cannot be used.
    """

    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: Any = None,
        depends: Any = (),
        callback: Callable[[DispyJob], Any] | None = None,
        ip_addr: str | None = None,
        ext_ip_addr: str | None = None,
        port: int | None = None,
        node_port: int | None = None,
        fault_recover: Any = False,
        dest_path: str | None = None,
        loglevel: int | None = None,
        cleanup: bool | Callable[..., Any] = True,
        pulse_interval: float | None = None,
        ping_interval: float | None = None,
        reentrant: bool = False,
        secret: str = "",
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        setup: Callable[..., Any] | None = None,
        cluster_status: Callable[[int, DispyNode | None, DispyJob | None], Any] | None = None,
        secret_file: str = "",
        insecure: bool = False,
        isolation: str = "",
        job_directory: bool = False,
        output_limit: int | None = OUTPUT_LIMIT,
        resume: bool | str = False,
        ipv4_udp_multicast: bool = False,
        data: Iterable[str] = (),
        by_value: Iterable[Any] = (),
        by_name: Iterable[Any] = (),
        wait_for_nodes: bool = False,
        overwrite: bool = False,
        results: str = "",
    ) -> None:
        check_intervals(pulse_interval, ping_interval)
        flags = {"wait_for_nodes": wait_for_nodes, "overwrite": overwrite}
        manner = checked_ways(loglevel, isolation, by_value, by_name, **flags)
        recovery = checked_recovery(fault_recover, resume)
        callbacks = UserCallbacks(checked_callback(callback), checked_status_callback(cluster_status))
        program = is_program(computation)
        node_port = config.port_number(node_port or config.node_port(), "node_port")
        wanted = node_allocate.read(nodes, node_port)
        found = secret_for(wanted.whom, secret, secret_file, insecure)
        found = with_tls(found, certfile, keyfile, serves=wanted.whom.local)
        where = (own_address(ip_addr), ext_ip_addr or "", config.port_number(port or config.client_port(), "port"))
        pulse, protection = float(pulse_interval) if pulse_interval else None, (found.insecure, found.tls)
        key = LocalSchedulerKey(found.key, *where, pulse, ping_interval, protection, ipv4_udp_multicast)
        self.pulse_interval, self.ping_interval = pulse_interval, ping_interval
        setup = checked_function("setup", setup)
        about = computation_options(isolation, dest_path, setup, cleanup, job_directory, output_limit, data)
        whole = (callable(cleanup), reentrant, False, wait_for_nodes)
        settings = ClusterSettings(key, node_port, program, about, *whole, checked_results(results), overwrite)
        package = partial(prepare, computation, depends, about, manner)
        self._start(settings, callbacks, package, wanted, found, recovery)

    def _start(
        self,
        settings: ClusterSettings,
        callbacks: UserCallbacks,
        package: Callable[[], tuple[Prepare, Manner]],
        wanted: node_allocate.Allocation,
        secret: Secret,
        recovery: tuple[str, bool | str],
    ) -> None:
        """Everything that was given is good, but for the computation itself: look at that, and begin."""
        self._settings, self._callbacks = settings, callbacks
        self._started = time.time()
        path, resume = recovery
        self._recovery = RecoveryFile(path, resume) if path else None
        # First, since it starts while the rest is done here.
        local = LocalNode(secret) if wanted.whom.local else None
        engine: ClusterEngine | None = None
        try:
            message, self._manner = package()
            nodes = NodeSelection(wanted, local)
            common = (message, settings, callbacks, nodes, self._recovery)
            engine = ClusterEngine(weakref.ref(self), *common, WeakCall(self._wake_hub))
            self._use(engine)
            engine.begin(secret)
            _open_clusters.add(self)
        except BaseException:
            if local is not None:
                local.close()
            if self._recovery is not None:
                self._recovery.give_up()
            if engine is not None:  # It may be in the hub's hands by now.
                engine.abort()
                self.__dict__.pop("_engine", None)
            raise

    def _use(self, engine: ClusterEngine) -> None:
        self._engine, self._queue, self._count = engine, engine.queue, engine.count
        #: Of the function, or the program without its path.
        self.name = engine.name
        self._hub = Hub.get()
        self._nodes = NodeControl(engine, self._hub, self._settings.node_port)
        self._closing = ClosingSequence(engine, self._hub, self._recovery, self._settings.has_cleanup)

    # What the user calls

    #: Seconds, as they were given; None where nothing was. Results come without being asked for, so there is no poll.
    pulse_interval: float | None = None
    ping_interval: float | None = None
    poll_interval: float | None = None

    @property
    def end_time(self) -> float | None:
        """When the cluster was closed, in seconds since the epoch; None before."""
        return self._closing.end_time

    @property
    def resumed(self) -> list[DispyJob]:
        """The jobs that a former run of the program has left, as they were submitted."""
        return list(self._engine.former.values())

    @property
    def callback(self) -> JobCallback | None:
        """What is called with a job that has a provisional result, or has ended. It can be replaced at any time."""
        return self._callbacks.on_job

    @callback.setter
    def callback(self, function: Any) -> None:
        self._replace_callbacks(checked_callback(function), self._callbacks.on_status)

    job_status = callback

    @property
    def cluster_status(self) -> StatusCallback | None:
        """What is called with a status, a node and a job. It can be replaced at any time."""
        return self._callbacks.on_status

    @cluster_status.setter
    def cluster_status(self, function: Any) -> None:
        self._replace_callbacks(self._callbacks.on_job, checked_status_callback(function))

    def submit(self, /, *args: Any, **kwargs: Any) -> DispyJob:
        """Queue one job: the computation called with these arguments. Returns at once; of very many jobs some wait
        a few milliseconds, in which the others leave for the nodes.

        For a program the arguments are its words; numbers are written as text. Keywords that begin with
        `dispy_` are not for the computation: `dispy_timeout`, seconds that the job may run; `dispy_cpus`, how
        many CPUs of a node it occupies; `dispy_memory`, bytes that it may use; `dispy_cpu_time`, seconds of processor
        time that it may use with all its processes; `dispy_priority`, a number,
        higher goes first; `dispy_job_depends`, what only this job needs. Raises ClusterClosed, ConfigError for
        such keywords that make no sense, and TypeError for arguments that cannot travel.
        """
        return self._submit_new(args, kwargs, job_options.take(kwargs) if kwargs else None)

    def submit_job_id(self, job_id: Any, /, *args: Any, **kwargs: Any) -> DispyJob:
        """As `submit`, with `id` of the job set before anything happens to it. None, 0 and '' leave it its number."""
        return self._submit_new(args, kwargs, job_options.take(kwargs), job_id)

    def submit_node(self, node: Any, /, *args: Any, **kwargs: Any) -> DispyJob | None:
        """As `submit`, for one node that is set up already: a DispyNode, its address, or its name. The job runs
        there or nowhere. None where there is no such node."""
        return self.submit_job_id_node(None, node, *args, **kwargs)

    def submit_job_id_node(self, job_id: Any, node: Any, /, *args: Any, **kwargs: Any) -> DispyJob | None:
        """`submit_job_id` and `submit_node` in one."""
        found = self._nodes.find(node)
        if found is None:
            return None
        return self._submit_new(args, kwargs, job_options.take(kwargs, found), job_id)

    def _submit_new(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: JobOptions | None, job_id: Any = None
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

    def _take_former(self, number: int, job_id: Any) -> DispyJob:
        """A job that the former run of the program has submitted, and this one does again."""
        job = self._engine.former[number]
        if job_id is not None:
            job.id = job_id
        return job

    def _enqueue(self, payload: Bulk, options: JobOptions | None = None, job_id: Any = None) -> DispyJob:
        queue = self._queue
        try:
            job = queue.put(payload, options, job_id)
            if len(queue) >= HAND_OVER:
                self._hub.let_run()
            return job
        except BaseException:
            # Ctrl-C, or what a handler of another signal raises, may come between any two steps of it.
            with contextlib.suppress(ForkedError):
                self._hub.post(self._take_submitted)
            raise

    def _wake_hub(self) -> None:
        self._hub.post(self._take_submitted)

    def _take_submitted(self) -> None:
        """In the hub. A method of the cluster, so that it lives until the hub has its jobs."""
        self._engine.take_submitted()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"the cluster {self.name} cannot be sent to nodes: leave it out of what functions refer to")

    def cancel(self, job: DispyJob) -> int:
        """End a job, begun or not: KeyboardInterrupt in the job first, then SIGTERM and SIGKILL. A copy of a job, such
        as a callback gets, means the job.

        Returns 0, or -1 for a job that has ended, was cancelled before, or is not of this cluster. Cancellation is
        asynchronous: `status` is Cancelled at once; wait for the job to see its final status.
        """
        if not isinstance(job, DispyJob):
            raise ConfigError(f"cancel takes a job, not {type(job).__name__}")
        self._engine.refuse_fork()
        return int(self._hub.call(self._engine.cancel, job))

    def cancel_all(self) -> int:
        """End all jobs that have not ended, as `cancel` does. Returns how many those are."""
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
        """The results of the computation for each item of `arguments`, in their order, as an iterator.

        Each item is the one argument of a call, a tuple too; with several iterables, a call gets one item of each,
        as with Python's own `map`. For a program each item is its word, or a tuple or list of its words.

        Items are read as results are taken, and only so far ahead that the nodes stay busy (jobs for a second,
        and at least 4 for each CPU), so `arguments` may be endless. The first are read when the first result is
        asked for. An item that fails raises JobFailed at its place, and the next result can be asked for after
        that; with `on_error='skip'` it is left out, and with `on_error='yield'`, or `return_exceptions=True`, the
        JobFailed takes the place of its result. `close()` on what is returned cancels what has not ended.

        Calls that are short go together in one job of about 20 ms; `chunksize` says instead how many. They share
        what a job has: its output, its directory, and its end if that comes by a crash or by force.
        """
        self._engine.refuse_fork()
        size = map_results.chunk_size(chunksize, self._why_single())
        rule = map_results.error_rule(on_error, return_exceptions)
        return map_results.MapResults(
            self, map_results.rows((arguments, *more), self._settings.is_program), self._encode_row, size, rule
        )

    def as_completed(self, jobs: Iterable[DispyJob], timeout: float | None = None) -> Iterator[DispyJob]:
        """The jobs, each once, in the order in which they end; those that have ended come first.

        Raises TimeoutError where not all have ended `timeout` seconds after this call.
        """
        return map_results.as_completed(jobs, timeout)

    def wait(
        self, timeout: float | None = None, progress: bool = False, *, jobs: Iterable[DispyJob] | None = None
    ) -> bool:
        """Wait until all jobs that were submitted have ended, and the callbacks for them have returned, jobs that those
        have submitted included; False if `timeout` seconds pass before. With `jobs`, wait for the ends of those only.

        Called in a callback it waits for the jobs only: not for that callback itself, nor for those behind it.
        With `progress`, a bar on standard error shows how many jobs have ended, and how many of those have failed;
        where that is no terminal, a line from time to time. The bar is that of tqdm where it is installed.
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
        """When the cluster was made, in seconds since the epoch."""
        return self._started

    @property
    def cpu_time(self) -> float:
        """Seconds that jobs took, on all nodes."""
        return sum(node.cpu_time for node in self._engine.nodes.all())

    def status(self) -> ClusterStatus:
        """The nodes of this cluster, how many jobs are pending, and (`problems`) what is wrong."""
        self._engine.refuse_fork()
        status = self._closing.status()
        nodes = [self._engine.nodes.of_row(row) for row in status.nodes]
        return ClusterStatus(nodes, self._count.pending, status.problems, self._is_hopeless())

    def print_status(self, wall_time: float | None = None) -> None:
        """Print a table of the nodes and what they have done."""
        took = time.time() - self._started if wall_time is None else wall_time
        print(table(self.status(), took))

    stats = print_status

    def detach(self) -> str:
        """Leave the jobs to themselves, and this program without them; for a cluster with `fault_recover`.

        What nodes have goes on there, and its results are kept. The file stays, and its path is returned:
        `fault_recover_jobs` collects the results, in any process, and a cluster with `resume=True` goes on with all,
        also with jobs that no node has begun. Raises ConfigError where there is no file.
        """
        self._engine.refuse_fork()
        if self._recovery is None:
            raise ConfigError(
                "detach is for a cluster with fault_recover: without that, nobody could find its jobs again"
            )
        self._leave(HASTY_LIMIT, to_return=True)
        return self._recovery.path

    def close(self, timeout: float | None = None, terminate: bool = False) -> bool | None:
        """Wait for pending jobs and their callbacks, as `wait` does, then leave the nodes: files and processes there
        are removed.

        With `timeout` (seconds), returns False if jobs are still pending then, unless `terminate`: then
        they are cancelled, no more are taken, and callbacks that still run are left after 2 seconds. Returns True
        when closed, None if it was closed before.
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
            self._cancel_all()
            if not self._count.wait(
                RELEASE_LIMIT if self._hub.call(self._engine.is_answered) else HASTY_LIMIT, jobs_only=True
            ):
                # A node that has not ended a job in this time is not there, and will not clean up soon either.
                self._leave(HASTY_LIMIT, patience=patience)
                return True
        self._leave(RELEASE_LIMIT, patience=patience)
        return True

    shutdown = close

    def __enter__(self) -> JobCluster:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # After an exception nobody will ask for results, so what still runs is ended.
        if kind is None:
            self.close()
        elif self._recovery is not None and not self._closed:
            self._leave_for_recovery()
        else:
            self.close(timeout=0, terminate=True)

    # Single nodes

    def discover_nodes(self, nodes: Any) -> int:
        """Look for these nodes now: anything that may stand in `nodes`. Returns 0."""
        return self._nodes.discover(nodes)

    def allocate_node(self, node: Any) -> int:
        """Use more nodes: anything that may stand in `nodes`. Returns 0.

        A node that was deallocated or closed is used again.
        """
        return self._nodes.allocate(node)

    def deallocate_node(self, node: Any) -> int:
        """Run no more jobs of this cluster on a node; the computation stays loaded there. 0, or -1."""
        return self._nodes.deallocate(node)

    def close_node(self, node: Any, terminate_pending: bool = False) -> int:
        """Leave a node when its jobs have ended, or end them with `terminate_pending`: cleanup is called there
        and files are removed. 0, or -1 where there is no such node."""
        return self._nodes.close(node, terminate_pending)

    def resetup_node(self, node: Any, terminate_pending: bool = False) -> int:
        """Leave a node as `close_node` does, and set it up again: `allocate` of its NodeAllocate is asked
        once more. 0, or -1 where there is no such node."""
        return self._nodes.set_up_again(node, terminate_pending)

    def set_node_cpus(self, node: Any, cpus: int | str) -> int:
        """Use at most so many CPUs of a node, over all clusters of this program; negative leaves that many
        unused. How many are used now, or -1 where there is no such node."""
        return self._nodes.set_cpus(node, cpus)

    def node_jobs(self, node: Any, from_node: bool = False) -> list[DispyJob]:
        """The jobs that are on a node now. `from_node` makes no difference: the answer is always the true one."""
        return self._nodes.jobs_on(node, from_node)

    def send_file(self, path: Any, node: Any, relay: bool = False) -> int:
        """Put a file into the directory of the computation on a node. 0, or -1 and a line in the log.

        Raises ConfigError for a file that cannot be read. `relay` is for compatibility.
        """
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
        """Why calls of `map` do not go together in one job; '' where they may."""
        jobs = self._settings.jobs
        reasons = {
            "it is a program": self._settings.is_program,
            "callback is called for each job": self.callback is not None,
            "cluster_status is called for each job": self.cluster_status is not None,
            "each job has a process of its own": jobs.isolation,
            "each job has a directory of its own": jobs.job_directory,
            "each job is kept for itself": self._recovery is not None,
        }
        for reason, holds in reasons.items():
            if holds:
                return reason
        return ""

    def _encode_row(self, row: tuple[Any, ...]) -> Bulk:
        return program_call(row, {}) if self._settings.is_program else function_call(row, {}, self._manner)

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        """Cancel them, without waiting; in any thread, the hub's too."""
        if not self._closed:
            self._hub.post(self._engine.cancel_quietly, [JobId(job._number) for job in jobs])

    def _count_cpus(self) -> int:
        return sum(node.cpus for node in self.status().nodes)

    def _is_hopeless(self) -> bool:
        """Whether no node can be expected any more."""
        return not self._closed and bool(self._hub.call(self._engine.is_hopeless))

    def _cancel_all(self) -> None:
        self._hub.call(self._engine.cancel_all, False)

    def _leave_for_recovery(self) -> None:
        """The program fails, and wants its jobs to survive that."""
        pending = self._count.pending
        path = self.detach()
        nodes = self._engine.selection
        if nodes.is_only_local:
            fate = "%d jobs have not ended, and end with this program, whose own node ran them"
        elif nodes.targets.local:
            fate = "%d jobs have not ended; they go on without this program, but for those of its own node"
        else:
            fate = "%d jobs have not ended, and go on without this program"
        text = f"%s: {fate}. To take up where it stopped, start it again with resume=True; the file is %s"
        logger.warning(text, self.name, pending, path)

    def _leave(self, limit: float, to_return: bool = False, patience: float | None = None) -> None:
        """Leave the nodes, which have `limit` seconds for that. Callbacks have `patience` seconds to return."""
        if self._closing.leave(limit, to_return, patience):
            _open_clusters.discard(self)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a cluster cannot be pickled, so no job can have it: submit jobs in the program that has made it"
        )

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # As a default, since of this module nothing is left at the end of a program. And `__init__` may not have ended.
        engine = getattr(self, "_engine", None)
        if is_finalizing() or engine is None or engine.stage not in (Stage.OPEN, Stage.FAILED):
            return
        engine.queue.refuse(ClusterClosed)
        self._closing.forget()
        with contextlib.suppress(ForkedError):
            self._hub.post(engine.leave)
        warnings.warn(
            f"the cluster {self.name!r} was not closed: call close(), or use with", ResourceWarning, stacklevel=2
        )


atexit.register(close_all, _open_clusters)
