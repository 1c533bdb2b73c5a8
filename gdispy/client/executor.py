"""`Executor`: the interface of `concurrent.futures` to nodes.

An executor is a cluster whose jobs call any function (`worker/function_calls.py`). Its methods may be called in any
thread of the user's program.

Invariants:
1. `submit` never waits for a node. An error of pickling is the outcome of its future.
2. After `shutdown` has returned, with `wait`, no job, node process or thread of it is left.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gdispy.client import job_options, map_results, notebook_cells, notebook_views
from gdispy.client.cluster import JobCluster
from gdispy.client.executor_map import ChunkSize, ExecutorMap
from gdispy.client.function_table import CallsHere, FunctionTable
from gdispy.client.futures import JobFuture, RetriedFuture, as_raised, failed
from gdispy.client.job import DispyJob
from gdispy.client.node_allocate import NodeAllocate
from gdispy.client.node_allocate import read as read_nodes
from gdispy.client.packaging import ComputationOptions
from gdispy.client.parameters import function_call
from gdispy.client.shared_cluster import SharedJobCluster
from gdispy.client.tables import count
from gdispy.client.user_callbacks import UserCallbacks
from gdispy.config import node_port
from gdispy.errors import ClusterClosed, ConfigError
from gdispy.protocol import job_status
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Withdraw
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.worker.function_calls import CHUNK, GIVEN, FunctionCalls
from gdispy.worker.manner import Manner

if TYPE_CHECKING:
    from gdispy.client.page import ServedPage

#: Jobs in one `Withdraw`.
WITHDRAW_LIMIT = 50_000
#: Seconds to wait for a node to end a job that has not begun there, or to report that it runs.
ANSWER_LIMIT = 1.0
LOOK_INTERVAL = 0.01

#: Parameters of clusters that an executor does not have, and why.
_REFUSED = {
    "computation": "each call names its function",
    "callback": "use add_done_callback of the futures",
    "job_status": "use add_done_callback of the futures",
    "cluster_status": "use a JobCluster",
    "fault_recover": "use a JobCluster",
    "recover_file": "use a JobCluster",
    "resume": "use a JobCluster",
    "results": "exceptions and functions are pickled",
    "mp_context": "workers are forked by the node",
    "max_tasks_per_child": "it is an option of gdispy-node, --jobs_per_worker",
}


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on nodes; by default on this machine.

    `nodes` is as for `JobCluster`: 'local' for a private node on this machine, or a list of hosts; a number is
    `max_workers` of this machine. `max_workers` limits the CPUs that are used, in the order in which nodes are found;
    on this machine it may exceed the number of CPUs. `initializer(*initargs)` is called in each worker process before
    its first call; if it fails, the executor is broken. With `scheduler_node`, the host of a `gdispy-scheduler`, the
    nodes of that are used. The other parameters are those of `JobCluster` or `SharedJobCluster`.

    A call whose process is killed, or whose node is lost, raises WorkerDied, a BrokenProcessPool; other calls, and the
    executor, are not affected. A function is pickled when it is first submitted, with the global variables that it
    uses, and again when one of these has been assigned another value; any other callable is pickled for each call.

    Raises ConfigError for invalid arguments.
    """

    def __init__(
        self,
        nodes: Any = "local",
        *,
        max_workers: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        scheduler_node: str | None = None,
        **options: Any,
    ) -> None:
        nodes, max_workers = _places(nodes, max_workers)
        _check(max_workers, initializer, initargs, options)
        if scheduler_node is not None:
            used = _limited(["*"] if nodes == "local" else nodes, max_workers)
            options = {**options, "scheduler_node": scheduler_node}
            make: Callable[[FunctionCalls], JobCluster] = functools.partial(SharedJobCluster, nodes=used, **options)
        else:
            make = functools.partial(JobCluster, nodes=_limited(nodes, max_workers), **options)
        self._set_up(make, initializer, tuple(initargs))

    @classmethod
    def _beside(cls, cluster: JobCluster) -> Executor:
        """An executor on the nodes of a cluster."""
        cluster._engine.refuse_fork()
        found = cls.__new__(cls)
        found._set_up(functools.partial(_beside, cluster))
        return found

    def _set_up(
        self,
        make: Callable[[FunctionCalls], JobCluster],
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._functions = functions = FunctionTable()
        self._lock = threading.Lock()
        self._is_shut = False
        #: Why no further call is accepted, after the initializer has failed.
        self._broken = ""
        self._cluster = made = make(FunctionCalls(functions.key, initializer, initargs))
        made._warns_unclosed = False
        engine = made._engine
        engine.table.shown_call = functools.partial(_shown_call, functions)
        if engine.queue.source is not None:
            local = CallsHere(functions, initializer, initargs)
            engine.queue.source.function = local
            if made._settings.is_inline:
                local.initialize()
        engine.table.take_request = functools.partial(functions.answer, engine.computation, engine.ask_then)
        notebook_cells.watch(self)
        #: How definitions of the program are sent.
        self._manner = functions.manner = made._manner
        self._hub = made._hub
        #: Maps whose items may not all have been read.
        self._maps: weakref.WeakSet[ExecutorMap] = weakref.WeakSet()
        #: For futures: they must not keep the nodes of an executor that the program has dropped.
        self._reference = weakref.ref(self)

    # What `concurrent.futures` has

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture:
        """Call `fn(*args, **kwargs)` on a node; returns its future. Raises RuntimeError after `shutdown`, and
        BrokenProcessPool after the initializer has failed."""
        try:
            payload = self._encoded(fn, args, kwargs)
        except Exception as error:
            self._refuse()
            return failed(as_raised(error))  # type: ignore[return-value]
        return JobFuture(self._reference, self._submit(None, payload))

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = "auto",
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """The results of `fn` for the items of the iterables, in order, as an iterator.

        Items are read ahead of the results that are taken, as many as keep the nodes busy, and `buffersize` at most.
        Short calls are combined into jobs of about 20 ms; `chunksize` sets their number. An exception of a call is
        raised in its turn and ends the iterator. A call that has not begun is cancelled when the iterator ends or is
        dropped. Raises TimeoutError if a result is not there `timeout` seconds after this call.
        """
        return self._map(None, fn, iterables, timeout, chunksize, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, wait for those that have been submitted, and release the nodes. With `cancel_futures`,
        calls that have not begun are cancelled. Without `wait`, all that happens in the background."""
        with self._lock:
            is_first, self._is_shut = not self._is_shut, True
        if cancel_futures and is_first:
            self._cluster._queue.refuse(ClusterClosed)
            self._withdraw_numbers(self._hub.call(self._unfinished))
        if not is_first and not wait:
            return
        if wait:
            self._close(cancel_futures)
        else:
            # Not a daemon: the program waits for the calls, as it does with other executors.
            threading.Thread(target=self._close, args=(cancel_futures,), name="gdispy-executor").start()

    def _close(self, is_hasty: bool) -> None:
        for each in () if is_hasty else list(self._maps):
            each.finish()
        self._cluster.close()

    # What it has besides

    def options(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        priority: float | None = None,
        cpus: int | None = None,
        memory: int | None = None,
        cpu_time: float | None = None,
        depends: Any = None,
    ) -> ExecutorView:
        """The same executor for calls with these options: a time limit in seconds; how often a call is repeated that
        raises an exception or whose process dies; a priority, higher runs first; the CPUs that a call occupies; its
        memory limit in bytes; its CPU time limit in seconds; and files and modules for it. Raises ConfigError."""
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"retries must be a whole number of at least 0, not {retries!r}")
        given = {"timeout": timeout, "priority": priority, "cpus": cpus, "memory": memory, "cpu_time": cpu_time}
        named = {f"dispy_{name}": value for name, value in given.items() if value is not None}
        if depends is not None:
            named["dispy_job_depends"] = depends
        try:
            return ExecutorView(self, job_options.take(named), retries)
        except ConfigError as error:
            raise ConfigError(str(error).replace("dispy_job_depends", "depends").replace("dispy_", "")) from None

    @property
    def cluster(self) -> JobCluster:
        """The cluster of this executor, for its status and the control of its nodes. Its `submit` is not to be used."""
        return self._cluster

    def serve_page(
        self, host: str = "127.0.0.1", port: int = 0, show_arguments: bool = False, admin: bool = False
    ) -> ServedPage:
        """As `JobCluster.serve_page`. A chunk of `map` is one job there."""
        return self._cluster.serve_page(host, port, show_arguments, admin)

    # For its futures

    def _submit(self, job_options: JobOptions | None, payload: Bulk) -> DispyJob:
        try:
            return self._cluster._enqueue(payload, job_options)
        except ClusterClosed:
            self._refuse()
            raise

    def _encoded(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bulk:
        number = self._functions.number_of(fn)
        return function_call((number, *args) if number != GIVEN else (GIVEN, fn, *args), kwargs, self._manner)

    def _refuse(self) -> None:
        """Raise the error for a call after the end, if there is one."""
        self._cluster._engine.refuse_fork()
        if self._broken:
            raise BrokenProcessPool(
                f"the initializer has failed in a worker: no more calls are accepted\n{self._broken}"
            )
        if self._is_shut or self._cluster._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _break(self, text: str) -> None:
        """The initializer has failed."""
        if not self._broken:
            self._broken = text
            self._cluster._queue.refuse(ClusterClosed)

    def _call_back(self, function: Callable[..., Any], *args: Any) -> None:
        self._hub.call_back(function, *args)

    def _stop(self, job: DispyJob) -> None:
        if not self._cluster._closed:
            self._cluster.cancel(job)

    def _unfinished(self) -> list[JobId]:
        """In the hub."""
        self._cluster._take_submitted()
        return list(self._cluster._engine.table.jobs)

    def _cancel_since(self, number: int) -> None:
        """Cancel the unfinished calls whose jobs have greater numbers."""
        if not self._cluster._closed:
            self._cluster._engine.refuse_fork()
            later = [each for each in self._hub.call(self._unfinished) if each > number]
            self._hub.post(self._cluster._engine.cancel_quietly, later)

    def _drop_files(self, numbers: list[int]) -> None:
        """Have nodes remove the contents of these files of `FunctionTable`."""
        if numbers and not self._cluster._closed:
            engine = self._cluster._engine
            self._hub.post(self._functions.drop, engine.computation, engine.ask_then, numbers)

    def _withdraw(self, job: DispyJob) -> None:
        """Cancel a job if it has not begun, and wait until it is known whether it has."""
        self._withdraw_numbers([JobId(job._number)])
        until = time.monotonic() + ANSWER_LIMIT
        while not job.wait(LOOK_INTERVAL) and job._status == job_status.CREATED and time.monotonic() < until:
            pass

    def _withdraw_numbers(self, numbers: list[JobId]) -> None:
        if self._cluster._closed:
            return
        engine = self._cluster._engine
        for begin in range(0, len(numbers), WITHDRAW_LIMIT):
            engine.question(functools.partial(_withdrawal, engine.computation, numbers[begin : begin + WITHDRAW_LIMIT]))

    def _map(
        self,
        options: JobOptions | None,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
    ) -> Iterator[Any]:
        _check_map(timeout, chunksize, buffersize)
        until = None if timeout is None else time.monotonic() + timeout
        self._refuse()
        why_single = self._cluster._why_single() or ("each call has options" if options else "")
        map_results.chunk_size(chunksize, why_single)  # Raises ConfigError.
        size = ChunkSize(1 if why_single else chunksize if isinstance(chunksize, int) else None)
        number, manner = self._functions.number_of(fn), self._manner
        first: tuple[Any, ...] = (CHUNK, number, None if number != GIVEN else fn)

        are_rows = len(iterables) != 1

        def encode(rows: list[Any], seconds: float) -> Bulk:
            return function_call((*first, rows, are_rows, seconds), {}, manner)

        rows: Iterator[Any] = zip(*iterables, strict=False) if are_rows else iter(iterables[0])
        made = ExecutorMap(self, _Source(self, options), rows, encode, size, until, buffersize)
        self._maps.add(made)
        return made.results()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        made = self.__dict__.get("_cluster")
        if made is not None and not is_finalizing() and not self._is_shut:
            made._queue.refuse(ClusterClosed)

    def __repr__(self) -> str:
        state = "broken" if self._broken else "shut down" if self._is_shut else "open"
        return f"<{notebook_views.cluster_line(self._cluster, 'Executor', state)}>"

    def _repr_html_(self) -> str:
        return notebook_views.cluster_html(self._cluster, repr(self)[1:-1])

    def __reduce__(self) -> Any:
        raise TypeError(
            "an executor cannot be pickled, so calls cannot use it: submit calls in the program that made it"
        )


class ExecutorView(concurrent.futures.Executor):
    """An executor with options for its calls; see `Executor.options`. `shutdown` is that of the executor."""

    def __init__(self, executor: Executor, job_options: JobOptions | None, retries: int) -> None:
        self._executor, self._options, self._retries = executor, job_options, retries

    def __repr__(self) -> str:
        return f"<ExecutorView of {self._executor!r}>"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `Executor.submit`."""
        executor = self._executor
        try:
            payload = executor._encoded(fn, args, kwargs)
        except Exception as error:
            executor._refuse()
            return failed(as_raised(error))
        send = functools.partial(executor._submit, self._options, payload)
        return RetriedFuture(executor, send, self._retries) if self._retries else JobFuture(executor._reference, send())

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = "auto",
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """As `Executor.map`; each call is a job."""
        if self._retries:
            _check_map(timeout, chunksize, buffersize)
            return _retried(self, fn, iterables, timeout, buffersize)
        return self._executor._map(self._options, fn, iterables, timeout, chunksize, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


class _Source:
    """The cluster of an executor, as `MapResults` uses it, for jobs with certain options."""

    def __init__(self, executor: Executor, job_options: JobOptions | None) -> None:
        self._executor, self._options = executor, job_options

    def _enqueue(self, payload: Bulk) -> DispyJob:
        return self._executor._submit(self._options, payload)

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        made = self._executor._cluster
        if not made._closed:
            made._hub.post(made._engine.withdraw_quietly, [JobId(job._number) for job in jobs])

    def _count_cpus(self) -> int:
        return self._executor._cluster._count_cpus()


def _retried(
    view: ExecutorView,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[Any]:
    """The results of calls that are repeated when they fail: each is a future."""
    until = None if timeout is None else time.monotonic() + timeout
    rows = zip(*iterables, strict=False)
    most = buffersize or map_results.JOBS_LIMIT
    futures = [view.submit(fn, *row) for row in itertools.islice(rows, most)]

    def results() -> Iterator[Any]:
        try:
            while futures:
                value = futures[0].result(None if until is None else until - time.monotonic())
                futures.pop(0)
                futures.extend(view.submit(fn, *row) for row in itertools.islice(rows, 1))
                yield value
        finally:
            view._executor._withdraw_numbers([JobId(future.job._number) for future in futures if not future.done()])

    return results()


def _beside(cluster: JobCluster, computation: FunctionCalls) -> JobCluster:
    """A cluster for another function on the nodes of a cluster."""
    made, jobs = object.__new__(type(cluster)), ComputationOptions()
    settings = replace(cluster._settings, is_program=False, jobs=jobs, has_cleanup=False, results="", overwrites=False)
    nodes = cluster._engine.selection.without_local()
    made._start(settings, UserCallbacks(None, None), (computation, (), Manner()), nodes, cluster._secret, ("", False))
    return made


def _shown_call(functions: FunctionTable, job: DispyJob) -> str:
    """The call of a job as text, with the name of its function; '' if it cannot be shown."""
    try:
        args: tuple[Any, ...] = job.args or ()
        is_chunk = args[0] == CHUNK
        number, *others = args[1:] if is_chunk else args
        function = others[0] if number == GIVEN else functions.function_of(number)
        name = getattr(function, "__qualname__", None) or type(function).__name__
        if is_chunk:
            return f"{name}: {count(len(others[1]), 'call')}"
        return name + job._shown_call(2 if number == GIVEN else 1)
    except Exception:  # Of a class whose unpickling fails, or of arguments that are not known any more.
        return ""


def _check_map(timeout: Any, chunksize: Any, buffersize: Any) -> None:
    if timeout is not None and not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, or None, not {type(timeout).__name__}")
    if buffersize is not None and (not isinstance(buffersize, int) or isinstance(buffersize, bool)):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    if isinstance(chunksize, int | float) and chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    map_results.chunk_size(chunksize, "")


class _Limit:
    """A number of CPUs that is divided among nodes as they are found."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        #: By the node's instance.
        self._given: dict[bytes, int] = {}

    def take(self, node: bytes, cpus: int) -> int:
        others = sum(given for other, given in self._given.items() if other != node)
        self._given[node] = max(0, min(cpus, self._cpus - others))
        return self._given[node]

    def give_back(self, node: bytes) -> bool:
        """A node is closed or lost; whether CPUs of others may be used instead."""
        return bool(self._given.pop(node, 0))


class _LimitedNode(NodeAllocate):
    """Nodes of which an executor uses only as many CPUs as it may."""

    limit: _Limit

    def allocate(self, cluster: Any, ip_addr: str, name: str, cpus: int, **more: Any) -> int:  # type: ignore[override]
        return self.limit.take(self._node, super().allocate(cluster, ip_addr, name, cpus, **more))

    def left(self, node: bytes) -> bool:
        return self.limit.give_back(node)


def _limited(nodes: Any, max_workers: int | None) -> Any:
    """The nodes, of which `max_workers` CPUs are used."""
    if max_workers is None or nodes in ("inline", ["inline"]):
        return nodes
    if nodes == "local" or nodes in (["local"], ("local",)):
        return [NodeAllocate("local", cpus=max_workers)]
    limit, found = _Limit(max_workers), []
    for each in read_nodes(nodes, node_port()).nodes:
        own = _LimitedNode(each.host, each.port, each.cpus, each.depends, each.setup_args)
        own.limit = limit
        found.append(own)
    return found


def _places(nodes: Any, max_workers: Any) -> tuple[Any, Any]:
    """`nodes` and `max_workers`, of which a number as `nodes` is the latter. Raises ConfigError."""
    if nodes is None:
        return "local", max_workers
    if isinstance(nodes, str) and nodes.strip().isdigit():
        raise ConfigError(f"nodes={nodes!r} would be a host of that name: give the number of workers as a number")
    if isinstance(nodes, int | float):
        if max_workers is not None:
            raise ConfigError(f"the number of workers is given twice: {nodes!r}, and max_workers={max_workers!r}")
        return "local", nodes
    if not isinstance(nodes, str) and not nodes:
        raise ConfigError("nodes is empty: name hosts, or leave it out for this machine")
    return nodes, max_workers


def _check(max_workers: Any, initializer: Any, initargs: Any, options: dict[str, Any]) -> None:
    if max_workers is not None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int):
            raise ConfigError(f"max_workers must be a whole number, not {max_workers!r}")
        if max_workers <= 0:
            raise ConfigError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if not isinstance(initargs, Iterable) or isinstance(initargs, str):
        raise TypeError(f"initargs must be a tuple, not {type(initargs).__name__}")
    for name in options:
        if name in _REFUSED:
            raise ConfigError(f"an Executor has no parameter {name}: {_REFUSED[name]}")


def _withdrawal(computation: Any, jobs: list[JobId], question: int) -> Withdraw:
    return Withdraw(computation, question, jobs)
