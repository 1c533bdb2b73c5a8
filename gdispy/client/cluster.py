"""JobCluster: the user's side of a computation.

Methods are called in any thread of the user's program; what they do happens in the hub, in `engine.py`.
The nodes are kept by a `Scheduler` in the same process, which clusters with the same settings share.

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
from typing import Any

from gdispy import config
from gdispy.client import job_options, map_results, node_allocate
from gdispy.client.job import DispyJob, KeptJob, next_number
from gdispy.client.local_node import LocalNode
from gdispy.client.node_control import NodeControl
from gdispy.client.packaging import ComputationOptions, checked_data, checked_outputs, is_program, prepare
from gdispy.client.parameters import (
    both_names,
    check_intervals,
    check_timeout,
    checked_callback,
    checked_flag,
    checked_function,
    checked_manner,
    checked_recovery,
    checked_results,
    checked_status_callback,
    function_call,
    program_call,
    secret_for,
)
from gdispy.client.program_exit import HASTY_LIMIT, close_all
from gdispy.client.progress_bar import Counts, wait_with_bar
from gdispy.client.status import ClusterStatus, DispyNode, table
from gdispy.client.user_callbacks import JobCallback, StatusCallback, UserCallbacks
from gdispy.discovery import targets
from gdispy.errors import ClusterClosed, ConfigError, ForkedError, InternalError
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.log import show_on_terminal
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import OUTPUT_LIMIT, UNLIMITED, Status, StatusRequest, ended_without_node
from gdispy.protocol.payload import Bulk
from gdispy.rules.client.effects import Resolve
from gdispy.transport.credentials import Secret, with_tls
from gdispy.transport.interfaces import own_address

logger = logging.getLogger("gdispy")

#: Seconds that closing waits for the nodes to say that nothing is left.
RELEASE_LIMIT = 10.0
#: The same where nobody is there who could say so; a scheduler that is started again comes within this time.
ABSENT_LIMIT = 5.0
#: When so many jobs wait for the hub to take them, `submit` lets it do so: nodes have begun long before the last of a
#: hundred thousand, and it costs nothing, since both need the interpreter.
HAND_OVER = 512

_UNTOLD = "The cluster was closed before the node of the job had said what became of it.\n"
_LEFT = "The program has left this job to itself; its recovery file tells where it is.\n"

_open_clusters: weakref.WeakSet[JobCluster] = weakref.WeakSet()


class JobCluster(NodeControl):
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
        self._manner, self._waits = checked_manner(by_value, by_name), checked_flag("wait_for_nodes", wait_for_nodes)
        check_intervals(pulse_interval, ping_interval)
        self._overwrites, self._results = checked_flag("overwrite", overwrite), checked_results(results)
        self._check(loglevel, isolation)
        self._recovery = checked_recovery(fault_recover, resume)
        self._take_callbacks(computation, callback, cluster_status)
        self._node_port = config.port_number(node_port or config.node_port(), "node_port")
        allocated = node_allocate.read(nodes, self._node_port)
        wanted, self._allocations = allocated.whom, allocated.nodes
        found = with_tls(secret_for(wanted, secret, secret_file, insecure), certfile, keyfile, serves=wanted.local)
        self._key = (
            *(found.key, own_address(ip_addr), ext_ip_addr or ""),
            config.port_number(port or config.client_port(), "port"),
            *(float(pulse_interval) if pulse_interval else None, ping_interval),
            *((found.insecure, found.tls), ipv4_udp_multicast),
        )
        self._reentrant, self._exclusive = reentrant, False
        self.pulse_interval, self.ping_interval = pulse_interval, ping_interval
        cares = (isolation, dest_path, setup, cleanup, *checked_outputs(job_directory, output_limit))
        self._start(computation, depends, (*cares, checked_data(data)), wanted, found)

    def _check(self, loglevel: int | None, isolation: str) -> None:
        config.msg_timeout()
        if loglevel is not None:
            show_on_terminal(loglevel)
        if isolation not in ("", "job"):
            raise ConfigError(f"isolation must be '' or 'job', not {isolation!r}")

    def _take_callbacks(self, computation: Any, callback: Any, cluster_status: Any) -> None:
        self._callbacks = UserCallbacks(checked_callback(callback), checked_status_callback(cluster_status))
        self._is_program = is_program(computation)

    def _start(
        self, computation: Any, depends: Any, cares: tuple[Any, ...], wanted: targets.NodeTargets, secret: Secret
    ) -> None:
        """Everything that was given is good, but for the computation itself: look at that, and begin."""
        self._isolation, directory, setup, cleanup, self._job_directory, output_limit, data = cares
        self._wanted = wanted
        self._has_cleanup = callable(cleanup)
        own = cleanup if callable(cleanup) else None
        self._output_limit = UNLIMITED if output_limit is None else output_limit
        rest = (self._job_directory, output_limit, data)
        care = ComputationOptions(
            self._isolation, directory or "", checked_function("setup", setup), own, bool(cleanup), *rest
        )
        path, resume = self._recovery
        self._logbook = RecoveryFile(path, resume) if path else None
        # First, since it starts while the rest is done here.
        self._local = LocalNode(secret) if wanted.local else None
        try:
            message, self._manner = prepare(computation, depends, care, self._manner)
            self.name = message.name
            self._begin(message, wanted, secret, self._node_port)
            _open_clusters.add(self)
        except BaseException:
            self._give_back()
            raise

    # What the user calls

    #: Seconds, as they were given; None where nothing was. Results come without being asked for, so there is no poll.
    pulse_interval: float | None = None
    ping_interval: float | None = None
    poll_interval: float | None = None
    #: When the cluster was closed, in seconds since the epoch; None before.
    end_time: float | None = None

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
        found = self._find_node(node)
        if found is None:
            return None
        return self._submit_new(args, kwargs, job_options.take(kwargs, found), job_id)

    def _submit_new(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: job_options.Options | None, job_id: Any = None
    ) -> DispyJob:
        payload = program_call(args, kwargs) if self._is_program else function_call(args, kwargs, self._manner)
        if not job_id and (job_id == 0 or job_id == ""):
            job_id = None
        if self._logbook is not None and self._logbook.former is not None:
            call = [str(arg) for arg in args] if self._is_program else (args, kwargs)
            number = self._logbook.taken_up(payload, call)
            if number is not None:
                return self._take_former(number, job_id)
        return self._enqueue(payload, options, job_id)

    def _take_former(self, number: int, job_id: Any) -> DispyJob:
        """A job that the former life of the program has submitted, and this one does again."""
        job = self._former[number]
        if job_id is not None:
            job.id = job_id
        return job

    def _enqueue(self, payload: Bulk, options: job_options.Options | None = None, job_id: Any = None) -> DispyJob:
        try:
            return self._put(payload, options, job_id)
        except BaseException:
            # Ctrl-C, or what a handler of another signal raises, may come between any two steps of it.
            with contextlib.suppress(ForkedError):
                self._hub.post(self._take_submitted)
            raise

    def _put(self, payload: Bulk, options: job_options.Options | None, job_id: Any) -> DispyJob:
        with self._lock:
            if self._closing:
                raise ForkedError() if self._forked else ClusterClosed()
            if self._defect:
                raise InternalError(self._defect.strip())
            number = next_number()
            if self._logbook is None:
                job = object.__new__(DispyJob)  # As `_new` does it, a call less.
                job._make(number, time.time(), payload)
            else:
                self._logbook.submitted(number, payload, options, job_id)
                job = KeptJob._kept(number, time.time(), self._logbook, payload)
            if job_id is not None:
                job._id = job_id
            if options is not None:
                self._wishes[JobId(number)] = options
            self._submitted.append(job)
            self._count.made += 1
            # Looked at and then set: where the hub, which clears it first and empties the queue then, comes in between,
            # it is rung for nothing, and never not at all.
            ring = not self._rung
            if ring:
                self._rung = True
        if ring:
            self._hub.post(self._take_submitted)
        if len(self._submitted) >= HAND_OVER:
            self._hub.let_run()
        return job

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
        self._refuse_fork()
        return int(self._hub.call(self._cancel, job))

    def cancel_all(self) -> int:
        """End all jobs that have not ended, as `cancel` does. Returns how many those are."""
        self._refuse_fork()
        return 0 if self._closed else int(self._hub.call(self._cancel_everything, True))

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
        self._refuse_fork()
        only_single = "it is a program" if self._is_program else ""
        only_single = only_single or ("callback is called for each job" if self.callback is not None else "")
        only_single = only_single or (
            "cluster_status is called for each job" if self.cluster_status is not None else ""
        )
        only_single = only_single or ("each job has a process of its own" if self._isolation else "")
        only_single = only_single or ("each job has a directory of its own" if self._job_directory else "")
        only_single = only_single or ("each job is kept for itself" if self._logbook is not None else "")
        size = map_results.chunk_size(chunksize, only_single)
        rule = map_results.error_rule(on_error, return_exceptions)
        return map_results.MapResults(
            self, map_results.rows((arguments, *more), self._is_program), self._encode_row, size, rule
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
        self._refuse_fork()
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
        return sum(node.cpu_time for node in self._nodes.all())

    def status(self) -> ClusterStatus:
        """The nodes of this cluster, how many jobs are pending, and (`problems`) what is wrong."""
        self._refuse_fork()
        standing = self._standing()
        nodes = [self._nodes.of_row(row) for row in standing.nodes]
        return ClusterStatus(nodes, self._count.pending, standing.problems, self._is_hopeless())

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
        self._refuse_fork()
        if self._logbook is None:
            raise ConfigError(
                "detach is for a cluster with fault_recover: without that, nobody could find its jobs again"
            )
        self._leave(HASTY_LIMIT, to_return=True)
        return self._logbook.path

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
        self._refuse_fork()
        patience: float | None = None
        if not self._count.wait_patiently(timeout):
            if not terminate:
                return False
            patience = HASTY_LIMIT
            with self._lock:
                self._closing = True
            self._cancel_all()
            if not self._count.wait(RELEASE_LIMIT if self._is_answered() else HASTY_LIMIT, jobs_only=True):
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
        elif self._logbook is not None and not self._closed:
            self._leave_for_recovery()
        else:
            self.close(timeout=0, terminate=True)

    # In the user's thread

    def _replace_callbacks(self, on_job: JobCallback | None, on_status: StatusCallback | None) -> None:
        self._refuse_fork()
        self._callbacks.on_job, self._callbacks.on_status = on_job, on_status
        self._callbacks.use(self._hub)
        if not self._closed:
            self._hub.call(self._open)

    def _encode_row(self, row: tuple[Any, ...]) -> Bulk:
        return program_call(row, {}) if self._is_program else function_call(row, {}, self._manner)

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        """Cancel them, without waiting; in any thread, the hub's too."""
        if not self._closed:
            numbers = [JobId(job._number) for job in jobs]
            self._hub.post(self._take_submitted)
            self._hub.post(self._pump.put, lambda now: self._session.cancel(numbers))

    def _count_cpus(self) -> int:
        return sum(node.cpus for node in self.status().nodes)

    def _is_hopeless(self) -> bool:
        """Whether no node can be expected any more."""
        wanted = self._wanted
        if wanted.look or self._closed or (wanted.local and not self._has_lost_local):
            return False
        if wanted.local and not wanted.targets:
            return True
        return bool(self._hub.call(self._scheduler.have_refused, wanted.targets, self._computation))

    def _standing(self) -> Status:
        if self._closed:
            return Status(self._computation, 0, self._last_rows, 0, [])
        if self._defect:
            return Status(self._computation, 0, [], 0, [self._defect.strip()])
        found = self._question(lambda number: StatusRequest(self._computation, number))
        return found if isinstance(found, Status) else Status(self._computation, 0, [], 0, [])

    def _cancel_all(self) -> None:
        self._hub.call(self._cancel_everything, False)

    def _leave_for_recovery(self) -> None:
        """The program fails, and wants its jobs to survive that."""
        pending = self._count.pending
        path = self.detach()
        wanted = self._wanted
        if wanted.local and not wanted.targets and not wanted.look:
            fate = "%d jobs have not ended, and end with this program, whose own node ran them"
        elif wanted.local:
            fate = "%d jobs have not ended; they go on without this program, but for those of its own node"
        else:
            fate = "%d jobs have not ended, and go on without this program"
        text = f"%s: {fate}. To take up where it stopped, start it again with resume=True; the file is %s"
        logger.warning(text, self.name, pending, path)

    def _leave(self, limit: float, to_return: bool = False, patience: float | None = None) -> None:
        """Leave the nodes, which have `limit` seconds for that. Callbacks have `patience` seconds to return."""
        is_mine = False
        try:
            with self._lock:
                if self._leaving or self._closed:
                    return
                self._leaving = self._closing = is_mine = True
            self._leave_now(limit, to_return, patience)
        finally:
            if is_mine:  # Where it was interrupted, the next one does it again.
                self._leaving = False

    def _leave_now(self, limit: float, to_return: bool, patience: float | None) -> None:
        self._last_rows = self._standing().nodes or self._last_rows
        if self._logbook is not None:
            self._logbook.stays = self._logbook.stays or to_return
        if not to_return and not self._parted:
            self._await_release(limit)
        self._count.await_callbacks(patience)
        if self._logbook is not None:
            self._keep_file(self._logbook, to_return)
        self._hub.call(self._part)
        if self._jobs and to_return:  # They go on: what comes of them is for the next life's callbacks.
            self._hub.call(self._table.give_up, [], _LEFT)
        elif self._jobs:
            self._hub.call(self._end_the_rest, _UNTOLD)
            self._count.await_callbacks(patience)
        self._closed = True
        self.end_time = time.time()
        _open_clusters.discard(self)

    def _keep_file(self, logbook: RecoveryFile, to_return: bool) -> None:
        """The recovery file stays while any job has no result."""
        logbook.stays = logbook.stays or bool(self._jobs or logbook.missing)
        if logbook.missing and not to_return:
            text = "%s: %d of %d jobs have no result, so %s stays; with resume='failed' the program runs those again"
            logger.warning(text, self.name, logbook.missing, self._count.made, logbook.path)

    def _is_answered(self) -> bool:
        """Whether anybody is there who could say what becomes of the jobs."""
        return bool(self._hub.call(self._scheduler.is_answered, self._computation))

    def _await_release(self, limit: float) -> None:
        if limit == RELEASE_LIMIT and not self._is_answered():
            limit = ABSENT_LIMIT
        self._hub.post(self._release)
        # A cleanup function may take as long as it needs; the log says who is waited for.
        if not self._released.wait(None if self._has_cleanup and limit == RELEASE_LIMIT else limit):
            logger.warning("%s: a node has not said in time that all is cleaned up there", self.name)

    def _end_the_rest(self, text: str) -> None:
        """No node has said in time what became of these jobs, and nobody listens any more."""
        for number, job in list(self._jobs.items()):
            ended = ended_without_node(self._computation, [number], job_status.ABANDONED, text, job.ip_addr or "")
            self._resolve(Resolve(ended, None))

    def __reduce__(self) -> Any:
        raise TypeError(
            "a cluster cannot be pickled, so no job can have it: submit jobs in the program that has made it"
        )

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # As a default, since of this module nothing is left at the end of a program. And `__init__` may not have ended.
        if is_finalizing() or not getattr(self, "_has_joined", False) or self._parted or self._forked:
            return
        self._closing = self._closed = True
        with contextlib.suppress(ForkedError):
            self._hub.post(self._leave_forgotten)  # It lives on until that is done.
        warnings.warn(
            f"the cluster {self.name!r} was not closed: call close(), or use with", ResourceWarning, stacklevel=2
        )


atexit.register(close_all, _open_clusters)
