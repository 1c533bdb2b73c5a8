"""A backend of joblib: `Parallel` of joblib, and with it scikit-learn, on nodes.

    import gdispy.joblib
    gdispy.joblib.register()
    with joblib.parallel_config(backend="gdispy", nodes=["node1", "node2"]):
        search.fit(X, y)

Runs in the user's threads, and in the thread that runs callbacks. Executors are kept for a while after a call of
`Parallel`, since the next one usually follows soon.

Invariants:
1. An array that several calls of one `Parallel` have as an argument is sent to each node once, and is read-only there.
2. Nothing of an array is remembered after that `Parallel`, so that it may change before the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import joblib
from joblib._parallel_backends import FallbackToBackend
from joblib.parallel import AutoBatchingMixin, BatchedCalls, ParallelBackendBase, SequentialBackend

from gdispy.client.executor import Executor
from gdispy.errors import ClusterClosed, ConfigError, ConnectFailed, ForkedError
from gdispy.worker import pickling
from gdispy.worker.function_calls import GIVEN, NumberedFunction, OpenedArray, SharedArray, is_in_job
from gdispy.worker.joblib_worker import begin_worker

#: Seconds that an executor, and with it its nodes, is kept after a call of `Parallel`.
IDLE = 30.0
#: Seconds to wait for the first node.
NODE_LIMIT = 60.0
#: Bytes from which an array is sent to a node once; and how many bytes nodes keep for the next call of `Parallel`.
SHARED_BYTES = 1 << 20
KEPT_BYTES = 1 << 30
#: Bytes that are written at once.
WRITE_STEP = 1 << 30


def register(make_default: bool = False) -> None:
    """Make the backend known to joblib as 'gdispy'; with `make_default`, use it wherever no other is named."""
    joblib.register_parallel_backend("gdispy", GdispyBackend, make_default=make_default)


def shutdown() -> None:
    """Release the nodes now instead of some seconds after the last call of `Parallel`."""
    _executors.close_idle()


class GdispyBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs batches of calls on the nodes of an executor. The parameters are those of `gdispy.Executor`."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nodes: Any = "local",
        *,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._nodes, self._options = nodes, options
        self._executor: Executor | None = None
        self._key: Any = None
        self._is_local = nodes == "local" and not options.get("scheduler_node")
        self._arrays = _Arrays(self._is_local)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """The number of calls that run at the same time; -1 is all CPUs of the nodes."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        # A `Parallel` in a call of another: that has the CPUs. And jobs in this process run one after the other.
        if n_jobs is None or is_in_job() or self._nodes in ("inline", ["inline"]):
            return 1
        if n_jobs > 0:
            return n_jobs
        if self._is_local:
            cpus = int(joblib.cpu_count())
        else:
            with self._borrowed(n_jobs) as executor:
                cpus = _count_cpus(executor)
        return max(cpus + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_more: Any) -> int:
        """Take an executor for a call of `Parallel`. Options of other backends have no effect."""
        found = self.effective_n_jobs(n_jobs)
        if found == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self._executor is not None:
            # Another `Parallel` in the same `parallel_config` has not ended: it may be aborted, and gives its executor
            # back when it ends.
            _, again = self.__reduce__()
            raise FallbackToBackend(_remade(*again))
        self.parallel = parallel
        self._key, self._executor = self._take(n_jobs, found)
        _calling.add(self)
        return found

    def stop_call(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if self._executor is not None and not is_ending():
            self._arrays.forget(self._executor)

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        executor = self._executor
        assert executor is not None
        used: list[int] = []
        prepared = self._prepared(executor, func, used)
        future: Future[Any]
        try:
            future = executor.submit(prepared)
        except (ClusterClosed, RuntimeError) as error:  # It accepts no more.
            # joblib submits the next batch where one has ended, which has no caller: the error is for those who wait
            # for results, and at the end of the program that is no one.
            future = Future()
            future.set_exception(error)
        if used:
            future.add_done_callback(lambda _: self._arrays.ended(executor, used))
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Any) -> Any:
        return future.result()

    def abort_everything(self, ensure_ready: bool = True, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # A generator of results may be closed at interpreter exit, when globals are gone.
        if self._executor is not None and not is_ending():
            self._executor.cluster.cancel_all()

    def terminate(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        executor, self._executor = self._executor, None
        if executor is not None and not is_ending():
            _calling.discard(self)
            _executors.give_back(self._key, executor)
        self.reset_batch_stats()

    def end(self) -> None:
        """The program ends: no result can be read any more, and no further call is accepted."""
        if self._executor is not None:
            self._executor.cluster._queue.refuse(ClusterClosed)
            self._executor.cluster.cancel_all()

    def __reduce__(self) -> Any:
        return _remade, (self._nodes, self._options, self.nesting_level, self.inner_max_num_threads)

    # Executors

    def _take(self, n_jobs: int, workers: int) -> tuple[Any, Executor]:
        limit = n_jobs if n_jobs > 0 else None
        threads = self._thread_variables(workers)
        key = (repr(self._nodes), limit, repr(sorted(self._options.items())), tuple(threads.items()))
        setting = {"max_workers": limit, "initializer": begin_worker, "initargs": (threads,), **self._options}
        return key, _executors.take(key, lambda: Executor(self._nodes, **setting))

    @contextlib.contextmanager
    def _borrowed(self, n_jobs: int) -> Iterator[Executor]:
        if self._executor is not None:
            yield self._executor
            return
        key, executor = self._take(n_jobs, 1 << 30)
        try:
            yield executor
        finally:
            _executors.give_back(key, executor)

    def _thread_variables(self, workers: int) -> dict[str, str]:
        """A node runs as many calls as it has CPUs, each with one thread, unless the user wants another number."""
        threads = self.inner_max_num_threads
        if threads is None and self._is_local:
            threads = max(joblib.cpu_count() // workers, 1)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ConfigError(f"inner_max_num_threads must be a whole number of at least 1, not {threads!r}")
        found = dict.fromkeys(self.MAX_NUM_THREADS_VARS, str(threads or 1))
        if self.inner_max_num_threads is None:
            found.update({name: os.environ[name] for name in found if name in os.environ})
        return found

    # Calls

    def _prepared(self, executor: Executor, func: Any, used: list[int]) -> Any:
        """The batch, with stand-ins for functions and arrays that a node gets only once."""
        if not isinstance(func, BatchedCalls):
            return func
        items = []
        for function, args, kwargs in func.items:
            known = executor._functions.number_of(function)
            items.append((function if known == GIVEN else NumberedFunction(known), args, kwargs))
        batch = BatchedCalls(items, (func._backend, func._n_jobs))

        def stand_in(value: Any) -> Any:
            return self._arrays.share(executor, value, used) if _is_array(value) else value

        return pickling.Pickled(pickling.dumps_with_stand_ins(batch, stand_in, executor._manner))


#: The backends of calls of `Parallel` that have not ended.
_calling: weakref.WeakSet[GdispyBackend] = weakref.WeakSet()


def _end_calls() -> None:
    for backend in list(_calling):
        with contextlib.suppress(ForkedError):
            backend.end()


# Before clusters wait for their jobs: whenever one ends, joblib would submit the next, perhaps without end.
atexit.register(_end_calls)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _remade(nodes: Any, options: dict[str, Any], nesting_level: int | None, threads: int | None) -> GdispyBackend:
    return GdispyBackend(nodes, nesting_level=nesting_level, inner_max_num_threads=threads, **options)


def _count_cpus(executor: Executor) -> int:
    """The CPUs of the nodes, once there is one. Raises ConnectFailed."""
    probe = executor.submit(int)
    try:
        probe.result(NODE_LIMIT)
    except FutureTimeout:
        probe.cancel()
        problems = "; ".join(executor.cluster.status().problems)
        raise ConnectFailed(f"no node was found within {NODE_LIMIT:.0f} s: {problems}") from None
    return max(executor.cluster._count_cpus(), 1)


class _Shared:
    """An array that calls of one `Parallel` have as an argument."""

    __slots__ = ("array", "file", "pending", "stand_in", "uses")

    def __init__(self, array: Any, stand_in: SharedArray, file: _OwnFile | None) -> None:
        self.array, self.stand_in, self.file = array, stand_in, file
        #: How many calls have had it as an argument, and how many of them have not ended.
        self.uses = self.pending = 0

    def release(self) -> None:
        if self.file is not None:
            self.file.close()


class _OwnFile:
    """A file in memory that processes of this user on this machine can open. It ends with this process."""

    def __init__(self, parts: list[Any]) -> None:
        """Raises OSError where that is not possible."""
        self._fd = os.memfd_create("gdispy-array")
        try:
            for part in parts:
                with memoryview(part) as view:
                    done = 0
                    while done < len(view):
                        done += os.write(self._fd, view[done : done + WRITE_STEP])
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
            os.stat(self.path)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _Arrays:
    """The large arrays among the arguments of one `Parallel`."""

    def __init__(self, are_local: bool) -> None:
        #: Whether all calls run on this machine, so that nothing needs to be sent.
        self._are_local = are_local and hasattr(os, "memfd_create")
        self._lock = threading.Lock()
        self._known: dict[int, _Shared] = {}

    def share(self, executor: Executor, value: Any, used: list[int]) -> Any:
        """A stand-in for a large array, whose id is added to `used`; any other array is returned as it is."""
        numpy = sys.modules["numpy"]
        if value.dtype.hasobject or type(value) not in (numpy.ndarray, numpy.memmap):
            return value
        if self._are_local and type(value) is numpy.memmap and (place := _place_of(numpy, value)) is not None:
            return OpenedArray(*place)
        if value.nbytes < SHARED_BYTES:
            return value
        with self._lock:
            shared = self._known.get(id(value))
            if shared is None:
                shared = self._known[id(value)] = self._new(executor, value, _parts(numpy, value))
            if id(value) not in used:  # Once for each batch, which may be pickled in two ways.
                shared.uses += 1
                shared.pending += 1
                used.append(id(value))
        return shared.stand_in

    def _new(self, executor: Executor, value: Any, parts: list[Any]) -> _Shared:
        functions = executor._functions
        if self._are_local:
            with contextlib.suppress(OSError):  # No room, or no /proc: it is sent.
                file = _OwnFile(parts)
                return _Shared(value, SharedArray(functions.number_without_file(), file.path), file)
        return _Shared(value, SharedArray(functions.number_of_data(parts)), None)

    def ended(self, executor: Executor, used: list[int]) -> None:
        """A batch with these arrays has ended. Those that no other has had yet are probably for that one only."""
        single: list[_Shared] = []
        with self._lock:
            for each in used:
                shared = self._known.get(each)
                if shared is None:
                    continue
                shared.pending -= 1
                if not shared.pending and shared.uses == 1:
                    single.append(self._known.pop(each))
        for shared in single:
            shared.release()
        sent = [shared.stand_in.number for shared in single if shared.file is None]
        for number in sent:
            executor._functions.forget_data(number)
        executor._drop_files(sent)

    def forget(self, executor: Executor) -> None:
        """The calls have ended, and the arrays may change."""
        with self._lock:
            known, self._known = self._known, {}
        for shared in known.values():
            shared.release()
        executor._drop_files(executor._functions.release_data(KEPT_BYTES))


def _place_of(numpy: Any, array: Any) -> tuple[str, Any, str, int, tuple[int, ...], str] | None:
    """The arguments of `numpy.memmap` with which a process on this machine opens the same part of a file; None if that
    is not possible."""
    if not array.filename or not (array.flags.c_contiguous or array.flags.f_contiguous):
        return None
    whole = array
    while isinstance(whole.base, numpy.ndarray):
        whole = whole.base
    if type(whole) is not numpy.memmap:
        return None
    first, own = (each.__array_interface__["data"][0] for each in (whole, array))
    mode = {"w+": "r+"}.get(array.mode, array.mode)
    order = "C" if array.flags.c_contiguous else "F"
    return str(array.filename), array.dtype, mode, whole.offset + own - first, array.shape, order


def _parts(numpy: Any, array: Any) -> list[Any]:
    """The file of an array, in the format of numpy, without a copy if it is contiguous."""
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = numpy.ascontiguousarray(array)
    head = io.BytesIO()
    numpy.lib.format.write_array_header_2_0(head, numpy.lib.format.header_data_from_array_1_0(array))
    body = array if array.flags.c_contiguous else array.T
    return [head.getvalue(), memoryview(body.view(numpy.uint8).reshape(-1)).cast("B")]


class _Executors:
    """Executors that no `Parallel` uses, by their settings; each is closed after a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Any, tuple[Executor, threading.Timer]] = {}

    def take(self, key: Any, make: Callable[[], Executor]) -> Executor:
        with self._lock:
            executor, timer = self._idle.pop(key, (None, None))
        if timer is not None:
            timer.cancel()
        if executor is None or executor._is_shut or executor._broken or executor._cluster._closed:
            return make()
        return executor

    def give_back(self, key: Any, executor: Executor) -> None:
        timer = threading.Timer(IDLE, self._close, (key, executor))
        timer.daemon = True
        with self._lock:
            former = self._idle.get(key)
            self._idle[key] = executor, timer
        timer.start()
        if former is not None:
            former[1].cancel()
            former[0].shutdown(wait=False, cancel_futures=True)

    def _close(self, key: Any, executor: Executor) -> None:
        with self._lock:
            if self._idle.get(key, (None,))[0] is not executor:
                return
            del self._idle[key]
        executor.shutdown(cancel_futures=True)

    def close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for executor, timer in idle.values():
            timer.cancel()
            executor.shutdown(cancel_futures=True)


_executors = _Executors()
