"""The parts of an executor that need no node: its CPUs, its options, and the order of results."""

from __future__ import annotations

import concurrent.futures
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import ClusterClosed, ConfigError, DispyJob, Executor, NodeAllocate
from gdispy.client import executor as module
from gdispy.client.executor import ExecutorView, _check, _Limit, _limited, _LimitedNode, _retried
from gdispy.client.function_table import FunctionTable
from gdispy.client.futures import JobFuture, RetriedFuture
from gdispy.client.node_allocate import Allocation
from gdispy.client.node_selection import NodeSelection
from gdispy.client.parameters import function_call
from gdispy.protocol import job_status
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import NodeFound, Withdraw
from gdispy.protocol.payload import Bulk, joined
from gdispy.protocol.rows import JobOptions
from gdispy.worker import pickling
from gdispy.worker.function_calls import CHUNK, GIVEN, pack_results
from gdispy.worker.manner import Manner
from tests.unit.builders import C
from tests.unit.ends import end, end_with

TIMED = JobOptions(timeout=2.0)


class Cluster:
    """What an executor uses of its cluster. Each job ends at once, as `outcome` does it; by default it waits."""

    def __init__(self) -> None:
        self.calls: list[tuple[DispyJob, tuple[Any, ...], JobOptions | None]] = []
        self.withdrawn: list[list[JobId]] = []
        self.refusals: list[Any] = []
        self.outcome: Callable[[DispyJob], None] = lambda job: None
        self.error: Exception | None = None
        self._closed = False
        self._count = SimpleNamespace(pending=0, ended=0, failed=0)
        self._settings = SimpleNamespace(is_inline=False)
        self._queue = SimpleNamespace(refuse=self.refusals.append)
        self._engine = SimpleNamespace(
            computation=C,
            question=self._question,
            withdraw_quietly=self.withdrawn.append,
            table=SimpleNamespace(jobs={}),
            nodes=SimpleNamespace(ready=dict),
            refuse_fork=lambda: None,
        )
        self._hub = SimpleNamespace(
            prepare_callbacks=lambda: None,
            call_back=lambda function, *args: function(*args),
            post=lambda function, *args: function(*args),
            call=lambda function: function(),
        )
        self.closings = 0

    @property
    def jobs(self) -> list[DispyJob]:
        return [job for job, _, _ in self.calls]

    def _question(self, make: Callable[[int], Withdraw]) -> None:
        message = make(7)
        assert (message.computation, message.question) == (C, 7)
        self.withdrawn.append(message.jobs)

    def _enqueue(self, payload: Bulk, options: JobOptions | None = None) -> DispyJob:
        if self.error is not None:
            raise self.error
        job = DispyJob._new(len(self.calls) + 1, 0.0, payload)
        self.calls.append((job, pickling.loads(joined(payload))[0], options))
        self.outcome(job)
        return job

    def _take_submitted(self) -> None:
        self._engine.table.jobs = {JobId(job._number): job for job in self.jobs if not job._done}

    def _count_cpus(self) -> int:
        return 2

    def _why_single(self) -> str:
        return ""

    def close(self) -> None:
        self.closings += 1


def made(cluster: Cluster) -> Any:
    """An executor on that cluster."""
    executor: Any = Executor.__new__(Executor)
    executor._cluster, executor._hub, executor._functions = cluster, cluster._hub, FunctionTable()
    executor._manner, executor._lock = Manner(), threading.Lock()
    executor._is_shut, executor._broken = False, ""
    executor._maps, executor._reference = weakref.WeakSet(), weakref.ref(executor)
    return executor


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def executor(cluster: Cluster) -> Any:
    return made(cluster)


def fail(job: DispyJob) -> None:
    """A job that has raised ValueError."""
    cause = bytes([pickling.FAILURE]) + pickle.dumps(ValueError(f"wrong {job._number}"))
    end_with(job, cause, job_status.TERMINATED, "Traceback\nValueError: wrong\n")


class Squared:
    def __call__(self, value: int) -> int:
        return value**2


# CPUs


def test_cpus_are_divided_among_nodes_in_the_order_in_which_they_are_found() -> None:
    limit = _Limit(5)
    assert [limit.take("a", 2), limit.take("b", 4), limit.take("c", 1)] == [2, 3, 0]


def test_node_that_is_asked_for_again_gets_its_own_share_and_what_is_left() -> None:
    limit = _Limit(5)
    assert [limit.take("a", 2), limit.take("b", 2)] == [2, 2]
    assert [limit.take("a", 9), limit.take("b", 9), limit.take("a", 1), limit.take("b", 9)] == [3, 2, 1, 4]


@pytest.mark.parametrize("cpus", [0, -2])
def test_node_that_offers_nothing_takes_nothing(cpus: int) -> None:
    limit = _Limit(5)
    assert [limit.take("a", cpus), limit.take("b", 9)] == [0, 5]


def test_nodes_are_left_as_they_are_without_a_limit() -> None:
    nodes = ["lab*"]
    assert _limited(nodes, None) is nodes


@pytest.mark.parametrize("nodes", ["local", ["local"], ("local",)])
def test_limit_of_this_machine_may_exceed_its_cpus(nodes: Any) -> None:
    [found] = _limited(nodes, 300)
    assert type(found) is NodeAllocate and (found.host, found.cpus) == ("local", 300)


def test_limit_holds_for_all_nodes_together() -> None:
    first, second = _limited(["10.0.0.1", NodeAllocate("10.0.0.*", 5000, cpus=3)], 4)
    assert (first.host, second.host, second.port, second.cpus) == ("10.0.0.1", "10.0.0.*", 5000, 3)
    assert isinstance(first, _LimitedNode) and first.limit is second.limit
    first._node, second._node = b"one", b"two"
    assert first.allocate(None, "10.0.0.1", "same", 2) == 2
    assert second.allocate(None, "10.0.0.2", "same", 8, avail_info=None, platform="linux") == 2
    second._node = b"three"
    assert second.allocate(None, "10.0.0.2", "same", 8) == 0


def test_node_that_does_not_match_takes_no_cpus_from_the_others() -> None:
    [node] = _limited(["10.0.0.1"], 4)
    assert node.allocate(None, "10.0.0.9", "other", 4) == 0
    assert node.allocate(None, "10.0.0.1", "one", 4) == 4


# Arguments


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        (0, "must be greater than 0"),
        (-1, "must be greater than 0"),
        (True, "a whole number, not True"),
        (1.5, r"a whole number, not 1\.5"),
        ("2", "a whole number, not '2'"),
    ],
)
def test_number_of_workers_that_is_invalid_is_refused(workers: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=f"max_workers must be {text}|max_workers {text}"):
        _check(workers, None, (), {})


@pytest.mark.parametrize("initializer", [5, "print"])
def test_initializer_that_cannot_be_called_is_refused(initializer: Any) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        _check(None, initializer, (), {})


@pytest.mark.parametrize("name", sorted(module._REFUSED))
def test_parameter_that_only_clusters_have_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=f"an Executor has no parameter {name}: {module._REFUSED[name]}"):
        _check(2, print, (), {"depends": [], name: None})
    _check(2, print, (), {"depends": []})


# Options


def test_options_are_those_of_a_job(executor: Any) -> None:
    view = executor.options(timeout=2.0, priority=-1, cpus=3, memory=1000, cpu_time=5)
    assert isinstance(view, ExecutorView) and view._retries == 0
    assert view._options == JobOptions(b"", -1.0, 2.0, 3, 1000, b"", [], [], 5.0)
    assert executor.options()._options is None and executor.options(retries=2)._retries == 2


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"retries": -1}, "retries must be a whole number of at least 0, not -1"),
        ({"retries": True}, "retries must be a whole number of at least 0, not True"),
        ({"retries": 1.0}, "retries must be a whole number of at least 0, not 1.0"),
        ({"timeout": 0}, "timeout must be a number from 0.001 to "),
        ({"cpus": 0}, "cpus must be a whole number from 1 to "),
        ({"memory": "1 GB"}, "memory must be a whole number from 1 to "),
        ({"priority": None, "cpu_time": -1}, "cpu_time must be a number from 0.01 to "),
        ({"depends": 5}, "depends"),
    ],
)
def test_error_of_an_option_has_the_name_that_it_has_here(executor: Any, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        executor.options(**given)
    assert str(raised.value).startswith(text) and "dispy_" not in str(raised.value)


def test_call_with_options_is_a_job_with_them(executor: Any, cluster: Cluster) -> None:
    future = executor.options(timeout=2.0).submit(divmod, 7, 2)
    assert type(future) is JobFuture
    assert cluster.calls == [(future.job, (0, 7, 2), TIMED)]


def test_call_with_retries_is_repeated_with_its_options(executor: Any, cluster: Cluster) -> None:
    future = executor.options(timeout=2.0, retries=1).submit(divmod, 7, 2)
    assert type(future) is RetriedFuture
    fail(cluster.jobs[0])
    assert [options for _, _, options in cluster.calls] == [TIMED, TIMED]
    end(cluster.jobs[1], 5)
    assert future.result(0.0) == 5


def test_shutdown_of_a_view_is_that_of_its_executor(executor: Any, cluster: Cluster) -> None:
    with executor.options(cpus=1):
        pass
    assert cluster.closings == 1 and executor._is_shut


# Submitting


def test_function_is_named_by_its_number_and_other_callables_are_sent(executor: Any, cluster: Cluster) -> None:
    executor.submit(divmod, 7, 2)
    executor.submit(Squared(), 3)
    (_, first, _), (_, (number, function, *arguments), _) = cluster.calls
    assert first == (0, 7, 2) and (number, type(function).__name__, arguments) == (GIVEN, "Squared", [3])


@pytest.mark.parametrize("is_view", [False, True])
def test_arguments_that_cannot_be_pickled_fail_their_future_only(
    executor: Any, cluster: Cluster, is_view: bool
) -> None:
    of = executor.options(timeout=2.0) if is_view else executor
    future = of.submit(divmod, (each for each in ()))
    error = future.exception(0.0)
    assert isinstance(error, TypeError) and "pickle" in str(error) and cluster.calls == []
    executor._is_shut = True
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        of.submit(divmod, (each for each in ()))


@pytest.mark.parametrize("is_view", [False, True])
def test_call_after_the_end_is_refused(executor: Any, cluster: Cluster, is_view: bool) -> None:
    of = executor.options(timeout=2.0) if is_view else executor
    cluster.error = ClusterClosed("closed")
    with pytest.raises(ClusterClosed):
        of.submit(divmod, 7, 2)
    cluster._closed = True
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        of.submit(divmod, 7, 2)


def test_executor_whose_initializer_has_failed_accepts_no_more_calls(executor: Any, cluster: Cluster) -> None:
    executor._break("no licence")
    executor._break("another")
    assert cluster.refusals == [ClusterClosed]
    cluster.error = ClusterClosed("closed")
    for call in (lambda: executor.submit(divmod, 7, 2), lambda: executor.map(divmod, [7], [2])):
        with pytest.raises(BrokenProcessPool, match=r"the initializer has failed in a worker.*\nno licence"):
            call()


# Cancelling


def test_withdrawals_of_very_many_jobs_are_several_messages(
    executor: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WITHDRAW_LIMIT", 2)
    executor._withdraw_numbers([JobId(number) for number in range(5)])
    assert cluster.withdrawn == [[0, 1], [2, 3], [4]]
    cluster._closed = True
    executor._withdraw_numbers([JobId(1)])
    assert len(cluster.withdrawn) == 3


@pytest.mark.parametrize("status", [job_status.RUNNING, job_status.CANCELLED])
def test_cancel_does_not_wait_for_a_job_that_has_begun(
    executor: Any, cluster: Cluster, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 1000.0)
    future = executor.submit(divmod, 7, 2)
    future.job._status = status
    assert not future.cancel() and cluster.withdrawn == [[1]]


def test_cancel_does_not_wait_without_end_for_a_node(
    executor: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.0)
    future = executor.submit(divmod, 7, 2)
    assert not future.cancel() and not future.done()


def test_shutdown_cancels_the_calls_that_have_not_begun_once(executor: Any, cluster: Cluster) -> None:
    for number in range(3):
        executor.submit(divmod, number, 2)
    end(cluster.jobs[1], 1)
    for _ in range(2):
        executor.shutdown(cancel_futures=True)
    assert cluster.withdrawn == [[1, 3]] and cluster.refusals == [ClusterClosed] and cluster.closings == 2


def test_shutdown_without_waiting_closes_in_a_thread_that_the_program_waits_for(
    executor: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []

    class Thread:
        def __init__(self, **values: Any) -> None:
            self.values = values

        def start(self) -> None:
            started.append(self.values)

    monkeypatch.setattr(module.threading, "Thread", Thread)
    for _ in range(2):
        executor.shutdown(wait=False)
    assert started == [{"target": executor._close, "args": (False,), "name": "gdispy-executor"}]
    assert cluster.closings == 0 and cluster.withdrawn == []


# Map


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"buffersize": 1.5}, TypeError, "buffersize must be an integer or None"),
        ({"buffersize": True}, TypeError, "buffersize must be an integer or None"),
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": -1}, ValueError, "buffersize must be None or > 0"),
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1"),
        ({"chunksize": "many"}, ConfigError, "chunksize must be 'auto' or a whole number"),
    ],
)
def test_map_refuses_invalid_numbers_and_reads_nothing(
    executor: Any, cluster: Cluster, given: dict[str, Any], kind: type[Exception], text: str
) -> None:
    items = iter([1, 2, 3])
    with pytest.raises(kind, match=text):
        executor.map(abs, items, **given)
    assert next(items) == 1 and cluster.calls == []


def test_calls_of_map_begin_before_a_result_is_wanted(executor: Any, cluster: Cluster) -> None:
    found = executor.map(abs, [1, 2, 3], chunksize=1)
    assert [call[:5] for _, call, _ in cluster.calls] == [(CHUNK, 0, None, [number], False) for number in (1, 2, 3)]
    for job in cluster.jobs:
        end(job, pack_results([job._number], None))
    assert list(found) == [1, 2, 3]


def test_map_with_options_has_one_call_in_a_job(executor: Any, cluster: Cluster) -> None:
    view = executor.options(timeout=2.0)
    with pytest.raises(ConfigError, match="chunksize must be 1 or 'auto'"):
        view.map(abs, [1], chunksize=2)
    view.map(abs, range(3))
    assert [options for _, _, options in cluster.calls] == [TIMED] * 3


def test_map_without_iterables_has_no_results(executor: Any) -> None:
    assert list(executor.map(abs)) == [] == list(executor.options(retries=1).map(abs))


def test_map_whose_result_is_late_raises_timeout_and_withdraws_the_calls(
    executor: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.0)
    for of in (executor, executor.options(retries=1)):
        cluster.withdrawn.clear()
        cluster.calls.clear()
        found = of.map(abs, range(3), timeout=-1.0, chunksize=1)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(found)
        assert sorted(number for jobs in cluster.withdrawn for number in jobs) == [1, 2, 3]


# Map with retries


class View:
    """Futures whose results are set by hand."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.submitted: list[tuple[Any, ...]] = []
        self.withdrawn: list[int] = []
        self._executor = SimpleNamespace(_withdraw_numbers=self._withdraw)

    def _withdraw(self, numbers: list[int]) -> None:
        self.withdrawn = numbers
        for number in numbers:
            self.futures[number].cancel()

    def submit(self, *call: Any) -> Future[Any]:
        self.submitted.append(call)
        self.futures.append(Future())
        self.futures[-1].job = SimpleNamespace(_number=len(self.futures) - 1)  # type: ignore[attr-defined]
        return self.futures[-1]

    def map(self, rows: Any, timeout: float | None = None, limit: int | None = None) -> Iterator[Any]:
        return _retried(self, abs, rows, timeout, limit)  # type: ignore[arg-type]


def test_repeated_calls_are_made_at_once_and_their_results_come_in_order() -> None:
    view = View()
    found = view.map(([1, 2], [3, 4, 5]))
    assert view.submitted == [(abs, 1, 3), (abs, 2, 4)]
    view.futures[1].set_result("second")
    view.futures[0].set_result("first")
    assert list(found) == ["first", "second"]


def test_no_more_repeated_calls_than_the_limit_are_read_ahead() -> None:
    view = View()
    found = view.map((range(10),), limit=3)
    for taken in range(10):
        assert len(view.futures) == min(10, taken + 3)
        view.futures[taken].set_result(taken)
        assert next(found) == taken
    assert next(found, None) is None


def test_repeated_call_that_fails_ends_the_results_and_cancels_the_others() -> None:
    view = View()
    found = view.map((range(3),))
    view.futures[0].set_exception(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        next(found)
    assert [each.cancelled() for each in view.futures] == [False, True, True]
    assert next(found, "over") == "over"


# The object


def test_executor_cannot_be_pickled(executor: Any) -> None:
    with pytest.raises(TypeError, match="an executor cannot be pickled"):
        pickle.dumps(executor)


def test_text_of_an_executor_tells_its_state(executor: Any, cluster: Cluster) -> None:
    cluster._count.pending = 3
    texts = [repr(executor)]
    executor._is_shut = True
    texts.append(repr(executor))
    executor._broken = "no licence"
    texts.append(repr(executor))
    rest = "0 nodes with 0 CPUs, 3 pending, 0 ended"
    assert texts == [f"<Executor: {state}, {rest}>" for state in ("open", "shut down", "broken")]


def test_executor_that_is_dropped_accepts_no_more_calls_for_its_cluster(cluster: Cluster) -> None:
    for is_shut in (True, False):
        executor = made(cluster)
        executor._is_shut = is_shut
        del executor
        assert cluster.refusals == ([] if is_shut else [ClusterClosed])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3, -7), "abs(-7)"),
        ((GIVEN, len, "abc"), "len('abc')"),
        ((CHUNK, 3, None, [1, 2], False, 0.0), "abs: 2 calls"),
        ((CHUNK, GIVEN, len, ["a"], False, 0.0), "len: 1 call"),
        ((), ""),
    ],
    ids=["numbered", "given", "chunk", "chunk-given", "unknown"],
)
def test_call_is_shown_with_the_name_of_its_function(arguments: tuple[object, ...], text: str) -> None:
    functions = SimpleNamespace(function_of={3: abs}.get)
    job = DispyJob._new(1, 0.0, function_call(arguments, {}, Manner()))
    assert module._shown_call(functions, job) == text  # type: ignore[arg-type]


def found(node: str, cpus: int = 4) -> NodeFound:
    return NodeFound(C, Instance(node.encode() * 16), ["10.0.0.1", node], 51348, cpus, "Linux", [])


def test_cpus_of_a_node_that_leaves_are_for_others() -> None:
    limit = _Limit(6)
    assert [limit.take(node, 4) for node in (b"a", b"b", b"c")] == [4, 2, 0]
    assert limit.take(b"b", 4) == 2  # It is asked again before it is set up again.
    assert limit.give_back(b"a") and not limit.give_back(b"a") and not limit.give_back(b"c")
    assert [limit.take(node, 4) for node in (b"c", b"b")] == [4, 2]


def test_nodes_that_were_declined_are_decided_about_again_when_one_leaves() -> None:
    targets: Any = type("Targets", (), {"patterns": ["*"]})()
    selection = NodeSelection(Allocation(targets, _limited(["*"], 4)), None)
    assert [selection.decide(None, C, found(node)).cpus for node in "abc"] == [4, 0, 0]
    assert selection.left(b"c" * 16) == []
    assert [each.node[:1] for each in selection.left(b"a" * 16)] == [b"b", b"c"]
    assert [selection.decide(None, C, found(node)).cpus for node in "bc"] == [4, 0]
    assert [each.node[:1] for each in selection.left(b"b" * 16)] == [b"c"]
